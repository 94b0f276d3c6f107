"""Velocity and elevation bias from pairs of several orbits: is what is known recovered?"""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ogive.correction.orthorectification import (
    GEOMETRY_FLAGS,
    elevation_bias,
    elevation_change,
    remove_offsets,
    sensitivity,
    stack_views,
)
from ogive.correction.orthorectification.triplets import triplet_elevation_bias
from ogive.correction.orthorectification.views import pair_images, pair_offsets
from ogive.model import DateError, GridError, InputError
from ogive.simulation import SimulatedGlacier
from ogive.simulation.orbits import SENTINEL_2_BASELINE, displacement_network


def within(estimate, truth, error):
    """Share of 95 % intervals that hold the truth."""
    known = np.isfinite(estimate)
    return float((np.abs(estimate - truth)[known] <= 1.96 * error[known]).mean())


def rmse(estimate, truth):
    return float(np.sqrt(np.nanmean((estimate - truth) ** 2)))


BIT = {meaning: bit for bit, meaning in GEOMETRY_FLAGS.items()}
SINGLE = BIT["single_orbit_elevation_bias_unobservable"]
NOT_SEPARABLE = BIT["elevation_bias_not_separable_from_motion"]
ALONG = BIT["flow_along_the_epipolar_line"]


def flagged(result, bit):
    return (result["geometry"].values & bit) > 0


# What it must show ------------------------------------------------------------------------------


def test_bias_at_sentinel_2s_geometry():
    """10 m pixels, 0.1 px of noise, base to height 1/5.4, 20 pairs: 3 m, 95 % within the error.

    One cross-orbit pair tells ΔZ to 1 m x 5.4 = 5.4 m; about eleven of twenty are cross-orbit, and
    the velocity costs little: 1.7 m. Shares of 2000 pixels scatter by 0.5 %.
    """
    made = displacement_network(pairs=20)
    result = elevation_bias(made.cube, made.views)
    bias, error = result["elevation_bias"].values, result["elevation_bias_error"].values
    print(f"\nRMSE {rmse(bias, made.elevation_bias_m):.2f} m, in 95 % intervals "
          f"{within(bias, made.elevation_bias_m, error):.3f}")  # fmt: skip
    assert rmse(bias, made.elevation_bias_m) < 3.0
    assert rmse(bias, made.elevation_bias_m) == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.06)
    assert abs(np.mean(bias - made.elevation_bias_m)) < 4 * 1.7 / np.sqrt(bias.size)
    for name, truth in (("elevation_bias", made.elevation_bias_m), ("vx", 200.0), ("vy", -100.0)):
        assert 0.935 < within(result[name].values, truth, result[f"{name}_error"].values) < 0.965
    np.testing.assert_allclose(result["unit_variance"].mean(), 1.0, atol=0.03)
    assert (result["redundancy"] == 2 * result["pairs_used"] - 3).all()


def test_cross_orbit_velocities_are_unbiased_after_correction():
    """Biased by 0.5 px and more where the surface is 30 m off the model, by 0.05 px after."""
    made = displacement_network(pairs=20)
    result = elevation_bias(made.cube, made.views)
    years = (
        (made.cube["acquisition_date_img2"] - made.cube["acquisition_date_img1"])
        / np.timedelta64(1, "D")
        / 365.25
    )
    across = abs(pair_offsets(made.cube, made.views)["offset_x"]) > 0.1
    pixel_m, high = 10.0, xr.DataArray(made.elevation_bias_m > 27, dims=("y", "x"))

    def bias_px(cube):
        """Mean over pixels and noise of the displacement's error in each cross-orbit pair, px."""
        d = ((cube["vx"] - 200.0) * years).where(high).mean(("y", "x"))
        return np.abs(d.where(across, drop=True).values) / pixel_m

    assert bias_px(made.cube).min() > 0.5 * 27 / 30
    assert bias_px(made.cube).max() > 0.5
    corrected = remove_offsets(
        made.cube, made.views, result["elevation_bias"], result["elevation_bias_error"]
    )
    print(f"\ncross-orbit pairs off by {bias_px(made.cube).max():.2f} px before, "
          f"{bias_px(corrected).max():.3f} px after")  # fmt: skip
    assert bias_px(corrected).max() < 0.05
    # Errors grew by that of the bias, and still hold 95 % (with it they are no longer independent).
    still = within(corrected["vx"].values, 200.0, corrected["vx_error"].values)
    assert still > 0.93


