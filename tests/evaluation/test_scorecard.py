"""Scores of one map against errors that are known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ogive.evaluation.scorecard import closure_of_pairs, score_map
from ogive.model import DAYS_PER_YEAR, InputError

SIZE = 120


def velocity_map(*, bias_x: float = 0.0, sigma: float = 10.0, seed: int = 0) -> xr.Dataset:
    """Ground that stands still, with independent errors."""
    rng = np.random.default_rng(seed)
    fields = {name: rng.normal(0, sigma, (SIZE, SIZE)) for name in ("vx", "vy")}
    fields["vx"] += bias_x
    fields |= {name: np.full((SIZE, SIZE), sigma) for name in ("vx_error", "vy_error")}
    return xr.Dataset({name: (("y", "x"), values) for name, values in fields.items()})


def test_bias_and_spread_are_those_that_were_put_in():
    stable = np.ones((SIZE, SIZE), bool)
    score = score_map(velocity_map(bias_x=25.0), stable=stable)
    # The median of n normal values errs by sigma sqrt(pi / 2n): 0.10 here; five of them.
    assert score.stable_median_x == pytest.approx(25.0, abs=0.55)
    assert score.stable_median_y == pytest.approx(0.0, abs=0.55)
    # The NMAD errs by 1.17 sigma / sqrt(n): 0.1; five of them.
    assert score.stable_nmad_x == pytest.approx(10.0, abs=0.5)
    # The mean of two components' squares: (25² + 10² + 10²) / 2.
    assert score.stable_rmse == pytest.approx(np.sqrt((625 + 200) / 2), rel=0.03)
    assert score.measured == 1.0
    assert np.isnan(score.measured_ice)


def test_true_errors_cover_and_small_ones_do_not():
    stable = np.ones((SIZE, SIZE), bool)
    honest = velocity_map()
    # A share of 0.95 of 28,800 values errs by 0.0013; five of them.
    assert score_map(honest, stable=stable).stable_within_95 == pytest.approx(0.95, abs=0.0065)
    bold = honest.assign(vx_error=honest.vx_error / 2, vy_error=honest.vy_error / 2)
    # Of a normal value 0.673 lies within 0.98 standard deviations.
    assert score_map(bold, stable=stable).stable_within_95 == pytest.approx(0.673, abs=0.014)
    undeclared = honest.drop_vars(["vx_error", "vy_error"])
    assert np.isnan(score_map(undeclared, stable=stable).stable_within_95)


def test_gaps_are_counted_on_ice_and_in_all():
    velocity = velocity_map()
    ice = np.zeros((SIZE, SIZE), bool)
    ice[:30] = True
    velocity["vx"][:15] = np.nan
    score = score_map(velocity, stable=~ice, ice=ice)
    assert score.measured == pytest.approx(1 - 15 / SIZE)
    assert score.measured_ice == pytest.approx(0.5)
    assert score.stable_count == 90 * SIZE


def test_without_stable_ground_there_are_no_figures_of_it():
    score = score_map(velocity_map(), stable=np.zeros((SIZE, SIZE), bool))
    assert score.stable_count == 0
    assert np.isnan(score.stable_nmad_x)


def test_a_mask_of_another_grid_is_refused():
    with pytest.raises(InputError, match="stable"):
        score_map(velocity_map(), stable=np.ones((3, 3), bool))


def cube_of(dates_days: list[tuple[int, int]], *, sigma_m: float, seed: int = 0) -> xr.Dataset:
    """Pairs of ground that moves steadily, each with independent errors of position."""
    rng = np.random.default_rng(seed)
    day = np.datetime64("2020-01-01", "ns")
    first, last = (
        day + np.array([pair[k] for pair in dates_days]).astype("timedelta64[D]") for k in (0, 1)
    )
    years = np.array([b - a for a, b in dates_days])[:, None, None] / DAYS_PER_YEAR
    shape = (len(dates_days), 40, 50)
    fields = {
        name: (("mid_date", "y", "x"), mean + rng.normal(0, sigma_m, shape) / years)
        for name, mean in (("vx", 40.0), ("vy", -20.0))
    }
    return xr.Dataset(
        fields,
        {
            "acquisition_date_img1": ("mid_date", first),
            "acquisition_date_img2": ("mid_date", last),
            "x": 100.0 * np.arange(50),
            "y": -100.0 * np.arange(40),
        },
    )


def test_closure_tells_the_error_of_the_pairs():
    cube = cube_of([(0, 10), (10, 30), (0, 30), (30, 60)], sigma_m=2.0)
    score = closure_of_pairs(cube)
    assert score.triplets == 1
    # Three independent errors of 2 m add to 3.46 m; reading the second between its points takes
    # off less than 2 %, and the NMAD of some 4000 values errs by 2 %.
    assert score.nmad_m == pytest.approx(2.0 * np.sqrt(3), rel=0.1)
    assert score.median_x_m == pytest.approx(0.0, abs=0.4)


def test_pairs_without_common_images_close_nothing():
    score = closure_of_pairs(cube_of([(0, 10), (20, 30)], sigma_m=1.0))
    assert score.triplets == score.points == 0
    assert np.isnan(score.nmad_m)


def test_so_many_triplets_are_closed_and_no_more():
    pairs = [(a, b) for a in range(0, 60, 10) for b in range(a + 10, 70, 10)]
    assert closure_of_pairs(cube_of(pairs, sigma_m=1.0), most=7).triplets == 7
