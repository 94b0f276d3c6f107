"""Cubes of all producers become one canonical cube."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from fsspec.asyn import AsyncFileSystem
from fsspec.registry import _registry

from ogive.model import DateError, GridError, InputError
from ogive.store.readers import open_cube

YEAR = 365.25


def its_live_cube() -> xr.Dataset:
    """A small datacube with ITS_LIVE's names, types and attributes, in polar stereographic."""
    n, rows, columns = 5, 4, 3
    first = np.datetime64("2019-01-01T15:00:01.5", "ns") + np.arange(n)[::-1] * np.timedelta64(
        9, "D"
    )
    second = first + np.arange(16, 16 + n) * np.timedelta64(1, "D")
    raw = np.arange(n * rows * columns, dtype="i2").reshape(n, rows, columns)
    raw[0, 0, 0] = -32767
    speed = {"units": "meter/year", "grid_mapping": "mapping"}
    crs = pyproj.CRS.from_epsg(3413)
    cube = xr.Dataset(
        {
            "vx": (("mid_date", "y", "x"), raw, speed),
            "vy": (("mid_date", "y", "x"), -raw, speed),
            "v": (("mid_date", "y", "x"), np.abs(raw), speed),
            "vx_error": ("mid_date", np.arange(1, n + 1, dtype="f4"), {"units": "meter/year"}),
            "vy_error": ("mid_date", np.arange(2, n + 2, dtype="f4"), {"units": "meter/year"}),
            "vx_stable_shift": ("mid_date", np.full(n, 3.65, "f4"), {"units": "meter/year"}),
            "acquisition_date_img1": ("mid_date", first),
            "acquisition_date_img2": ("mid_date", second),
            "date_dt": ("mid_date", (second - first) / np.timedelta64(1, "D"), {"units": "days"}),
            "satellite_img1": ("mid_date", np.array(["8", "2A", "2A", "9", "7"])),
            "landice": (("y", "x"), np.ones((rows, columns), "u1")),
            "mapping": ((), "", crs.to_cf() | {"spatial_epsg": 3413}),
        },
        {
            "mid_date": first + (second - first) / 2,
            "y": -2_000_000.0 - 120 * np.arange(rows),
            "x": -300_000.0 + 120 * np.arange(columns),
        },
        {"projection": "3413", "author": "ITS_LIVE"},
    )
    for name in ("vx", "vy", "v"):
        cube[name].attrs["_FillValue"] = np.int16(-32767)
    return cube


@pytest.mark.parametrize("form", [2, 3, "nc"])
def test_its_live_cubes(tmp_path, form):
    source = its_live_cube()
    path = tmp_path / ("cube.nc" if form == "nc" else "cube.zarr")
    if form == "nc":
        source.to_netcdf(path)
    else:
        plain = source if form == 2 else source.drop_vars(["satellite_img1", "mapping"])
        if form == 3:  # text has no specification in Zarr 3 yet
            plain["mapping"] = ((), np.int8(0), source.mapping.attrs)
        plain.to_zarr(path, zarr_format=form, consolidated=form == 2)
    cube = open_cube(path)
    assert cube.vx.chunks is not None
    assert cube.vx.dims == ("mid_date", "y", "x")
    assert (np.diff(cube.mid_date.values) > np.timedelta64(0)).all()
    order = np.argsort(source.mid_date.values)
    # autoRIFT's year has 365 days.
    factor = YEAR / 365
    raw = source.vx.values[order].astype(float)
    raw[raw == -32767] = np.nan
    np.testing.assert_allclose(cube.vx, raw * factor, rtol=1e-6)
    np.testing.assert_allclose(cube.vx_error, np.arange(1, 6)[order] * factor, rtol=1e-6)
    np.testing.assert_allclose(cube.vx_stable_shift, 3.65 * factor, rtol=1e-6)
    np.testing.assert_array_equal(
        cube.acquisition_date_img1.values, source.acquisition_date_img1.values[order]
    )
    assert cube.odc.crs.to_epsg() == 3413
    if form != 3:
        assert cube.satellite_img1.values.tolist() == source.satellite_img1.values[order].tolist()
    assert cube.attrs["days_per_year"] == YEAR


