"""Patches, their variations, what is told of their place, and the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from torch.nn import functional

from ogive.model import InputError
from ogive.outlines.augment import Augmentation, augmented, mixed, turned
from ogive.outlines.location import (
    REGIONS,
    coordinate_vector,
    longitude_latitude_deg,
    region_vector,
)
from ogive.outlines.loss import deep_focal_loss, focal_loss, overlap_loss
from ogive.outlines.networks import Logits
from ogive.outlines.predict import _turned_back
from ogive.outlines.samples import PatchSamples, regular_windows
from ogive.outlines.strategies import Told, tiles_of_regions
from ogive.outlines.tile_geotiff import geotiff_tiles
from ogive.outlines.tiles import IGNORE, TileInfo

from .conftest import SCALE

BANDS = ("blue", "green", "red", "nir")
SEEDS = range(20)
STILL = Augmentation(turn=False, smallest_crop=1, gamma=0, shift=0, noise=0, occlusion=0)


@pytest.fixture
def tiles(tiles_folder: Path):
    images = sorted((tiles_folder / "images").glob("*.tif"))
    return geotiff_tiles(images, tiles_folder / "masks", place="[^_]+", scale=SCALE, region="ALP")


def samples(tiles, **changes: object) -> PatchSamples:
    given = {
        "bands": BANDS, "patch_px": 32, "seed": 4, "told": Told(), "augmentation": Augmentation(),
    }  # fmt: skip
    return PatchSamples(tiles=tiles, **{**given, **changes})


def test_a_sample_is_a_function_of_its_number(tiles):
    cut = samples(tiles, told=Told(kind="region"))
    for index in (0, 5, 1000):
        one, other = cut(index), cut(index)
        assert one.keys() == {"optical", "labels", "location"}
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(cut(0)["optical"], cut(12)["optical"])
    assert cut(0)["optical"].shape == (4, 32, 32)
    assert cut(0)["optical"].dtype == torch.float32


def test_each_tile_is_seen_once_before_any_is_seen_again(tiles):
    cut = samples(tiles)
    for turn in range(3):
        seen = [cut._number(12 * turn + place) for place in range(12)]
        assert sorted(seen) == list(range(12))


def test_patches_larger_than_a_tile_are_ignored_beyond_it(tiles):
    sample = samples(tiles, patch_px=64, augmentation=None)(0)
    assert (sample["labels"][48:] == IGNORE).all()
    assert (sample["labels"][:48, :48] != IGNORE).all()
    assert (sample["optical"][:, 48:] == 0).all()


def test_validation_covers_each_tile(tiles):
    cut = samples(tiles, augmentation=None)
    assert len(cut) == 12 * 4
    covered = np.zeros((48, 48), int)
    for window in regular_windows(tiles[:1], 32):
        covered[window.top : window.top + 32, window.left : window.left + 32] += 1
    assert covered.min() == 1


def test_labels_follow_their_pixels(tiles):
    """Ice is bright on these tiles however a patch is turned and enlarged."""
    cut = samples(tiles, augmentation=Augmentation(gamma=0, shift=0, noise=0, occlusion=0))
    for index in range(24):
        sample = cut(index)
        ice, known = sample["labels"] == 1, sample["labels"] != IGNORE
        red = sample["optical"][2]
        # Enlarging mixes pixels along the border; the spectra are six times apart.
        assert ((red > 0.17) == ice)[known].float().mean() > 0.97


@given(number=st.integers(0, 7))
def test_turns_can_be_undone(number: int):
    square = np.arange(2 * 5 * 5).reshape(2, 5, 5)
    np.testing.assert_array_equal(_turned_back(turned(square, number), number), square)


def test_there_are_eight_turns():
    square = np.arange(9).reshape(3, 3)
    assert len({turned(square, number).tobytes() for number in range(8)}) == 8


def test_augmentation_does_what_it_is_asked():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0.1, 0.9, (3, 40, 40)).astype(np.float32)
    labels = rng.integers(0, 2, (40, 40)).astype(np.uint8)

    def varied(**what: float):
        how = Augmentation(**{**{f: getattr(STILL, f) for f in STILL.__slots__}, **what})
        return augmented(pixels, labels, how, np.random.default_rng(1))

    np.testing.assert_array_equal(varied()[0], pixels)
    shifted = varied(shift=0.1)[0] - pixels
    np.testing.assert_allclose(shifted, shifted[:, :1, :1] * np.ones_like(pixels), atol=1e-6)
    # Of 4800 draws, the standard deviation is known to a part in a hundred.
    assert (varied(noise=0.01)[0] - pixels).std() == pytest.approx(0.01, rel=0.05)
    power = np.log(varied(gamma=0.2)[0]) / np.log(pixels)
    np.testing.assert_allclose(power, power[:, :1, :1] * np.ones_like(pixels), rtol=1e-4)
    assert ((power > 0.8) & (power < 1.2)).all()
    # One plane, the same for all bands, added to the logarithm.
    light = np.log(varied(light=0.2)[0] / pixels)
    np.testing.assert_allclose(light, light[:1] * np.ones_like(pixels), atol=1e-5)
    for axis in (1, 2):
        np.testing.assert_allclose(np.diff(light, 2, axis=axis), 0, atol=1e-5)
    assert light.std() > 0.01
    blank = (varied(occlusion=1)[0] == 0).all(0)
    assert 0 < blank.sum() <= 400
    for what in ("shift", "noise", "gamma", "light", "occlusion"):
        np.testing.assert_array_equal(varied(**{what: 0.5})[1], labels)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_mixed_in_is_one_rectangle_with_its_labels(seed: int):
    ground, ice = np.zeros((2, 30, 30), np.float32), np.ones((2, 30, 30), np.float32)
    labels = np.zeros((30, 30), np.uint8)
    pixels, told = mixed(ground, labels, ice, labels + 1, np.random.default_rng(seed))
    np.testing.assert_array_equal(pixels, np.stack([told, told]))
    rows, columns = np.nonzero(told)
    around = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    # Half of the patch, and sides rounded up by half a pixel each.
    assert told.sum() == around <= 0.5 * 900 + 30
    assert not ground.any()
    assert not labels.any()


def test_patches_are_mixed_with_tiles_of_their_region_only(tiles):
    """All ground of the other region is brighter than any ice of this one."""
    here, there = tiles[1:], tiles[0]
    far = replace(
        there,
        info=replace(there.info, region="CAU"),
        content=replace(there.content, pixels=there.content.pixels * 50),
    )
    mixing = replace(STILL, mixing=1)
    both = samples([*here, far], augmentation=mixing)
    brightest = max(float(samples(here, augmentation=STILL)(k)["optical"].max()) for k in range(24))
    changed = 0
    for index in range(24):
        found = both(index)["optical"]
        if both._number(index) == len(here):
            assert float(found.min()) > brightest
        else:
            assert float(found.max()) < 2 * brightest
        alone = samples([*here, far], augmentation=STILL)(index)["optical"]
        changed += not torch.equal(found, alone)
    assert changed > 20  # a tile may be mixed with itself


def test_larger_crops_are_reduced(tiles):
    whole = replace(STILL, smallest_crop=1.5, largest_crop=1.5)
    sample = samples(tiles, augmentation=whole)(0)
    tile = tiles[samples(tiles)._number(0)]
    labels = tile.content.labels
    # 48 pixels became 32: each third one is skipped.
    assert sample["labels"].shape == (32, 32)
    assert float((sample["labels"] == 1).float().mean()) == pytest.approx(
        float((labels == 1).mean()), abs=0.05
    )


# The loss.


def test_the_overlap_of_sure_maps_is_their_iou():
    labels = torch.tensor([[[1, 1, 1, 0, 0, IGNORE]]])
    found = torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    logits = torch.stack([-found, found])[None, :, None] * 50
    # Two are found of four that are either; the ignored one does not count.
    assert float(overlap_loss(logits, labels)) == pytest.approx(0.5, abs=1e-6)
    assert float(overlap_loss(logits, torch.zeros_like(labels))) == 0
    plain = deep_focal_loss(Logits(logits, None), labels, gamma=2, smoothing=0.1, auxiliary=0.5)
    given = {"gamma": 2, "smoothing": 0.1, "auxiliary": 0.5, "overlap": 2.0}
    assert float(deep_focal_loss(Logits(logits, None), labels, **given) - plain) == pytest.approx(
        1.0, abs=1e-5
    )


def test_without_focus_and_smoothing_it_is_the_cross_entropy():
    logits, labels = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5))
    wanted = functional.cross_entropy(logits, labels)
    assert torch.isclose(focal_loss(logits, labels, gamma=0, smoothing=0), wanted)
    smooth = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.isclose(focal_loss(logits, labels, gamma=0, smoothing=0.1), smooth)


def test_what_is_ignored_has_no_gradient():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    labels = torch.full((1, 4, 4), IGNORE)
    labels[0, 0, 0] = 1
    focal_loss(logits, labels).backward()
    grad = logits.grad.abs().sum(1)[0]
    assert grad[0, 0] > 0
    assert grad.sum() == grad[0, 0]
    nothing = focal_loss(logits, torch.full((1, 4, 4), IGNORE))
    assert float(nothing.detach()) == 0


@settings(max_examples=30)
@given(p=st.floats(0.02, 0.98))
def test_the_focus_is_as_lin_et_al_write_it(p: float):
    logits = torch.tensor([0.0, np.log(p / (1 - p))], dtype=torch.float32).view(1, 2, 1, 1)
    found = focal_loss(logits, torch.ones(1, 1, 1), gamma=2, smoothing=0)
    # Single precision: a part in a million of terms of order one.
    assert float(found) == pytest.approx(-((1 - p) ** 2) * np.log(p), rel=1e-3, abs=1e-6)


def test_the_auxiliary_output_counts_half():
    main, other = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 4, 4)
    labels = torch.randint(0, 2, (1, 4, 4))
    both = deep_focal_loss(Logits(main, other), labels, gamma=2, smoothing=0.1, auxiliary=0.5)
    wanted = focal_loss(main, labels) + 0.5 * focal_loss(other, labels)
    assert torch.isclose(both, wanted)


# Locations and strategies.


def test_each_region_has_its_place_and_unknown_the_last():
    vectors = np.stack([region_vector(name) for name in (*REGIONS, None)])
    np.testing.assert_array_equal(vectors, np.eye(12))
    with pytest.raises(InputError, match="'XXX' is not among those"):
        region_vector("XXX")


@given(longitude=st.floats(-180, 180), latitude=st.floats(-90, 90))
def test_coordinates_come_back_from_their_vector(longitude: float, latitude: float):
    vector = coordinate_vector(longitude_deg=longitude, latitude_deg=latitude)
    back = np.degrees([np.arctan2(vector[0], vector[1]), np.arctan2(vector[2], vector[3])])
    # Single precision of a sine near one: 2e-2 of a degree.
    assert abs(back[0] - latitude) < 0.05
    assert abs((back[1] - longitude + 180) % 360 - 180) < 0.05


def test_places_beyond_the_pole():
    with pytest.raises(InputError, match="no place at"):
        coordinate_vector(longitude_deg=0, latitude_deg=91)


def test_the_middle_of_a_grid():
    grid = GeoBox((200, 200), Affine(10, 0, 4.99e5, 0, -10, 5.101e6), "EPSG:32632")
    middle = longitude_latitude_deg(grid)
    # 500 km east is the middle of the zone, 9 degrees; 5.1e6 m north is 46.05 degrees.
    assert middle["longitude_deg"] == pytest.approx(9.0, abs=1e-6)
    assert middle["latitude_deg"] == pytest.approx(46.053, abs=2e-3)


def test_the_unknown_region_is_told_as_often_as_asked():
    told = Told(kind="region", unknown=0.1)
    info = TileInfo(name="a", place="a", bands=("red",), height=1, width=1, region="CAU")
    rng = np.random.default_rng(0)
    unknown = np.mean([told.vector(info, rng)[-1] for _ in range(4000)])
    # The share of 4000 draws has a standard deviation of 0.005.
    assert abs(unknown - 0.1) < 0.02
    assert told.vector(info).argmax() == REGIONS.index("CAU")


def test_tiles_that_do_not_say_where_they_are():
    info = TileInfo(name="a", place="a", bands=("red",), height=1, width=1)
    with pytest.raises(InputError, match="does not say of which region"):
        Told(kind="region").vector(info)
    with pytest.raises(InputError, match="does not say where it lies"):
        Told(kind="coordinates").vector(info)


def test_regional_networks_see_their_regions_only(tiles):
    assert len(tiles_of_regions(tiles, ["ALP"])) == 12
    assert len(tiles_of_regions(tiles, [])) == 12
    with pytest.raises(InputError, match="no tile is of the region 'CAU': there are ALP"):
        tiles_of_regions(tiles, ["ALP", "CAU"])
