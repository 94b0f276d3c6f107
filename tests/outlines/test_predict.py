"""Whole scenes from patches: no seams, any size, bounded memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ogive.model import InputError
from ogive.outlines.bands import normalised
from ogive.outlines.networks import GlaViTUOptions, Logits, build_network
from ogive.outlines.predict import (
    Arrays,
    PredictOptions,
    _starts,
    blending_weights,
    probability,
    probability_strips,
)

SIDE = 32


class Pointwise(nn.Module):
    """A network that sees one pixel at a time: its map must not depend on the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.options = GlaViTUOptions(modalities={"optical": 1}, patch_px=SIDE)
        self.drop = nn.Dropout(0.5)

    def forward(self, features: dict[str, Tensor], location: Tensor | None = None) -> Logits:
        red = self.drop(features["optical"]) * 8 - 2
        logits = torch.cat([-red, red], 1)
        return Logits(logits, logits)


class Corner(Pointwise):
    """A network that is sure in the middle of a patch and wrong at its edges."""

    def forward(self, features: dict[str, Tensor], location: Tensor | None = None) -> Logits:
        far = torch.from_numpy(blending_weights(SIDE)).expand_as(features["optical"])
        logits = torch.cat([1 - far, far], 1) * 20
        return Logits(logits, logits)


def scene(height: int, width: int) -> Arrays:
    rng = np.random.default_rng(height * 1000 + width)
    return Arrays(
        rng.uniform(0, 1, (1, height, width)).astype(np.float32), rng.random((height, width)) > 0.1
    )


@settings(max_examples=25)
@given(height=st.integers(1, 100), width=st.integers(1, 100), augment=st.booleans())
def test_a_pixelwise_network_gives_the_same_by_patches_and_at_once(
    height: int, width: int, augment: bool
):
    given_ = scene(height, width)
    found = probability(
        given_, Pointwise().eval(), ["red"], PredictOptions(test_time_augmentation=augment)
    )
    wanted = 1 / (1 + np.exp(-2 * (normalised(given_.pixels, ["red"])[0] * 8 - 2)))
    np.testing.assert_array_equal(np.isnan(found), ~given_.valid)
    # Blending averages equal numbers; single precision is left.
    np.testing.assert_allclose(found[given_.valid], wanted[given_.valid], rtol=1e-4, atol=1e-5)


def test_strips_follow_one_another_and_are_narrow():
    rows = [strip.rows for strip in probability_strips(scene(150, 40), Pointwise().eval(), ["red"])]
    assert rows[0].start == 0
    assert rows[-1].stop == 150
    assert all(one.stop == other.start for one, other in pairwise(rows))
    assert max(each.stop - each.start for each in rows) <= SIDE


def test_only_the_patches_of_a_row_are_read_at_once():
    sizes = []

    class Counting(Arrays):
        def read(self, rows: slice, columns: slice):
            part = super().read(rows, columns)
            sizes.append(part.valid.size)
            return part

    whole = scene(150, 140)
    probability(Counting(whole.pixels, whole.valid), Pointwise().eval(), ["red"])
    assert set(sizes) == {SIDE * SIDE}


def test_the_middle_of_patches_counts_for_more():
    given_ = Arrays(np.ones((1, 128, 128), np.float32), np.ones((128, 128), bool))
    found = probability(given_, Corner().eval(), ["red"])
    inside = found[SIDE:-SIDE, SIDE:-SIDE]
    plain = np.mean([1 / (1 + np.exp(20 * (1 - 2 * blending_weights(SIDE))))])
    assert inside.mean() > plain + 0.1


def test_weights_are_alike_on_all_sides():
    weights = blending_weights(16)
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])
    np.testing.assert_array_equal(weights, weights.T)
    assert weights.min() > 0


