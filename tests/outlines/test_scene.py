"""Scenes as they come: grids, gaps, scales and orders, handled or refused in a sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from ogive.model import GridError, InputError, is_in_metres
from ogive.outlines.bands import check_values
from ogive.outlines.location import areal_scale
from ogive.outlines.scene import opened_scene
from ogive.outlines.terrain import slope_deg
from ogive.outlines.vectors import on_grid, read_inventory

from .conftest import BANDS, CRS, SCALE, ice_of, reflectance_of, write_image

FOUR = ("blue", "green", "red", "nir")
SIZE = 40
PLACE = Affine.translation(4e5, 5.1e6)


def numbers() -> np.ndarray:
    return (reflectance_of(ice_of(SIZE, 0), 0) / SCALE).astype(np.uint16)


def write_on(path: Path, stack: np.ndarray, transform: Affine, crs: str = CRS) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", count=len(stack), dtype=stack.dtype, nodata=0, crs=crs,
        height=stack.shape[1], width=stack.shape[2], transform=transform,
    ) as file:  # fmt: skip
        file.write(stack)
        file.descriptions = BANDS
    return path


def read_whole(path: Path, **options: object) -> tuple[np.ndarray, np.ndarray]:
    with opened_scene([path], FOUR, **{"scale": SCALE, **options}) as scene:
        return tuple(scene.read(slice(0, scene.height), slice(0, scene.width)))


# Grids.


@pytest.mark.parametrize(
    "transform",
    [
        PLACE * Affine.rotation(25) * Affine.scale(10, -10),
        PLACE * Affine.scale(10, 10),
        PLACE * Affine.scale(-10, -10),
    ],
    ids=["rotated", "from the south", "from the east"],
)
def test_grids_that_lie_otherwise_are_read_as_they_are(tmp_path: Path, transform: Affine):
    stack = numbers()
    path = write_on(tmp_path / "s.tif", stack, transform)
    pixels, valid = read_whole(path)
    assert valid.all()
    np.testing.assert_allclose(pixels, stack * SCALE, rtol=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3413", "EPSG:3031", "EPSG:2056"])
def test_grids_in_metres_wherever_their_axes_point(tmp_path: Path, crs: str):
    place = {"EPSG:2056": Affine.translation(2.64e6, 1.16e6)}.get(crs, PLACE)
    if crs in {"EPSG:3413", "EPSG:3031"}:
        place = Affine.translation(-2e5, -2.1e6)
    path = write_on(tmp_path / "s.tif", numbers(), place * Affine.scale(10, -10), crs)
    assert read_whole(path)[1].all()


def test_feet_are_no_metres(tmp_path: Path):
    path = write_on(tmp_path / "s.tif", numbers(), PLACE * Affine.scale(10, -10), "EPSG:2263")
    with pytest.raises(GridError, match="no grid in metres"):
        read_whole(path)


def test_oblong_pixels_are_refused(tmp_path: Path):
    path = write_on(tmp_path / "s.tif", numbers(), PLACE * Affine.scale(20, -10))
    with pytest.raises(GridError, match="20 x 10 m: reproject it to square"):
        read_whole(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.filterwarnings("ignore:The given matrix is equal to Affine.identity")
def test_a_coordinate_system_without_a_place(tmp_path: Path):
    path = write_on(tmp_path / "s.tif", numbers(), Affine.identity())
    with pytest.raises(GridError, match="does not say where it lies"):
        read_whole(path)


def test_areas_that_a_projection_distorts_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    place = Affine.translation(1e6, 5.8e6)
    path = write_on(tmp_path / "s.tif", numbers(), place * Affine.scale(10, -10), "EPSG:3857")
    with caplog.at_level(logging.WARNING):
        read_whole(path)
    assert "2.08 times those on the ground" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        read_whole(write_on(tmp_path / "u.tif", numbers(), PLACE * Affine.scale(10, -10)))
    assert not caplog.text


@given(north_m=st.floats(-8e6, 8e6))
def test_the_areal_scale_of_mercator(north_m: float):
    grid = GeoBox((2, 2), Affine(10, 0, 1e6, 0, -10, north_m), "EPSG:3857")
    radius_m = 6_378_137.0
    # On the sphere of EPSG:3857; the ellipsoid is flatter by a part in 300, twice in an area.
    wanted = np.cosh(north_m / radius_m) ** 2
    assert areal_scale(grid) == pytest.approx(wanted, rel=0.015)
    assert is_in_metres(grid.crs)


# Gaps.


@pytest.mark.parametrize("nodata", [None, 0, 65535])
def test_zeros_in_all_bands_are_no_data_whatever_is_declared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, nodata: float | None
):
    stack = numbers()
    stack[:, :10] = 0
    stack[2, 20:25] = 0
    path = write_image(tmp_path / "s.tif", stack, names=BANDS, nodata=nodata)
    with caplog.at_level(logging.WARNING):
        _, valid = read_whole(path, offset=-0.01)
    assert not valid[:10].any()
    # One band of four may be dark, but not where 0 is declared to be no data.
    assert valid[20:25].all() == (nodata != 0)
    assert valid[10:20].all()
    assert ("25.0 %" in caplog.text) == (nodata != 0)


def test_zeros_of_an_elevation_model_are_the_sea(tmp_path: Path):
    dem = write_image(tmp_path / "d.tif", np.zeros((1, SIZE, SIZE), np.float32), nodata=None)
    path = write_image(tmp_path / "s.tif", numbers(), names=BANDS)
    with opened_scene([path], ("red", "elevation"), scale=SCALE, dem=dem) as scene:
        assert scene.read(slice(0, SIZE), slice(0, SIZE)).valid.all()
        assert not scene.elevation_m().any()


@pytest.mark.parametrize("nodata", [None, 0])
def test_images_of_eight_bits(tmp_path: Path, nodata: float | None):
    """GDAL takes the last of four bands of 8 bits for an alpha channel."""
    stack = (reflectance_of(ice_of(SIZE, 0), 0) * 255).clip(1, 255).astype(np.uint8)
    stack[:, :5] = 0
    path = write_image(tmp_path / "s.tif", stack, names=BANDS, nodata=nodata)
    pixels, valid = read_whole(path, scale=1 / 255)
    np.testing.assert_array_equal(valid, (stack > 0).all(0))
    np.testing.assert_allclose(pixels[:, 5:], stack[:, 5:] / 255, rtol=1e-5)
    with pytest.raises(InputError, match=r"times 0\.0001 reach a reflectance of 0\.026"):
        read_whole(path)


def test_not_a_number_and_infinity_are_no_data(tmp_path: Path):
    stack = reflectance_of(ice_of(SIZE, 0), 0)
    stack[0, 3, 4], stack[1, 5, 6], stack[3, 7, 8] = np.nan, np.inf, -np.inf
    path = write_image(tmp_path / "s.tif", stack, names=BANDS, nodata=None)
    _, valid = read_whole(path, scale=1.0)
    wanted = np.ones((SIZE, SIZE), bool)
    wanted[[3, 5, 7], [4, 6, 8]] = False
    np.testing.assert_array_equal(valid, wanted)


@pytest.mark.parametrize("value", [-9999.0, 30000.0])
def test_elevations_that_are_nowhere(tmp_path: Path, value: float):
    elevation = np.full((1, SIZE, SIZE), 2500, np.float32)
    elevation[0, 20:23] = value
    dem = write_image(tmp_path / "d.tif", elevation, nodata=None)
    path = write_image(tmp_path / "s.tif", numbers(), names=BANDS)
    with (
        opened_scene([path], FOUR, scale=SCALE, dem=dem) as scene,
        pytest.raises(InputError, match="no data be declared"),
    ):
        scene.elevation_m()


@settings(max_examples=15)
@given(
    top=st.integers(0, SIZE - 1),
    left=st.integers(0, SIZE - 1),
    height=st.integers(1, SIZE),
    width=st.integers(1, SIZE),
)
def test_a_window_is_a_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, top: int, left: int, height: int, width: int
):
    folder = tmp_path_factory.mktemp("scene")
    path = write_image(folder / "s.tif", numbers(), names=BANDS)
    elevation = np.random.default_rng(0).uniform(1000, 1400, (1, SIZE, SIZE)).astype(np.float32)
    dem = write_image(folder / "d.tif", elevation, left=4e5 - 35, nodata=None)
    rows, columns = slice(top, min(top + height, SIZE)), slice(left, min(left + width, SIZE))
    with opened_scene([path], ("red", "elevation", "slope"), scale=SCALE, dem=dem) as scene:
        whole = scene.read(slice(0, SIZE), slice(0, SIZE))
        part = scene.read(rows, columns)
    np.testing.assert_array_equal(part.valid, whole.valid[rows, columns])
    # A window of a warped elevation model may round its places otherwise.
    np.testing.assert_allclose(part.pixels, whole.pixels[:, rows, columns], rtol=1e-5, atol=1e-3)


# Scales and orders.


@pytest.mark.parametrize(("factor", "told"), [(1.0, "pass scale=1$"), (100.0, "pass scale=0.01$")])
def test_a_scale_that_would_do_is_named(tmp_path: Path, factor: float, told: str):
    stack = reflectance_of(ice_of(SIZE, 0), 0) * np.float32(factor)
    path = write_image(tmp_path / "s.tif", stack, names=BANDS, nodata=None)
    with pytest.raises(InputError, match=told):
        read_whole(path)
    assert read_whole(path, scale=1 / factor)[1].all()


def test_numbers_that_were_not_multiplied_have_no_better_scale():
    tiny = np.full((1, 2, 2), 1e-4, np.float32)
    with pytest.raises(InputError, match="Give them as they were"):
        check_values(tiny, ["red"], np.ones((2, 2), bool), "a.tif")


@pytest.mark.parametrize(
    "wrong", [{"scale": 0.0}, {"scale": -1e-4}, {"scale": np.nan}, {"offset": np.inf}]
)
def test_scales_that_cannot_be(tmp_path: Path, wrong: dict[str, float]):
    path = write_image(tmp_path / "s.tif", numbers(), names=BANDS)
    with pytest.raises(InputError, match="scale must be above 0, both finite"):
        read_whole(path, **wrong)


@pytest.mark.parametrize(
    ("described", "named", "contradicts"),
    [
        (("B2", "B3", "B4", "B8"), ("nir", "red", "green", "blue"), "band 1 as 'B2'"),
        (("blue", "green", "nir", "red"), FOUR, "band 3 as 'nir'"),
        (("nir08", "x", "y", "z"), FOUR, "band 1 as 'nir08'"),
        # Landsat 5 and 7 number blue to infrared from 1 to 4.
        (("B1", "B2", "B3", "B4"), FOUR, None),
        (("Band 1", None, "", "grey"), FOUR, None),
        (("B2", "B3", "B4", "B8"), FOUR, None),
    ],
)
def test_names_against_descriptions(
    tmp_path: Path,
    described: tuple[str | None, ...],
    named: tuple[str, ...],
    contradicts: str | None,
):
    path = write_image(tmp_path / "s.tif", numbers())
    with rasterio.open(path, "r+") as file:
        file.descriptions = described
    if contradicts is None:
        assert read_whole(path, names=named)[1].all()
        return
    with pytest.raises(InputError, match=contradicts):
        read_whole(path, names=named)


# Slope.


@given(
    east=st.floats(-2, 2), south=st.floats(-2, 2), cell_m=st.floats(1, 100), rows=st.integers(2, 6)
)
def test_a_plane_has_one_slope(east: float, south: float, cell_m: float, rows: int):
    y, x = np.mgrid[:rows, :5] * cell_m
    found = slope_deg(1000 + east * x + south * y, cell_m)
    wanted = np.degrees(np.arctan(np.hypot(east, south)))
    # Double precision of differences of a thousand metres over one.
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_allclose(slope_deg((1000 + east * x + south * y).T, cell_m), found.T)


def test_what_has_no_slope():
    with pytest.raises(InputError, match="at least 2 x 2"):
        slope_deg(np.ones((1, 5)), 10.0)
    with pytest.raises(InputError, match="larger than 0 m"):
        slope_deg(np.ones((3, 5)), 0.0)
    with pytest.raises(InputError, match="larger than 0 m"):
        slope_deg(np.ones((3, 5)), float("nan"))


def test_missing_elevation_spreads_to_its_neighbours_only():
    elevation = np.zeros((5, 5))
    elevation[2, 2] = np.nan
    missing = np.isnan(slope_deg(elevation, 10.0))
    assert missing[1:4, 1:4].sum() == 4
    assert not missing[[0, 0, 4, 4], [0, 4, 0, 4]].any()


# Inventories.


def _inventory(path: Path, shapes: list[shapely.Geometry | None], crs: str | None = CRS) -> Path:
    gpd.GeoDataFrame({"name": range(len(shapes))}, geometry=shapes, crs=crs).to_file(path)
    return path


@pytest.mark.parametrize("nothing", [None, shapely.Polygon()], ids=["none", "empty"])
def test_glaciers_without_a_shape(tmp_path: Path, nothing: shapely.Geometry | None):
    path = _inventory(tmp_path / "i.gpkg", [shapely.box(4e5, 5e6, 5e5, 6e6), nothing])
    with pytest.raises(InputError, match="polygon 1 and 0 others have no geometry"):
        read_inventory(path)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_inventories_without_a_coordinate_system(tmp_path: Path):
    path = _inventory(tmp_path / "i.gpkg", [shapely.box(0, 0, 1, 1)], None)
    with pytest.raises(GridError, match="no coordinate reference system"):
        read_inventory(path)
    with pytest.raises(InputError, match="no polygons"):
        read_inventory(_inventory(tmp_path / "e.gpkg", []))


def test_inventories_on_a_grid(tmp_path: Path):
    grid = GeoBox((SIZE, SIZE), Affine(10, 0, 4e5, 0, -10, 5.1e6), CRS)
    here = gpd.GeoSeries([shapely.box(4e5, 5.0998e6, 4.002e5, 5.1e6)], crs=CRS)
    there = read_inventory(
        _inventory(tmp_path / "i.gpkg", list(here.to_crs("EPSG:4326")), "EPSG:4326")
    )
    (found,) = on_grid(there, grid, "i.gpkg")
    # Corners that go round the globe and back come within a millimetre.
    assert found.symmetric_difference(here.iloc[0]).area < 1.0
    for far, crs in ((shapely.box(0, 0, 10, 10), CRS), (here.iloc[0], "EPSG:4326")):
        wrong = gpd.GeoDataFrame(geometry=[far], crs=crs)
        with pytest.raises(GridError, match=r"no polygon of i\.gpkg reaches the scene"):
            on_grid(wrong, grid, "i.gpkg")
