"""Folders of images as a source of scenes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio

from ogive.model import InputError
from ogive.scenes import asset_of, local, matching_band, pairs, read_window
from ogive.scenes.source import local_path


def write(path: Path, *, bands: int = 1, crs: str | None = "EPSG:32632", **profile: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"driver": "GTiff", "dtype": "uint16", "count": bands, "height": 20, "width": 30}
    place = rasterio.Affine(10, 0, 500000, 0, -10, 5200000)
    with rasterio.open(path, "w", crs=crs, transform=place, **shape, **profile) as file:
        file.write(np.full((bands, 20, 30), 7, np.uint16))
    return path


def test_dated_images_are_scenes_and_bands_of_one_acquisition_are_one(tmp_path: Path) -> None:
    write(tmp_path / "T32TLS_20200911T102021_B08_10m.tif")
    write(tmp_path / "T32TLS_20200911T102021_B04_10m.tif")
    write(tmp_path / "deeper" / "glacier_2020-09-01.tif", nodata=0)
    write(tmp_path / "LC08_L1TP_194028_20200820_20200905_02_T1_B8.TIF")
    scenes = local(tmp_path)
    assert [scene.time.date().isoformat() for scene in scenes] == [
        "2020-08-20", "2020-09-01", "2020-09-11",
    ]  # fmt: skip
    landsat, plain, sentinel = scenes
    assert (landsat.path, landsat.row, matching_band(landsat)) == (194, 28, "B8")
    assert asset_of(landsat, "pan").nodata == 0
    assert set(sentinel.assets) == {"B04", "B08"}
    assert sentinel.tile == "T32TLS"
    assert plain.assets["image"].nodata == 0
    assert plain.crs == "EPSG:32632"
    assert matching_band(plain) == "image"


def test_a_local_scene_is_read_on_its_own_grid(tmp_path: Path) -> None:
    write(tmp_path / "glacier_20200901.tif")
    write(tmp_path / "glacier_20200911.tif")
    (pair,) = pairs(local(tmp_path))
    from odc.geo.geobox import GeoBox

    grid = GeoBox((5, 5), rasterio.Affine(10, 0, 500020, 0, -10, 5199950), "EPSG:32632")
    assert (read_window(pair.earlier, "image", grid) == 7).all()
    assert pair.days == 10


def test_bands_of_one_file_and_its_own_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "glacier_20200901.tif", bands=3)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("red", "green", None)
        file.scales, file.offsets = (0.5,) * 3, (-1.0,) * 3
    (scene,) = local(tmp_path)
    assert list(scene.assets) == ["red", "green", "band 3"]
    assert [asset.index for asset in scene.assets.values()] == [1, 2, 3]
    assert (scene.assets["red"].scale, scene.assets["red"].offset) == (0.5, -1.0)


def test_undated_images_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "glacier_20200901.tif")
    write(tmp_path / "dem.tif")
    assert len(local(tmp_path)) == 1
    assert "1 images are left out" in caplog.text
    assert "dem.tif" in caplog.text


def test_images_without_a_map_are_scenes_without_one(tmp_path: Path) -> None:
    write(tmp_path / "glacier_20200901.tif", crs=None)
    (scene,) = local(tmp_path)
    assert (scene.crs, scene.footprint) == ("", "")


def test_what_is_no_folder_of_scenes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        local(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no scene"):
        local(tmp_path)
    (tmp_path / "glacier_20200901.tif").write_bytes(b"II*\0 and no more")
    with pytest.raises(InputError, match="truncated or no image"):
        local(tmp_path)


def test_real_images(data_dir: Path) -> None:
    scenes = local(data_dir / "yahtse_l8_pair")
    (pair,) = pairs(scenes)
    assert (pair.days, pair.earlier.path, pair.earlier.row) == (16, 63, 18)
    assert matching_band(pair.earlier) == "B8"
    assert pair.earlier.time == datetime(2016, 7, 18)


def test_which_addresses_are_here() -> None:
    assert local_path("/a/b.tif") == Path("/a/b.tif")
    assert local_path("file:///a/b%20c.tif") == Path("/a/b c.tif")
    assert local_path("https://a.org/b.tif") is None
    assert local_path("s3://bucket/b.tif") is None