def test_errors_that_images_share_are_propagated():
    """Twenty pairs of eight images are not twenty measurements of an image's misregistration."""
    made = displacement_network(image_error_m=0.7, seed=3)
    without = elevation_bias(made.cube, made.views)
    result = elevation_bias(made.cube, made.views, image_error_m=0.7)
    for name, truth in (("elevation_bias", made.elevation_bias_m), ("vx", 200.0)):
        covered = within(result[name].values, truth, result[f"{name}_error"].values)
        assert 0.93 < covered < 0.97
        assert within(without[name].values, truth, without[f"{name}_error"].values) < 0.88


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_data_snooping_finds_blunders(share):
    """Blunders of up to 80 m in either component: what is left is as good as fewer good pairs."""
    made = displacement_network(blunders=share)
    result = elevation_bias(made.cube, made.views, keep_rejected=True)
    off = np.abs(result["elevation_bias"].values - made.elevation_bias_m)
    # 1.7 m with all pairs; a share of (1 - share)² of them is good in both components, and 15 %
    # are left to pixels that keep few pairs across the orbits.
    # Where blunders leave no pair across the orbits, nothing is told.
    assert np.isnan(off).mean() < 0.005
    assert np.nanmedian(off) < 0.6745 * 1.73 / (1 - share) * 1.15
    error = result["elevation_bias_error"].values
    assert within(result["elevation_bias"].values, made.elevation_bias_m, error) > 0.93
    expected = 20 * (1 - (1 - share) ** 2)
    # A blunder of less than three metres is none.
    assert float(result["pairs_rejected"].mean()) == pytest.approx(expected, rel=0.1)
    assert (result["rejected"].sum("mid_date") == result["pairs_rejected"]).all()
    none = elevation_bias(made.cube, made.views, significance=None)
    assert rmse(none["elevation_bias"].values, made.elevation_bias_m) > 10
    assert (none["pairs_rejected"] == 0).all()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_errors_are_noticed_and_mended(factor):
    """Declared errors half or twice what they should be: the unit variance says so."""
    made = displacement_network(blunders=0.05)
    cube = made.cube.assign({name: made.cube[name] / factor for name in ("vx_error", "vy_error")})
    result = elevation_bias(cube, made.views)
    assert float(result["unit_variance"].median()) == pytest.approx(factor**2, rel=0.1)
    error = result["elevation_bias_error"].values
    assert 0.93 < within(result["elevation_bias"].values, made.elevation_bias_m, error) < 0.97


def test_false_alarms_are_as_rare_as_asked():
    """A w-test at 1 % rejects 1 % of good pairs (declared errors: no scale is estimated)."""
    made = displacement_network(shape=(50, 60))
    result = elevation_bias(made.cube, made.views, significance=0.01, scale="declared")
    assert float(result["pairs_rejected"].mean()) / 20 == pytest.approx(0.01, rel=0.2)


