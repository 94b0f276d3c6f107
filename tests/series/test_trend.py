"""Trends of known networks: they come back, their errors cover, noise alone shows none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import DateError, InputError
from ogive.series.mann_kendall import mann_kendall
from ogive.series.trend import trend

YEARS = 6.0
MIDDLE = 3.0


def network_cube(
    *, dates=100, keep=0.3, side=30, image_m=0.0, match_m=1.0, slope=0.0, speed=100.0, angle=0.6,
    least_days=30, seed=0,
) -> xr.Dataset:  # fmt: skip
    """Pairs of 30 to 400 days between random dates of six years, over ice with a linear trend.

    The error of a displacement is that of its match and the difference of its images' errors.
    """
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(int(YEARS * 365.25), dates, replace=False)).astype(float)
    i, j = np.triu_indices(dates, 1)
    span = days[j] - days[i]
    chosen = (span >= least_days) & (span <= 400) & (rng.random(i.size) < keep)
    i, j, span = i[chosen], j[chosen], span[chosen] / 365.25
    along = speed + slope * ((days[i] + days[j]) / 730.5 - MIDDLE)
    fields = []
    for share in (np.cos(angle), np.sin(angle)):
        image = image_m * rng.normal(size=(dates, side, side))
        match = match_m * rng.normal(size=(i.size, side, side))
        error = (image[j] - image[i] + match) / span[:, None, None]
        fields.append((share * along[:, None, None] + error).astype("f4"))
    epoch = np.datetime64("2015-10-01", "ns")
    dims = ("mid_date", "y", "x")
    return xr.Dataset(
        {
            name: (dims, field, {"units": "meter/year"})
            for name, field in zip(("vx", "vy"), fields, strict=True)
        },
        {
            "acquisition_date_img1": ("mid_date", epoch + days[i].astype("timedelta64[D]")),
            "acquisition_date_img2": ("mid_date", epoch + days[j].astype("timedelta64[D]")),
            "y": 50.0 * np.arange(side)[::-1],
            "x": 50.0 * np.arange(side),
        },
    )


NOISES = [(0.0, 1.0), (1.0, 0.0), (0.7, 0.7)]


@pytest.mark.parametrize(("image_m", "match_m"), NOISES)
def test_errors_cover_and_the_test_has_its_false_alarm_rate(image_m, match_m):
    # 1350 pixels: three binomial deviations of a rate of 5 % are 1.8 %. Normal quantiles with an
    # error estimated from some hundred dates fall short by about 1 % more.
    covered, alarms = [], []
    for seed in range(6):
        result = trend(network_cube(side=15, image_m=image_m, match_m=match_m, seed=seed))
        covered.append(np.abs(result.trend) < 1.96 * result.trend_error)
        alarms.append(result.trend_mask)
    assert 0.95 - 0.028 < np.mean(covered) < 0.95 + 0.018
    assert 0.05 - 0.028 < np.mean(alarms) < 0.05 + 0.028


@pytest.mark.parametrize("fit", ["ols", "theil_sen"])
@pytest.mark.parametrize(("image_m", "match_m"), [(0.0, 1.0), (0.7, 0.7)])
def test_a_known_trend_comes_back_within_its_error(fit, image_m, match_m):
    result = trend(network_cube(slope=-3.0, image_m=image_m, match_m=match_m, side=20), fit=fit)
    # 400 pixels of one network: three binomial deviations are 3.3 %.
    inside = float((np.abs(result.trend + 3.0) < 1.96 * result.trend_error).mean())
    assert 0.95 - 0.04 < inside <= 1.0
    mean_error = float(result.trend_error.mean())
    assert abs(float(result.trend.mean()) + 3.0) < 4 * mean_error / 20
    assert float(result.trend.std()) == pytest.approx(mean_error, rel=0.15)
    assert result.trend_mask.all()


def test_counting_shared_images_as_independent_would_double_the_alarms():
    cube = network_cube(dates=150, keep=0.5, image_m=1.0, match_m=0.0, side=12)
    result = trend(cube)
    n = result.n.values[0, 0]
    plain = [
        mann_kendall(
            np.cos(0.6) * cube.vx.values[:, y, x] + np.sin(0.6) * cube.vy.values[:, y, x],
            cube.acquisition_date_img1.values
            + (cube.acquisition_date_img2.values - cube.acquisition_date_img1.values) / 2,
        ).p_value
        < 0.05
        for y in range(12)
        for x in range(12)
    ]
    assert n > 1000
    assert np.mean(plain) > 0.15  # what textbook's variance gives
    assert result.trend_mask.mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 144)
    assert 0.4 < result.shared_image_correlation.mean() <= 0.5
    independent = trend(network_cube(side=10))
    assert independent.shared_image_correlation.mean() < 0.05


def test_ols_is_the_textbook_line():
    cube = network_cube(side=2, slope=2.0)
    result = trend(cube)
    first, second = (cube[f"acquisition_date_img{k}"].values for k in (1, 2))
    years = ((first - first.min()) + (second - first.min())) / np.timedelta64(2, "D") / 365.25
    vx, vy = (cube[name].values[:, 1, 0].astype(float) for name in ("vx", "vy"))
    speed = np.hypot(vx.mean(), vy.mean())
    along = (vx * vx.mean() + vy * vy.mean()) / speed
    line = scipy.stats.linregress(years, along)
    assert float(result.trend[1, 0]) == pytest.approx(line.slope, rel=1e-5)


def test_theil_sen_is_the_median_of_slopes():
    cube = network_cube(side=1, slope=2.0, dates=30)
    result = trend(cube, fit="theil_sen")
    first, second = (cube[f"acquisition_date_img{k}"].values for k in (1, 2))
    years = ((first - first.min()) + (second - first.min())) / np.timedelta64(2, "D") / 365.25
    vx, vy = (cube[name].values[:, 0, 0].astype(float) for name in ("vx", "vy"))
    along = (vx * vx.mean() + vy * vy.mean()) / np.hypot(vx.mean(), vy.mean())
    i, j = np.triu_indices(years.size, 1)
    differ = years[i] != years[j]
    slopes = ((along[j] - along[i])[differ]) / ((years[j] - years[i])[differ])
    # The bisection stops at a thousandth of the standard error.
    tolerance = 2e-3 * float(result.trend_error[0, 0])
    assert float(result.trend[0, 0]) == pytest.approx(np.median(slopes), abs=tolerance)


def test_gross_errors_hardly_move_theil_sen():
    cube = network_cube(side=8, slope=-3.0)
    rng = np.random.default_rng(4)
    wrong = rng.random(cube.vx.shape) < 0.05
    cube.vx.values[wrong] += 800 * (rng.random(wrong.sum()) - 0.2)
    robust, plain = (trend(cube, fit=fit) for fit in ("theil_sen", "ols"))
    error = float(np.sqrt(((robust.trend + 3) ** 2).mean()))
    assert error < 0.25 * float(np.sqrt(((plain.trend + 3) ** 2).mean()))


@pytest.mark.parametrize("n", [4, 16, 17, 100, 321])
def test_against_the_published_test(n):
    pymannkendall = pytest.importorskip("pymannkendall")
    rng = np.random.default_rng(n)
    values = np.round(rng.normal(size=n) * 2 + 0.01 * np.arange(n))  # many ties
    ours, theirs = mann_kendall(values), pymannkendall.original_test(values)
    assert ours.s == theirs.s
    assert ours.variance == pytest.approx(theirs.var_s)
    assert ours.z == pytest.approx(theirs.z)
    assert ours.p_value == pytest.approx(theirs.p, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-5, 5)), min_size=3, max_size=60))
def test_ties_in_time_and_value(couples):
    times, values = np.array(couples, float).T
    ours = mann_kendall(values, times)
    i, j = np.triu_indices(times.size, 1)
    s = (np.sign(times[j] - times[i]) * np.sign(values[j] - values[i])).sum()
    assert ours.s == s
    assert mann_kendall(-values, times).s == -s
    if ours.variance > 1e-9:
        p = scipy.stats.kendalltau(times, values, method="asymptotic").pvalue
        z = scipy.stats.norm.isf(p / 2)  # without the correction for continuity
        assert abs(s) / np.sqrt(ours.variance) == pytest.approx(z, abs=1e-6)


def test_dates_count_as_times():
    days = np.array(["2018-01-01", "2018-03-01", "NaT", "2018-02-01"], "datetime64[D]")
    assert mann_kendall([1.0, 3.0, 9.0, 2.0], days).s == 3


def test_threads_do_not_matter():
    cube = network_cube(side=13)
    xr.testing.assert_identical(trend(cube, threads=1), trend(cube, threads=3))


def test_a_short_record_has_no_trend():
    cube = network_cube(side=2)
    middle = cube.acquisition_date_img2.values
    short = cube.isel(mid_date=np.flatnonzero(middle < np.datetime64("2016-08-01")))
    result = trend(short)
    assert (result.n > 3).all()
    assert result.trend.isnull().all()
    assert not result.trend_mask.any()


def test_what_cannot_be_used_is_refused():
    cube = network_cube(side=2, dates=20)
    with pytest.raises(InputError, match="fit 'siegel' is unknown"):
        trend(cube, fit="siegel")
    with pytest.raises(InputError, match="significance=5"):
        trend(cube, significance=5)
    with pytest.raises(DateError, match="no dates"):
        trend(cube.drop_vars("acquisition_date_img2"))
    turned = cube.assign_coords(acquisition_date_img2=cube.acquisition_date_img1)
    with pytest.raises(DateError, match="do not run forward"):
        trend(turned)