def test_dropout_passes_are_averaged():
    given_ = Arrays(np.full((1, 32, 32), 0.5, np.float32), np.ones((32, 32), bool))
    network = Pointwise().eval()
    torch.manual_seed(0)
    spread = [
        probability(given_, network, ["red"], PredictOptions(dropout_passes=n)).std()
        for n in (1, 64)
    ]
    # Independent draws average out as the root of their number.
    assert spread[1] == pytest.approx(spread[0] / 8, rel=0.15)
    assert probability(given_, network, ["red"]).std() < 1e-6


def tiny_network(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return build_network(
        "mini", modalities={"optical": 1}, patch_px=SIDE, width=4, token_width=8, depth=1, **options
    ).eval()


def test_dropout_is_drawn_by_its_own_seed():
    """Whatever was drawn before, the map is the same; and what is drawn after is, too."""
    network, given_ = tiny_network(dropout=0.5), scene(40, 70)

    def mapped(seed: int) -> np.ndarray:
        options = PredictOptions(dropout_passes=2, seed=seed)
        return probability(given_, network, ["red"], options)

    torch.manual_seed(1)
    one, drawn = mapped(0), torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)
    np.testing.assert_array_equal(one, mapped(0))
    known = np.isfinite(one)
    assert abs(one - mapped(1))[known].max() > 1e-4
    assert abs(one - probability(given_, network, ["red"]))[known].max() > 1e-4


@settings(max_examples=6)
@given(height=st.integers(SIDE, 60), width=st.integers(SIDE, 60), upside_down=st.booleans())
def test_flipped_scenes_give_flipped_maps(height: int, width: int, upside_down: bool):
    """Where patches begin as far from the one edge as from the other, they tile alike."""
    for length in (height, width):
        starts = _starts(length, SIDE)
        assume([length - SIDE - each for each in reversed(starts)] == starts)
    axis = 0 if upside_down else 1
    given_ = scene(height, width)
    flipped = Arrays(np.flip(given_.pixels, axis + 1).copy(), np.flip(given_.valid, axis).copy())
    network = tiny_network()
    options = PredictOptions(test_time_augmentation=True)
    one, other = (probability(each, network, ["red"], options) for each in (given_, flipped))
    # Sums of single precision in another order.
    np.testing.assert_allclose(np.flip(one, axis), other, atol=1e-5)


@settings(max_examples=50)
@given(length=st.integers(1, 400), half=st.integers(1, 40))
def test_patches_cover_a_line_and_overlap_by_half(length: int, half: int):
    side = 2 * half
    starts = _starts(length, side)
    assert starts[0] == 0
    assert starts[-1] == max(length - side, 0)
    assert all(0 < after - before <= half for before, after in pairwise(starts))


def test_test_time_augmentation_makes_a_map_turn_with_its_scene():
    torch.manual_seed(0)
    network = build_network(
        "mini", modalities={"optical": 1}, patch_px=SIDE, width=4, token_width=8, depth=1
    ).eval()
    given_ = Arrays(scene(SIDE, SIDE).pixels, np.ones((SIDE, SIDE), bool))
    other = Arrays(np.ascontiguousarray(given_.pixels[:, ::-1]), given_.valid)
    options = PredictOptions(test_time_augmentation=True)
    np.testing.assert_allclose(
        probability(given_, network, ["red"], options)[::-1],
        probability(other, network, ["red"], options),
        atol=1e-5,
    )
    plain = probability(given_, network, ["red"])[::-1] - probability(other, network, ["red"])
    assert abs(plain).max() > 1e-4


def test_what_does_not_fit():
    network = Pointwise().eval()
    with pytest.raises(InputError, match=r"takes \{'optical': 1\} bands"):
        probability(scene(8, 8), network, ["red", "nir"])
    with pytest.raises(InputError, match="in the order red, nir"):
        probability(scene(8, 8), network, ["nir", "red"])
    with pytest.raises(InputError, match="no pixel"):
        probability(Arrays(np.zeros((1, 0, 5), "f4"), np.zeros((0, 5), bool)), network, ["red"])
    with pytest.raises(InputError, match="0 or more"):
        PredictOptions(dropout_passes=-1)