def test_against_plain_linear_algebra():
    """One pixel with correlated errors, two periods and shared image errors, by dense matrices."""
    made = displacement_network(shape=(1, 2), images=6, pairs=None, image_error_m=0.4)
    cube = made.cube
    years = (
        (cube["acquisition_date_img2"] - cube["acquisition_date_img1"]) / np.timedelta64(1, "D")
    ).values / 365.25
    rng = np.random.default_rng(1)
    error = rng.uniform(0.7, 2.0, (2, years.size)) / years
    cube["vx_error"] = ("mid_date", error[0])
    cube["vy_error"] = ("mid_date", error[1])
    cube["vxvy_cov"] = ("mid_date", 0.4 * error[0] * error[1])
    start = cube["acquisition_date_img1"].values.min()
    edges = [start, start + np.timedelta64(40, "D"), start + np.timedelta64(130, "D")]
    result = elevation_bias(
        cube, made.views, periods=edges, image_error_m=0.4, significance=None, scale="declared"
    )
    first, last = pair_images(cube, made.views)
    offset = sensitivity(made.views)
    n, images = years.size, 6
    design, dispersion = np.zeros((2 * n, 5)), np.zeros((2 * n, 2 * n))
    shared = np.zeros((2 * n, 2 * images))
    for k in range(n):
        a, b = (cube[f"acquisition_date_img{m}"].values[k].astype("datetime64[ns]") for m in (1, 2))
        for p in range(2):
            low, high = (np.datetime64(edges[p + q], "ns") for q in (0, 1))
            overlap = max((min(b, high) - max(a, low)) / np.timedelta64(1, "D"), 0) / 365.25
            design[2 * k, 2 * p] = design[2 * k + 1, 2 * p + 1] = overlap
        for c, axis in enumerate("xy"):
            s = offset[f"offset_{axis}"].values
            design[2 * k + c, 4] = s[last[k]] - s[first[k]]
            shared[2 * k + c, 2 * first[k] + c] = -1
            shared[2 * k + c, 2 * last[k] + c] = 1
        own = np.diag(error[:, k] ** 2)
        own[0, 1] = own[1, 0] = 0.4 * error[0, k] * error[1, k]
        dispersion[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = own * years[k] ** 2
    dispersion += 0.16 * shared @ shared.T
    weight = np.linalg.inv(dispersion)
    covariance = np.linalg.inv(design.T @ weight @ design)
    for x in range(2):
        d = np.stack([cube["vx"].values[:, 0, x], cube["vy"].values[:, 0, x]], axis=1)
        y = (d * years[:, None]).ravel()
        solution = covariance @ design.T @ weight @ y
        got = result.isel(y=0, x=x)
        velocity = np.stack([got["vx"], got["vy"]], axis=1).ravel()
        np.testing.assert_allclose(velocity, solution[:4], rtol=1e-4)
        np.testing.assert_allclose(got["elevation_bias"], solution[4], rtol=1e-4)
        np.testing.assert_allclose(got["elevation_bias_error"], covariance[4, 4] ** 0.5, rtol=1e-5)
        np.testing.assert_allclose(got["vx_error"], np.diag(covariance)[[0, 2]] ** 0.5, rtol=1e-5)
        np.testing.assert_allclose(got["vxvy_cov"], covariance[[0, 2], [1, 3]], rtol=1e-4)
        np.testing.assert_allclose(got["elevation_bias_vy_cov"], covariance[4, [1, 3]], rtol=1e-4)
        residual = y - design @ solution
        np.testing.assert_allclose(
            got["unit_variance"], residual @ weight @ residual / (2 * n - 5), rtol=1e-3
        )


def test_speeds_of_periods_are_told_apart():
    """Twice the speed in the second half: a constant velocity is refused, two periods fit."""

    def moved(days):
        return (days + np.maximum(days - 60.0, 0.0)) / 365.25

    made = displacement_network(images=12, pairs=None, years_worth=moved)
    start = np.datetime64("2020-06-01")
    first = made.cube["acquisition_date_img1"].values.min()
    edges = [min(first, start), start + np.timedelta64(60, "D"), start + np.timedelta64(121, "D")]
    result = elevation_bias(made.cube, made.views, periods=edges)
    for k, speed in enumerate((200.0, 400.0)):
        got = result["vx"].isel(period=k).values
        error = result["vx_error"].isel(period=k).values
        assert 0.92 < within(got, speed, error) < 0.975
    assert rmse(result["elevation_bias"].values, made.elevation_bias_m) < 2.5
    wrong = elevation_bias(made.cube, made.views, significance=None)
    assert float(wrong["unit_variance"].median()) > 4 * float(result["unit_variance"].median())


def test_what_a_change_of_speed_does_depends_on_the_direction_of_flow():
    """Speed-up under a constant velocity leaks into ΔZ along the epipolar line, not across it."""

    def moved(days):
        return (days + 0.5 * np.maximum(days - 60.0, 0.0)) / 365.25

    turn = np.deg2rad(103.0)
    off = {}
    for name, along in (("along", turn), ("across", turn + np.pi / 2)):
        made = displacement_network(
            images=7, pairs=None, years_worth=moved, vx_m_yr=300 * np.sin(along),
            vy_m_yr=300 * np.cos(along), noise_m=0.1,
        )  # fmt: skip
        result = elevation_bias(made.cube, made.views, significance=None)
        off[name] = rmse(result["elevation_bias"].values, made.elevation_bias_m)
        assert flagged(result, ALONG).all() == (name == "along")
        expected = 0 if name == "along" else 90
        np.testing.assert_allclose(result["epipolar_angle"], expected, atol=2)
    assert off["across"] < 0.5
    assert off["along"] > 5 * off["across"]


# Geometry that does not serve -------------------------------------------------------------------


def test_one_orbit_tells_no_bias_but_the_velocity():
    made = displacement_network(orbits=1)
    result = elevation_bias(made.cube, made.views)
    assert flagged(result, SINGLE).all()
    assert result["elevation_bias"].isnull().all()
    assert "cannot be observed" in result.attrs["comment"]
    assert 0.93 < within(result["vx"].values, 200.0, result["vx_error"].values) < 0.97


def test_pairs_that_cross_in_one_sense_tell_nothing_apart():
    """One cross-orbit pair: any offset may be motion."""
    made = displacement_network(images=2, pairs=None)
    result = elevation_bias(made.cube, made.views)
    assert flagged(result, NOT_SEPARABLE).all()
    assert result["elevation_bias"].isnull().all()
    assert (result["separability"] < 1e-6).all()


def test_two_orbits_have_parallel_epipolar_lines():
    made = displacement_network()
    result = elevation_bias(made.cube, made.views)
    assert flagged(result, BIT["all_epipolar_lines_parallel"]).all()
    turned = made.views.copy(deep=True)
    turned["sight_y"][::3] += 0.1
    other = elevation_bias(made.cube, turned)
    assert not flagged(other, BIT["all_epipolar_lines_parallel"]).any()


def test_nominal_views_are_flagged():
    made = displacement_network()
    views = made.views.assign_coords(geometry=("image", np.array(["nominal"] + ["per-pixel"] * 7)))
    assert flagged(elevation_bias(made.cube, views), BIT["nominal_view_geometry"]).all()


def test_gaps_are_left_out_and_empty_pixels_stay_empty():
    made = displacement_network(shape=(6, 6))
    cube = made.cube.copy(deep=True)
    cube["vx"][:, 0, 0] = np.nan
    cube["vy"][4:9, 1, 1] = np.nan
    cube["vx"][3:, 2, 2] = np.nan
    result = elevation_bias(cube, made.views)
    assert flagged(result, BIT["no_pair_used"])[0, 0]
    assert np.isnan(result["vx"].values[0, 0])
    used = result["pairs_used"] + result["pairs_rejected"]
    assert int(used[1, 1]) == 15
    assert int(used[2, 2]) == 3
    assert int(used[3, 3]) == 20


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.5, 20.0))
def test_scaling_and_order_change_nothing(seed, factor):
    """Twice the noise and twice the bias give twice the answer; pairs may come in any order."""
    made = displacement_network(shape=(2, 2), seed=seed, images=6, pairs=12)
    options = {"significance": None, "scale": "declared", "threads": 1}
    result = elevation_bias(made.cube, made.views, **options)
    order = np.random.default_rng(seed).permutation(made.cube.sizes["mid_date"])
    mixed = elevation_bias(made.cube.isel(mid_date=order), made.views, **options)
    np.testing.assert_allclose(mixed["elevation_bias"], result["elevation_bias"], rtol=1e-3)
    np.testing.assert_allclose(mixed["vx"], result["vx"], rtol=1e-3, atol=1e-2)
    # Twice as high, seen half as far from the vertical.
    half = made.views.copy(deep=True)
    for name in ("sight_x", "sight_y"):
        half[name] = half[name] / factor
    flat = elevation_bias(made.cube, half, least_baseline=1e-6, **options)
    np.testing.assert_allclose(
        flat["elevation_bias"], factor * result["elevation_bias"], rtol=2e-3, atol=1e-3
    )
    np.testing.assert_allclose(flat["vx"], result["vx"], rtol=1e-3, atol=1e-2)


