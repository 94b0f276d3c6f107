"""The end-to-end baseline: its size, its samples, and that it learns."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from ogive.model import InputError  # noqa: E402
from ogive.similarity.end_to_end import (  # noqa: E402
    FLOW_NETWORKS,
    build_flow_network,
    train_step_loss,
)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shifted_batch(shifts: list[tuple[int, int]], *, side: int = 48) -> dict[str, torch.Tensor]:
    """One texture moved as a whole, as samples of the training have it."""
    generator = torch.Generator().manual_seed(5)
    fine = torch.randn(1, 1, side, side, generator=generator)
    # White noise smoothed a little, with wrapped borders: a shift has no edge.
    texture = 3000 + 400 * sum(
        torch.roll(fine, (dy, dx), (-2, -1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)
    )
    number = len(shifts)
    # A feature at (x, y) of the earlier image is at (x + dx, y + dy) of the later one.
    later = torch.cat([torch.roll(texture, (dy, dx), (-2, -1)) for dx, dy in shifts])
    everywhere = torch.ones(number, 1, side, side, dtype=torch.bool)
    move = torch.tensor(shifts, dtype=torch.float32)[:, :, None, None]
    return {
        "earlier": texture.expand(number, -1, -1, -1).contiguous(),
        "later": later,
        "valid_earlier": everywhere,
        "valid_later": everywhere,
        "displacement": move.expand(-1, -1, side, side).contiguous(),
        "matchable": everywhere[:, 0],
        "labelled": everywhere[:, 0],
        "weight": torch.ones(number),
    }


def test_the_presets_have_the_sizes_they_are_compared_at():
    published = build_flow_network("geoflownet", mask_channel=False, normalisation="published")
    assert parameters(published) == 38_002_512
    assert 20_000 <= parameters(build_flow_network("tiny")) <= 100_000


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (37, 51)])
def test_the_flow_has_the_images_resolution(bands, size):
    network = build_flow_network("tiny", bands=bands)
    images, mask = torch.rand(2, bands, *size), torch.ones(2, 1, *size, dtype=torch.bool)
    with torch.inference_mode():
        flow = network(images, images, mask, mask)
        pyramid = network.pyramid(images, images, mask, mask)
    assert flow.shape == (2, 2, *size)
    assert len(pyramid) == 4
    assert all(each.shape == flow.shape for each in pyramid)


def test_a_network_is_made_again_of_its_options():
    network = build_flow_network("tiny", box_px=15)
    options = json.loads(json.dumps(network.options))
    again = build_flow_network("geoflownet", **options)
    again.load_state_dict(network.state_dict())
    assert again.options == network.options


def test_it_learns_the_shifts_of_a_texture():
    """Without a look at the images the best guess, no shift, would be 2.5 px away."""
    torch.manual_seed(0)
    shifts = [(2, 1), (-2, 1), (0, -3), (3, 0), (-1, -2), (1, 3)]
    batch = shifted_batch(shifts, side=32)
    network = build_flow_network("tiny")
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    steps = 100
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    for _ in range(steps):
        loss = train_step_loss(network, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        flow = network(
            batch["earlier"], batch["later"], batch["valid_earlier"], batch["valid_later"]
        )
    inner = (..., slice(8, -8), slice(8, -8))
    error = (flow - batch["displacement"])[inner].norm(dim=1)
    assert error.mean() < 0.3


def test_only_what_is_known_and_visible_counts():
    batch = shifted_batch([(1, 0), (0, 1)])
    network = build_flow_network("tiny")
    half = batch["labelled"].clone()
    half[..., :20] = False
    with torch.inference_mode():
        before = train_step_loss(network, {**batch, "labelled": half})
        wrong = torch.where(half[:, None], batch["displacement"], float("nan"))
        hidden = train_step_loss(network, {**batch, "displacement": wrong, "labelled": half})
        gone = train_step_loss(network, {**batch, "displacement": wrong, "matchable": half})
    assert torch.isfinite(before)
    assert before == hidden == gone


def test_weights_weigh_samples():
    batch = shifted_batch([(1, 0), (0, 3)])
    network = build_flow_network("tiny")

    def loss(*weight: float) -> float:
        with torch.inference_mode():
            return float(train_step_loss(network, {**batch, "weight": torch.tensor(weight)}))

    assert loss(1.0, 1.0) == pytest.approx((loss(1.0, 0.0) + loss(0.0, 1.0)) / 2, rel=1e-5)
    assert loss(2.0, 0.0) == pytest.approx(loss(1.0, 0.0), rel=1e-5)


def test_a_batch_without_labels_moves_nothing():
    batch = shifted_batch([(1, 0)])
    batch["labelled"] = torch.zeros_like(batch["labelled"])
    network = build_flow_network("tiny")
    loss = train_step_loss(network, batch)
    loss.backward()
    assert loss == 0.0
    assert all((p.grad is None) or not p.grad.any() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("raft", {}, "no end-to-end network 'raft'"),
        ("tiny", {"depth": 3}, "no option 'depth'"),
        ("tiny", {"bands": 0}, "bands is 0"),
        ("tiny", {"widths": (8, 8), "rise_widths": ()}, "three levels"),
        ("tiny", {"widths": (8, 8, 0), "rise_widths": (4,)}, "at least one channel"),
        ("tiny", {"rise_widths": (8,)}, "rise_widths has 1"),
        ("tiny", {"normalisation": "global"}, "normalisation is 'global'"),
        ("tiny", {"box_px": 4}, "box_px is 4"),
    ],
)
def test_options_that_make_no_network_are_refused(name, options, sentence):
    with pytest.raises(InputError, match=sentence):
        build_flow_network(name, **options)


def test_images_that_do_not_fit_are_refused():
    network = build_flow_network("tiny")
    two, mask = torch.zeros(1, 2, 32, 32), torch.ones(1, 1, 32, 32, dtype=torch.bool)
    with pytest.raises(InputError, match="takes"):
        network(two, two, mask, mask)
    small = torch.zeros(1, 1, 6, 32)
    with pytest.raises(InputError, match="too small"):
        network(small, small, mask[..., :6, :], mask[..., :6, :])


def test_all_presets_can_be_made():
    for name in FLOW_NETWORKS:
        assert build_flow_network(name, widths=(4, 4, 4), rise_widths=(4,)).multiple_px == 2
