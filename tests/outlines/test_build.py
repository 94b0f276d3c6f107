"""Tiles are cut as the benchmark has them: all or none, by exact shares, where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import h5py
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import GridError, InputError, OutputError
from ogive.outlines import build
from ogive.outlines.build import BuildOptions, TilesBuilt, build_tiles
from ogive.outlines.tile_hdf5 import hdf5_tiles, write_hdf5_tiles
from ogive.outlines.tiles import IGNORE, Labelled, TileInfo

from .conftest import BANDS, CRS, SCALE, ice_of, reflectance_of, write_image

FOUR = ("blue", "green", "red", "nir")
SIZE = 96
LEFT, TOP = 4e5, 5.1e6
BOX = shapely.box(LEFT + 100, TOP - 800, LEFT + 700, TOP - 200)
"""A glacier whose edges are those of pixels."""


def write_scene(folder: Path, **options: Any) -> Path:
    numbers = (reflectance_of(ice_of(SIZE, 0), 0) / SCALE).astype(np.uint16)
    return write_image(folder / "scene.tif", numbers, **{"names": BANDS, **options})


def write_inventory(folder: Path, *shapes: shapely.Geometry, crs: str | None = CRS) -> Path:
    path = folder / "inventory.gpkg"
    gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=list(shapes), crs=crs).to_file(path)
    return path


def cut(folder: Path, **options: Any) -> TilesBuilt:
    """Cut 6 x 6 tiles of a scene with one glacier."""
    given = {"region": "ALP", "scale": SCALE, "tile_px": 16, "empty": True, **options}
    bands, dem = given.pop("bands", FOUR), given.pop("dem", None)
    coverage = given.pop("coverage", None)
    return build_tiles(
        [folder / "scene.tif"], folder / "inventory.gpkg", folder / "tiles",
        bands=bands, dem=dem, coverage=coverage, options=BuildOptions(**given),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scene(tmp_path)
    write_inventory(tmp_path, BOX)
    return tmp_path


def test_what_is_cut_lies_where_it_lay(folder: Path):
    built = cut(folder)
    with rasterio.open(folder / "scene.tif") as file:
        stack = file.read() * SCALE
    seen = np.zeros((SIZE, SIZE), int)
    for path in built.files.values():
        for tile in hdf5_tiles(path):
            grid = tile.info.geobox
            assert grid.crs.to_epsg() == 32632
            assert grid.resolution.x == -grid.resolution.y == 10
            left, top = grid.transform.c, grid.transform.f
            rows = slice(round((TOP - top) / 10), round((TOP - top) / 10) + tile.info.height)
            columns = slice(round((left - LEFT) / 10), round((left - LEFT) / 10) + tile.info.width)
            assert tile.info.name == tile.info.place == f"ALP-{columns.start}-{rows.start}"
            every = slice(None)
            read = tile.read(every, every, FOUR)
            np.testing.assert_allclose(read.pixels, stack[:, rows, columns], rtol=1e-5)
            truth = np.zeros((SIZE, SIZE), int)
            truth[20:80, 10:70] = 1
            np.testing.assert_array_equal(read.labels, truth[rows, columns])
            seen[rows, columns] += 1
    assert (seen == 1).all()


def test_ground_beyond_the_coverage_of_the_inventory_is_ignored(folder: Path):
    """The country ends in the middle of the glacier; beyond, nothing is known."""
    country = shapely.box(LEFT, TOP - 960, LEFT + 400, TOP)
    path = folder / "country.gpkg"
    gpd.GeoSeries([country], crs=CRS).to_file(path)
    built = cut(folder, coverage=path)
    counts = np.zeros(256, int)
    for each in built.files.values():
        for tile in hdf5_tiles(each):
            labels = tile.read(slice(None), slice(None), FOUR).labels
            counts += np.bincount(labels.ravel(), minlength=256)
            east = (tile.info.geobox.transform.c - LEFT) / 10 + np.arange(tile.info.width) >= 40
            assert (labels[:, east] == IGNORE).all()
            assert not (labels[:, ~east] == IGNORE).any()
    assert counts[1] == 60 * 30


def test_a_coverage_of_another_place(folder: Path):
    path = folder / "country.gpkg"
    gpd.GeoSeries([shapely.box(0, 0, 1, 1)], crs="EPSG:4326").to_file(path)
    with pytest.raises(GridError, match=r"country.gpkg covers a pixel of the scene"):
        cut(folder, coverage=path)
    assert not list((folder / "tiles").glob("*"))


def test_attributes_are_those_of_the_benchmark(folder: Path):
    built = cut(folder)
    with h5py.File(built.files["train"]) as file:
        for group in file.values():
            assert group["optical"].shape == (16, 16, 4)
            assert group["outlines"].shape == (16, 16, 2)
            assert group.attrs["region"] == group.attrs["subregion"] == "ALP"
            assert group.attrs["original_height"] == group.attrs["height"] == 16
            assert group.attrs["padding_width"] == 0
            assert group.attrs["xmax"] - group.attrs["xmin"] == 160
            assert group.attrs["ymax"] - group.attrs["ymin"] == 160


def test_tiles_are_of_ten_kilometres_by_default():
    options = BuildOptions(region="ALP")
    assert options.tile_px * 10 == 10_000


@given(count=st.integers(1, 300), seed=st.integers(0, 50))
def test_shares_are_60_20_20_of_any_number(count: int, seed: int):
    names = [f"t{number}" for number in range(count)]
    sides = build._sides(names, seed)
    assert sorted(name for some in sides.values() for name in some) == sorted(names)
    if count < 5:
        assert len(sides["train"]) == count
        return
    assert len(sides["validation"]) == len(sides["test"]) > 0
    # A fifth of a number of tiles is half a tile off at most.
    assert abs(len(sides["test"]) - 0.2 * count) <= 0.5
    assert sides == build._sides(names, seed)


def test_another_seed_is_another_split(folder: Path):
    names = [f"t{number}" for number in range(40)]
    assert len({build._sides(names, seed)["test"] for seed in range(5)}) == 5
    one, other = cut(folder, seed=1), cut(folder, seed=2, overwrite=True)
    assert dict(one.counts) == dict(other.counts) == {"train": 22, "validation": 7, "test": 7}


def test_tiles_that_no_glacier_touches_are_left_out(folder: Path):
    built = cut(folder, empty=False)
    # 60 x 60 pixels from row 20 and column 10 touch rows 1 to 4 and columns 0 to 4 of tiles.
    assert sum(built.counts.values()) == 20
    assert built.left_out == 16


def test_an_inventory_of_another_coordinate_system(folder: Path):
    sums = []
    for crs in (CRS, "EPSG:4326", "EPSG:2154"):
        shape = gpd.GeoSeries([BOX], crs=CRS).to_crs(crs).iloc[0]
        write_inventory(folder, shape, crs=crs)
        built = cut(folder, overwrite=True)
        tiles = [tile for path in built.files.values() for tile in hdf5_tiles(path)]
        every = slice(None)
        sums.append(sum((tile.read(every, every, FOUR).labels == 1).sum() for tile in tiles))
    # Edges that lie on pixels' edges: a rounding may not decide, since centres are 5 m away.
    assert sums == [3600] * 3


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("shape", "crs", "error", "told"),
    [
        (
            shapely.Polygon([(LEFT, TOP), (LEFT + 900, TOP - 900), (LEFT + 900, TOP),
                             (LEFT, TOP - 900)]),
            CRS, InputError, "cross themselves",
        ),
        (BOX, None, GridError, "no coordinate reference system"),
        (shapely.box(0, 0, 10, 10), CRS, GridError, "reaches the scene"),
        (BOX, "EPSG:4326", GridError, "reaches the scene"),
        (shapely.box(LEFT + 12, TOP - 13, LEFT + 14, TOP - 11), CRS, GridError, "covers a pixel"),
    ],
)  # fmt: skip
def test_inventories_that_cannot_be_used(
    folder: Path, shape: shapely.Geometry, crs: str | None, error: type[Exception], told: str
):
    write_inventory(folder, shape, crs=crs)
    with pytest.raises(error, match=told):
        cut(folder)
    assert not (folder / "tiles").exists()


def test_scenes_that_do_not_cover_a_tile(folder: Path):
    numbers = (reflectance_of(ice_of(SIZE, 0), 0) / SCALE).astype(np.uint16)
    numbers[:, :, 40:] = 0
    write_image(folder / "scene.tif", numbers, names=BANDS)
    built = cut(folder)
    # Of six columns of tiles, three have data; the third of them in half of its pixels.
    assert sum(built.counts.values()) == 18
    assert built.left_out == 18
    halves = [
        tile.read(slice(None), slice(None), FOUR).valid.mean()
        for path in built.files.values()
        for tile in hdf5_tiles(path)
        if tile.info.name.startswith("ALP-32-")
    ]
    assert halves == [0.5] * 6


def test_no_tile_with_data_and_glaciers(folder: Path):
    numbers = np.full((4, SIZE, SIZE), 2000, np.uint16)
    numbers[:, :, :80] = 0
    write_image(folder / "scene.tif", numbers, names=BANDS)
    with pytest.raises(InputError, match=r"no tile of .* has both data and glaciers"):
        cut(folder, empty=False)
    assert not (folder / "tiles").exists()


def test_elevation_models_of_another_grid(folder: Path):
    x = np.arange(60) * 20.0
    with rasterio.open(
        folder / "dem.tif", "w", driver="GTiff", count=1, dtype="float32", height=60, width=60,
        crs=CRS, transform=Affine(20, 0, LEFT - 100, 0, -20, TOP + 100),
    ) as file:  # fmt: skip
        file.write((1000 + 0.5 * x + np.zeros((60, 1))).astype(np.float32), 1)
    built = cut(folder, bands=(*FOUR, "elevation", "slope"), dem=folder / "dem.tif")
    tile = hdf5_tiles(built.files["train"])[0]
    read = tile.read(slice(None), slice(None), ("elevation", "slope"))
    centres = tile.info.geobox.transform.c + 5 + 10 * np.arange(16)
    # The middle of the model's first cell lies at x = 0 of its ramp.
    wanted = 1000 + 0.5 * (centres - (LEFT - 100) - 10)
    np.testing.assert_allclose(read.pixels[0], np.broadcast_to(wanted, (16, 16)), atol=0.01)
    np.testing.assert_allclose(read.pixels[1], np.degrees(np.arctan(0.5)), atol=0.01)


def test_files_of_another_build_are_kept(folder: Path):
    first = cut(folder)
    before = {path: path.read_bytes() for path in first.files.values()}
    with pytest.raises(InputError, match=r"train\.hdf5 is there already"):
        cut(folder, seed=7)
    assert {path: path.read_bytes() for path in before} == before


def test_a_smaller_build_leaves_nothing_of_a_larger_one(folder: Path):
    cut(folder)
    built = cut(folder, tile_px=48, overwrite=True)
    assert dict(built.counts) == {"train": 4, "validation": 0, "test": 0}
    assert [path.name for path in (folder / "tiles").iterdir()] == ["train.hdf5"]


def test_no_file_is_left_if_one_fails(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The disk is full when the last tile is read."""
    read, calls = build._content, []

    def fails_late(*args: Any) -> Labelled:
        calls.append(args)
        if len(calls) == 2 * 36:  # once to choose, once to write
            raise OutputError("the disk is full")
        return read(*args)

    monkeypatch.setattr(build, "_content", fails_late)
    with pytest.raises(OutputError, match="the disk is full"):
        cut(folder)
    assert len(calls) == 72
    assert not list((folder / "tiles").iterdir())