def test_threads_change_nothing():
    made = displacement_network(shape=(13, 11), blunders=0.1)
    one = elevation_bias(made.cube, made.views, threads=1)
    many = elevation_bias(made.cube, made.views, threads=5)
    xr.testing.assert_identical(one, many)


def test_views_per_pixel():
    made = displacement_network(shape=(6, 8))
    spread = xr.DataArray(np.linspace(-0.02, 0.02, 8), dims="x", coords={"x": made.cube["x"]})
    views = made.views.copy()
    # What all images share drops out of their differences.
    views["sight_x"] = (made.views["sight_x"] + spread).expand_dims(y=made.cube["y"])
    views["sight_x"] = views["sight_x"].transpose("image", "y", "x")
    same = elevation_bias(made.cube, views)
    result = elevation_bias(made.cube, made.views)
    np.testing.assert_allclose(same["elevation_bias"], result["elevation_bias"], rtol=1e-3)
    with pytest.raises(GridError, match="not on the cube's grid"):
        elevation_bias(made.cube, views.isel(x=slice(1, None)))
    with pytest.raises(GridError, match="along x"):
        elevation_bias(made.cube, views.assign_coords(x=views["x"] + 50))


# Triplets, epochs, slopes -----------------------------------------------------------------------


def test_median_over_triplets():
    """No errors needed, no blunder moves it, and its error is on the safe side."""
    made = displacement_network(pairs=None, blunders=0.05)
    result = triplet_elevation_bias(made.cube, made.views)
    off = result["elevation_bias"].values - made.elevation_bias_m
    assert np.sqrt(np.mean(off**2)) < 3
    assert within(result["elevation_bias"].values, made.elevation_bias_m,
                  result["elevation_bias_error"].values) > 0.95  # fmt: skip
    # Of 56 triplets of eight images in turn from two orbits, eight are of one orbit.
    assert int(result["triplets"].max()) == 48
    np.testing.assert_allclose(result["vx"].median(), 200, atol=3)


