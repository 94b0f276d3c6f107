"""Ice, stable ground, clouds and shadows, against shapes and codes that are known."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from odc.geo.geobox import GeoBox
from tests.servers.stac import StacServer

from ogive.model import Asset, GridError, InputError, Scene
from ogive.scenes import clear_pixels, from_items, ground, local, read_window
from ogive.scenes.quality import flawed

CRS = "EPSG:32632"
GRID = GeoBox.from_bbox((500000, 5200000, 504000, 5204000), CRS, resolution=20)


def inventory(*shapes: shapely.Geometry, crs: str = CRS) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=list(shapes), crs=crs)


def distances(shape: shapely.Geometry) -> np.ndarray:
    x, y = np.meshgrid(GRID.coordinates["x"].values, GRID.coordinates["y"].values)
    return shapely.distance(shape, shapely.points(x, y))


def test_ice_ground_and_the_strip_between_by_their_distance() -> None:
    glacier = shapely.box(501000, 5201000, 502000, 5203000)
    masks = ground(inventory(glacier), GRID, beside_m=800, margin_m=150)
    away_m = distances(glacier)
    np.testing.assert_array_equal(masks.ice, away_m == 0)
    # Round corners are drawn with eight chords a quarter: 0.5 % of the width short.
    for name, inside in (
        ("wanted", away_m <= 800),
        ("stable", (away_m > 150) & (away_m <= 800)),
    ):
        unclear = (np.abs(away_m - 800) < 5) | (np.abs(away_m - 150) < 2)
        np.testing.assert_array_equal(masks[name].values[~unclear], inside[~unclear])
    assert masks.odc.geobox == GRID


def test_glaciers_beyond_the_grid_count_and_overlap_is_ice() -> None:
    outside = shapely.box(498000, 5200000, 499900, 5204000)
    inside = shapely.box(500300, 5200000, 500500, 5204000)
    masks = ground(inventory(outside, inside), GRID, beside_m=1000, margin_m=120)
    row = masks.isel(y=100)
    x = row.x.values
    # Within 120 m of the one outside, of the one inside, or neither.
    stable = ((x > 500020) & (x < 500180)) | ((x > 500620) & (x < 501500))
    np.testing.assert_array_equal(row.stable.values, stable)
    assert not (masks.stable & masks.ice).any()


def test_the_inventory_may_be_on_any_map_and_self_crossing(tmp_path: Path) -> None:
    bow = shapely.Polygon(
        [(501000, 5201000), (503000, 5203000), (503000, 5201000), (501000, 5203000)]
    )
    path = tmp_path / "ice.gpkg"
    inventory(bow).to_crs("EPSG:4326").to_file(path)
    masks = ground(path, GRID)
    area_km2 = float(masks.ice.sum()) * 20**2 / 1e6
    assert area_km2 == pytest.approx(2.0, rel=0.01)


def test_real_inventory_area(data_dir: Path) -> None:
    """Glaciers of RGI: the pixels of ice have the area that the inventory states."""
    path = data_dir / "oggm_sample/test-files/Hintereisferner_RGI6.shp"
    grid = GeoBox.from_bbox((630000, 5178000, 646000, 5192000), CRS, resolution=25)
    masks = ground(path, grid)
    stated_km2 = float(gpd.read_file(path)["Area"].iloc[0])
    assert float(masks.ice.sum()) * 25**2 / 1e6 == pytest.approx(stated_km2, rel=0.01)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beside_m": 100, "margin_m": 100}, "margin_m < beside_m"),
        ({"margin_m": -1}, "margin_m < beside_m"),
        ({"beside_m": math.inf}, "margin_m < beside_m"),
    ],
)
def test_impossible_widths(options: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ground(inventory(shapely.box(501000, 5201000, 502000, 5202000)), GRID, **options)


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031"])
def test_ice_on_polar_grids(crs: str) -> None:
    """Their second axis is named by no unit of its own in some libraries."""
    grid = GeoBox.from_bbox((500000, -2204000, 504000, -2200000), crs, resolution=20)
    glacier = gpd.GeoDataFrame(geometry=[shapely.box(501000, -2203000, 502000, -2202000)], crs=crs)
    masks = ground(glacier, grid, beside_m=800, margin_m=150)
    assert masks["ice"].values.sum() == 50 * 50


def test_grids_and_inventories_that_do_not_fit() -> None:
    far = inventory(shapely.box(700000, 5201000, 702000, 5202000))
    with pytest.raises(GridError, match="no glacier of the inventory"):
        ground(far, GRID)
    with pytest.raises(GridError, match="in metres"):
        ground(far, GeoBox.from_bbox((8, 46, 9, 47), "EPSG:4326", resolution=0.01))
    with pytest.raises(GridError, match="no coordinate reference system"):
        ground(gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)]), GRID)
    with pytest.raises(InputError, match="no file"):
        ground("nowhere.gpkg", GRID)


@pytest.mark.parametrize(
    ("band", "code", "flaws"),
    [
        ("SCL", 0, {"fill"}),
        ("SCL", 1, {"saturated"}),
        ("SCL", 2, {"dark"}),
        ("SCL", 3, {"shadow"}),
        ("SCL", 4, set()),
        ("SCL", 7, set()),
        ("SCL", 8, {"cloud"}),
        ("SCL", 9, {"cloud"}),
        ("SCL", 10, {"cirrus"}),
        ("SCL", 11, {"snow"}),
        # Values from table 6-3 of USGS's guide: what they mean in words.
        ("QA_PIXEL", 1, {"fill"}),
        ("QA_PIXEL", 21824, set()),  # clear, low confidence of everything
        ("QA_PIXEL", 21952, {"water"}),
        ("QA_PIXEL", 22280, {"cloud"}),
        ("QA_PIXEL", 23888, {"shadow"}),
        ("QA_PIXEL", 30048, {"snow"}),
        ("QA_PIXEL", 54596, {"cirrus"}),
        ("QA_RADSAT", 0, set()),
        ("QA_RADSAT", 1 << 4, {"saturated"}),
        ("QA_RADSAT", 1 << 9, {"fill"}),
        ("QA_RADSAT", 1 << 11, set()),  # hidden by terrain, which is no flaw of the image
        ("QA60", 1 << 10, {"cloud"}),
        ("QA60", 1 << 11, {"cirrus"}),
        ("MSK_CLASSI_SNOW", 1, {"snow"}),
    ],
)
def test_codes_mean_what_their_guides_say(band: str, code: int, flaws: set[str]) -> None:
    codes = np.array([code], np.uint16)
    every = ("fill", "saturated", "cloud", "cirrus", "shadow", "dark", "snow", "water")
    told = {flaw: flawed(band, codes, flaw) for flaw in every}  # type: ignore[arg-type]
    assert {flaw for flaw, mask in told.items() if mask is not None and mask[0]} == flaws


def coded(folder: Path, **codes: np.ndarray) -> Scene:
    assets = {}
    for band, values in codes.items():
        path = folder / f"{band}.tif"
        shape = {"height": values.shape[0], "width": values.shape[1]}
        place = rasterio.Affine(20, 0, 500000, 0, -20, 5204000)
        with rasterio.open(
            path, "w", driver="GTiff", dtype="uint16", count=1, crs=CRS, transform=place, **shape
        ) as file:
            file.write(values.astype(np.uint16), 1)
        assets[band] = Asset(str(path), nodata=1.0 if band == "QA_PIXEL" else None)
    return Scene("coded", datetime(2020, 7, 1), assets=assets)


def test_clear_is_what_has_none_of_the_flaws(tmp_path: Path) -> None:
    codes = np.full(GRID.shape, 11)
    codes[10:20, 10:20], codes[50:60, 50:60], codes[100, 100] = 9, 3, 1
    scene = coded(tmp_path, SCL=codes)
    clear = clear_pixels(scene, GRID)
    np.testing.assert_array_equal(clear, np.isin(codes, [11]))
    assert clear.attrs["cloud_percent"] == pytest.approx(100 * 100 / codes.size)
    assert clear_pixels(scene, GRID, reject=["cloud"]).sum() == codes.size - 100
    assert not clear_pixels(scene, GRID, reject=["snow"]).values[0, 0]
    assert clear_pixels(scene, GRID, reject=[]).all()
    grown = clear_pixels(scene, GRID, reject=["saturated"], grow_m=60)
    y, x = np.mgrid[0:200, 0:200]
    np.testing.assert_array_equal(~grown, np.hypot(y - 100, x - 100) <= 3)
    beside = clear_pixels(scene, GRID.pad(3))
    assert not beside.values[:3].any()
    assert beside.attrs["fill_percent"] > 0


def test_landsat_joins_its_two_bands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixel, radiometric = np.full(GRID.shape, 21824), np.zeros(GRID.shape)
    pixel[:10], pixel[10:20], radiometric[20:30] = 1, 22280, 2
    scene = coded(tmp_path, QA_PIXEL=pixel, QA_RADSAT=radiometric)
    clear = clear_pixels(scene, GRID)
    np.testing.assert_array_equal(clear.any("x"), np.arange(200) >= 30)
    without = replace(scene, assets={"QA_PIXEL": scene.assets["QA_PIXEL"]})
    caplog.set_level("INFO")
    assert clear_pixels(without, GRID).values[25].all()
    assert "tells nothing of saturated" in caplog.text


def test_the_best_band_is_taken(tmp_path: Path) -> None:
    cloudy, clear = np.full(GRID.shape, 9), np.full(GRID.shape, 4)
    scene = coded(tmp_path, SCL=clear, QA60=1024 * np.ones(GRID.shape), MSK_CLASSI_OPAQUE=cloudy)
    assert clear_pixels(scene, GRID).all()
    opaque = replace(scene, assets={"MSK_CLASSI_OPAQUE": scene.assets["MSK_CLASSI_OPAQUE"]})
    assert not clear_pixels(opaque, GRID).any()


def test_masks_that_cannot_be(tmp_path: Path) -> None:
    scene = coded(tmp_path, SCL=np.full(GRID.shape, 4))
    with pytest.raises(InputError, match="fog is no flaw"):
        clear_pixels(scene, GRID, reject=["fog"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="cannot grow"):
        clear_pixels(scene, GRID, grow_m=-1)
    with pytest.raises(InputError, match="no quality band"):
        clear_pixels(replace(scene, assets={"B08": scene.assets["SCL"]}), GRID)


def test_a_simulated_scene_against_its_own_classes(server: StacServer) -> None:
    cloudy = max(from_items(server.items), key=lambda scene: scene.cloud_cover_percent or 0)
    path = server.folder / cloudy.assets["SCL"].href.split("/files/")[1]
    with rasterio.open(path) as file:
        grid, codes = GeoBox(file.shape, file.transform, CRS), file.read(1)
    clear = clear_pixels(cloudy, grid)
    np.testing.assert_array_equal(clear, ~np.isin(codes, [0, 1, 3, 8, 9]))


def test_a_real_quality_band(data_dir: Path) -> None:
    """Landsat 8 over Greenland: clouds have the share that the metadata state.

    The file is a preview of every 17th pixel, 137 000 of which lie in the swath: a share of 55 % is
    off by 0.1 % by chance, and a little more since neighbours resemble each other.
    """
    (scene,) = local(data_dir / "landsat_metadata_stactools/tests/data-files/assets")
    with rasterio.open(scene.assets["QA_PIXEL"].href) as file:
        grid = GeoBox(file.shape, file.transform, file.crs.to_wkt())
    codes: xr.DataArray = read_window(scene, "QA_PIXEL", grid)
    swath = ~np.asarray(flawed("QA_PIXEL", codes.values, "fill"))
    share_percent = 100 * ((codes.values[swath] >> 3) & 1).mean()
    assert share_percent == pytest.approx(scene.cloud_cover_percent, abs=0.5)
    clear = clear_pixels(scene, grid, reject=("fill", "cloud", "shadow"))
    assert 20 < 100 * float(clear.values[swath].mean()) < 46
