"""Many scenes on one grid, lazily: block by block what a window is in one piece."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from tests.servers.stac import Fault, StacServer

from ogive.model import Asset, GridError, InputError, Scene
from ogive.scenes import Retries, from_items, load, read_window
from ogive.scenes.errors import MissingImageError

CRS = "EPSG:32632"


@pytest.fixture
def scenes(server: StacServer) -> list[Scene]:
    return from_items(server.items)


@pytest.fixture
def grid(scenes: list[Scene], server: StacServer) -> GeoBox:
    path = server.folder / scenes[0].assets["B08"].href.split("/files/")[1]
    with rasterio.open(path) as file:
        return GeoBox(file.shape, file.transform, CRS).pad(6)


def test_blocks_are_the_window_and_nothing_is_read_before_it_is_computed(
    scenes: list[Scene], server: StacServer, grid: GeoBox, tmp_path: Path
) -> None:
    stack = load(scenes, "nir", grid, chunk_px=50, cache=tmp_path)
    assert not server.requests
    ordered = sorted(scenes, key=lambda scene: scene.time)
    assert [t.astype("datetime64[s]") for t in stack.time.values] == [
        np.datetime64(scene.time, "s") for scene in ordered
    ]
    with dask.config.set(scheduler="synchronous"):
        by_blocks = stack.isel(time=2).compute()
    whole = read_window(ordered[2], "nir", grid, cache=tmp_path)
    np.testing.assert_array_equal(by_blocks, whole)
    assert stack.odc.geobox == grid
    asked = [request.range for request in server.asked(ordered[2].assets["B08"].href[-30:])]
    assert len(asked) == len(set(asked))


def test_codes_stay_codes(scenes: list[Scene], grid: GeoBox) -> None:
    stack = load(scenes[:1], "SCL", grid, chunk_px=64)
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(stack[0], read_window(scenes[0], "SCL", grid))
    assert stack.dtype == np.uint16


def test_tiles_of_one_pass_are_one_image(tmp_path: Path, scenes: list[Scene]) -> None:
    tiles = []
    for number, left in enumerate((500000, 500500)):
        path = tmp_path / f"{number}.tif"
        place = rasterio.Affine(10, 0, left, 0, -10, 5200000)
        values = np.full((50, 50), number + 1, np.uint16)
        with rasterio.open(
            path, "w", driver="GTiff", dtype="uint16", count=1, height=50, width=50, crs=CRS,
            transform=place,
        ) as file:  # fmt: skip
            file.write(values, 1)
        assets = {"B08": Asset(str(path), "nir", nodata=0)}
        time = scenes[0].time + timedelta(seconds=3 * number)
        tiles.append(replace(scenes[0], id=str(number), time=time, footprint="", assets=assets))
    grid = GeoBox((50, 120), rasterio.Affine(10, 0, 499900, 0, -10, 5200000), CRS)
    with dask.config.set(scheduler="synchronous"):
        joined = load(tiles, "B08", grid, chunk_px=30).compute()
        apart = load(tiles, "B08", grid, chunk_px=30, join_tiles=False).compute()
    assert joined.sizes["time"] == 1
    assert apart.sizes["time"] == 2
    row = np.concatenate([np.full(10, np.nan), np.full(50, 1), np.full(50, 2), np.full(10, np.nan)])
    np.testing.assert_array_equal(joined[0], np.tile(row, (50, 1)))


def test_a_fault_is_told_when_the_block_is_computed(
    scenes: list[Scene], server: StacServer, grid: GeoBox
) -> None:
    server.fault("B08", Fault(status=404, forever=True))
    stack = load(scenes[:1], "nir", grid, retries=Retries(attempts=1))
    with dask.config.set(scheduler="synchronous"), pytest.raises(MissingImageError):
        stack.compute()


def test_stacks_that_cannot_be(scenes: list[Scene], grid: GeoBox) -> None:
    with pytest.raises(InputError, match="no scenes"):
        load([], "nir", grid)
    with pytest.raises(InputError, match="no band pan"):
        load(scenes, "pan", grid)
    with pytest.raises(InputError, match="squares of 0"):
        load(scenes, "nir", grid, chunk_px=0)
    with pytest.raises(GridError, match="coordinate reference system"):
        load(scenes, "nir", GeoBox((5, 5), grid.transform, None))