def test_triplets_need_their_pairs():
    made = displacement_network(images=4, pairs=2)
    with pytest.raises(InputError, match="no three images"):
        triplet_elevation_bias(made.cube, made.views)
    one = displacement_network(orbits=1, pairs=None)
    with pytest.raises(InputError, match="one orbit"):
        triplet_elevation_bias(one.cube, one.views)


def test_elevation_change_and_its_significance():
    """The glacier sinks by 12 m between two epochs; under nothing changed 5 % seem to."""
    early = displacement_network(seed=1, images=10, pairs=None)
    late = displacement_network(seed=2, images=10, pairs=None)
    before = elevation_bias(early.cube, early.views)
    same = elevation_change(before, elevation_bias(late.cube, late.views))
    assert 0.03 < float((same["significance"] < 0.05).mean()) < 0.07
    sunk = displacement_network(seed=2, images=10, pairs=None, bias_m=30.0)
    cube = sunk.cube.copy(deep=True)
    offset = pair_offsets(cube, sunk.views)
    years = (cube["acquisition_date_img2"] - cube["acquisition_date_img1"]).values / np.timedelta64(
        31_557_600, "s"
    )
    for axis in "xy":
        rate = offset[f"offset_{axis}"].values / years
        cube[f"v{axis}"] = cube[f"v{axis}"] - 12.0 * rate[:, None, None]
        cube[f"v{axis}"].attrs["units"] = "meter/year"
    change = elevation_change(before, elevation_bias(cube, sunk.views))
    assert float(change["elevation_change"].mean()) == pytest.approx(-12.0, abs=0.2)
    covered = within(
        change["elevation_change"].values, -12.0, change["elevation_change_error"].values
    )
    assert 0.935 < covered < 0.965
    assert float((change["significance"] < 0.05).mean()) > 0.99
    with pytest.raises(GridError):
        elevation_change(before, elevation_bias(cube.isel(x=slice(3, None)), sunk.views))
    with pytest.raises(InputError, match="later result has no"):
        elevation_change(before, xr.Dataset({"elevation_bias": before["elevation_bias"]}))


