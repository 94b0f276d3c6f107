"""The perceptron on two feature vectors, and its candidates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from ogive.model import InputError  # noqa: E402
from ogive.similarity.decision import Decision, decision_scores, sample_at  # noqa: E402


def test_it_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in Decision(64).parameters()) == 345_601


def shared(candidates, batch: int, rows: int, columns: int) -> torch.Tensor:
    table = torch.tensor(candidates, dtype=torch.float32)
    return table[None, :, :, None, None].expand(batch, -1, -1, rows, columns)


@given(dx=st.integers(-3, 3), dy=st.integers(-3, 3))
@settings(max_examples=10)
def test_whole_pixels_are_taken_as_they_are(dx, dy):
    """What is at (x, y) of the earlier image is at (x + dx, y + dy) of the later one."""
    later = torch.rand(1, 3, 12, 14)
    sampled, inside = sample_at(
        later, torch.tensor([dx, dy]).float()[None, :, None, None].expand(1, 2, 12, 14)
    )
    for y, x in [(5, 6), (3, 10), (8, 3)]:
        torch.testing.assert_close(sampled[0, :, y, x], later[0, :, y + dy, x + dx])
        assert inside[0, y, x]
    assert inside.sum() == (12 - abs(dy)) * (14 - abs(dx))


def test_each_candidate_gets_the_score_of_its_own_place():
    torch.manual_seed(0)
    decision = Decision(4, hidden=16)
    earlier, later = torch.randn(2, 4, 9, 11), torch.randn(2, 4, 9, 11)
    candidates = [(0, 0), (2, -1), (0.5, 0)]
    scores = decision_scores(decision, earlier, later, shared(candidates, 2, 9, 11))
    assert scores.logit.shape == scores.inside.shape == (2, 3, 9, 11)
    one = decision(earlier[1, :, 4, 5], later[1, :, 3, 7])
    torch.testing.assert_close(scores.logit[1, 1, 4, 5], one)
    between = decision(earlier[0, :, 4, 5], (later[0, :, 4, 5] + later[0, :, 4, 6]) / 2)
    torch.testing.assert_close(scores.logit[0, 2, 4, 5], between)
    assert scores.inside[:, 0].all()
    assert not scores.inside[:, 1, 0].any()


def test_it_learns_which_displacement_is_right():
    """Random vectors moved by two pixels: after some steps the true place scores highest."""
    torch.manual_seed(0)
    earlier = torch.nn.functional.normalize(torch.randn(1, 8, 24, 24), dim=1)
    later = torch.roll(earlier, 2, -1)
    decision = Decision(8, hidden=32)
    candidates = shared([(dx, 0) for dx in range(-3, 4)], 1, 24, 24)
    optimiser = torch.optim.Adam(decision.parameters(), 0.01)
    truth = torch.full((1, 24, 24), 5)
    for _ in range(150):
        logit = decision_scores(decision, earlier, later, candidates).logit
        loss = torch.nn.functional.cross_entropy(logit, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    scores = decision_scores(decision, earlier, later, candidates)
    judged = scores.inside.all(1)
    right = (scores.logit.argmax(1) == 5)[judged].float().mean()
    # Chance is 1/7.
    assert right > 0.9


@pytest.mark.parametrize(
    ("earlier", "later", "displacement", "sentence"),
    [
        ((1, 4, 8, 8), (1, 4, 8, 9), (1, 2, 2, 8, 8), "of one size"),
        ((1, 5, 8, 8), (1, 5, 8, 8), (1, 2, 2, 8, 8), "batch, 4, y, x"),
        ((1, 4, 8, 8), (1, 4, 8, 8), (1, 2, 8, 8), "displacements of shape"),
        ((1, 4, 8, 8), (1, 4, 8, 8), (1, 2, 3, 8, 8), "displacements of shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(earlier, later, displacement, sentence):
    with pytest.raises(InputError, match=sentence):
        decision_scores(
            Decision(4, hidden=8),
            torch.zeros(earlier),
            torch.zeros(later),
            torch.zeros(displacement),
        )


def test_a_perceptron_of_nothing_is_refused():
    with pytest.raises(InputError, match="0 features"):
        Decision(0)
