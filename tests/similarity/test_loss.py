"""The loss: its correlation is the matcher's, and it is low where features match rightly."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="learning needs PyTorch: pip install ogive[learning]")

from ogive.model import InputError  # noqa: E402
from ogive.similarity.embedding import CONDITION_LENGTH  # noqa: E402
from ogive.similarity.loss import (  # noqa: E402
    LossConfig,
    Windows,
    contrastive_loss,
    correlator_loss,
    draw_windows,
    similarity_loss,
    window_correlation,
)

SIDE = 64


def made_batch(dx=2, dy=-3, pairs=2, seed=0, matchable=True):
    """Rough images moved by whole pixels, round the border."""
    rough = torch.randn(pairs, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    everywhere = torch.ones(pairs, 1, SIDE, SIDE, dtype=torch.bool)
    moved = torch.tensor([float(dx), float(dy)]).reshape(1, 2, 1, 1).expand(pairs, 2, SIDE, SIDE)
    return {
        "earlier": rough,
        "later": rough.roll((dy, dx), (-2, -1)),
        "valid_earlier": everywhere,
        "valid_later": everywhere,
        "displacement": moved.clone(),
        "matchable": everywhere[:, 0] & matchable,
        "labelled": everywhere[:, 0],
        "stable": ~everywhere[:, 0],
        "condition_earlier": torch.zeros(pairs, CONDITION_LENGTH),
        "condition_later": torch.zeros(pairs, CONDITION_LENGTH),
        "weight": torch.ones(pairs),
    }


def identity(image, valid, condition=None):
    return image


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def direct_correlation(template, patch):
    """The textbook formula in double precision, each channel less its mean, one norm for all."""
    rows = patch.shape[-2] - template.shape[-2] + 1
    columns = patch.shape[-1] - template.shape[-1] + 1
    height, width = template.shape[-2:]
    a = template - template.mean((-2, -1), keepdims=True)
    out = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            b = patch[:, i : i + height, j : j + width]
            b = b - b.mean((-2, -1), keepdims=True)
            out[i, j] = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    return out


@pytest.mark.parametrize("size", [5, 8])
def test_correlation_is_the_textbooks(size):
    stacks = torch.randn(2, 1, 3, 40, 40, generator=generator()) + 5.0
    at = torch.tensor([13])
    windows = Windows(at * 0, at, at + 1, at + 2, at - 1, at.float(), at.float(), at > 0, size, 4)
    found = window_correlation(stacks[0], stacks[1], windows)[0].numpy()
    earlier, later = stacks[:, 0].double().numpy()
    expected = direct_correlation(
        earlier[:, 13 : 13 + size, 14 : 14 + size],
        later[:, 15 - 4 : 15 + 4 + size, 12 - 4 : 12 + 4 + size],
    )
    # Float32 transforms of values near 5 and of 100 to 300 terms: some 1e-6 each way.
    assert np.abs(found - expected).max() < 2e-5


def test_windows_know_where_their_match_is():
    batch = made_batch(dx=3, dy=-2)
    config = LossConfig(radius_px=6, jitter_px=4, windows_per_pair=20)
    windows = draw_windows(batch, size_px=8, config=config, generator=generator())
    assert torch.bincount(windows.sample).tolist() == [20, 20]
    surface = window_correlation(batch["earlier"], batch["later"], windows)
    place = surface.flatten(1).argmax(1)
    inside = (windows.x + 3 + 8 <= SIDE) & (windows.y - 2 >= 0)
    assert torch.equal((place % 13 - 6)[inside], windows.offset_x[inside].long())
    assert torch.equal((place // 13 - 6)[inside], windows.offset_y[inside].long())
    assert windows.offset_x.abs().max() <= 4
    assert windows.offset_x.unique().numel() > 4, "the truth must not always be in the middle"


def test_an_even_windows_displacement_is_that_of_its_middle():
    batch = made_batch()
    batch["displacement"][:, 0] = torch.arange(SIDE) * 0.01
    config = LossConfig(radius_px=6, jitter_px=0)
    windows = draw_windows(batch, size_px=8, config=config, generator=generator())
    middle = windows.x + 3.5
    found = windows.offset_x + windows.search_x - windows.x
    assert torch.allclose(found, middle * 0.01, atol=1e-5)


def test_right_features_lose_little_and_wrong_ones_much():
    batch, config = made_batch(), LossConfig(radius_px=6, jitter_px=3)
    scale = torch.tensor(40.0)
    right = similarity_loss(identity, batch, config, scale=scale, generator=generator())
    wrong = similarity_loss(
        lambda image, valid, condition=None: torch.cat([image[:2], image[:2].flip(-1)]),
        batch,
        config,
        scale=scale,
        generator=generator(),
    )
    assert right["right"] == 1.0
    assert right["loss"] < 0.05
    # Nothing is known of 169 candidates: log(169), and more, for the wrong peak is believed.
    assert wrong["loss"] > np.log(169)


def test_split_among_four_candidates():
    surface = torch.zeros(1, 5, 5)
    surface[0, 2, 2:4] = 100.0
    nothing = torch.zeros(1, dtype=torch.long)
    windows = Windows(
        nothing, nothing, nothing, nothing, nothing,
        torch.tensor([0.25]), torch.tensor([0.0]), torch.tensor([True]), 8, 2,
    )  # fmt: skip
    loss, right = correlator_loss(surface, windows, scale=torch.tensor(1.0))
    # Both candidates hold half of the probability, whatever the split.
    assert loss.item() == pytest.approx(np.log(2), abs=1e-5)
    assert right.item() == 1.0


def test_vanished_windows_are_pushed_to_chance():
    batch = made_batch(matchable=False)
    scale = torch.tensor(10.0)
    config = LossConfig(radius_px=6, vanished=0.5, windows_px=(8,))
    found = similarity_loss(identity, batch, config, scale=scale, generator=generator())
    # The images do match perfectly: 0.5 * 10 * (1 - 0.2) each, where the match is inside.
    assert 3.0 < found["loss"] < 4.0001
    assert torch.isnan(found["right"])


def test_contrast_of_pixels():
    batch = made_batch()
    features = torch.randn(2, 16, SIDE, SIDE, generator=generator(3))
    moved = features.roll((-3, 2), (-2, -1))
    config = LossConfig(radius_px=6)
    windows = draw_windows(batch, size_px=8, config=config, generator=generator())
    inside = {"margin": 0.3, "generator": generator()}
    right = contrastive_loss(features, moved, batch, windows, **inside)
    wrong = contrastive_loss(features, features.flip(-1), batch, windows, **inside)
    assert right < 0.1 < 0.3 < wrong


def test_physics_terms_are_added():
    batch = made_batch()
    batch["stable"] = torch.ones_like(batch["stable"])
    batch["displacement"] = torch.zeros_like(batch["displacement"])
    config = LossConfig(radius_px=6, physics={"stable_ground": 2.0}, windows_px=(8,))
    found = similarity_loss(
        identity, batch, config, scale=torch.tensor(60.0), generator=generator()
    )
    # The images moved by (2, -3), the label says they stand still: Huber's penalty of 3.6 px.
    expected = 0.2 * (np.hypot(2, 3) - 0.1)
    assert found["stable_ground"] == pytest.approx(expected, rel=0.05)
    assert found["loss"] == pytest.approx(
        (found["correlator"] + 2 * found["stable_ground"]).item(), rel=1e-5
    )


def test_gradients_reach_the_features():
    batch = made_batch()
    gain = torch.ones(1, requires_grad=True)
    found = similarity_loss(
        lambda image, valid, condition=None: torch.tanh(gain * image),
        batch,
        LossConfig(contrastive=0.5, physics={"smooth_strain_rate": 0.1}, radius_px=4, jitter_px=2),
        scale=torch.tensor(10.0),
        generator=generator(),
    )
    found["loss"].backward()
    assert torch.isfinite(gain.grad).all()
    assert gain.grad.abs() > 0


def test_invalid_and_unlabelled_pixels_are_not_drawn():
    batch = made_batch()
    batch["valid_earlier"][:, :, :, SIDE // 2 :] = False
    batch["labelled"][:, : SIDE // 2] = False
    batch["displacement"][:, :, 40:] = torch.nan
    windows = draw_windows(
        batch, size_px=8, config=LossConfig(radius_px=4, jitter_px=2), generator=generator()
    )
    assert (windows.x + 4 < SIDE // 2).all()
    assert (windows.y + 3 >= SIDE // 2).all()
    assert (windows.y + 4 < 40).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"windows_px": ()}, "at least one"),
        ({"radius_px": 1, "jitter_px": 0}, "radius_px"),
        ({"jitter_px": 7, "radius_px": 7}, "inside a search"),
        ({"correlator": 0.0}, "nothing to learn"),
    ],
)
def test_impossible_configurations(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        LossConfig(**changes)


def test_bad_batches():
    batch = made_batch()
    config = LossConfig(radius_px=30)
    with pytest.raises(InputError, match="too small"):
        draw_windows(batch, size_px=8, config=config, generator=generator())
    batch["labelled"][:] = False
    with pytest.raises(InputError, match="without a usable window"):
        draw_windows(batch, size_px=8, config=LossConfig(), generator=generator())


def test_sparse_labels_are_found():
    batch = made_batch()
    batch["labelled"][:] = False
    batch["labelled"][:, 30:33, 40:43] = True
    config = LossConfig(radius_px=4, jitter_px=2, windows_per_pair=10)
    windows = draw_windows(batch, size_px=8, config=config, generator=generator())
    assert torch.bincount(windows.sample).tolist() == [10, 10]
    # Of an even window all four middle pixels must be labelled.
    assert (windows.y + 3 >= 30).all()
    assert (windows.y + 4 <= 32).all()
    assert (windows.x + 3 >= 40).all()
    assert (windows.x + 4 <= 42).all()


def test_samples_without_weight_do_not_count():
    batch = made_batch()
    batch["later"][1] = torch.randn(1, SIDE, SIDE, generator=generator(9))
    batch["weight"] = torch.tensor([1.0, 0.0])
    config = LossConfig(radius_px=6, jitter_px=3, contrastive=1.0, windows_px=(8,))
    found = similarity_loss(
        identity, batch, config, scale=torch.tensor(40.0), generator=generator()
    )
    assert found["correlator"] < 0.05
