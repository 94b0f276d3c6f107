"""The scores themselves are scored: on errors of which everything is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ogive.evaluation import motion
from ogive.model import GridError, InputError


def field(dx, dy, x=None, y=None) -> xr.Dataset:
    dx, dy = np.broadcast_arrays(np.float32(dx), np.float32(dy))
    x = np.arange(dx.shape[1], dtype=float) if x is None else x
    y = np.arange(dx.shape[0], dtype=float) if y is None else y
    return xr.Dataset({"dx": (("y", "x"), dx), "dy": (("y", "x"), dy)}, {"y": y, "x": x})


def test_a_score_by_hand():
    judged = motion.score(
        [1.3, 1.0, 9.0, np.nan, 1.0],
        [0.0, 0.4, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0, np.nan],
        np.zeros(5),
    )
    assert judged.count == 4
    assert judged.coverage == 0.75
    assert judged.outlier_share == pytest.approx(1 / 3)
    assert judged.rmse == pytest.approx(np.sqrt((0.3**2 + 0.4**2) / 4))
    assert judged.bias_x == pytest.approx(0.15)
    assert judged.bias_y == pytest.approx(0.2)
    assert judged.bias == pytest.approx(0.175)
    assert motion.score([0.0], [0.0], [0.0], [0.0], [False]).count == 0


def test_an_error_of_exactly_the_limit_is_no_outlier():
    assert motion.score([0.6], [0.8], [0.0], [0.0]).outlier_share == 0.0
    assert motion.score([0.7], [0.8], [0.0], [0.0]).outlier_share == 1.0


@given(st.floats(0.01, 100), st.integers(0, 2**31), st.floats(-50, 50))
def test_a_score_scales_with_the_unit_and_forgets_order_and_place(unit, seed, away):
    rng = np.random.default_rng(seed)
    dx, dy, tx, ty = rng.normal(0, 0.4, (4, 50))
    one = motion.score(dx, dy, tx, ty)
    order = rng.permutation(50)
    other = motion.score(
        *(unit * (values[order] + away) for values in (dx, dy, tx, ty)), outlier_limit=unit
    )
    assert other.outlier_share == one.outlier_share
    for name in ("rmse", "bias", "bias_x", "bias_y", "nmad"):
        assert getattr(other, name) == pytest.approx(unit * getattr(one, name), abs=1e-9 * unit)


def test_intervals_cover_what_they_say():
    rng = np.random.default_rng(0)
    n = 40_000
    var_x, var_y = rng.uniform(0.1, 4, (2, n))
    cov = rng.uniform(-0.9, 0.9, n) * np.sqrt(var_x * var_y)
    z = rng.standard_normal((2, n))
    error_x = np.sqrt(var_x) * z[0]
    error_y = cov / np.sqrt(var_x) * z[0] + np.sqrt(var_y - cov**2 / var_x) * z[1]
    for level in (0.5, 0.95):
        covered = motion.interval_coverage(error_x, error_y, var_x, var_y, cov, level)
        # Four binomial standard errors: at most 1 %.
        tolerance = 4 * np.sqrt(level * (1 - level) / n)
        for share in (covered.x, covered.y, covered.ellipse):
            assert share == pytest.approx(level, abs=tolerance)
        assert covered.count == n
    claimed = motion.interval_coverage(error_x, error_y, var_x / 4, var_y / 4, cov / 4)
    assert claimed.x < 0.70  # half the true error: 1.96 / 2 standard deviations, 67 %
    ignoring = motion.interval_coverage(error_x, error_y, var_x, var_y, 0 * cov)
    assert ignoring.x == pytest.approx(0.95, abs=0.01)
    assert ignoring.ellipse < 0.945  # the joint ellipse notices a covariance left out


def test_intervals_leave_out_what_has_no_value():
    covered = motion.interval_coverage([0.1, np.nan], [0.0, 0.0], 1.0, 1.0, 0.0)
    assert covered.count == 1
    assert np.isnan(motion.interval_coverage([np.nan], [0.0], 1.0, 1.0, 0.0).x)
    with pytest.raises(InputError, match="positive definite"):
        motion.interval_coverage([0.1], [0.0], 1.0, 1.0, 2.0)
    with pytest.raises(InputError, match="level"):
        motion.interval_coverage([0.1], [0.0], 1.0, 1.0, 0.0, level=95)


def test_the_error_of_the_median_knows_that_neighbours_err_together():
    z, worth, spread = [], [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        noise = ndimage.gaussian_filter(rng.standard_normal((2, 70, 70)), (0, 1.5, 1.5))
        noise *= 0.1 * 2 * np.sqrt(np.pi) * 1.5
        wrong = rng.random((70, 70)) < 0.03
        noise[:, wrong] = 20.0 * rng.standard_normal((2, wrong.sum()))
        found = motion.stable_ground_statistics(field(*noise), np.ones((70, 70), bool))
        z += [found.x.median / found.x.median_error, found.y.median / found.y.median_error]
        spread.append(found.x.nmad)
        assert found.x.std > 1.0
        worth.append(found.effective_count)
    # A Gaussian autocovariance of length 1.5 √2 makes 4π 1.5² = 28 points worth one, 175 in all;
    # signs are correlated a little less (arc sine law), and single fields scatter by a half.
    # 3 % of outliers lift the NMAD by 4 %; a hundred fields leave 1 % of chance.
    assert np.mean(spread) == pytest.approx(0.104, rel=0.04)
    assert 120 < np.median(worth) < 280
    # 200 draws: the share has a standard error of 1.6 %.
    assert 0.88 <= np.mean(np.abs(z) < 1.96) <= 0.99


def test_stable_ground_of_velocities_and_with_gaps():
    rng = np.random.default_rng(0)
    data = field(*rng.normal(5, 1, (2, 30, 30)))
    data = data.rename(dx="vx", dy="vy").where(rng.random((30, 30)) > 0.25)
    stable = np.zeros((30, 30), bool)
    stable[:, :20] = True
    found = motion.stable_ground_statistics(data, stable)
    inside = data.vx.values[stable]
    assert found.count == np.isfinite(inside).sum()
    assert found.share == pytest.approx(found.count / 600)
    assert found.x.median == pytest.approx(np.nanmedian(inside))
    with pytest.raises(InputError, match="no stable point"):
        motion.stable_ground_statistics(data, np.zeros((30, 30), bool))
    with pytest.raises(GridError):
        motion.stable_ground_statistics(data, np.ones((3, 3), bool))
    constant = motion.stable_ground_statistics(field(np.ones((5, 5)), 0.0), np.ones((5, 5), bool))
    assert constant.x.median_error == 0.0


def linear(x, y, k=0.02):
    """A linear motion, which bilinear reading reproduces."""
    return 3.0 + k * x + 0.01 * y, -1.5 + 0.5 * k * x - 0.02 * y


@pytest.mark.parametrize("north_up", [False, True])
def test_motion_composed_where_the_surface_has_gone_closes(north_up):
    x, y = np.arange(0.0, 400, 10), np.arange(0.0, 300, 10)
    y = y[::-1] if north_up else y
    X, Y = np.meshgrid(x, y)
    first = linear(X, Y)
    second = linear(X + first[0], Y + first[1], 0.03)
    d12 = field(*first, x, y)
    d23 = field(*linear(X, Y, 0.03), x, y)
    d13 = field(first[0] + second[0], first[1] + second[1], x, y)
    residual = motion.closure(d12, d23, d13)
    inside = np.isfinite(residual.dx.values)
    assert inside.mean() > 0.8  # those that stay on the grid
    # float32 of displacements up to some 20 units, three of them.
    for name in ("dx", "dy"):
        assert np.abs(residual[name].values[inside]).max() < 1e-5
    # Read where the point was instead of where it is, the residual is the motion's gradient times
    # the motion: the test would see that.
    naive = first[0] + linear(X, Y, 0.03)[0] - d13.dx.values
    assert np.abs(naive).max() > 0.1
    there = field(*first, x, y)
    determinant = (1 + 0.02) * (1 - 0.02) - 0.01 * 0.01
    bx, by = X - 3.0, Y + 1.5
    from_x = (0.98 * bx - 0.01 * by) / determinant
    from_y = (-0.01 * bx + 1.02 * by) / determinant
    back = field(from_x - X, from_y - Y, x, y)
    residual = motion.forward_backward(there, back)
    inside = np.isfinite(residual.dx.values)
    assert inside.mean() > 0.8
    assert np.abs(residual.dx.values[inside]).max() < 1e-4
    assert np.abs(residual.dy.values[inside]).max() < 1e-4


def test_gaps_spread_to_what_was_read_from_them_and_no_farther():
    still, gap = field(np.zeros((5, 6)), 0.0), field(np.zeros((5, 6)), 0.0)
    gap.dx[2, 3] = np.nan
    residual = motion.closure(still, gap, still)
    assert np.isnan(residual.dx.values).sum() == 1
    half = field(np.full((5, 6), 0.5), 0.0)
    residual = motion.closure(half, gap, half)
    missing = np.isnan(residual.dx.values)
    assert missing[2, 2]
    assert missing[2, 3]
    assert missing[:, 5].all()  # beyond the grid
    assert missing.sum() == 7


def test_fields_that_do_not_fit_are_refused():
    one = field(np.zeros((5, 6)), 0.0)
    with pytest.raises(InputError, match="different grids"):
        motion.closure(one, one, one.assign_coords(x=one.x + 1))
    with pytest.raises(InputError, match="no dx"):
        motion.forward_backward(one, one.drop_vars("dx"))
    with pytest.raises(InputError, match="evenly"):
        motion.forward_backward(one, one.assign_coords(x=np.arange(6.0) ** 2))
    with pytest.raises(InputError, match="shapes"):
        motion.score(np.zeros(3), np.zeros(3), np.zeros(4), np.zeros(3))


def test_offsets_of_unknown_unit_and_sign_are_compared():
    rng = np.random.default_rng(0)
    dx, dy = rng.normal(0, 8, (2, 3000))
    ref_dx, ref_dy = -dx / 15 + rng.normal(0, 0.02, 3000), dy / 15 + rng.normal(0, 0.02, 3000)
    wrong = rng.random(3000) < 0.1
    ref_dx[wrong], ref_dy[wrong] = rng.normal(0, 30, (2, wrong.sum()))
    found = motion.compare_offsets(dx, dy, ref_dx, ref_dy, fit_scale=True, min_length=1.0)
    # A tenth wrong moves the median of ratios a little; noise 0.3 of 8.
    assert found.scale_x == pytest.approx(-15, rel=0.05)
    assert found.scale_y == pytest.approx(15, rel=0.05)
    assert found.share_within == pytest.approx(0.9, abs=0.03)
    assert motion.compare_offsets(dx, dy, ref_dx, ref_dy).share_within < 0.2
    assert found.count == (np.hypot(dx, dy) >= 1).sum()
    same = motion.compare_offsets(dx, dy, dx + 0.5, dy)
    assert same.median_x == pytest.approx(-0.5)
    assert same.nmad < 0.5
    assert same.speed_correlation > 0.99
    with pytest.raises(InputError, match="nothing can be compared"):
        motion.compare_offsets([np.nan], [0.0], [1.0], [1.0])
    with pytest.raises(InputError, match="does not move"):
        motion.compare_offsets([1.0], [1.0], [0.0], [0.0], fit_scale=True)
