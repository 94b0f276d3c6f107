"""Divides: where funnels part, whatever the cell size; slivers; copies; distances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from ogive.evaluation.mapping import divide_distances
from ogive.model import GridError, InputError
from ogive.outlines.divides import (
    DivideOptions,
    calibrate_divides,
    copy_divides,
    divide_ice,
    divide_lines,
)
from ogive.outlines.divides.divide import numbered_parts
from ogive.outlines.divides.slivers import border_lengths, without_slivers
from ogive.outlines.vectors import polygons_of, read_inventory

SNOUTS = ((-2600.0, 0.0), (2600.0, 400.0))
"""x, y of two snouts; halfway between them runs the divide."""


def funnels(cell_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ice, elevation, and which snout each cell belongs to: the nearer one."""
    half = 3500.0
    steps = np.arange(-half + cell_m / 2, half, cell_m)
    x, y = steps[None], -steps[:, None]
    distance = np.stack([np.hypot(x - sx, y - sy) for sx, sy in SNOUTS])
    elevation = 2000 + 0.25 * distance.min(0)
    ice = (abs(x) < 2500) & (abs(y) < 1200)
    return ice, elevation, distance.argmin(0) + 1


@pytest.mark.parametrize("cell_m", [20.0, 50.0, 100.0])
def test_funnels_part_halfway_whatever_the_cell_size(cell_m: float):
    ice, elevation, truth = funnels(cell_m)
    found = divide_ice(ice, elevation, cell_m=cell_m)
    assert set(np.unique(found)) == {0, 1, 2}
    np.testing.assert_array_equal(found > 0, ice)
    wrong = min(np.mean((found != truth)[ice]), np.mean((3 - found != truth)[ice]))
    # D8 sends a cell beside the divide to its neighbour; a row of cells, 2.4 km long, of 12 km2.
    assert wrong < 2 * cell_m / 5000


def test_noise_does_not_move_the_divide_far():
    ice, elevation, truth = funnels(50.0)
    rough = elevation + np.random.default_rng(0).normal(0, 3, elevation.shape)
    found = divide_ice(ice, rough, cell_m=50, options=DivideOptions(smoothing_m=100))
    grid = GeoBox(ice.shape, Affine(50, 0, -3500, 0, -50, 3500), "EPSG:32632")
    lines = [
        divide_lines(polygons_of(np.where(ice, each, 0), grid).geometry.to_list())
        for each in (found, truth)
    ]
    assert divide_distances(*lines).mean_m < 100


def test_separate_ice_is_never_one_glacier():
    ice, elevation, _ = funnels(50.0)
    ice[:, 68:72] = False
    found = divide_ice(ice, elevation, cell_m=50)
    assert not set(np.unique(found[:, :68])) & set(np.unique(found[:, 72:])) - {0}


def test_ice_that_fills_the_array_is_divided_too():
    ice, elevation, _ = funnels(50.0)
    rows, columns = np.nonzero(ice)
    inside = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    found = divide_ice(ice[inside], elevation[inside], cell_m=50)
    assert found.max() == 2
    assert (found > 0).all()


def test_what_cannot_be_divided():
    ice, elevation, _ = funnels(100.0)
    with pytest.raises(InputError, match="no ice"):
        divide_ice(np.zeros_like(ice), elevation, cell_m=100)
    with pytest.raises(InputError, match="both must be"):
        divide_ice(ice, elevation[1:], cell_m=100)
    with pytest.raises(InputError, match="above 0"):
        divide_ice(ice, elevation, cell_m=0)
    elevation[30, 30] = np.nan
    with pytest.raises(InputError, match="no value at 1 cells"):
        divide_ice(ice, elevation, cell_m=100)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"percentile": 1.0}, "below 1"), ({"shrink_m": 200}, "less than buffer_m"),
     ({"drop_m": -1}, "0 or more"), ({"smoothing_m": np.nan}, "0 or more")],
)  # fmt: skip
def test_options_that_cannot_be(options: dict[str, float], told: str):
    with pytest.raises(InputError, match=told):
        DivideOptions(**options)


# Slivers.


def test_a_sliver_goes_where_its_border_is_longest():
    labels = np.ones((40, 40), np.int64)
    labels[:, 20:] = 2
    labels[10:14, 18:22] = 3  # 16 cells of 900 m2, with more of 1 round it than of 2
    labels[10:14, 21] = 2
    found = without_slivers(labels, 30.0, DivideOptions())
    assert set(np.unique(found)) == {1, 2}
    assert (found[10:14, 18:21] == 1).all()


def test_small_glaciers_without_a_neighbour_stay():
    labels = np.zeros((20, 20), np.int64)
    labels[2:4, 2:4], labels[10:18, 10:18] = 1, 2
    np.testing.assert_array_equal(without_slivers(labels, 30.0, DivideOptions()), labels)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_slivers_neither_make_nor_lose_ice(seed: int):
    rng = np.random.default_rng(seed)
    labels = numbered_parts(np.kron(rng.integers(0, 4, (6, 6)), np.ones((8, 8), int)))
    found = without_slivers(labels, 20.0, DivideOptions(least_area_m2=40_000))
    np.testing.assert_array_equal(found > 0, labels > 0)
    areas = np.bincount(found.ravel())
    touching = {each for pair in border_lengths(found) for each in pair}
    assert all(areas[each] * 400 >= 40_000 for each in touching)