def test_the_users_year_and_crs_go_before_the_readers(tmp_path):
    source = its_live_cube().drop_vars("mapping")
    del source.attrs["projection"]
    source.to_netcdf(tmp_path / "cube.nc")
    with pytest.raises(GridError, match="pass crs"):
        open_cube(tmp_path / "cube.nc")
    cube = open_cube(tmp_path / "cube.nc", crs="EPSG:3413", days_per_year=YEAR)
    np.testing.assert_array_equal(np.nanmax(cube.vx), source.vx.values.max())


def test_an_its_live_granule(data_dir, tmp_path):
    path = next((data_dir / "hyp3_autorift_tests").glob("*.nc"))
    cube = open_cube(path)
    assert dict(cube.sizes) == {"mid_date": 1, "y": 1879, "x": 2016}
    assert cube.odc.crs.to_epsg() == 3031
    assert cube.satellite_img1.item() == "5"
    assert cube.date_dt.item() == pytest.approx(49.03003619277778, abs=1e-8)
    assert cube.vx_error.item() == pytest.approx(189.8 * YEAR / 365, rel=1e-6)
    folder = tmp_path / "pairs"
    folder.mkdir()
    shutil.copyfile(path, folder / "one.nc")
    assert open_cube(folder).sizes["mid_date"] == 1
    shutil.copyfile(path, folder / "two.nc")
    with pytest.raises(InputError, match="same pair"):
        open_cube(folder)
    (folder / "two.nc").unlink()
    its_live_cube().to_netcdf(folder / "three.nc")
    with pytest.raises(InputError, match="no image pair"):
        open_cube(folder)


def alpglacier_cube(**dates) -> xr.Dataset:
    n = 3
    crs = pyproj.CRS.from_epsg(32632)
    return xr.Dataset(
        {
            "vx": (("z", "y", "x"), np.full((n, 4, 5), 36.5, "f4"), {"units": "m/y"}),
            "vy": (("z", "y", "x"), np.full((n, 4, 5), -73.0, "f4"), {"units": "m/y"}),
            "error_vx": ("z", np.array([5, 6, 7], "f4")),
            "error_vy": ("z", np.array([8, 9, 10], "f4")),
            "sensor": ("z", np.array(["S2", "L8", "VENUS"])),
            "mapping": ((), np.int8(0), crs.to_cf()),
            **dates,
        },
        {"x": 340_000.0 + 50 * np.arange(5), "y": 5_080_000.0 - 50 * np.arange(4)},
    )


JULIAN = {"long_name": "modified Julian day"}
ALPGLACIER_DATES = {
    "decoded": lambda d: ("z", d),
    "julian": lambda d: ("z", (d - np.datetime64("1858-11-17")) / np.timedelta64(1, "D"), JULIAN),
    "text": lambda d: ("z", np.datetime_as_string(d, unit="D")),
    "number": lambda d: ("z", [int(str(v)[:10].replace("-", "")) for v in d]),
}


@pytest.mark.parametrize("form", ALPGLACIER_DATES)
def test_alpglacier_cubes(tmp_path, form):
    dates = ALPGLACIER_DATES[form]
    first = np.array(["2018-08-01", "2017-08-01", "2018-01-05"], "datetime64[ns]")
    second = first + np.array([30, 365, 10]) * np.timedelta64(1, "D")
    alpglacier_cube(date1=dates(first), date2=dates(second)).to_netcdf(tmp_path / "alps.nc")
    cube = open_cube(tmp_path / "alps.nc", days_per_year=365)
    order = np.argsort(first + (second - first) / 2)
    np.testing.assert_array_equal(cube.acquisition_date_img1, first[order])
    np.testing.assert_array_equal(cube.acquisition_date_img2, second[order])
    np.testing.assert_allclose(cube.vx, 36.525, rtol=1e-6)
    np.testing.assert_allclose(cube.vy_error, np.array([8, 9, 10])[order] * YEAR / 365, rtol=1e-6)
    assert cube.sensor_img1.values.tolist() == np.array(["S2", "L8", "VENUS"])[order].tolist()
    assert cube.odc.crs.to_epsg() == 32632