@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(-0.25, 0.25), st.floats(-0.25, 0.25))
def test_sensitivity_on_a_slope_is_where_the_ray_meets_the_plane(
    slope_x, slope_y, sight_x, sight_y
):
    view = xr.Dataset({"sight_x": sight_x, "sight_y": sight_y})
    moved = sensitivity(view, slope_x=slope_x, slope_y=slope_y)
    dx, dy, height = float(moved["offset_x"]), float(moved["offset_y"]), 1.0
    # From 1 m above the plane down along the ray: the way down is -dx / sight_x.
    fallen = -(dx * sight_x + dy * sight_y) / max(sight_x**2 + sight_y**2, 1e-30)
    if np.hypot(sight_x, sight_y) > 1e-6:
        assert height - fallen == pytest.approx(slope_x * dx + slope_y * dy, abs=1e-9)


def test_the_simulators_parallax_is_the_sensitivity():
    """Scenes of a simulated glacier: what its pixels are displaced by, and what is foretold.

    On steep ground the slope matters: 0.2 m in the median without it, 4 mm with it. Over the ray's
    few metres the DEM is no plane, nor its error a constant: 10 cm for 99 % of the ground.
    """
    glacier = SimulatedGlacier.build((120, 120), seed=5)
    x = np.linspace(glacier.terrain.x[20], glacier.terrain.x[-20], 40)
    y = np.linspace(glacier.terrain.y[20], glacier.terrain.y[-20], 40)
    x, y = np.meshgrid(x, y)
    opportunity = glacier.passes(datetime(2020, 7, 1), datetime(2020, 7, 11))[0]
    scene = SimpleNamespace(orbit=opportunity.orbit, years=glacier.scenery.reference_years)
    truth = glacier.parallax(scene, x, y)
    height = glacier.elevation(glacier.reference)
    spline = glacier._at
    bias = spline(height, x, y) - spline(glacier.dem_m, x, y)
    tangent, east, north = glacier._look(opportunity.orbit, x, y)
    step = 10.0
    slope_x = (spline(glacier.dem_m, x + step, y) - spline(glacier.dem_m, x - step, y)) / 2 / step
    slope_y = (spline(glacier.dem_m, x, y + step) - spline(glacier.dem_m, x, y - step)) / 2 / step
    dims = ("y", "x")
    view = xr.Dataset({"sight_x": (dims, tangent * east), "sight_y": (dims, tangent * north)})
    level = sensitivity(view)
    sloping = sensitivity(
        view,
        slope_x=xr.DataArray(slope_x, dims=dims),
        slope_y=xr.DataArray(slope_y, dims=dims),
    )
    assert np.abs(bias).max() > 15
    off = {
        name: np.abs(lines["offset_x"].values * bias - truth.dx_m)
        for name, lines in (("level", level), ("sloping", sloping))
    }
    level_m, sloping_m = (np.percentile(off[name], [50, 99]) for name in ("level", "sloping"))
    assert (sloping_m < 0.1 * level_m).all()
    assert sloping_m[1] < 0.15
    # The sign: where the surface is above the DEM it is drawn away from the satellite.
    assert (
        np.corrcoef(level["offset_x"].values.ravel() * bias.ravel(), truth.dx_m.ravel())[0, 1]
        > 0.97
    )


# Which image, and bad input ---------------------------------------------------------------------


def one_pair(**coords):
    values = {"vx": (("mid_date", "y", "x"), np.ones((1, 1, 1)), {"units": "meter/year"})}
    values["vy"] = values["vx"]
    values |= {"vx_error": ("mid_date", [1.0]), "vy_error": ("mid_date", [1.0])}
    dates = {
        "acquisition_date_img1": ("mid_date", np.array(["2020-06-01T10:00"], "datetime64[ns]")),
        "acquisition_date_img2": ("mid_date", np.array(["2020-06-11T10:00"], "datetime64[ns]")),
    }
    return xr.Dataset(values, dates | coords)


def views_at(times, sights, **coords):
    views = stack_views(
        [xr.Dataset({"sight_x": s, "sight_y": 0.0}) for s in sights],
        np.array(times, "datetime64[ns]"),
    )
    return views.assign_coords({name: ("image", values) for name, values in coords.items()})


