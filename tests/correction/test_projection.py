"""Displacements across orbits on the direction of flow: eq. 10, its rules and its errors."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st

from ogive.correction.orthorectification.views import pair_offsets
from ogive.correction.projection import PROJECTION_FLAGS, prior_direction, project
from ogive.model import InputError
from ogive.simulation.orbits import displacement_network

FLAG = {meaning: value for value, meaning in PROJECTION_FLAGS.items()}


def displacement(dx, dy, variance=1.0):
    dims = ("y", "x") if np.ndim(dx) else ()
    values = {"dx": dx, "dy": dy, "dx_var": np.full_like(dx, variance, dtype=float)}
    values["dy_var"] = values["dx_var"]
    return xr.Dataset({name: (dims, value) for name, value in values.items()})


def towards(degrees):
    turn = np.deg2rad(degrees)
    return xr.Dataset({"vx": np.sin(turn), "vy": np.cos(turn)})


def line(degrees, length=0.18):
    turn = np.deg2rad(degrees)
    return xr.Dataset({"offset_x": length * np.sin(turn), "offset_y": length * np.cos(turn)})


angles = st.floats(0, 360)


@given(speed=st.floats(5, 500), flow=angles, across=angles, height=st.floats(-100, 100))
def test_the_offset_drops_out_whatever_its_size(speed, flow, across, height):
    """Motion along a known direction plus any offset along the epipolar line gives the motion."""
    apart = abs((flow - across + 90) % 180 - 90)
    assume(apart > 16)
    way, epipolar = towards(flow), line(across)
    seen_x = speed * way["vx"] + height * epipolar["offset_x"]
    seen_y = speed * way["vy"] + height * epipolar["offset_y"]
    freed = project(displacement(float(seen_x), float(seen_y)), way, epipolar, least_significance=0)
    assert float(freed["dx"]) == pytest.approx(speed * float(way["vx"]), abs=1e-6 * (speed + 100))
    assert float(freed["dy"]) == pytest.approx(speed * float(way["vy"]), abs=1e-6 * (speed + 100))
    # The line has no sense, and the prior's length does not count.
    other = project(
        displacement(float(seen_x), float(seen_y)), 7.5 * way, -1.0 * epipolar,
        least_significance=0,
    )  # fmt: skip
    assert float(other["dx"]) == pytest.approx(float(freed["dx"]), abs=1e-6)


@pytest.mark.parametrize("between", [90.0, 50.0, 25.0])
def test_errors_are_propagated(between):
    """100,000 noisy displacements and directions scatter as the errors say, in all components.

    Variances scatter by sqrt(2 / n) = 0.5 %; the formula is linear in a direction's error of 1.5°.
    """
    rng = np.random.default_rng(7)
    n, turn_error = 100_000, 1.5
    covariance = np.array([[1.2, 0.4], [0.4, 0.8]])
    noise = rng.multivariate_normal([0, 0], covariance, n)
    truth, epipolar = towards(20.0), line(20.0 + between)
    one = xr.Dataset(
        {"dx": 40 * truth["vx"] + 9 * epipolar["offset_x"] / 0.18,
         "dy": 40 * truth["vy"] + 9 * epipolar["offset_y"] / 0.18,
         "dx_var": 1.2, "dy_var": 0.8, "dxdy_cov": 0.4}
    )  # fmt: skip
    stated = project(one, truth, epipolar, prior_error_deg=turn_error)
    many = xr.Dataset(
        {"dx": ("n", noise[:, 0] + float(one["dx"])), "dy": ("n", noise[:, 1] + float(one["dy"])),
         "dx_var": 1.2, "dy_var": 0.8, "dxdy_cov": 0.4}
    )  # fmt: skip
    turns = np.deg2rad(20.0 + turn_error * rng.standard_normal(n))
    priors = xr.Dataset({"vx": ("n", np.sin(turns)), "vy": ("n", np.cos(turns))})
    drawn = project(many, priors, epipolar, least_angle_deg=1.0)
    scatter = np.cov(drawn["dx"], drawn["dy"])
    assert float(stated["dx_var"]) == pytest.approx(scatter[0, 0], rel=0.04)
    assert float(stated["dy_var"]) == pytest.approx(scatter[1, 1], rel=0.04)
    assert float(stated["dxdy_cov"]) == pytest.approx(scatter[0, 1], rel=0.05, abs=0.02)


def test_the_two_admission_rules():
    flow = np.array([[0.0, 80.0, 80.0, 0.0, 0.0]])
    prior = xr.Dataset(
        {"vx": (("y", "x"), np.sin(np.deg2rad(flow))), "vy": (("y", "x"), np.cos(np.deg2rad(flow)))}
    )
    prior["vx"][0, 4] = np.nan
    seen = displacement(np.full((1, 5), 3.0), np.array([[30.0, 30.0, np.nan, 1.0, 30.0]]), 4.0)
    result = project(seen, prior, line(90.0))
    expected = [
        FLAG["projected"],
        FLAG["flow_along_the_epipolar_line"],
        FLAG["no_displacement"],
        FLAG["displacement_not_significant"],
        FLAG["no_prior_direction"],
    ]
    assert result["projection"].values[0].tolist() == expected
    assert np.isfinite(result["dx"].values[0]).tolist() == [True, False, False, False, False]
    # The rules' limits are the caller's: 10° is enough here, and half a standard error.
    kept = project(seen, prior, line(90.0), least_angle_deg=9.0, least_significance=0.5)
    assert np.isfinite(kept["dx"].values[0]).tolist() == [True, True, False, True, False]
    meanings = result["projection"].attrs["flag_meanings"].split()
    assert len(meanings) == len(result["projection"].attrs["flag_values"])


def test_pairs_of_one_orbit_are_kept_as_they_are():
    seen = displacement(np.array([[3.0]]), np.array([[1.0]]))
    result = project(seen, towards(90.0), line(90.0, length=0.002))
    assert int(result["projection"][0, 0]) == FLAG["kept_both_images_have_one_line_of_sight"]
    assert float(result["dx"][0, 0]) == 3.0
    assert float(result["dx_var"][0, 0]) == 1.0


def test_a_cube_of_both_orbits_loses_its_bias():
    """Projected cross-orbit pairs say the speed that changes; raw ones are off by the offset.

    The flow crosses the line at 50°; the ice speeds up by half, in its own direction.
    """

    def worth(days):
        return (days + 0.5 * np.maximum(days - 60.0, 0.0)) / 365.25

    made = displacement_network(
        (30, 30), images=12, pairs=None, vx_m_yr=150.0, vy_m_yr=-260.0, years_worth=worth, seed=2
    )
    prior = prior_direction(made.cube, made.views)
    freed = project(made.cube, prior, pair_offsets(made.cube, made.views))
    across = freed["projection"] == FLAG["projected"]
    assert 0.2 < float(across.mean()) < 0.6
    days = [
        (made.cube[f"acquisition_date_img{k}"].values - np.datetime64("2020-06-01"))
        / np.timedelta64(1, "D")
        for k in (1, 2)
    ]
    years = (days[1] - days[0]) / 365.25
    true = 300.17 * (worth(days[1]) - worth(days[0])) / years
    true = xr.DataArray(true, dims="mid_date")
    speed = np.hypot(freed["vx"], freed["vy"]).where(across)
    unit_x, unit_y = 150.0 / 300.17, -260.0 / 300.17
    variance = (
        unit_x**2 * freed["vx_error"] ** 2
        + unit_y**2 * freed["vy_error"] ** 2
        + 2 * unit_x * unit_y * freed["vxvy_cov"]
    )
    off = (speed - true) / np.sqrt(variance)
    held = float((abs(off) < 1.96).where(across).mean())
    assert 0.93 < held < 0.97
    raw = (made.cube["vx"] * unit_x + made.cube["vy"] * unit_y).where(across)
    high = xr.DataArray(np.abs(made.elevation_bias_m) > 20, dims=("y", "x"))
    long = xr.DataArray(years, dims="mid_date") > 0.1
    spread = {
        name: float(abs(values - true).where(high & long).median())
        for name, values in (("raw", raw), ("projected", speed))
    }
    assert spread["projected"] < 0.7 * spread["raw"]
    # Of a velocity's error the declared type stays float, in the velocity's units.
    assert freed["vx"].attrs["units"] == "meter/year"


def test_prior_direction_is_of_one_orbits_pairs():
    made = displacement_network(images=10, pairs=None, blunders=0.03)
    prior = prior_direction(made.cube, made.views)
    turn = np.rad2deg(np.arctan2(prior["vy"], prior["vx"]))
    true = np.rad2deg(np.arctan2(-100.0, 200.0))
    error = np.rad2deg(np.hypot(prior["vx_error"], prior["vy_error"]) / np.sqrt(2) / 223.6)
    assert float(np.median(abs(turn - true))) < 1.1 * 0.6745 * float(error.median())
    assert prior["vx"].dims == ("y", "x")
    across = displacement_network(images=2, pairs=None)
    with pytest.raises(InputError, match="no pair of the cube is of one orbit"):
        prior_direction(across.cube, across.views)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": None}, "direction of flow, which is missing"),
        ({"prior": xr.Dataset({"speed": 1.0})}, "neither dx, dy nor vx, vy"),
        ({"displacement": xr.Dataset({"dx": 1.0, "dy": 1.0})}, "propagates errors"),
        ({"line": xr.Dataset({"offset_x": 1.0})}, "no offset_y"),
        ({"least_angle_deg": 0.0}, "least_angle_deg"),
        ({"least_angle_deg": 95.0}, "least_angle_deg"),
        ({"least_significance": -1.0}, "least_significance"),
        ({"prior_error_deg": 60.0}, "prior_error_deg"),
    ],
)
def test_bad_input_is_told(change, message):
    given_ = {"displacement": displacement(3.0, 1.0), "prior": towards(0.0), "line": line(90.0)}
    with pytest.raises(InputError, match=message):
        project(**(given_ | change))
