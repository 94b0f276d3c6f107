"""Velocities: exact time, units, errors that cover, attributes as ITS_LIVE has them."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ogive.correction.calibrate import calibrate
from ogive.correction.velocity import speed_error, to_velocity
from ogive.model import DAYS_PER_YEAR, DateError, GridError, InputError

CONCAT = {"coords": "different", "compat": "equals", "data_vars": "all", "join": "exact"}
EARLIER, LATER = datetime(2016, 7, 18, 20, 30), datetime(2016, 8, 3, 20, 30, 0, 500_000)


def moved(dx=8.0, dy=-6.0, var=(1.0, 4.0, 0.5), shape=(4, 5), **coordinates) -> xr.Dataset:
    def full(value):
        return (("y", "x"), np.full(shape, value, np.float32))

    return xr.Dataset(
        {
            "dx": full(dx),
            "dy": full(dy),
            "dx_var": full(var[0]),
            "dy_var": full(var[1]),
            "dxdy_cov": full(var[2]),
            "correlation": full(0.8),
        },
        {"y": 100.0 - 10 * np.arange(shape[0]), "x": 10.0 * np.arange(shape[1])} | coordinates,
    )


def in_crs(epsg: int) -> xr.Dataset:
    wkt = pyproj.CRS.from_epsg(epsg).to_wkt()
    return moved(spatial_ref=xr.Variable((), 0, {"crs_wkt": wkt}))


def test_a_displacement_over_its_exact_time():
    velocity = to_velocity(in_crs(32607), EARLIER, LATER)
    days = 16 + 0.5 / 86400
    factor = DAYS_PER_YEAR / days
    assert float(velocity.date_dt) == pytest.approx(days, rel=1e-12)
    for name, expected in {"vx": 8, "vy": -6, "v": 10, "vx_error": 1, "vy_error": 2}.items():
        # float32 holds seven digits.
        np.testing.assert_allclose(velocity[name], expected * factor, rtol=2e-7)
        assert velocity[name].dtype == np.float32
        assert velocity[name].attrs["units"] == "meter/year"
    np.testing.assert_allclose(velocity.vxvy_cov, 0.5 * factor**2, rtol=2e-7)
    assert velocity.mid_date.values == np.datetime64("2016-07-26T20:30:00.250")
    assert velocity.acquisition_date_img1.values == np.datetime64(EARLIER)
    assert "correlation" in velocity
    assert "dx" not in velocity


def test_layers_stack_into_a_cube():
    later = to_velocity(in_crs(32607), EARLIER, datetime(2016, 9, 1))
    cube = xr.concat([to_velocity(in_crs(32607), EARLIER, LATER), later], dim="mid_date", **CONCAT)
    assert cube.vx.dims == ("mid_date", "y", "x")
    assert cube.acquisition_date_img2.dims == ("mid_date",)


@pytest.mark.parametrize(
    "covariance", [(1, 1, 0), (1, 0.25, 0), (1, 0.25, 0.3), (4, 1, -1.2)], ids=str
)
@pytest.mark.parametrize("speed", [0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 30.0])
def test_the_speed_interval_covers_at_every_speed(covariance, speed):
    # 7 directions of 4000 draws: each share has an error below 0.4 %.
    var_x, var_y, cov = covariance
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky([[var_x, cov], [cov, var_y]])
    speed *= np.sqrt((var_x + var_y) / 2)
    for angle in np.linspace(0, np.pi, 7):
        truth = speed * np.array([np.cos(angle), np.sin(angle)])
        vx, vy = truth[:, None] + root @ rng.standard_normal((2, 4000))
        error = speed_error(vx, vy, var_x, var_y, cov)
        covered = np.mean(np.abs(np.hypot(vx, vy) - speed) <= 1.96 * error)
        # Too wide by up to a third in between, where the formula passes from tr Σ to v'Σv.
        assert 0.90 <= covered <= 0.995
        if speed > 20:
            assert 0.935 <= covered <= 0.965


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(0, 2 * np.pi))
def test_the_speed_error_is_finite_bounded_and_does_not_turn_with_the_axes(vx, vy, angle):
    covariance = np.array([[3.0, 0.8], [0.8, 1.0]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = turn @ covariance @ turn.T
    ux, uy = turn @ [vx, vy]
    error = speed_error(vx, vy, 3.0, 1.0, 0.8)
    assert error == pytest.approx(
        speed_error(ux, uy, turned[0, 0], turned[1, 1], turned[0, 1]), rel=1e-6
    )
    assert np.sqrt(np.linalg.eigvalsh(covariance)[0]) - 1e-9 <= error <= 2.0 + 1e-9
    assert speed_error(0.0, 0.0, 0.0, 0.0, 0.0) == 0.0


def test_the_calibration_adds_its_own_error_and_its_attributes(make_displacement):
    rng = np.random.default_rng(0)
    displacement = make_displacement(*rng.normal(4, 1.0, (2, 40, 40)), pixel=10.0)
    one = xr.ones_like(displacement.dx)
    displacement = displacement.assign(dx_var=one, dy_var=one, dxdy_cov=0 * one)
    displacement["x"].attrs["units"] = displacement["y"].attrs["units"] = "m"
    calibrated = calibrate(displacement, np.ones((40, 40), bool))
    velocity = to_velocity(calibrated, days=73.05)  # a fifth of a year
    for component, source in (("vx", "dx"), ("vy", "dy")):
        from_match = 1.0 + calibrated[source].attrs["excess_error"] ** 2
        from_shift = float(calibrated[f"shift_{source}_var"])
        np.testing.assert_allclose(
            velocity[f"{component}_error"], 5 * np.sqrt(from_match + from_shift), rtol=1e-6
        )
        attributes, before = velocity[component].attrs, calibrated[source].attrs
        for key in ("stable_shift", "stable_shift_error", "error_stationary", "nmad_stationary"):
            assert attributes[key] == pytest.approx(5 * before[key])
        assert attributes["stable_shift_flag"] == 1
        assert attributes["stable_count_stationary"] == 1600
        assert attributes["error"] == attributes["error_stationary"]
        assert attributes["error_modeled"] == pytest.approx(
            5 * np.sqrt(from_match + from_shift), rel=1e-6
        )


def test_uncalibrated_velocities_say_so():
    attributes = to_velocity(in_crs(3413), EARLIER, LATER).vx.attrs
    assert attributes["stable_shift_flag"] == 0
    assert attributes["stable_shift"] == 0.0
    assert attributes["stable_count_stationary"] == attributes["stable_count_slow"] == 0
    assert np.isnan(attributes["error_stationary"])
    assert attributes["error"] == attributes["error_modeled"] > 0


def test_no_value_has_no_error():
    displacement = in_crs(32607)
    displacement.dx[0, 0] = np.nan
    velocity = to_velocity(displacement, EARLIER, LATER)
    for name in ("v", "vx_error", "vy_error", "v_error", "vxvy_cov"):
        assert np.isnan(velocity[name][0, 0])
        assert np.isfinite(velocity[name]).sum() == 19


def test_pixels_need_their_size():
    velocity = to_velocity(moved(), days=DAYS_PER_YEAR, pixel_size_m=2.5)
    np.testing.assert_allclose(velocity.vx, 20.0)
    np.testing.assert_allclose(velocity.vy_error, 5.0)
    named = moved()
    named.dx.attrs["units"] = named.dy.attrs["units"] = "pixel"
    np.testing.assert_allclose(to_velocity(named, days=365.25, pixel_size_m=2.5).vx, 20.0)


@pytest.mark.parametrize(
    ("displacement", "options", "error", "says"),
    [
        (in_crs(4326), {"days": 10}, GridError, "degree"),
        (in_crs(2225), {"days": 10}, GridError, "foot"),
        (in_crs(32607), {"days": 10, "pixel_size_m": 10.0}, GridError, "pixel_size_m was given"),
        (moved(), {"days": 10}, GridError, "no map projection and no unit"),
        (moved(), {"days": 10, "pixel_size_m": 0.0}, InputError, "positive"),
        (in_crs(32607), {}, DateError, "needs a time"),
        (in_crs(32607), {"days": 0}, DateError, "positive"),
        (in_crs(32607), {"days": float("nan")}, DateError, "positive"),
        (
            in_crs(32607),
            {"earlier_time": LATER, "later_time": EARLIER},
            DateError,
            "after the later",
        ),
        (in_crs(32607), {"earlier_time": LATER, "later_time": LATER}, DateError, "both images"),
        (in_crs(32607), {"earlier_time": LATER}, DateError, "missing"),
        (
            in_crs(32607),
            {"earlier_time": EARLIER, "later_time": LATER, "days": 16},
            DateError,
            "one or the other",
        ),
        (in_crs(32607).drop_vars("dx_var"), {"days": 10}, InputError, "has no dx_var"),
    ],
)
def test_what_has_no_velocity_is_refused_in_a_sentence(displacement, options, error, says):
    with pytest.raises(error, match=says):
        to_velocity(displacement, **options)