def test_images_are_found_by_time_and_mission():
    times = ["2020-06-01T10:20", "2020-06-01T10:05", "2020-06-11T10:10", "2020-06-11T10:01"]
    missions = np.array(["sentinel-2", "landsat", "sentinel-2", "landsat"])
    views = views_at(times, [0.1, -0.1, 0.1, -0.1], mission=missions)
    first, last = pair_images(one_pair(), views)
    assert (first[0], last[0]) == (1, 3)
    of = {f"mission_img{k}": ("mid_date", np.array(["S"])) for k in (1, 2)}
    first, last = pair_images(one_pair(**of), views)
    assert (first[0], last[0]) == (0, 2)


def test_images_that_cannot_be_found_are_named():
    views = views_at(["2020-06-01T10:00", "2020-06-12T10:00"], [0.1, 0.1])
    with pytest.raises(InputError, match="no view geometry of an image of 2020-06-11"):
        pair_images(one_pair(), views)
    day = {"acquisition_date_img2": ("mid_date", np.array(["2020-06-11"], "datetime64[ns]"))}
    two = views_at(["2020-06-01T10:00", "2020-06-11T10:00", "2020-06-11T14:00"], [0.1, 0.1, -0.1])
    with pytest.raises(InputError, match="look from different sides"):
        pair_images(one_pair(**day), two)
    assert pair_images(one_pair(**day), two.isel(image=[0, 2]))[1][0] == 1


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda c: c.drop_vars("vy"), {}, InputError, "no variable 'vy'"),
        (lambda c: c.drop_vars("vx_error"), {}, InputError, "needs errors"),
        (lambda c: c.assign(vx=c.vx.assign_attrs(units="m/d")), {}, InputError, "meter/year"),
        (lambda c: c.drop_vars("acquisition_date_img1"), {}, DateError, "need both"),
        (lambda c: c, {"significance": 0.0}, InputError, "probability"),
        (lambda c: c, {"scale": "big"}, InputError, "unknown"),
        (lambda c: c, {"image_error_m": -1.0}, InputError, "metres"),
        (lambda c: c, {"least_baseline": 0.0}, InputError, "positive"),
        (lambda c: c, {"periods": "fortnight"}, InputError, "no length of time"),
        (lambda c: c, {"periods": ["2020-07-01", "2020-08-01"]}, DateError, "lengthen"),
        (lambda c: c, {"periods": ["2021-07-01", "2020-08-01"]}, DateError, "in order"),
        (lambda c: c, {"threads": 0}, InputError, "at least 1"),
    ],
)
def test_bad_input_is_told(change, options, error, message):
    made = displacement_network(shape=(2, 2))
    with pytest.raises(error, match=message):
        elevation_bias(change(made.cube), made.views, **options)


def test_bad_views_are_told():
    made = displacement_network(shape=(2, 2))
    with pytest.raises(InputError, match="no sight_x"):
        elevation_bias(made.cube, made.views.drop_vars("sight_x"))
    with pytest.raises(InputError, match="no times"):
        elevation_bias(made.cube, made.views.drop_vars("time"))
    with pytest.raises(InputError, match="no view geometry"):
        stack_views([])
    with pytest.raises(DateError, match="has no time"):
        stack_views([xr.Dataset({"sight_x": 0.1, "sight_y": 0.0})])
    with pytest.raises(InputError, match="steeper"):
        sensitivity(xr.Dataset({"sight_x": 0.2, "sight_y": 0.0}), slope_x=45.0)
    with pytest.raises(GridError, match="shape"):
        remove_offsets(made.cube, made.views, np.zeros((3, 3)))


def test_an_unknown_bias_costs_only_cross_orbit_pairs():
    made = displacement_network(shape=(2, 3))
    bias = np.zeros((2, 3))
    bias[0, 0] = np.nan
    corrected = remove_offsets(made.cube, made.views, bias)
    across = np.abs(pair_offsets(made.cube, made.views)["offset_x"].values) > 0.01
    np.testing.assert_array_equal(np.isnan(corrected["vx"].values[:, 0, 0]), across)
    np.testing.assert_array_equal(corrected["vx"].values[:, 1], made.cube["vx"].values[:, 1])


def test_baseline_is_that_of_the_geometry():
    made = displacement_network()
    result = elevation_bias(made.cube, made.views)
    np.testing.assert_allclose(result["baseline"], SENTINEL_2_BASELINE, rtol=1e-5)
