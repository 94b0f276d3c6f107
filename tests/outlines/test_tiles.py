"""Tiles from GeoTIFF and HDF5: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import h5py
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from ogive.model import GridError, InputError
from ogive.outlines.bands import TRACKS
from ogive.outlines.tile_geotiff import geotiff_tiles
from ogive.outlines.tile_hdf5 import hdf5_tiles, write_hdf5_tiles
from ogive.outlines.tiles import IGNORE, Labelled, TileInfo

from .conftest import BANDS, CRS, SCALE, ice_of, reflectance_of, write_image, write_tile

ALL = slice(None)
FOUR = ("blue", "green", "red", "nir")


def read_all(folder: Path, **options: object):
    given = {"place": "[^_]+", "scale": SCALE, **options}
    images = sorted((folder / "images").glob("*.tif"))
    return geotiff_tiles(images, folder / "masks", **given)


def test_geotiff_tiles(tiles_folder: Path):
    tiles = read_all(tiles_folder, region="ALP")
    assert len(tiles) == 12
    info = tiles[3].info
    assert (info.name, info.place, info.region) == ("g03_2020", "g03", "ALP")
    assert info.bands == FOUR
    assert info.geobox is not None
    read = tiles[3].read(slice(5, 30), slice(2, 9), ("nir", "blue"))
    np.testing.assert_allclose(
        read.pixels, reflectance_of(ice_of(48, 3), 3)[[3, 0], 5:30, 2:9], atol=SCALE
    )
    np.testing.assert_array_equal(read.labels, ice_of(48, 3)[5:30, 2:9])


def test_nodata_is_ignored(tmp_path: Path):
    write_tile(tmp_path, "a_2020")
    ice = ice_of(48, 0)
    numbers = (reflectance_of(ice, 0) / SCALE).astype(np.uint16)
    numbers[2, :10] = 0
    write_image(tmp_path / "images" / "a_2020.tif", numbers, names=BANDS)
    content = read_all(tmp_path)[0].content
    assert not content.valid[:10].any()
    assert content.valid[10:].all()
    assert (content.labels[:10] == IGNORE).all()


def test_ground_beyond_the_coverage_is_ignored(tmp_path: Path):
    """The inventory ends in the middle of the tile; it is drawn in degrees."""
    write_tile(tmp_path, "a_2020")
    west = shapely.box(4e5 - 1e4, 5.1e6 - 1e4, 4e5 + 240, 5.1e6 + 1e4)
    country = gpd.GeoSeries([west], crs=CRS).to_crs("EPSG:4326")
    country.to_file(tmp_path / "country.geojson")
    labels = read_all(tmp_path, coverage=tmp_path / "country.geojson")[0].content.labels
    # Four corners of 20 km: their edges bend by metres between degrees and the grid.
    np.testing.assert_array_equal(labels[:, :23], ice_of(48, 0)[:, :23])
    assert (labels[:, 25:] == IGNORE).all()
    elsewhere = tmp_path / "elsewhere.geojson"
    gpd.GeoSeries([shapely.box(0, 0, 1, 1)], crs="EPSG:4326").to_file(elsewhere)
    with pytest.raises(GridError, match="covers a pixel of any tile"):
        read_all(tmp_path, coverage=elsewhere)
    with pytest.raises(InputError, match="there is no file"):
        read_all(tmp_path, coverage=tmp_path / "nothing.geojson")
    country.to_file(tmp_path / "country.shp")
    (tmp_path / "country.prj").unlink()
    with pytest.raises(GridError, match="no coordinate reference system"):
        read_all(tmp_path, coverage=tmp_path / "country.shp")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": 1.0}, "0.0001 for Sentinel-2"),
        ({"scale": 1e-8}, "scaled twice"),
        ({"bands": ["blue", "green", "red"]}, "has 4 bands, but 3 were named"),
        ({"bands": ["blue", "green", "red", "B5"]}, "there is no band 'B5'"),
        ({"place": "x+"}, "does not begin with a place"),
    ],
)
def test_wrong_ways_to_read(tmp_path: Path, options: dict[str, object], told: str):
    write_tile(tmp_path, "a_2020")
    with pytest.raises(InputError, match=told):
        read_all(tmp_path, **options)


def test_bands_that_nobody_names(tmp_path: Path):
    write_tile(tmp_path, "a_2020")
    numbers = (reflectance_of(ice_of(48, 0), 0) / SCALE).astype(np.uint16)
    write_image(tmp_path / "images" / "a_2020.tif", numbers)
    with pytest.raises(InputError, match="does not say what its 4 bands are"):
        read_all(tmp_path)
    assert read_all(tmp_path, bands=["B2", "B3", "B4", "B8"])[0].info.bands == FOUR


def test_masks_with_other_values(tmp_path: Path):
    write_tile(tmp_path, "a_2020")
    write_image(tmp_path / "masks" / "a_2020.tif", np.full((1, 48, 48), 7, np.uint8))
    with pytest.raises(InputError, match=r"a_2020\.tif has the value 7"):
        read_all(tmp_path)


def test_masks_that_are_missing_or_elsewhere(tmp_path: Path):
    write_tile(tmp_path, "a_2020")
    mask = ice_of(48, 0)[None].astype(np.uint8)
    write_image(tmp_path / "masks" / "a_2020.tif", mask, left=4e5 + 10)
    with pytest.raises(GridError, match="another grid than its image"):
        read_all(tmp_path)
    (tmp_path / "masks" / "a_2020.tif").unlink()
    with pytest.raises(InputError, match="needs a mask of the same name"):
        read_all(tmp_path)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_images_without_a_coordinate_system(tmp_path: Path):
    write_tile(tmp_path, "a_2020")
    numbers = (reflectance_of(ice_of(48, 0), 0) / SCALE).astype(np.uint16)
    write_image(tmp_path / "images" / "a_2020.tif", numbers, crs=None, names=BANDS)
    with pytest.raises(GridError, match="no coordinate reference system"):
        read_all(tmp_path)


def test_no_images(tmp_path: Path):
    with pytest.raises(InputError, match="no images"):
        geotiff_tiles([], tmp_path, place=".")


def made(name: str, bands: tuple[str, ...] = TRACKS["optical+dem"], size: int = 20):
    """A tile of plausible values, with a corner of nodata."""
    rng = np.random.default_rng(len(name))
    pixels = rng.uniform(0.1, 0.9, (len(bands), size, size)).astype(np.float32)
    valid = np.ones((size, size), bool)
    valid[:3, :3] = False
    pixels[:, ~valid] = 0
    labels = np.where(valid, rng.integers(0, 2, (size, size)), IGNORE).astype(np.uint8)
    grid = GeoBox((size, size), Affine(10, 0, 4e5, 0, -10, 5.1e6), "EPSG:32632")
    info = TileInfo(
        name=name, place=name, bands=bands, height=size, width=size, geobox=grid, region="ALP"
    )
    return info, Labelled(pixels, labels, valid)


@pytest.mark.parametrize("bands", [*TRACKS.values(), FOUR, ("red", "coherence_descending")])
def test_hdf5_tiles_come_back(tmp_path: Path, bands: tuple[str, ...]):
    info, content = made("ALP-1-2", bands)
    path = write_hdf5_tiles(tmp_path / "train.hdf5", [(info, content)])
    # Random numbers are no coherences' neighbours: values are checked elsewhere.
    (tile,) = hdf5_tiles(path, check=False)
    assert tile.info == info
    read = tile.read(slice(2, 15), slice(0, 20), bands[::-1])
    np.testing.assert_array_equal(read.pixels, content.pixels[::-1, 2:15])
    np.testing.assert_array_equal(read.labels, content.labels[2:15])
    np.testing.assert_array_equal(read.valid, content.valid[2:15])


def published(path: Path, **changes: object) -> Path:
    """A file as the benchmark has them: padding, no names of bands, no coordinate system."""
    rng = np.random.default_rng(0)
    datasets: dict[str, np.ndarray] = {
        "optical": rng.uniform(0.1, 0.9, (24, 28, 6)),
        "dem": rng.uniform(10, 60, (24, 28, 2)),
        "thermal": rng.uniform(260, 280, (24, 28, 1)),
        "outlines": np.eye(2)[rng.integers(0, 2, (24, 28))],
    }
    attrs = {
        "height": 24, "width": 28, "original_height": 20, "original_width": 20,
        "padding_height": 2, "padding_width": 4, "xmin": 0.0, "ymin": 0.0, "xmax": 200.0,
        "ymax": 200.0, "region": "ALP", "subregion": "ALP",
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        group = file.create_group("ALP-28-23")
        for name, values in {**datasets, **changes}.items():
            if values is not None:
                group.create_dataset(name, data=values)
        group.attrs.update(attrs)
    return path


def test_a_published_file(tmp_path: Path):
    (tile,) = hdf5_tiles(published(tmp_path / "tggm_val.hdf5"))
    assert tile.info.bands == TRACKS["optical+dem+thermal"]
    assert tile.info.region == "ALP"
    assert tile.info.geobox is None
    read = tile.read(slice(0, 24), slice(0, 28), ("slope", "swir2"))
    inside = np.zeros((24, 28), bool)
    inside[2:22, 4:24] = True
    np.testing.assert_array_equal(read.valid, inside)
    assert (read.labels[~inside] == IGNORE).all()
    with h5py.File(tmp_path / "tggm_val.hdf5") as file:
        wanted = file["ALP-28-23/optical"][2:22, 4:24, 5]
    np.testing.assert_allclose(read.pixels[1][inside].reshape(20, 20), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"outlines": None}, "no dataset 'outlines'"),
        ({"outlines": np.zeros((24, 28, 3))}, "3 classes"),
        ({"outlines": np.full((24, 28, 2), 1)}, "one-hot"),
        ({"optical": np.full((24, 28, 5), 0.3)}, "optical has 5 bands, but 6"),
        ({"optical": np.full((24, 28, 6), 3000.0)}, "no reflectance"),
        ({"dem": np.full((24, 27, 2), 20.0)}, "different sizes"),
        ({"dem": np.full((24, 28), 20.0)}, "2 axes"),
        ({"optical": None, "dem": None, "thermal": None}, "none of the datasets"),
    ],
)
def test_hdf5_files_that_are_wrong(tmp_path: Path, changes: dict[str, object], told: str):
    with pytest.raises(InputError, match=told):
        hdf5_tiles(published(tmp_path / "wrong.hdf5", **changes))


def test_files_that_are_no_hdf5(tmp_path: Path):
    (tmp_path / "a.hdf5").write_text("no")
    with pytest.raises(InputError, match="cannot be read as an HDF5 file"):
        hdf5_tiles(tmp_path / "a.hdf5")
    h5py.File(tmp_path / "b.hdf5", "w").close()
    with pytest.raises(InputError, match="holds no tiles"):
        hdf5_tiles(tmp_path / "b.hdf5")


def test_nothing_half_written(tmp_path: Path):
    info, content = made("a")
    lost = TileInfo(name="b", place="b", bands=info.bands, height=20, width=20)
    with pytest.raises(InputError, match="no coordinate reference system"):
        write_hdf5_tiles(tmp_path / "t.hdf5", [(info, content), (lost, content)])
    with pytest.raises(InputError, match="no tile to write"):
        write_hdf5_tiles(tmp_path / "t.hdf5", [])
    assert not list(tmp_path.iterdir())


def test_a_band_that_a_tile_has_not(tiles_folder: Path):
    with pytest.raises(InputError, match="has no band swir1"):
        read_all(tiles_folder)[0].read(ALL, ALL, ("swir1",))