def test_alpglacier_dates_that_cannot_be_read_are_told(tmp_path):
    names = ("z", np.array(["spring", "summer", "autumn"]))
    alpglacier_cube(date1=names, date2=names).to_netcdf(tmp_path / "alps.nc")
    with pytest.raises(DateError, match="not understood"):
        open_cube(tmp_path / "alps.nc")


def write_map(path: Path, value: float, *, crs="EPSG:32607", bands=1, left=600_000.0):
    profile = {
        "driver": "GTiff", "height": 4, "width": 5, "count": bands, "dtype": "float32",
        "crs": crs, "transform": rasterio.transform.from_origin(left, 6_755_000, 120, 120),
        "nodata": -9999,
    }  # fmt: skip
    values = np.full((bands, 4, 5), value, "f4")
    values[:, 0, 0] = -9999
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)


def write_pair(folder: Path, name: str, **options):
    for component, value in (("vx", 1.0), ("vy", -2.0), ("errx", 0.1), ("erry", 0.2)):
        write_map(folder / name.format(component), value, **options)


def test_folders_of_geotiffs(tmp_path):
    write_pair(tmp_path, "LS8-061018_20180304-20180405_velo_{}_x.tif")
    write_pair(tmp_path, "S2B_2018-03-14_2018-03-29_{}.tif", left=600_100.0)
    with pytest.raises(InputError, match="do not say in which units"):
        open_cube(tmp_path)
    cube = open_cube(tmp_path, units="meter/day")
    assert dict(cube.sizes) == {"mid_date": 2, "y": 4, "x": 6}
    assert cube.vx.chunks is not None
    np.testing.assert_array_equal(cube.date_dt, [32, 15])
    assert cube.satellite_img1.values.tolist() == ["8", "2B"]
    assert np.isnan(cube.vx.values[0, 0, 0])
    for name, value in (("vx", 1.0), ("vy", -2.0), ("vx_error", 0.1), ("vy_error", 0.2)):
        np.testing.assert_allclose(cube[name].values[:, 2, 2], value * YEAR, rtol=1e-6)


def test_bad_folders_of_geotiffs_are_told(tmp_path):
    def folder(name):
        (tmp_path / name).mkdir()
        return tmp_path / name

    mixed = folder("mixed")
    write_pair(mixed, "A_20180304-20180405_{}.tif")
    write_pair(mixed, "A_20180404-20180505_{}.tif", crs="EPSG:32608")
    with pytest.raises(GridError, match="EPSG:32608 but layer 0 is in EPSG:32607"):
        open_cube(mixed, units="m/d")
    half = folder("half")
    write_pair(half, "A_20180304-20180405_{}.tif")
    write_map(half / "A_20180404-20180505_vx.tif", 1.0)
    with pytest.raises(InputError, match="no vy"):
        open_cube(half, units="m/d")
    bands = folder("bands")
    write_pair(bands, "A_20180304-20180405_{}.tif", bands=2)
    with pytest.raises(InputError, match="2 bands"):
        open_cube(bands, units="m/d")
    backwards = folder("backwards")
    write_pair(backwards, "A_20180405-20180304_{}.tif")
    with pytest.raises(DateError, match="must be the earlier"):
        open_cube(backwards, units="m/d")
    calendar = folder("calendar")
    write_pair(calendar, "A_20180231-20180405_{}.tif")
    with pytest.raises(DateError, match="no date"):
        open_cube(calendar, units="m/d")
    placeless = folder("placeless")
    write_pair(placeless, "A_20180304-20180405_{}.tif", crs=None)
    with pytest.raises(GridError, match="pass crs"):
        open_cube(placeless, units="m/d")
    assert open_cube(placeless, units="m/d", crs="EPSG:32607").odc.crs == "EPSG:32607"


