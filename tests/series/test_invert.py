"""The inversion against dense linear algebra, known motion, and its own declared errors."""

from __future__ import annotations

import inspect

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ogive.model import DAYS_PER_YEAR, DateError, InputError
from ogive.series.combinations import closure_matrices
from ogive.series.invert import drop_duplicate_pairs, invert
from ogive.series.network import build_network

CONVERGED, LIMIT, NOTHING, NO_REDUNDANCY = 0, 1, 2, 3


def dense_system(cube: xr.Dataset, closure: str, sampling_days: float, pixel: int = 0):
    """B, A', Γ, displacements, variances of one pixel, in float64."""
    network = build_network(
        cube.acquisition_date_img1.values,
        cube.acquisition_date_img2.values,
        sampling_days=sampling_days,
        closure=closure,
    )
    years = network.plan.span_years
    v = np.stack([cube.vx.values[:, 0, pixel], cube.vy.values[:, 0, pixel]]).astype(float)
    B, A = (m.astype(float) for m in closure_matrices(network, np.isfinite(v).all(axis=0)))
    variance = (cube.vx_error.values.astype(float) * years) ** 2
    steps = np.diff(network.plan.node_days)
    velocity = np.diag(1 / steps)
    gamma = velocity[1:] - velocity[:-1]
    return network, B, A, gamma, np.nan_to_num(v * years), variance


