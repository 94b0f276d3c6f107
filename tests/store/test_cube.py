"""Stacking pairs into the canonical cube, and writing it."""

from __future__ import annotations

import numpy as np
import odc.geo.xr
import pytest
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from ogive.model import DateError, GridError, InputError, OutputError
from ogive.store.cube import canonical, converted, stack, unit_factor, write_cube
from ogive.store.readers import open_cube


def box(left: float = 600_000, top: float = 6_755_000, columns: int = 6, rows: int = 4, crs=32607):
    return GeoBox((rows, columns), Affine(120, 0, left, 0, -120, top), f"EPSG:{crs}")


def without_projection(maps: xr.Dataset) -> xr.Dataset:
    times = {n: maps[n].values for n in maps.coords if maps[n].ndim == 0 and n != "spatial_ref"}
    plain = {n: (("y", "x"), maps[n].values) for n in ("vx", "vy")}
    return xr.Dataset(plain, {"x": maps.x.values, "y": maps.y.values, **times})


def layer(grid: GeoBox, first: str, second: str, *, lazy: bool = False, **scalars) -> xr.Dataset:
    """vx = x - 600 km and vy = y - 6755 km: planes that bilinear resampling keeps."""
    zeros = odc.geo.xr.xr_zeros(grid, dtype="float64")
    maps = xr.Dataset(
        {
            "vx": (zeros + zeros.x - 600_000).astype("f4"),
            "vy": (zeros + zeros.y - 6_755_000).astype("f4"),
            "vx_error": (zeros + 5).astype("f4"),
        }
    )
    times = {
        "acquisition_date_img1": np.datetime64(first, "ns"),
        "acquisition_date_img2": np.datetime64(second, "ns"),
    }
    return (maps.chunk() if lazy else maps).assign_coords(times | scalars)


@pytest.mark.parametrize("lazy", [False, True])
def test_layers_of_other_origin_are_brought_onto_the_first_grid(lazy):
    first = layer(box(), "2018-03-04", "2018-03-14", lazy=lazy, satellite_img1="8")
    # Moved by 126 whole pixels and a bit, like the two sensors over Kaskawulsh.
    other = layer(box(600_000 - 232.5, 6_755_002.5, 9, 5), "2018-03-09", "2018-04-10", lazy=lazy)
    cube = stack([other, first][::-1])
    assert dict(cube.sizes) == {"mid_date": 2, "y": 5, "x": 9}
    assert (cube.vx.chunks is not None) == lazy
    # The first layer's pixels keep their places and values.
    kept = cube.vx[0].sel(x=first.x, y=first.y)
    np.testing.assert_array_equal(kept, first.vx)
    assert np.isnan(cube.vx[0]).sum() == 5 * 9 - 4 * 6
    # A plane is resampled exactly, to float32 of some hundred.
    moved = cube.vx[1].values
    expected = np.broadcast_to(cube.x.values - 600_000, moved.shape)
    known = np.isfinite(moved)
    assert known[1:-1, 1:-1].all()
    inner = cube.isel(mid_date=1, x=slice(1, -1), y=slice(1, -1))
    np.testing.assert_allclose(inner.vx, expected[1:-1, 1:-1], atol=1e-3)
    np.testing.assert_allclose(inner.vy + 6_755_000, inner.y.broadcast_like(inner.vy), atol=1e-3)
    np.testing.assert_array_equal(
        cube.vx_error.values[known[None].repeat(2, 0) & [[[False]], [[True]]]], 5
    )
    assert cube.satellite_img1.values.tolist() == ["8", ""]
    np.testing.assert_array_equal(cube.date_dt, [10, 32])
    assert cube.odc.crs == "EPSG:32607"
    assert cube.mid_date.values[0] == np.datetime64("2018-03-09")


@given(st.integers(0, 500), st.sampled_from(["bilinear", "nearest"]))
def test_resampling_stays_within_the_neighbours(seed, how):
    rng = np.random.default_rng(seed)
    grid, other = box(), box(600_000 + rng.uniform(-100, 100), 6_755_000 + rng.uniform(-100, 100))
    maps = layer(other, "2018-03-04", "2018-03-14")
    values = rng.normal(size=maps.vx.shape).astype("f4")
    values[rng.random(values.shape) < 0.2] = np.nan
    maps["vx"].values[:] = values
    moved = stack([maps], grid=grid, resampling=how).vx.values
    assert np.nanmin(moved) >= np.nanmin(values) - 1e-6
    assert np.nanmax(moved) <= np.nanmax(values) + 1e-6
    if how == "nearest":
        assert np.isin(moved[np.isfinite(moved)], values).all()


def test_codes_are_never_interpolated():
    maps = layer(box(600_055), "2018-03-04", "2018-03-14")
    maps["flag"] = (maps.vx * 0 + np.tile([0, 8], 3)).astype("u1")
    moved = stack([maps], grid=box())
    assert set(np.unique(moved.flag)) <= {0, 8}