def test_what_no_reader_knows_is_told(tmp_path):
    with pytest.raises(InputError, match="nothing at"):
        open_cube(tmp_path / "missing.zarr")
    (tmp_path / "text.nc").write_text("no cube")
    with pytest.raises(InputError, match="no NetCDF"):
        open_cube(tmp_path / "text.nc")
    xr.Dataset({"thickness": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputError, match=r"tried: ogive cube, ITS_LIVE cube.*thickness"):
        open_cube(tmp_path / "other.nc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no known kind"):
        open_cube(tmp_path / "empty")
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / ".zgroup").write_text("{")
    with pytest.raises(InputError, match="cannot be read as Zarr"):
        open_cube(tmp_path / "broken.zarr")


def test_the_cloud_needs_s3fs(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install s3fs"):
        open_cube("s3://its-live-data/datacubes/cube.zarr")
    with pytest.raises(InputError, match="neither"):
        open_cube("ftp://somewhere/cube.zarr")


class Bucket:
    """A folder on the loopback, object by object, as a public bucket gives it."""

    def __init__(self, folder: Path) -> None:
        asked = self.asked = []

        class Objects(SimpleHTTPRequestHandler):
            def log_message(self, form, *values):
                asked.append(self.path)

        answer = partial(Objects, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def get(self, name: str) -> bytes:
        try:
            with urlopen(f"{self.url}/{name}") as answer:
                return answer.read()
        except HTTPError as error:
            error.close()
            raise FileNotFoundError(name) from error

    def __enter__(self) -> Bucket:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def s3_over_http(monkeypatch):
    """Let s3:// addresses be read from a bucket on the loopback, in the place of s3fs."""

    def serve(bucket: Bucket) -> None:
        class S3OverHTTP(AsyncFileSystem):
            protocol = "s3"
            cachable = False

            def __init__(self, *, anon: bool, **options):
                assert anon, "public data need no credentials"
                super().__init__(**options)

            async def _cat_file(self, path, start=None, end=None, **options):
                assert start is None
                assert end is None
                return await asyncio.to_thread(bucket.get, path)

        monkeypatch.setitem(_registry, "s3", S3OverHTTP)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    return serve


def test_a_cube_in_the_cloud(tmp_path, s3_over_http):
    """The road from an address to a canonical cube, with HTTP below in the place of s3fs."""
    source = its_live_cube()
    source["vx"].values[:] = 7
    store = tmp_path / "its-live-data" / "datacubes" / "cube.zarr"
    source.to_zarr(store, zarr_format=2, consolidated=True)
    with Bucket(tmp_path) as bucket:
        s3_over_http(bucket)
        cube = open_cube("s3://its-live-data/datacubes/cube.zarr")
        assert cube.vx.chunks is not None
        asked = [path for path in bucket.asked if "/vx/" in path or "/vy/" in path]
        assert not any(path.rsplit("/", 1)[1][0].isdigit() for path in asked)  # no chunk of a map
        loaded = cube.load()
        assert any("/vx/0" in path for path in bucket.asked)
        xr.testing.assert_identical(loaded, open_cube(store).load())
        with pytest.raises(InputError, match=r"missing\.zarr cannot be read as Zarr"):
            open_cube("s3://its-live-data/datacubes/missing.zarr")


def test_kaskawulsh(data_dir):
    cube = open_cube(data_dir / "kaskawulsh_2018" / "velocity", units="meter/day")
    assert cube.sizes["mid_date"] == 32
    satellites, counts = np.unique(cube.satellite_img1.values, return_counts=True)
    assert dict(zip(satellites, counts, strict=True)) == {"2": 24, "8": 8}
    assert cube.vx.chunks is not None
    # Values on their own grid are kept: the first layer by name is a Landsat one.
    name = "LS8-061018_20180304-20180405_velo-corrected_vx_SNT-GAU-RSO.tif"
    with rasterio.open(data_dir / "kaskawulsh_2018" / "velocity" / name) as file:
        own = file.read(1, masked=True).filled(np.nan)
        left, top = file.transform.c + 60, file.transform.f - 60
    number = np.flatnonzero(cube.granule_url.str.startswith("LS8-061018_20180304"))[0]
    layer = cube.vx.isel(mid_date=int(number))
    kept = layer.sel(x=left + 120 * np.arange(own.shape[1]), y=top - 120 * np.arange(own.shape[0]))
    np.testing.assert_allclose(kept.values, own * YEAR, rtol=1e-6)