def dense_inversion(
    cube, closure, sampling_days, *, regularisation=1.0, literal=False, tolerance=1e-3, pixel=0
):
    """The same method written with dense matrices and lstsq: X of both components, iterations."""
    _, B, A, gamma, y, variance = dense_system(cube, closure, sampling_days, pixel)
    valid = np.isfinite(cube.vx.values[:, 0, pixel])
    relative = variance / np.sort(variance[valid])[valid.sum() // 2]
    results, counts = [], []
    for components in ([0], [1]) if literal else ([0, 1],):
        by = B @ y[components].T
        spread = np.abs(B) @ relative
        prior = (np.abs(B) @ np.sqrt(relative)) ** -2.0 if literal else 1 / spread
        weight, x, scale, held, stretch = prior, None, np.full(len(components), np.inf), False, 1.0
        count = 0
        while True:
            count += 1
            system = np.vstack([np.sqrt(weight)[:, None] * A, np.sqrt(regularisation) * gamma])
            right = np.vstack([np.sqrt(weight)[:, None] * by, np.zeros((len(gamma), by.shape[1]))])
            new = np.linalg.lstsq(system, right, rcond=None)[0]
            inverse = np.linalg.inv(system.T @ system)
            residual = by - A @ new
            free = 1 - weight * np.einsum("ij,jk,ik->i", A, inverse, A)
            studentized = np.abs(residual) / np.sqrt(spread * free)[:, None]
            checked = np.sort(studentized[free > 0.01], axis=0)
            mad = 1.4826022185056018 * checked[len(checked) // 2]
            lower = np.where(mad < 0.8 * scale, mad, scale)
            settled = x is not None and np.abs(new - x).mean() < tolerance
            if x is not None and held and not settled and not literal:
                # Newton's step in the mean: the residual moves along with it.
                new = x + stretch * (new - x)
                residual = by - A @ new
                studentized = np.abs(residual) / np.sqrt(spread * free)[:, None]
                checked = np.sort(studentized[free > 0.01], axis=0)
                mad = 1.4826022185056018 * checked[len(checked) // 2]
                lower = np.where(mad < 0.8 * scale, mad, scale)
            x = new
            if settled and (literal or np.array_equal(lower, scale)):
                break
            held = held and not settled
            if literal:
                scale = np.sqrt((residual**2).sum(axis=0) / (A.shape[0] - A.shape[1]))
                z = residual / (scale * np.sqrt(free * prior)[:, None])
            else:
                if not held:
                    held, scale = np.array_equal(lower, scale), lower
                z = studentized / scale
            u = (z**2).sum(axis=1) / 4.685**2
            factor = np.clip(1 - u, 0, None) ** 2
            slope = (factor - 2 * u * np.sqrt(factor)).sum()
            stretch = factor.sum() / max(slope, 0.5 * factor.sum())
            weight = factor**2 if literal else prior * factor
        results += list(x.T)
        counts.append(count)
    return np.stack(results), max(counts)


def small_position(days):
    """Motion of a few metres, so that float32 output holds it to better than 1e-6 m."""
    return np.stack([np.sin(days / 60), np.cos(days / 90)])


@pytest.mark.parametrize("regularisation", [1.0, 30.0])
def test_the_solution_is_that_of_lstsq_on_the_same_weighted_system(simulate, pairs, regularisation):
    first, second = pairs(30)
    cube = simulate(
        first, second, error_m=0.2 + np.arange(first.size) % 3, noise=0.3, outliers=0.1,
        position=small_position,
    )  # fmt: skip
    series = invert(cube, "12D", regularisation, "dates", keep_weights=True, threads=1)
    _, _, A, gamma, y, variance = dense_system(cube, "dates", 12.0)
    relative = variance / np.sort(variance)[variance.size // 2]
    weight = np.sqrt(series.weight.values[:, 0, 0].astype(float) / relative)
    system = np.vstack([weight[:, None] * A, np.sqrt(regularisation) * gamma])
    right = np.vstack([(weight * y).T, np.zeros((len(gamma), 2))])
    expected = np.linalg.lstsq(system, right, rcond=None)[0].T
    found = np.stack([series.dx.values[:, 0, 0], series.dy.values[:, 0, 0]])
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("closure", ["dates", "combined"])
@pytest.mark.parametrize("reweighting", ["robust", "charrier2022"])
@pytest.mark.parametrize(("gaps", "regularisation"), [(0.0, 1.0), (0.2, 30.0)])
def test_the_whole_iteration_equals_a_dense_one(
    simulate, pairs, closure, reweighting, gaps, regularisation
):
    first, second = pairs(40, keep=0.8)
    errors = 0.5 + np.random.default_rng(3).random(first.size)
    cube = simulate(first, second, error_m=errors, outliers=0.05, gaps=gaps, seed=5)
    # Where the tolerance ends the iteration both have made the same steps.
    series = invert(cube, "24D", regularisation, closure, reweighting=reweighting, threads=1)
    expected, iterations = dense_inversion(
        cube, closure, 24.0, regularisation=regularisation, literal=reweighting == "charrier2022"
    )
    assert series.iterations.item() == iterations
    if closure == "dates":
        network, *_ = dense_system(cube, closure, 24.0)
        position = np.concatenate([np.zeros((2, 1)), np.cumsum(expected, axis=1)], axis=1)
        nodes, edges = network.plan.node_days, network.edges_days
        expected = np.diff([np.interp(edges, nodes, p) for p in position])
    found = np.stack([series.dx.values[:, 0, 0], series.dy.values[:, 0, 0]])
    # float32 output: 1e-6 of some metres; differing rounding is amplified by few iterations.
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)


def test_without_regularisation_the_solution_has_minimum_norm(simulate):
    # Three unknowns between four dates; d02 and d13 alone leave one combination open.
    cube = simulate([0, 12], [24, 36], noise=0.0, position=small_position)
    series = invert(cube, "12D", 0.0, "dates", threads=1)
    _, _, A, _, y, _ = dense_system(cube, "dates", 12.0)
    assert np.linalg.matrix_rank(A) == 2 < A.shape[1]
    expected = np.linalg.lstsq(A, y.T, rcond=None)[0].T
    found = np.stack([series.dx.values[:, 0, 0], series.dy.values[:, 0, 0]])
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


def test_steady_ice_is_recovered_exactly(simulate, pairs):
    def steady(days):
        return np.stack([0.3 * days, -0.1 * days])

    cube = simulate(*pairs(), noise=0.0, position=steady)
    for closure in ("dates", "combined"):
        series = invert(cube, "36D", closure=closure, threads=1)
        # float32 velocities of 110 m/yr are known to 1e-5 m/yr.
        np.testing.assert_allclose(series.vx, 0.3 * DAYS_PER_YEAR, atol=1e-4)
        np.testing.assert_allclose(series.vy, -0.1 * DAYS_PER_YEAR, atol=1e-4)
        np.testing.assert_allclose(series.v, np.hypot(series.vx, series.vy), rtol=1e-6)
        np.testing.assert_allclose(series.dx, 0.3 * 36, atol=1e-5)


@pytest.mark.parametrize(
    ("closure", "sampling"), [("dates", "12D"), ("dates", "36D"), ("combined", "12D")]
)
@pytest.mark.parametrize("outliers", [0.0, 0.1])
@pytest.mark.parametrize("regularisation", [1.0, 100.0])
def test_95_percent_intervals_hold_95_percent(
    simulate, pairs, truth, closure, sampling, outliers, regularisation
):
    first, second = pairs(60, keep=0.7)
    errors = 0.5 + 1.5 * np.random.default_rng(1).random(first.size)
    cube = simulate(first, second, pixels=300, error_m=errors, outliers=outliers, seed=2)
    series = invert(cube, sampling, regularisation, closure, threads=1)
    assert (series.status == CONVERGED).mean() > 0.97
    expected = truth(series)
    for k, name in enumerate(("dx", "dy")):
        error = series[f"{name}_error"].values[:, 0]
        inside = np.abs(series[name].values[:, 0] - expected[k][:, None]) <= 1.96 * error
        # 300 independent pixels: a pixel's coverage spreads by less than 0.1, its mean by 0.006;
        # the rest is left to the asymptotic formula with 240 residuals per pixel. Variances have no
        # sign, so that chance finds some of images and of pulled velocities where there is none:
        # that errs upwards, the more, the less noise the regularisation leaves beside it.
        above = 0.02 if regularisation == 1.0 else 0.03
        assert 0.93 <= inside.mean() <= 0.95 + above
    # The declared errors were right, and found to be right.
    assert float(series.error_scale_x.median()) == pytest.approx(1.0, abs=0.1)


def test_combined_rows_know_that_they_share_observations(simulate, pairs, truth):
    """Without B Σ Bᵀ, in the solution and in its residuals, intervals would hold far fewer."""
    first, second = pairs(60, keep=0.7)
    cube = simulate(first, second, pixels=300, seed=2)
    series = invert(cube, "36D", closure="combined", threads=1)
    error = series.dx_error.values[:, 0]
    inside = np.abs(series.dx.values[:, 0] - truth(series)[0][:, None]) <= 1.96 * error
    # Four standard errors of the mean over 300 independent pixels, and two percent for what is
    # asymptotic in the errors.
    spread = inside.mean(axis=0).std() / np.sqrt(300)
    assert inside.mean() == pytest.approx(0.95, abs=0.02 + 4 * spread)


def test_wrong_declared_errors_are_found_out(simulate, pairs):
    cube = simulate(*pairs(), pixels=50, seed=4)
    for name in ("vx_error", "vy_error"):
        cube[name] = cube[name] / 3
    options = {"closure": "dates", "image_error_m": 0, "threads": 1}
    series = invert(cube, "12D", **options)
    assert float(series.error_scale_x.median()) == pytest.approx(3.0, rel=0.1)
    right = invert(simulate(*pairs(), pixels=50, seed=4), "12D", **options)
    np.testing.assert_allclose(series.dx_error, right.dx_error, rtol=1e-3)


def test_gross_outliers_hardly_matter_to_the_robust_weights(simulate, pairs, truth):
    first, second = pairs(60, keep=0.8)
    clean = invert(simulate(first, second, pixels=60, seed=6), "24D", closure="dates", threads=1)
    cube = simulate(first, second, pixels=60, seed=6, outliers=0.15)

    def rmse(series):
        return float(np.sqrt(np.mean((series.dx.values[:, 0] - truth(series)[0][:, None]) ** 2)))

    robust = rmse(invert(cube, "24D", closure="dates", threads=1))
    printed = rmse(invert(cube, "24D", closure="dates", reweighting="charrier2022", threads=1))
    # 15 % of the observations are lost, no more: sqrt(1 / 0.85) = 1.08, and a margin of as much.
    assert robust < 1.2 * rmse(clean)
    # The standard deviation of the residuals, inflated by 40 m errors, cannot tell them.
    assert printed > 2 * robust


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_a_gap_in_time_is_bridged_openly(simulate, truth, noise):
    first = np.concatenate([np.arange(0, 120, 12), np.arange(240, 360, 12)])
    first = np.repeat(first, 2)
    second = first + np.tile([12, 24], first.size // 2)
    cube = simulate(first, second, pixels=100, noise=noise, seed=7)
    bridged = invert(cube, "12D", closure="dates", threads=1)
    within = (bridged.observations.values[:, 0] == 0).all(axis=1)
    assert within.sum() == 9  # from day 132 to day 240
    assert (bridged.subnetworks == 2).all()
    misfit = np.abs(bridged.dx.values[:, 0] - truth(bridged)[0][:, None])
    error = bridged.dx_error.values[:, 0]
    # In the gap the season turns: its error has to cover what the straight bridge cannot know.
    assert (misfit[within] <= 1.96 * error[within]).mean() >= 0.95
    assert error[within].mean() > 1.5 * np.nanmean(error[~within])
    unbridged = invert(cube, "12D", 0.0, "dates", threads=1)
    assert np.isnan(unbridged.dx.values[within]).all()
    assert np.isfinite(unbridged.dx.values[~within][1:-1]).mean() > 0.97


def test_nothing_is_extrapolated(simulate, pairs):
    cube = simulate(*pairs(20), pixels=2)
    end = np.datetime64("2017-01-01") + np.timedelta64(120, "D")
    early = cube.acquisition_date_img2 <= end
    assert (cube.acquisition_date_img2 == end).any()
    cube["vx"][:, 0, 1] = cube.vx[:, 0, 1].where(early)
    series = invert(cube, "12D", closure="dates", threads=1)
    late = series.time_bounds.values[:, 1] > end
    assert np.isnan(series.dx.values[late, 0, 1]).all()
    assert np.isfinite(series.dx.values[~late, 0, 1]).all()
    assert np.isfinite(series.dx.values[:, 0, 0]).all()


def test_bad_pixels_are_flagged_and_take_no_others_down(simulate, pairs):
    cube = simulate(*pairs(30), pixels=6, seed=8)
    n = cube.sizes["mid_date"]
    full = {name: cube[name].broadcast_like(cube.vx).copy() for name in ("vx_error", "vy_error")}
    cube = cube.assign(full)
    alone = [invert(cube.isel(x=[k]), "12D", closure="dates", threads=1) for k in range(6)]
    cube.vx.values[:, 0, 1] = np.nan
    cube.vx_error.values[:, 0, 2] = np.inf
    cube.vx_error.values[:5, 0, 3] = -1.0
    cube.vy_error.values[5:9, 0, 3] = np.nan
    cube.vy.values[:, 0, 4] = np.inf
    series = invert(cube, "12D", closure="dates", threads=1)
    assert series.status.values[0].tolist() == [0, NOTHING, NOTHING, 0, NOTHING, 0]
    assert series.observations_unusable.values[0].tolist() == [0, 0, n, 9, 0, 0]
    assert series.observations_valid.values[0].tolist() == [n, 0, 0, n - 9, 0, n]
    for k in (0, 5):
        np.testing.assert_array_equal(series.dx.values[..., k], alone[k].dx.values[..., 0])
    for k in (1, 2, 4):
        for name in ("dx", "vx", "v", "vx_error", "error_scale_x"):
            assert np.isnan(series[name].values[..., k]).all()
        assert (series.observations.values[..., k] == 0).all()
    # Nine of the earliest pairs are lost, and with them perhaps the first periods.
    assert np.isfinite(series.dx.values[3:, 0, 3]).all()


def test_a_chain_of_pairs_cannot_be_reweighted_and_says_so(simulate):
    first = np.arange(0, 120, 12.0)
    series = invert(simulate(first, first + 12), "12D", 1.0, "dates", threads=1)
    assert series.status.item() == NO_REDUNDANCY
    assert series.iterations.item() == 1
    # Each displacement is its observation, its error the declared one (less what λ smooths).
    np.testing.assert_allclose(series.dx_error.values, 1.0, atol=0.05)
    unknown = invert(simulate(first, first + 12), "12D", 1.0, "dates", weights="uniform", threads=1)
    assert np.isnan(unknown.dx_error.values).all()


@pytest.mark.parametrize("closure", ["dates", "combined"])
def test_threads_and_blocks_change_nothing(simulate, pairs, closure):
    cube = simulate(*pairs(30), pixels=40, outliers=0.1, gaps=0.2, seed=9)
    cube["vx"].values[:, 0, ::3] = simulate(*pairs(30), pixels=40, seed=10).vx.values[:, 0, ::3]
    one = invert(cube, "24D", closure=closure, threads=1, keep_weights=True)
    three = invert(cube, "24D", closure=closure, threads=3, keep_weights=True)
    xr.testing.assert_identical(one, three)
    lazy = invert(cube.chunk({"mid_date": 50, "x": 7}), "24D", closure=closure, keep_weights=True)
    assert all(lazy[name].chunks is not None for name in lazy.data_vars)
    with dask.config.set(scheduler="threads", num_workers=2):
        xr.testing.assert_identical(one, lazy.compute())
        plain = invert(cube.chunk({"x": 7}), "24D", closure=closure).compute()
    xr.testing.assert_identical(one.drop_vars("weight").vx, plain.vx)


@pytest.mark.parametrize("closure", ["dates", "combined"])
@pytest.mark.parametrize("reweighting", ["robust", "charrier2022"])
def test_a_pixel_gets_the_same_in_any_company(simulate, pairs, closure, reweighting):
    """Eight pixels share registers: the others, and when they end, must not change a bit."""
    cube = simulate(*pairs(30), pixels=21, outliers=0.1, gaps=0.3, seed=13)
    whole = simulate(*pairs(30), pixels=21, outliers=0.2, seed=14)
    for name in ("vx", "vy"):
        cube[name].values[:, 0, ::4] = whole[name].values[:, 0, ::4]
        cube[name].values[:, 0, 6] = np.nan
        cube[name].values[40:, 0, 9] = np.nan
    options = {"closure": closure, "reweighting": reweighting, "keep_weights": True, "threads": 1}
    together = invert(cube, "24D", **options)
    assert len(np.unique(together.iterations)) > 2
    order = np.random.default_rng(15).permutation(21)
    xr.testing.assert_identical(
        invert(cube.isel(x=order), "24D", **options), together.isel(x=order)
    )
    for k in (0, 1, 9):
        xr.testing.assert_identical(
            invert(cube.isel(x=[k]), "24D", **options), together.isel(x=[k])
        )


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_order_of_observations_and_of_axes_does_not_matter(simulate, pairs, seed):
    cube = simulate(*pairs(15), outliers=0.1, seed=seed)
    order = np.random.default_rng(seed).permutation(cube.sizes["mid_date"])
    swapped = cube.rename(vx="vy", vy="vx", vx_error="vy_error", vy_error="vx_error")
    one, other, turned = (
        invert(c, "12D", closure="dates", threads=1)
        for c in (cube, cube.isel(mid_date=order), swapped)
    )
    np.testing.assert_allclose(one.dx, other.dx, atol=1e-5)
    np.testing.assert_allclose(one.dx, turned.dy, atol=1e-5)


def test_an_expected_acceleration_lets_a_strong_regularisation_follow_the_seasons(
    simulate, pairs, truth
):
    cube = simulate(*pairs(60, keep=0.8), pixels=100, seed=11)

    def bias(**options):
        series = invert(cube, "12D", 3e4, "dates", threads=1, **options)
        mean = np.nanmean(series.dx.values[:, 0], axis=1)
        return float(np.abs(mean - truth(series)[0]).mean())

    flat = bias()
    smoothed = bias(acceleration="smoothed", smoothing_days=30)
    assert smoothed < 0.6 * flat
    assert smoothed == bias(acceleration="smoothed", smoothing_days=30)


def test_first_weights_may_come_from_a_quality(simulate, pairs):
    first, second = pairs(40)
    poor = np.random.default_rng(12).random(first.size) < 0.5
    cube = simulate(first, second, pixels=60, error_m=np.where(poor, 4.0, 0.5), seed=12)
    cube["quality"] = ("mid_date", np.where(poor, 0.125, 1.0))
    quality = invert(cube, "12D", closure="dates", weights="quality", threads=1)
    error = invert(cube, "12D", closure="dates", threads=1)
    np.testing.assert_allclose(quality.dx, error.dx, atol=1e-4)
    assert np.isnan(quality.error_scale_x).all()
    cube["quality"][3] = 0.0
    assert (invert(cube, "12D", weights="quality", threads=1).observations_unusable == 1).all()


def test_the_output_says_what_it_is(simulate, pairs):
    cube = simulate(*pairs(20)).assign_coords(
        spatial_ref=xr.DataArray(0, attrs={"crs_wkt": "somewhere", "grid_mapping_name": "x"})
    )
    series = invert(cube, "36D", threads=1)
    assert series.vx.dims == ("time", "y", "x")
    assert series.time.attrs["bounds"] == "time_bounds"
    length = series.time_bounds.values[:, 1] - series.time_bounds.values[:, 0]
    assert (length == np.timedelta64(36, "D")).all()
    assert series.vx.attrs["units"] == "meter/year"
    assert series.vx.attrs["grid_mapping"] == "spatial_ref"
    assert "spatial_ref" in series.coords
    assert series.status.attrs["flag_meanings"].split()[NOTHING] == "no_usable_observation"
    np.testing.assert_allclose(series.vx * 36 / DAYS_PER_YEAR, series.dx, rtol=1e-6)
    assert series.attrs["inversion_closure"] == "dates"
    assert all(series[name].dtype != np.float64 for name in series.data_vars)


def test_kept_weights_leave_the_errors_of_the_series(simulate, pairs):
    """Errors that the cube has for pairs go by the same names."""
    first, second = pairs(12)
    cube = simulate(first, second)
    assert cube.vx_error.dims == ("mid_date",)
    plain, kept = (
        invert(cube, "24D", threads=1, keep_weights=weights) for weights in (False, True)
    )
    assert kept.weight.dims[0] == "mid_date"
    for name in ("vx_error", "vy_error", "v_error"):
        xr.testing.assert_equal(kept[name].variable, plain[name].variable)


def test_duplicates_are_told_and_can_be_dropped(simulate, pairs):
    cube = simulate(*pairs(20))
    twice = xr.concat([cube, cube.isel(mid_date=[0, 4])], dim="mid_date", data_vars="minimal")
    with pytest.raises(InputError, match="2 pairs occur twice"):
        invert(twice, "12D")
    once = drop_duplicate_pairs(twice)
    assert once.sizes["mid_date"] == cube.sizes["mid_date"]
    xr.testing.assert_identical(invert(once, "12D", threads=1), invert(cube, "12D", threads=1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regularisation": -1}, "0 or more"),
        ({"regularisation": np.nan}, "0 or more"),
        ({"closure": "free"}, "unknown"),
        ({"sampling": "a while"}, "no length of time"),
        ({"weights": "luck"}, "neither"),
        ({"acceleration": "random"}, "unknown"),
        ({"acceleration": "smoothed", "regularisation": 0}, "no effect"),
        ({"acceleration": "smoothed", "smoothing_days": 0}, "positive"),
        ({"reweighting": "none"}, "unknown"),
        ({"tukey_c": 0}, "positive"),
        ({"tolerance_m": 0}, "positive"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_bad_options_are_told(simulate, pairs, options, words):
    with pytest.raises(InputError, match=words):
        invert(simulate(*pairs(20)), **options)


def test_bad_cubes_are_told(simulate, pairs):
    cube = simulate(*pairs(20))
    with pytest.raises(DateError, match="no time axis"):
        invert(cube.isel(mid_date=0))
    with pytest.raises(DateError, match="acquisition_date_img2"):
        invert(cube.drop_vars("acquisition_date_img2"))
    backwards = cube.copy(deep=True)
    backwards["acquisition_date_img2"].values[3] = np.datetime64("2016-01-01")
    with pytest.raises(DateError, match="swap the dates"):
        invert(backwards)
    same = cube.copy(deep=True)
    same["acquisition_date_img2"].values[3] = same["acquisition_date_img1"].values[3]
    with pytest.raises(DateError, match="same time"):
        invert(same)
    numbers = np.arange(float(cube.sizes["mid_date"]))
    with pytest.raises(DateError, match="must hold one date"):
        invert(cube.assign_coords(acquisition_date_img1=("mid_date", numbers)))
    with pytest.raises(InputError, match="no vx_error"):
        invert(cube.drop_vars("vx_error"))
    with pytest.raises(InputError, match="'vy'"):
        invert(cube.drop_vars("vy"))
    for name in ("vx", "vy_error"):
        other = cube.assign({name: cube[name].assign_attrs(units="meter/day")})
        with pytest.raises(InputError, match=f"'{name}' is in 'meter/day' but must be in meter/ye"):
            invert(other)


def test_what_states_no_units_is_taken_for_meter_per_year(simulate, pairs):
    """As it says of itself: arithmetic with a cube leaves no attributes."""
    cube = simulate(*pairs(20))
    assert "units" not in cube.vx.attrs
    told = cube.copy()
    for name in ("vx", "vy", "vx_error", "vy_error"):
        told[name] = cube[name].assign_attrs(units="m/yr")
    xr.testing.assert_equal(invert(cube, "12D", threads=1), invert(told, "12D", threads=1))


def test_pairs_that_no_combination_reaches_are_told(simulate, caplog):
    # Nothing leads from a date of the 24-day series to day 30 or 42.
    cube = simulate([0, 24, 0, 30], [24, 48, 48, 42])
    series = invert(cube, "24D", closure="combined", threads=1)
    assert series.attrs["inversion_pairs_left_out"] == 1
    assert "leaves out 1 of 4 pairs" in caplog.text
    caplog.clear()
    series = invert(cube, "24D", threads=1)
    assert series.attrs["inversion_pairs_left_out"] == 0
    assert not caplog.text
    with pytest.raises(InputError, match="cannot combine any pair"):
        invert(simulate([0, 7], [19, 31]), "24D", closure="combined")


def test_the_command_and_a_run_have_the_same_defaults():
    import typer.main

    from ogive.cli import app
    from ogive.workflow.runfile_settings import InvertSettings

    here = inspect.signature(invert).parameters
    told = {p.name: p for p in typer.main.get_command(app).commands["invert"].params}
    for name in ("regularisation", "closure", "weights", "acceleration"):
        # Nothing is passed on, so that the library decides; the help says what.
        assert told[name].default is None
        assert told[name].show_default == f"{here[name].default:{'g' * (name[0] == 'r')}}"
    assert f"{told['sampling'].default}D" == here["sampling"].default
    run = InvertSettings()
    assert run.regularisation == here["regularisation"].default
    assert run.closure == here["closure"].default
    assert pd.Timedelta(days=run.sampling_days) == pd.Timedelta(here["sampling"].default)
