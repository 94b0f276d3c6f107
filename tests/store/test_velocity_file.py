"""Velocity files: ITS_LIVE's schema, exact in float32, readable by everyone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (the .rio accessor)
import xarray as xr

from ogive.model import GridError, InputError, OutputError, Pair
from ogive.store.pair_info import pair_from_information
from ogive.store.velocity_file import read_velocity, velocity_file_name, write_velocity

# Raised inside odc-geo, for its makers: the product of affine maps is told to become `@`.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

Make = Callable[..., xr.Dataset]
GRANULE = (
    "LT05_L1GS_219121_19841206_20200918_02_T2_X_LT05_L1GS_226120_19850124_20200918_02_T2"
    "_G0120V02_P000.nc"
)


@pytest.fixture
def granule(data_dir: Path) -> Path:
    return data_dir / "hyp3_autorift_tests" / GRANULE


def test_float32_comes_back_exactly(
    tmp_path: Path, make_velocity: Make, landsat_pair: Pair
) -> None:
    velocity = make_velocity().assign_coords(mid_date=np.datetime64("2016-07-26", "ns"), run=3)
    back = read_velocity(write_velocity(velocity, tmp_path / "v.nc", pair=landsat_pair))
    assert back.mid_date.values == velocity.mid_date.values
    assert back.run == 3
    for name, array in velocity.data_vars.items():
        assert back[name].dtype == array.dtype, name
        np.testing.assert_array_equal(back[name].values, array.values, err_msg=str(name))
        for key, value in array.attrs.items():
            np.testing.assert_array_equal(back[name].attrs[key], value, err_msg=f"{name}: {key}")
    np.testing.assert_array_equal(back.x, velocity.x)
    np.testing.assert_array_equal(back.y, velocity.y)
    assert back.odc.geobox == velocity.odc.geobox
    for key, value in velocity.attrs.items():
        assert back.attrs[key] == value
    assert back.attrs["days_per_year"] == 365.25


def test_written_twice_is_the_same(tmp_path: Path, make_velocity: Make, landsat_pair: Pair) -> None:
    first = read_velocity(write_velocity(make_velocity(), tmp_path / "a.nc", pair=landsat_pair))
    again = read_velocity(write_velocity(first, tmp_path / "b.nc", pair=None))
    xr.testing.assert_identical(first.drop_attrs(deep=False), again.drop_attrs(deep=False))


def test_rewritten_file_tells_its_own_making(
    tmp_path: Path, make_velocity: Make, landsat_pair: Pair
) -> None:
    velocity = make_velocity().assign_attrs(
        Conventions="CF-1.8", satellite="Landsat 5", history="2023: made elsewhere", title="mine"
    )
    back = read_velocity(write_velocity(velocity, tmp_path / "v.nc", pair=landsat_pair))
    assert back.attrs["Conventions"] == "CF-1.11"
    assert back.attrs["satellite"] == "Landsat 8"
    assert back.attrs["title"] == "mine"
    newest, oldest = back.attrs["history"].split("\n")
    assert "ogive" in newest
    assert oldest == "2023: made elsewhere"


@pytest.mark.parametrize("pair_name", ["landsat_pair", "sentinel_pair", "bare_pair"])
def test_pair_comes_back(
    tmp_path: Path, make_velocity: Make, pair_name: str, request: pytest.FixtureRequest
) -> None:
    pair: Pair = request.getfixturevalue(pair_name)
    back = read_velocity(write_velocity(make_velocity(), tmp_path / "v.nc", pair=pair))
    told = pair_from_information(back["img_pair_info"].attrs)
    for scene, original in ((told.earlier, pair.earlier), (told.later, pair.later)):
        for field in ("id", "time", "mission", "satellite", "sensor", "path", "row", "tile"):
            assert getattr(scene, field) == getattr(original, field), field
        assert scene.relative_orbit == original.relative_orbit
        assert scene.processing_level == original.processing_level
    assert told.days == pair.days


def test_same_names_and_attributes_as_a_real_granule(
    tmp_path: Path, make_velocity: Make, landsat_pair: Pair, granule: Path
) -> None:
    path = write_velocity(
        make_velocity("EPSG:3031"), tmp_path / "v.nc", pair=landsat_pair, dtype="int16"
    )
    with netCDF4.Dataset(granule) as real, netCDF4.Dataset(path) as ours:
        assert set(real.ncattrs()) <= set(ours.ncattrs())
        assert set(real.variables) <= set(ours.variables)
        for name, variable in real.variables.items():
            mine = ours[name]
            lacking = set(variable.ncattrs()) - set(mine.ncattrs())
            # CF's table does not know these standard names; WKT names the scale of 1.
            allowed = {"standard_name"} if "its_live_standard_name" in mine.ncattrs() else set()
            allowed |= {"scale_factor_at_projection_origin"} if name == "mapping" else set()
            assert lacking <= allowed, name
            assert mine.dimensions == variable.dimensions, name
            if variable.dimensions:
                assert mine.dtype == variable.dtype, name
            if "_FillValue" in variable.ncattrs():
                assert mine._FillValue == variable._FillValue, name
                assert mine.filters()["zlib"], name
                assert mine.filters()["shuffle"], name
        for name in ("standard_name", "grid_mapping_name"):
            for where in ("vx", "vy", "x", "y", "mapping"):
                if name in real[where].ncattrs():
                    assert real[where].getncattr(name) == ours[where].getncattr(name)
        for name in ("vx", "vy", "v", "v_error", "chip_size_width", "interp_mask"):
            for attribute in ("units", "description", "grid_mapping", "flag_meanings"):
                if attribute in real[name].ncattrs():
                    assert real[name].getncattr(attribute) == ours[name].getncattr(attribute)
        assert real["v_error"].standard_name == ours["v_error"].its_live_standard_name
        descriptions = [a for a in real["vx"].ncattrs() if a.endswith("_description")]
        for attribute in descriptions:
            for name in ("vx", "vy"):
                assert real[name].getncattr(attribute) == ours[name].getncattr(attribute)
        for name in (
            "proj4text",
            "spatial_epsg",
            "spatial_ref",
            "straight_vertical_longitude_from_pole",
        ):
            assert real["mapping"].getncattr(name) == ours["mapping"].getncattr(name), name
        info, mine = real["img_pair_info"], ours["img_pair_info"]
        for name in info.ncattrs():
            assert type(info.getncattr(name)) is type(mine.getncattr(name)), name


def test_real_granule_is_read(granule: Path) -> None:
    velocity = read_velocity(granule)
    assert velocity.odc.geobox.crs.epsg == 3031
    assert velocity.odc.geobox.resolution.x == 120
    assert velocity.vx.dtype == np.float32
    assert np.isnan(velocity.vx).all()  # this granule is empty, as its P000 says
    assert velocity.vx.attrs["error"] == 189.8
    pair = pair_from_information(velocity["img_pair_info"].attrs)
    assert (pair.earlier.satellite, pair.earlier.path, pair.later.row) == ("5", 219, 120)
    # The granule's own date_dt; its dates are rounded to microseconds.
    assert abs(pair.days - velocity["img_pair_info"].attrs["date_dt"]) < 1e-6 / 86400 * 10


def test_missing_calibration_has_its_live_values(
    tmp_path: Path, make_velocity: Make, bare_pair: Pair
) -> None:
    velocity = make_velocity()
    velocity.vx.attrs = {"units": "meter/year"}
    with netCDF4.Dataset(write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair)) as file:
        vx = file["vx"]
        assert np.isnan([vx.error, vx.error_stationary, vx.stable_shift_slow]).all()
        assert (vx.stable_shift, vx.stable_shift_flag, vx.stable_count_slow) == (0, 0, 0)
        assert file["vy"].stable_shift == -7.25


@pytest.mark.parametrize("crs", ["EPSG:32607", "EPSG:3031", "EPSG:3413"])
def test_place_is_right_for_xarray_rioxarray_and_gdal(
    tmp_path: Path, make_velocity: Make, bare_pair: Pair, crs: str
) -> None:
    velocity = make_velocity(crs)
    path = write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair)
    expected = velocity.odc.geobox.transform
    code = int(crs.removeprefix("EPSG:"))
    with xr.open_dataset(path, decode_coords="all") as file:
        assert file.rio.crs.to_epsg() == code
        assert file.vx.rio.transform() == expected
        assert file.odc.geobox.transform == expected
        assert "flag" in file
    with rasterio.open(f"netcdf:{path}:vx") as band:
        assert band.crs.to_epsg() == code
        assert band.transform == expected
        assert np.isnan(band.nodata)
        np.testing.assert_array_equal(band.read(1), velocity.vx.values)


def test_shares_and_sizes_are_told(tmp_path: Path, make_velocity: Make, bare_pair: Pair) -> None:
    velocity = make_velocity()
    back = read_velocity(write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair))
    measured = np.isfinite(velocity.v.values)
    np.testing.assert_array_equal(back.chip_size_width, np.where(measured, 32 * 15, 0))
    assert back.chip_size_width.dtype == np.uint16
    assert not back.interp_mask.any()
    share = back["img_pair_info"].attrs["roi_valid_percentage"]
    assert abs(share - 100 * measured.mean()) <= 0.05  # one decimal
    # The centre of the grid by its own projection: close to the meridian of zone 7, 60.2 N.
    assert abs(back["img_pair_info"].attrs["longitude"] + 141.6) < 0.1
    assert abs(back["img_pair_info"].attrs["latitude"] - 60.2) < 0.1


def test_int16_is_rounded_and_keeps_holes(
    tmp_path: Path, make_velocity: Make, bare_pair: Pair
) -> None:
    velocity = make_velocity()
    path = write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair, dtype="int16")
    back = read_velocity(path)
    for name in ("vx", "vy", "v", "v_error"):
        np.testing.assert_array_equal(back[name].values, np.rint(velocity[name].values))
    np.testing.assert_array_equal(back.vx_error.values, velocity.vx_error.values)


@pytest.mark.parametrize("value", [32767.0, -32767.0, 1e6, -40000.0])
def test_int16_never_wraps(
    tmp_path: Path, make_velocity: Make, bare_pair: Pair, value: float
) -> None:
    velocity = make_velocity()
    velocity.vx[10, 10] = value
    with pytest.raises(OutputError, match=r"1 values of vx .* write float32"):
        write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair, dtype="int16")
    assert list(tmp_path.iterdir()) == []
    write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair)
    assert read_velocity(tmp_path / "v.nc").vx[10, 10] == value


@pytest.mark.parametrize("crs", ["EPSG:32607", "EPSG:3031"])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_passes_the_cf_checker(
    tmp_path: Path, make_velocity: Make, landsat_pair: Pair, crs: str, dtype: Any
) -> None:
    path = write_velocity(make_velocity(crs), tmp_path / "v.nc", pair=landsat_pair, dtype=dtype)
    checker = str(Path(sys.executable).parent / "compliance-checker")
    done = subprocess.run(
        [checker, "--test=cf:1.11", "--criteria=strict", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All tests passed!" in done.stdout, done.stdout


def test_velocity_in_pixels_is_written_without_a_grid_mapping(
    tmp_path: Path, make_velocity: Make, bare_pair: Pair
) -> None:
    velocity = make_velocity().drop_vars("spatial_ref")
    velocity = velocity.assign_coords(x=np.arange(40.0) * 8, y=np.arange(30.0) * 8)
    for name in ("vx", "vy", "v", "v_error"):
        velocity[name].encoding.clear()
        velocity[name].attrs["units"] = "pixel/year"
    back = read_velocity(write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair))
    np.testing.assert_array_equal(back.vx.values, velocity.vx.values)
    assert "mapping" not in back.variables
    assert "grid_mapping" not in back.vx.attrs
    assert back.vx.attrs["units"] == "pixel/year"


def test_what_cannot_be_written_is_a_sentence(
    tmp_path: Path, make_velocity: Make, bare_pair: Pair
) -> None:
    velocity = make_velocity()
    with pytest.raises(InputError, match="lacks them"):
        write_velocity(velocity.drop_vars("v_error"), tmp_path / "v.nc", pair=bare_pair)
    with pytest.raises(InputError, match=r"dims \('x', 'y'\)"):
        write_velocity(velocity.transpose("x", "y", ...), tmp_path / "v.nc", pair=bare_pair)
    with pytest.raises(InputError, match="float32 or int16"):
        write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair, dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="attribute odd cannot be written"):
        write_velocity(velocity.assign_attrs(odd=object()), tmp_path / "v.nc", pair=bare_pair)
    degrees = make_velocity("EPSG:4326")
    with pytest.raises(GridError, match="grid in degrees"):
        write_velocity(degrees, tmp_path / "v.nc", pair=bare_pair)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_a_sentence(
    tmp_path: Path, make_velocity: Make, bare_pair: Pair
) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_velocity(tmp_path / "nowhere.nc")
    path = write_velocity(make_velocity(), tmp_path / "v.nc", pair=bare_pair)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"v\.nc cannot be read"):
        read_velocity(path)
    xr.Dataset({"vx": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputError, match=r"is no velocity file: it has no variable vy"):
        read_velocity(tmp_path / "other.nc")


def test_attributes_of_python_are_written(
    tmp_path: Path, make_velocity: Make, bare_pair: Pair
) -> None:
    velocity = make_velocity().assign_attrs(
        flags=True, options={"step": 8}, windows=[16, 32], nothing=None, names=["a", "b"]
    )
    back = read_velocity(write_velocity(velocity, tmp_path / "v.nc", pair=bare_pair))
    assert back.attrs["flags"] == 1
    assert back.attrs["options"] == '{"step": 8}'
    np.testing.assert_array_equal(back.attrs["windows"], [16, 32])
    assert list(back.attrs["names"]) == ["a", "b"]
    assert "nothing" not in back.attrs


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit the size of files")
def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Run where files may not grow beyond 64 kB, in a process of its own."""
    program = f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import conftest
        from ogive.model import OutputError, Pair, Scene
        from ogive.store.velocity_file import write_velocity
        from datetime import datetime
        pair = Pair(Scene("a", datetime(2016, 7, 18)), Scene("b", datetime(2016, 8, 3)))
        velocity = conftest.velocity_map(shape=(300, 300))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        try:
            write_velocity(velocity, Path({str(tmp_path)!r}) / "v.nc", pair=pair)
        except OutputError as error:
            print("said:", error)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "said:" in done.stdout, done.stdout + done.stderr
    assert "v.nc cannot be written" in done.stdout
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_file_name_is_that_of_its_live(landsat_pair: Pair) -> None:
    assert velocity_file_name(landsat_pair, 120.0, 87.96) == (
        "LC08_L1TP_063018_20160718_20200906_02_T1_X_LC08_L1TP_063018_20160803_20200906_02_T1"
        "_G0120V02_P087.nc"
    )
    assert velocity_file_name(landsat_pair, 50.0, 100.0).endswith("_G0050V02_P100.nc")
