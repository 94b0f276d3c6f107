"""Windows of large images: the same pixels as reading them whole, at every level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling

from ogive.model import GridError, InputError
from ogive.scenes import pyramid as pyramid_module
from ogive.scenes.pyramid import open_pair
from ogive.scenes.read import common_grid, read_image, valid_mask

# Raised while these tests write files without a reference, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

UTM = "EPSG:32607"
PLACE = Affine(10, 0, 560_000, 0, -10, 6_690_000)


def write(path: Path, pixels: np.ndarray, *, crs=UTM, place=PLACE, **profile) -> Path:
    georeference = {"crs": crs, "transform": place} if crs else {}
    bands = pixels if pixels.ndim == 3 else pixels[None]
    count, rows, columns = bands.shape
    with rasterio.open(
        path, "w", "GTiff", columns, rows, count, dtype=pixels.dtype, **georeference, **profile
    ) as file:
        file.write(bands)
    return path


def texture(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 60_000, (rows, columns)).astype(np.uint16)


def whole(image, level: int) -> np.ndarray:
    height, width = image.size(level)
    return image.read(level, slice(0, height), slice(0, width))


def block_means(pixels: np.ndarray, ratio: int) -> np.ndarray:
    rows, columns = (length // ratio * ratio for length in pixels.shape)
    blocks = pixels[:rows, :columns].astype(float)
    return blocks.reshape(rows // ratio, ratio, columns // ratio, ratio).mean(axis=(1, 3))


def test_every_level_is_the_mean_of_its_blocks(tmp_path, monkeypatch):
    # Levels from memory and from the file meet at a side of 2048; here at 300.
    monkeypatch.setattr(pyramid_module, "_KEPT_SIDE_PX", 300)
    monkeypatch.setattr(pyramid_module, "_STRIP_ROWS", 64)
    pixels = texture(1111, 903)
    path = write(tmp_path / "a.tif", pixels)
    with open_pair(path, path) as pair:
        image = pair.earlier
        assert (pair.message, pair.resampled, image.levels) == ("", False, 3)
        for level in range(image.levels):
            expected = block_means(pixels, 2**level)
            assert image.size(level) == expected.shape
            # GDAL rounds the means of integers.
            np.testing.assert_allclose(whole(image, level), expected, atol=0.5 + 1e-3)
        beyond = image.read(0, slice(-3, 2), slice(900, 906))
        np.testing.assert_array_equal(beyond[3:, :3], pixels[:2, 900:])
        assert np.isnan(beyond[:3]).all()
        assert np.isnan(beyond[:, 3:]).all()
        with pytest.raises(InputError, match="no level 3"):
            image.read(3, slice(0, 1), slice(0, 1))
    with pytest.raises(InputError, match="is closed"):
        image.read(0, slice(0, 1), slice(0, 1))


@given(
    level=st.integers(0, 2),
    top=st.integers(-20, 300),
    left=st.integers(-20, 300),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
)
def test_any_window_is_a_part_of_the_whole(window_pair, level, top, left, height, width):
    image, levels = window_pair
    padded = np.pad(levels[level], 400, constant_values=np.nan)
    window = image.read(level, slice(top, top + height), slice(left, left + width))
    expected = padded[400 + top : 400 + top + height, 400 + left : 400 + left + width]
    np.testing.assert_array_equal(window, expected)


@pytest.fixture(scope="module")
def window_pair(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("window") / "a.tif", texture(1200, 1300))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid_module, "_KEPT_SIDE_PX", 330)
        with open_pair(path, path) as pair:
            yield pair.earlier, [whole(pair.earlier, level) for level in range(3)]


@pytest.mark.parametrize("how", ["nodata", "mask", "name", "nan"])
def test_pixels_without_data_are_nan_and_do_not_count(tmp_path, how):
    pixels = texture(1200, 640).astype(np.float32 if how == "nan" else np.uint16)
    hole = np.zeros(pixels.shape, bool)
    hole[:600, :320] = True
    pixels[hole] = np.nan if how == "nan" else 0
    name = "T07VDH_20200701T210531_B08.tif" if how == "name" else "a_20200701.tif"
    path = write(tmp_path / name, pixels, **({"nodata": 0} if how == "nodata" else {}))
    if how == "mask":
        with rasterio.open(path, "r+") as file:
            file.write_mask(~hole)
    with open_pair(path, path) as pair:
        fine = whole(pair.earlier, 0)
        np.testing.assert_array_equal(np.isnan(fine), hole)
        coarse = whole(pair.earlier, pair.earlier.levels - 1)
        ratio = 2 ** (pair.earlier.levels - 1)
        assert ratio > 1
        np.testing.assert_array_equal(np.isnan(coarse), hole[::ratio, ::ratio])
    np.testing.assert_array_equal(hole, ~valid_mask(read_image(path)))


def test_images_of_one_lattice_are_cropped_to_what_they_share(tmp_path):
    pixels = texture(400, 500)
    one = write(tmp_path / "one.tif", pixels[:350, :450])
    other = write(
        tmp_path / "other.tif", pixels[30:, 20:], place=PLACE @ Affine.translation(20, 30)
    )
    expected = common_grid(read_image(one), read_image(other))
    with open_pair(one, other) as pair:
        assert not pair.resampled
        assert "430 x 320 pixels" in pair.message
        assert pair.grid == expected.earlier.odc.geobox
        for image in (pair.earlier, pair.later):
            np.testing.assert_array_equal(whole(image, 0), pixels[30:350, 20:450])


def test_another_lattice_is_resampled_as_for_matching(tmp_path):
    smooth = np.add.outer(50.0 * np.arange(300), 30.0 * np.arange(320)).astype(np.float32)
    one = write(tmp_path / "one.tif", smooth)
    # 15 m pixels, off by a fraction: the same plane at other places.
    place = Affine(15, 0, 560_204, 0, -15, 6_689_797)
    x = (place.c + 15 * (np.arange(180) + 0.5) - 560_000) / 10 - 0.5
    y = -(place.f - 15 * (np.arange(160) + 0.5) - 6_690_000) / 10 - 0.5
    plane = np.add.outer(50 * y, 30 * x).astype(np.float32)
    other = write(tmp_path / "other.tif", plane, place=place)
    expected = common_grid(read_image(one), read_image(other))
    with open_pair(one, other) as pair:
        assert pair.resampled
        assert "resampled by cubic" in pair.message
        assert pair.grid == expected.earlier.odc.geobox
        found = whole(pair.later, 0)
        middle = (slice(4, -4), slice(4, -4))
        # Cubic convolution keeps a plane, within GDAL's tables of weights (1e-3 of a 15 m step).
        np.testing.assert_allclose(found[middle], expected.earlier.values[middle], atol=0.2)


def test_overviews_of_the_file_are_used(tmp_path):
    pixels = texture(2300, 2200)
    path = write(tmp_path / "a.tif", pixels, tiled=True)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4, 8], Resampling.average)
    with rasterio.open(path, overview_level=1) as file:
        stored = file.read(1)
    with open_pair(path, path) as pair:
        level = pair.earlier.read(2, slice(0, 500), slice(0, 500))
    # Means of means of two, each rounded.
    np.testing.assert_allclose(level, stored[:500, :500], atol=1.0)


def test_what_cannot_be_paired_is_a_sentence(tmp_path):
    pixels = texture(50, 60)
    one = write(tmp_path / "one.tif", pixels)
    far = write(tmp_path / "far.tif", pixels, place=Affine.translation(1e6, 0) @ PLACE)
    zone = write(tmp_path / "zone.tif", pixels, crs="EPSG:32608")
    degrees = write(
        tmp_path / "degrees.tif", pixels, crs="EPSG:4326", place=Affine(1e-3, 0, 7, 0, -1e-3, 46)
    )
    bare = write(tmp_path / "bare.tif", pixels, crs=None)
    bands = write(tmp_path / "bands.tif", np.stack([pixels, pixels]))
    for other, error, told in (
        (far, GridError, "do not overlap"),
        (zone, GridError, "EPSG:32608 but one is in EPSG:32607"),
        (bare, GridError, "no coordinate reference system"),
        (bands, InputError, "2 bands, choose one"),
        (tmp_path / "none.tif", InputError, "there is no file"),
    ):
        with pytest.raises(error, match=told), open_pair(one, other):
            pass
    with pytest.raises(GridError, match="not the metre"), open_pair(degrees, degrees):
        pass
    with open_pair(bands, bands, band=2) as pair:
        np.testing.assert_array_equal(whole(pair.later, 0), pixels)
    with open_pair(bare, bare, allow_no_crs=True) as pair:
        assert pair.grid.crs is None


def test_a_file_that_is_cut_while_it_is_open_is_told(tmp_path):
    path = write(tmp_path / "a.tif", texture(600, 600), tiled=True, blockxsize=256, blockysize=256)
    # The header stays whole: only the pixels are gone.
    path.write_bytes(path.read_bytes()[:4000])
    with open_pair(path, path) as pair, pytest.raises(InputError, match="may be truncated"):
        whole(pair.earlier, 0)