def test_a_folder_that_cannot_be_written(folder: Path):
    (folder / "tiles").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        cut(folder)
    assert (folder / "tiles").read_text() == "a file"


@pytest.mark.parametrize(
    "lying", [Affine.rotation(10) * Affine.scale(10, -10), Affine.scale(10, 10)]
)
def test_turned_grids_have_no_place_in_the_format(folder: Path, lying: Affine):
    with rasterio.open(folder / "scene.tif", "r+") as file:
        file.transform = Affine.translation(LEFT, TOP - 500) * lying
    with pytest.raises(GridError, match="turned or upside down"):
        cut(folder)
    assert not list((folder / "tiles").iterdir())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"region": ""}, "give it a name"), ({"region": "A/B"}, "give it a name"),
     ({"tile_px": 15}, "at least 16")],
)  # fmt: skip
def test_options_that_cannot_be(wrong: dict[str, Any], told: str):
    with pytest.raises(InputError, match=told):
        BuildOptions(**{"region": "ALP", **wrong})


def test_names_of_tiles_are_unique(folder: Path):
    tile = hdf5_tiles(cut(folder).files["train"])[0]
    content = tile.read(slice(None), slice(None), FOUR)
    twice: list[tuple[TileInfo, Labelled]] = [(tile.info, content)] * 2
    with pytest.raises(InputError, match="two tiles have the name"):
        write_hdf5_tiles(folder / "twice.hdf5", twice)
    assert not (folder / "twice.hdf5").exists()
    assert not list(folder.glob(".twice*"))
