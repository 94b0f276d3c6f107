"""Divides found again by their options, copied from inventories, and told by regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely import LineString

from ogive.model import InputError
from ogive.outlines.divides import DivideOptions, calibrate_divides, copy_divides, divide_lines
from ogive.outlines.divides import calibration as module
from ogive.outlines.divides.slivers import without_slivers
from ogive.outlines.strategies import Told, tiles_of_regions
from ogive.outlines.tiles import TileInfo
from ogive.outlines.vectors import polygons_of

GRID = GeoBox((40, 40), Affine(100, 0, 0, 0, -100, 4000), "EPSG:32632")
KNOWN = DivideOptions(smoothing_m=60.0, percentile=0.5, radius_factor=1.0, largest_radius_m=2000)


def _parted_at(column: int) -> np.ndarray:
    """Two glaciers, or one where the divide would lie outside."""
    return np.where(np.arange(40) < column, 1, 2) * np.ones((40, 1), np.int64)


def _divide_by_radius(_: Any, __: Any, *, cell_m: float, options: DivideOptions) -> np.ndarray:
    """Divide the farther from column 20 the farther the largest radius is from the known one."""
    assert cell_m == 100
    off = abs(options.largest_radius_m - KNOWN.largest_radius_m) / 100
    return _parted_at(20 + round(off)) if off < 18 else np.ones((40, 40), np.int64)


def _reference() -> list[LineString]:
    return divide_lines(polygons_of(_parted_at(20), GRID).geometry.to_list())


def test_known_options_are_found(monkeypatch: pytest.MonkeyPatch):
    """Also where many options leave the ice undivided, and the first of them all."""
    monkeypatch.setattr(module, "divide_ice", _divide_by_radius)
    ice = np.ones((40, 40), bool)
    start = DivideOptions(largest_radius_m=4000)
    found = calibrate_divides(ice, ice, GRID, _reference(), tries=25, options=start)
    assert len(found.tried) == 25
    assert found.tried[0] == float("inf")
    assert np.isfinite(found.tried).sum() > 10
    assert found.distances.mean_m == min(found.tried)
    # One column of cells is 100 m; the search is to end within one of the known radius.
    assert found.distances.mean_m <= 100
    assert abs(found.options.largest_radius_m - KNOWN.largest_radius_m) <= 150
    assert found.options.least_area_m2 == start.least_area_m2
    # Drawn at random, the best of as many tries is twice as far off on average: it has learned.
    assert np.median(found.tried[15:]) < np.median(found.tried[:9])


def test_options_that_never_divide(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "divide_ice", lambda *_, **__: np.ones((40, 40), np.int64))
    ice = np.ones((40, 40), bool)
    with pytest.raises(InputError, match="11 tries leave all ice undivided"):
        calibrate_divides(ice, ice, GRID, _reference(), tries=11)


# Copied divides.


@settings(max_examples=30)
@given(seed=st.integers(0, 1000))
def test_copies_keep_the_inventory_and_all_ice(seed: int):
    rng = np.random.default_rng(seed)
    ice = rng.random((14, 17)) < 0.7
    ice[3, 3] = True
    inventory = rng.integers(1, 4, (14, 17)) * (rng.random((14, 17)) < 0.2)
    elevation = rng.uniform(1000, 3000, ice.shape)
    found = copy_divides(ice, elevation, inventory, cell_m=30.0)
    np.testing.assert_array_equal(found > 0, ice)
    known = ice & (inventory > 0)
    np.testing.assert_array_equal(found[known], inventory[known])
    # What lies elsewhere, and how high, is of no account.
    elsewhere = np.where(ice, elevation, np.nan)
    np.testing.assert_array_equal(copy_divides(ice, elsewhere, inventory, cell_m=30.0), found)
    raised = copy_divides(ice, elevation + 500, inventory, cell_m=30.0)
    np.testing.assert_array_equal(raised, found)


def test_copies_need_elevation_on_the_ice():
    ice, elevation = np.ones((4, 4), bool), np.ones((4, 4))
    elevation[1, 1] = np.nan
    with pytest.raises(InputError, match="gaps on the ice"):
        copy_divides(ice, elevation, ice.astype(int), cell_m=10)
    with pytest.raises(InputError, match="no ice"):
        copy_divides(~ice, np.ones((4, 4)), ice.astype(int), cell_m=10)


# Slivers.


def test_long_slivers_go_and_round_ones_of_the_same_area_stay():
    options = DivideOptions(least_area_m2=1e4, least_odd_area_m2=2e5, least_compactness=0.5)
    long, compact = np.ones((60, 60), np.int64), np.ones((60, 60), np.int64)
    long[:, 10:12] = 2  # 120 cells of 900 m2, 60 by 2
    compact[20:31, 20:31] = 2  # 121 cells, 11 by 11
    assert set(np.unique(without_slivers(long, 30.0, options))) == {1}
    assert set(np.unique(without_slivers(compact, 30.0, options))) == {1, 2}


def test_what_slivers_join_may_be_large_enough():
    labels = np.zeros((30, 30), np.int64)
    labels[:10, :10], labels[:10, 10:20], labels[6:26, 20:] = 1, 2, 3
    options = DivideOptions(least_area_m2=1e5, least_odd_area_m2=0)
    # Two squares of 9e4 m2 are large enough together, so that they do not join the third.
    found = without_slivers(labels, 30.0, options)
    assert len(np.unique(found[:10, :20])) == 1
    assert found[0, 0] != found[20, 25]
    np.testing.assert_array_equal(found > 0, labels > 0)
    np.testing.assert_array_equal(without_slivers(found, 30.0, options), found)


# Strategies.


class _Tile:
    def __init__(self, region: str) -> None:
        self.info = TileInfo(
            name=region or "x", place="a", bands=("red",), height=1, width=1, region=region
        )


def test_clusters_of_regions():
    tiles = [_Tile(region) for region in ("ALP", "CAU", "NZL", "ALP", "")]
    chosen = tiles_of_regions(tiles, ["NZL", "ALP"])
    assert [tile.info.region for tile in chosen] == ["ALP", "NZL", "ALP"]
    with pytest.raises(InputError, match="'GRL': there are ALP, CAU, NZL"):
        tiles_of_regions(tiles, ["GRL"])
    with pytest.raises(InputError, match="there are none that a tile names"):
        tiles_of_regions(tiles[-1:], ["GRL"])


@given(longitude_m=st.floats(2e5, 8e5), north_m=st.floats(0, 9.3e6), turn=st.floats(0, 360))
def test_coordinates_tell_the_middle_of_a_tile(longitude_m: float, north_m: float, turn: float):
    place = Affine.translation(longitude_m, north_m) * Affine.rotation(turn)
    middle = place * Affine.translation(-160, 160) * Affine.scale(10, -10)
    grid = GeoBox((32, 32), middle, "EPSG:32632")
    info = TileInfo(name="a", place="a", bands=("red",), height=32, width=32, geobox=grid)
    vector = Told(kind="coordinates").vector(info)
    assert vector.shape == (4,)
    np.testing.assert_allclose(np.hypot(vector[[0, 2]], vector[[1, 3]]), 1, atol=1e-6)
    straight = Affine.translation(longitude_m - 160, north_m + 160) * Affine.scale(10, -10)
    same = TileInfo(
        name="b", place="b", bands=("red",), height=32, width=32,
        geobox=GeoBox((32, 32), straight, "EPSG:32632"),
    )  # fmt: skip
    # Turned about its middle, a tile lies where it lay, to single precision.
    np.testing.assert_allclose(Told(kind="coordinates").vector(same), vector, atol=1e-6)