@given(seed=st.integers(0, 1000))
def test_numbered_parts_are_parts(seed: int):
    labels = np.random.default_rng(seed).integers(0, 3, (7, 7))
    parts = numbered_parts(labels)
    assert sorted(np.unique(parts[labels > 0])) == list(range(1, parts.max() + 1))
    for number in range(1, parts.max() + 1):
        assert len(np.unique(labels[parts == number])) == 1


# Divides of an inventory.


def test_divides_are_copied_and_new_ice_flows_to_them():
    ice, elevation, truth = funnels(50.0)
    markers = np.where(abs(np.arange(140) - 70) > 20, truth, 0) * ice
    found = copy_divides(ice, elevation, markers, cell_m=50)
    assert (found[markers > 0] == markers[markers > 0]).all()
    assert set(np.unique(found[ice])) == {1, 2}


def test_ice_unknown_to_the_inventory_gets_new_numbers():
    ice, elevation, truth = funnels(50.0)
    ice[:, 68:72] = False
    found = copy_divides(ice, elevation, np.where(np.arange(140) < 68, 7, 0) * ice, cell_m=50)
    assert set(np.unique(found[:, :68])) == {0, 7}
    assert set(np.unique(found[:, 72:])) == {0, 8}
    with pytest.raises(InputError, match="the inventory is"):
        copy_divides(ice, elevation, truth[1:], cell_m=50)


# Lines, distances and calibration.


@given(shift=st.floats(1, 500))
def test_parallel_divides_are_as_far_apart_as_they_are(shift: float):
    one = shapely.LineString([(0, 0), (0, 3000)])
    other = shapely.LineString([(shift, 0), (shift, 3000)])
    found = divide_distances([one], [other])
    assert found.to_reference_m == pytest.approx(shift)
    assert found.from_reference_m == pytest.approx(shift)
    swapped = divide_distances([other], [one])
    assert (swapped.from_reference_m, swapped.to_reference_m) == pytest.approx(
        (found.to_reference_m, found.from_reference_m)
    )


def test_divides_too_many_and_divides_missed_are_told_apart():
    one, far = shapely.LineString([(0, 0), (0, 900)]), shapely.LineString([(800, 0), (800, 900)])
    many, few = divide_distances([one, far], [one]), divide_distances([one], [one, far])
    assert (many.to_reference_m, many.from_reference_m) == (400.0, 0.0)
    assert (few.to_reference_m, few.from_reference_m) == (0.0, 400.0)
    with pytest.raises(InputError, match="no line among the reference"):
        divide_distances([one], [])
    with pytest.raises(InputError, match="above 0"):
        divide_distances([one], [far], every_m=0)


def test_lines_of_polygons_that_cross_themselves():
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    with pytest.raises(InputError, match="crosses itself"):
        divide_lines([bow])


@pytest.mark.slow
def test_calibration_finds_options_that_fit():
    """Snouts 600 m apart are one glacier or two, as the reference has it."""
    ice, elevation, truth = funnels(100.0)
    grid = GeoBox(ice.shape, Affine(100, 0, -3500, 0, -100, 3500), "EPSG:32632")
    reference = divide_lines(polygons_of(np.where(ice, truth, 0), grid).geometry.to_list())
    rough = elevation + 15 * np.sin(np.arange(70) / 3)[:, None]
    found = calibrate_divides(ice, rough, grid, reference, tries=12)
    assert found.distances.mean_m == min(found.tried)
    assert found.distances.mean_m <= found.tried[0]
    with pytest.raises(InputError, match="at least 2"):
        calibrate_divides(ice, rough, grid, reference, tries=1)


# Polygons.


def test_polygons_cover_what_they_draw():
    rng = np.random.default_rng(0)
    labels = numbered_parts(rng.integers(0, 3, (30, 20)))
    grid = GeoBox((30, 20), Affine(10, 0, 0, 0, -10, 300), "EPSG:32632")
    drawn = polygons_of(labels, grid)
    np.testing.assert_array_equal(drawn.area_m2 / 100, np.bincount(labels.ravel())[1:])
    assert drawn.is_valid.all()
    assert len(polygons_of(labels, grid, least_area_m2=1e9)) == 0
    with pytest.raises(GridError, match="in metres"):
        polygons_of(labels, GeoBox((30, 20), Affine(1, 0, 0, 0, -1, 0), "EPSG:4326"))


def test_inventories_that_are_wrong(tmp_path: Path):
    import geopandas as gpd

    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    path = tmp_path / "a.gpkg"
    gpd.GeoDataFrame(geometry=[bow], crs="EPSG:32632").to_file(path)
    with pytest.raises(InputError, match="polygon 0 and 0 others cross themselves"):
        read_inventory(path)
    gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs="EPSG:32632").to_file(path)
    with pytest.raises(InputError, match="holds a Point"):
        read_inventory(path)
    (tmp_path / "b.gpkg").write_text("no")
    with pytest.raises(InputError, match="no file of polygons"):
        read_inventory(tmp_path / "b.gpkg")
