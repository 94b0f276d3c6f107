"""The match of a pair on a region's grid: what it measures, and that blocks are the whole."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer

from ogive import scenes
from ogive.matching import blocks
from ogive.simulation.pair import simple_pair
from ogive.workflow.runfile import template
from ogive.workflow.steps import match

SHAPE = 360, 400
PLACE = rasterio.Affine(10, 0, 400_000, 0, -10, 5_100_000)


@pytest.fixture(scope="module")
def simulated():
    return simple_pair(SHAPE, seed=4, max_displacement_px=5)


@pytest.fixture(scope="module")
def pair(simulated, tmp_path_factory):
    """Two images of a simulated glacier, as tiled files; of the later one a corner is missing."""
    folder = tmp_path_factory.mktemp("images")
    later = np.rint(simulated.later)
    later[:60, :80] = 0
    for day, image in (("20200701", simulated.earlier), ("20200731", later)):
        with rasterio.open(
            folder / f"T32TLS_{day}T102021_B08.tif", "w", driver="GTiff", dtype="uint16", count=1,
            height=SHAPE[0], width=SHAPE[1], crs="EPSG:32632", transform=PLACE, nodata=0,
            tiled=True, blockxsize=128, blockysize=128,
        ) as file:  # fmt: skip
            file.write(np.rint(image).astype(np.uint16), 1)
    (found,) = scenes.pairs(scenes.local(folder))
    return found


@pytest.fixture
def settings(tmp_path):
    """A region round the images."""
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    right, bottom = PLACE * SHAPE[::-1]
    bbox = to_degrees.transform_bounds(PLACE.c - 500, bottom - 500, right + 500, PLACE.f + 500)
    usual = template(bbox=bbox, start=date(2020, 6, 1), end=date(2020, 9, 1))
    changes = {
        "run": {"folder": tmp_path},
        "match": {"window": 16, "search_px": 8},
    }
    return usual.model_copy(
        update={k: getattr(usual, k).model_copy(update=v) for k, v in changes.items()}
    )


def test_the_displacement_is_the_simulated_one(pair, simulated, settings):
    moved = match.matched(pair, settings)
    assert (moved.attrs["band"], moved.attrs["search_px"]) == ("B08", 8)
    assert (moved["x"].values % 80 == 40).all()
    column = np.rint((moved["x"].values - PLACE.c) / 10 - 0.5).astype(int)
    row = np.rint((PLACE.f - moved["y"].values) / 10 - 0.5).astype(int)
    error = np.hypot(
        moved["dx"].values / 10 - simulated.dx_px[np.ix_(row, column)],
        moved["dy"].values / -10 - simulated.dy_px[np.ix_(row, column)],
    )
    same = ~simulated.decorrelated[np.ix_(row, column)] & np.isfinite(error)
    assert same.mean() > 0.7
    # Twice the error of 0.06 px that windows of 16 px have on the truth case (matching.md).
    assert np.median(error[same]) < 0.12
    # Nothing is measured where the later image has nothing.
    assert np.isnan(moved["dx"].values[np.ix_(row < 40, column < 60)]).all()


def test_blocks_with_their_halo_are_the_whole(pair, settings, monkeypatch):
    """Bit for bit, in every variable: images are matched by blocks of rows."""
    whole = match.matched(pair, settings)
    used = []

    def counted(*args, **options):
        found = list(blocks_of_rows(*args, **options))
        used.append(len(found))
        return found

    blocks_of_rows = blocks.blocks_of_rows
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2**16)
    monkeypatch.setattr(blocks, "blocks_of_rows", counted)
    parted = match.matched(pair, settings)
    assert min(used) > 1
    for name in whole.variables:
        np.testing.assert_array_equal(parted[name].values, whole[name].values)


def test_threads_change_nothing(pair, settings):
    one = match.matched(pair, settings)
    run = settings.run.model_copy(update={"threads": 3})
    three = match.matched(pair, settings.model_copy(update={"run": run}))
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, three[name].values)


def test_a_part_of_the_region_is_measured_as_the_region_is(pair, settings):
    """On the same cells, whatever the region's edges; the pair's own filter differs a little."""
    whole = match.matched(pair, settings)
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    bbox = to_degrees.transform_bounds(401_000, 5_097_400, 403_000, 5_099_000)
    region = settings.region.model_copy(update={"bbox": bbox})
    part = match.matched(pair, settings.model_copy(update={"region": region}))
    assert set(part["x"].values) < set(whole["x"].values)
    assert set(part["y"].values) < set(whole["y"].values)
    both = whole.sel(x=part["x"], y=part["y"])
    difference_px = np.abs(part["dx"].values - both["dx"].values) / 10
    assert np.nanmedian(difference_px) < 0.03


def test_only_glaciers_and_the_ground_beside_them(pair, settings, tmp_path):
    """Points farther from the ice than ``beside_m`` have no value."""
    import geopandas as gpd

    ice = shapely.box(401_000, 5_098_000, 402_000, 5_099_000)
    path = tmp_path / "ice.gpkg"
    gpd.GeoDataFrame(geometry=[ice], crs="EPSG:32632").to_file(path)
    region = settings.region.model_copy(update={"glaciers": path, "beside_m": 400.0})
    moved = match.matched(pair, settings.model_copy(update={"region": region}))
    x, y = np.meshgrid(moved["x"].values, moved["y"].values)
    distance_m = shapely.distance(shapely.points(x, y), ice)
    measured = np.isfinite(moved["dx"].values)
    # Half of a window of 160 m must be wanted.
    assert not measured[distance_m > 400 + 80].any()
    assert measured[distance_m == 0].mean() > 0.5