def test_shifts_and_errors_in_attributes_become_columns():
    one, two = (
        layer(box(), "2018-03-04", d).drop_vars("vx_error") for d in ("2018-03-14", "2018-04-01")
    )
    one.vx.attrs |= {"error": 12.0, "stable_shift": 3.0, "stable_shift_flag": 1}
    two.vx.attrs |= {"error": 7.0}
    cube = stack([one, two])
    np.testing.assert_array_equal(cube.vx_error, [12, 7])
    assert cube.vx_error.dims == ("mid_date",)
    np.testing.assert_array_equal(cube.vx_stable_shift, [3, np.nan])
    assert "error" not in cube.vx.attrs


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        (lambda: [], InputError, "no layer"),
        (
            lambda: [
                layer(box(), "2018-01-01", "2018-02-01"),
                layer(box(crs=32608), "2018-01-01", "2018-03-01"),
            ],
            GridError,
            "layer 1 of the stack is in EPSG:32608 but layer 0 is in EPSG:32607",
        ),
        (lambda: [layer(box(), "2018-02-01", "2018-01-01")], DateError, "must be the earlier"),
        (lambda: [layer(box(), "2018-02-01", "2018-02-01")], DateError, "must be the earlier"),
        (
            lambda: [layer(box(), "2018-02-01", "2018-03-01").drop_vars("acquisition_date_img2")],
            DateError,
            "no acquisition_date_img2",
        ),
        (lambda: [layer(box(), "2018-02-01", "2018-03-01")] * 2, InputError, "same pair"),
        (lambda: [layer(box(), "2018-02-01", "2018-03-01").drop_vars("vy")], InputError, "'vy'"),
        (
            lambda: [without_projection(layer(box(), "2018-02-01", "2018-03-01"))],
            GridError,
            "coordinate reference system",
        ),
    ],
)  # fmt: skip
def test_bad_layers_are_told(layers, error, words):
    with pytest.raises(error, match=words):
        stack(layers())


def test_an_unknown_resampling_is_told():
    with pytest.raises(InputError, match="lanczos"):
        stack([layer(box(), "2018-02-01", "2018-03-01")], resampling="lanczos")


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_a_cube_comes_back_as_it_was_written(tmp_path, suffix):
    layers = [
        layer(
            box(), f"2018-0{m}-04T10:11:12.123456", f"2018-0{m + 1}-14",
            satellite_img1="2A", sensor_img2="MSI",
        )
        for m in range(1, 5)
    ]  # fmt: skip
    cube = stack(layers)
    path = write_cube(cube, tmp_path / f"cube.{suffix}")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    again = open_cube(path)
    assert again.vx.chunks is not None
    assert again.odc.geobox == cube.odc.geobox
    names = ["vx", "vy", "vx_error", "acquisition_date_img1", "date_dt"]
    for name in [*names, "satellite_img1", "sensor_img2"]:
        np.testing.assert_array_equal(again[name].values, cube[name].values)
    assert again.vx.dtype == np.float32


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    cube = stack([layer(box(), "2018-02-01", "2018-03-01")])

    def broken(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_zarr", broken)
    with pytest.raises(OutputError, match="disk is full"):
        write_cube(cube, tmp_path / "cube.zarr")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(GridError, match="regular grid"):
        write_cube(without_projection(cube.isel(mid_date=0)), tmp_path / "cube.nc")


def test_a_lazy_cube_is_written_without_being_loaded(tmp_path):
    layers = [layer(box(), f"2018-0{m}-04", f"2018-0{m + 1}-14", lazy=True) for m in range(1, 4)]
    cube = stack(layers).chunk({"mid_date": -1, "x": 3})
    path = write_cube(cube, tmp_path / "cube.zarr")
    np.testing.assert_array_equal(open_cube(path).vx, stack(layers).vx)


@given(st.floats(-1e4, 1e4, width=32), st.sampled_from([365.0, 365.2425, 365.25]))
def test_years_are_converted_exactly(speed, year):
    """A displacement of a day is the same before and after."""
    one = xr.DataArray(np.array([speed], "f4"), attrs={"units": "m/yr"})
    cube = converted(xr.Dataset({"vx": one}), units=None, days_per_year=year, names=["vx"])
    expected = np.float32(np.float64(np.float32(speed)) / year * 365.25)
    assert cube.vx.values[0] == pytest.approx(expected, rel=1e-7)
    assert cube.vx.attrs["units"] == "meter/year"


def test_units_that_are_not_understood_are_told():
    with pytest.raises(InputError, match="furlong"):
        unit_factor("furlong/fortnight", 365.25)
    with pytest.raises(InputError, match="no units"):
        converted(
            xr.Dataset({"vx": xr.DataArray(1.0)}), units=None, days_per_year=365.25, names=["vx"]
        )


def test_a_cube_needs_dates_and_a_projection():
    cube = stack([layer(box(), "2018-02-01", "2018-03-01")])
    with pytest.raises(DateError, match="acquisition_date_img1"):
        canonical(cube.drop_vars("acquisition_date_img1"), "EPSG:32607")
    with pytest.raises(GridError, match="names no"):
        canonical(cube, None)
    with pytest.raises(GridError, match="not understood"):
        canonical(cube, "EPSG:0")
