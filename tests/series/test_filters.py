"""Filters of a cube: each removes what it says, by blocks as by the whole, and is counted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import InputError
from ogive.series.filters import (
    FILTERS,
    PUBLISHED,
    choose_baselines,
    filter_cube,
    limit_direction,
    limit_speed,
    reject_by_spatial_median,
    reject_gross,
    trim_speeds,
)

YEAR = {"units": "meter/year"}
DIMS = ("mid_date", "y", "x")


def make_cube(vx, vy=None, *, days=365.0, start_days=None, **more) -> xr.Dataset:
    """A cube of given velocities (n, y, x) whose pairs follow each other by 30 days."""
    vx = np.asarray(vx, np.float32)
    vy = np.zeros_like(vx) if vy is None else np.asarray(vy, np.float32)
    n = vx.shape[0]
    start = 30.0 * np.arange(n) if start_days is None else np.asarray(start_days, float)
    span = np.broadcast_to(np.asarray(days, float), n)
    epoch = np.datetime64("2015-10-01", "ns")

    def when(d):
        return epoch + np.round(d * 86_400).astype("timedelta64[s]").astype("timedelta64[ns]")

    return xr.Dataset(
        {"vx": (DIMS, vx, YEAR), "vy": (DIMS, vy, YEAR)},
        {
            "acquisition_date_img1": ("mid_date", when(start)),
            "acquisition_date_img2": ("mid_date", when(start + span)),
            "y": 50.0 * np.arange(vx.shape[1])[::-1],
            "x": 50.0 * np.arange(vx.shape[2]),
            **more,
        },
    )


def noisy_cube(seed=0, n=12, side=23) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    vx, vy = rng.normal([60, -30], 25, (n, side, side, 2)).T.swapaxes(1, 3)
    gross = rng.random(vx.shape) < 0.1
    vx[gross] += rng.normal(0, 1500, gross.sum())
    vx[rng.random(vx.shape) < 0.15] = np.nan
    return make_cube(vx, vy, days=rng.uniform(5, 400, n))


def kept(cube: xr.Dataset) -> np.ndarray:
    both = np.isfinite(cube.vx.values)
    np.testing.assert_array_equal(both, np.isfinite(cube.vy.values))
    return both


def test_speed_is_the_length_of_the_vector():
    cube = make_cube([[[999.0, 800.0, 800.0]]], [[[0.0, 590.0, 610.0]]])
    assert kept(limit_speed(cube)).ravel().tolist() == [True, True, False]
    assert kept(limit_speed(cube, max_speed_m_yr=500)).sum() == 0


def test_spatial_median_drops_both_components_and_knows_the_baseline():
    # A deviation of 40 m/yr is 4 pixels of 10 m in a year and 0.4 pixels in a tenth of it.
    vx = np.full((2, 11, 11), 20.0)
    vy = np.zeros_like(vx)
    vy[:, 5, 5] = 40.0
    cube = make_cube(vx, vy, days=[365.25, 36.525])
    assert np.argwhere(~kept(reject_by_spatial_median(cube))).tolist() == [[0, 5, 5]]
    # Landsat's pixel of 15 m makes it 2.7 pixels.
    landsat = cube.assign_coords(satellite_img1=("mid_date", ["8", "8"]))
    assert kept(reject_by_spatial_median(landsat)).all()
    assert (~kept(reject_by_spatial_median(landsat, image_pixel_m=10.0))).sum() == 1


def test_spatial_median_judges_by_nine_pixels():
    vx = np.zeros((1, 15, 15))
    vx[0, 3:10, 3:10] = 50.0  # 49 of 81 pixels around its middle move: they are the median there
    left = kept(reject_by_spatial_median(make_cube(vx)))
    assert left[0, 6, 6]
    assert not left[0, 3, 3]


def test_baselines_see_slow_flow_and_keep_fast_flow():
    days = np.array([5, 10, 30, 60, 120, 240, 330, 400], float)
    speeds = np.array([1.0, 10.0, 100.0, 1500.0])
    vx = np.broadcast_to(speeds, (8, 1, 4)).copy()
    left = kept(choose_baselines(make_cube(vx, days=days), min_share=0.01))[:, 0]
    # 1 m/yr: only from 300 days; 10 m/yr moves 1 m in 36.5 days; 100 m/yr moves 1 m in 3.7 days
    # and 160 m in 584; 1500 m/yr moves 160 m in 39 days.
    assert days[left[:, 0]].tolist() == [330, 400]
    assert days[left[:, 1]].tolist() == [60, 120, 240, 330, 400]
    assert days[left[:, 2]].tolist() == days.tolist()
    assert days[left[:, 3]].tolist() == [5, 10, 30]


def test_the_longest_baselines_stay_where_none_is_long_enough():
    days = np.array([5, 6, 7, 8, 9, 10], float)
    left = kept(choose_baselines(make_cube(np.full((6, 1, 1), 2.0), days=days)))
    assert days[left.ravel()].tolist() == [9, 10]


def test_noise_does_not_make_slow_ice_fast():
    # Mean magnitude of this noise is 125 m/yr, for which 5 days would do; the ice stands still.
    rng = np.random.default_rng(1)
    vx, vy = rng.normal(0, 100, (2, 400, 1, 1))
    days = np.where(np.arange(400) % 2, 5.0, 365.0)
    left = kept(choose_baselines(make_cube(vx, vy, days=days, start_days=np.zeros(400))))
    assert set(days[left.ravel()]) == {365.0}


@pytest.mark.parametrize(("angle", "stays"), [(0, True), (44, True), (46, False), (180, False)])
def test_direction_is_measured_from_the_median(angle, stays):
    angles = np.radians([30, 30, 30, 30, 30 + angle])
    cube = make_cube(50 * np.cos(angles)[:, None, None], 50 * np.sin(angles)[:, None, None])
    left = kept(limit_direction(cube)).ravel()
    assert left[:4].all()
    assert left[4] == stays
    assert kept(limit_direction(cube, max_angle_deg=180)).all()


def test_gross_errors_go_and_a_trend_stays():
    rng = np.random.default_rng(2)
    vx = 200 - 4.0 * np.arange(60) + rng.normal(0, 2, 60)
    vx[[3, 40]] += [60, -60]
    left = kept(reject_gross(make_cube(vx[:, None, None]))).ravel()
    assert np.flatnonzero(~left).tolist() == [3, 40]


def test_tails_about_level_and_line():
    vx = (100 - np.arange(11.0))[:, None, None]
    level = kept(trim_speeds(make_cube(vx), about="level")).ravel()
    assert np.flatnonzero(level).tolist() == [2, 3, 4, 5, 6, 7, 8]
    rng = np.random.default_rng(3)
    vx = (1000 - 10 * np.arange(90.0) + rng.normal(0, 1, 90))[:, None, None]
    line = kept(trim_speeds(make_cube(vx))).ravel()
    # Neither end is favoured: of 30 observations each, 60 % stay, +- three binomial deviations.
    for third in np.split(line, 3):
        assert abs(third.sum() - 18) <= 3 * np.sqrt(30 * 0.6 * 0.4)
    assert abs(line.sum() - 54) <= 2


@pytest.mark.parametrize("n", [1, 2])
def test_few_velocities_have_no_tails(n):
    cube = make_cube(np.arange(1.0, n + 1)[:, None, None])
    assert kept(trim_speeds(cube, about="level")).all()


def test_counts_add_up():
    cube = noisy_cube(n=40, side=15)
    result = filter_cube(cube, [*PUBLISHED[:4], "gross", "percentiles"])
    counts = {k: v for k, v in result.attrs.items() if k.startswith("removed_by_")}
    assert list(counts) == [f"removed_by_{name}" for name in
                            (*PUBLISHED[:4], "gross", "percentiles")]  # fmt: skip
    given = np.isfinite(cube.vx.values) & np.isfinite(cube.vy.values)
    assert result.attrs["observations_given"] == given.sum()
    assert given.sum() - sum(counts.values()) == kept(result).sum()
    for name in ("speed", "spatial_median", "direction", "percentiles"):
        assert counts[f"removed_by_{name}"] > 0, name


@pytest.mark.parametrize("name", FILTERS)
def test_lazy_blocks_equal_the_whole(name):
    cube = noisy_cube()
    whole = filter_cube(cube, [name])
    blocks = filter_cube(cube.chunk({"mid_date": 5, "y": 7, "x": 9}), [name])
    assert blocks.vx.chunks is not None
    for component in ("vx", "vy"):
        np.testing.assert_array_equal(blocks[component].values, whole[component].values)


@pytest.mark.parametrize("name", FILTERS)
def test_halo_is_true(name):
    """What lies farther away than the halo does not matter."""
    cube = noisy_cube()
    halo = FILTERS[name].halo(FILTERS[name].defaults)
    changed = cube.copy(deep=True)
    changed.vx.values[:, :, 12 + halo + 1 :] += 500.0
    one, other = (kept(filter_cube(c, [name]))[:, :, :13] for c in (cube, changed))
    np.testing.assert_array_equal(one, other)


@given(st.permutations(list(FILTERS)), st.integers(0, 5))
def test_filters_only_remove(order, seed):
    cube = noisy_cube(seed, n=6, side=10)
    result = filter_cube(cube, order)
    left = kept(result)
    np.testing.assert_array_equal(result.vx.values[left], cube.vx.values[left])
    np.testing.assert_array_equal(result.vy.values[left], cube.vy.values[left])


@pytest.mark.parametrize(
    ("order", "options", "said"),
    [
        (["slope"], None, "filter 'slope' is unknown"),
        (["speed"], {"speed": {"max": 3}}, "no option 'max'"),
        (["speed"], {"direction": {}}, "not among"),
        (["speed", "speed"], None, "twice"),
        (["speed"], {"speed": {"max_speed_m_yr": -1.0}}, "positive"),
        (["spatial_median"], {"spatial_median": {"size": 8}}, "odd"),
        (["percentiles"], {"percentiles": {"low_percent": 90.0}}, "rise"),
        (["percentiles"], {"percentiles": {"about": "mean"}}, "level"),
        (["direction"], {"direction": {"max_angle_deg": 200.0}}, "180"),
    ],
)
def test_wrong_options_are_refused(order, options, said):
    with pytest.raises(InputError, match=said):
        filter_cube(noisy_cube(n=2, side=3), order, options)


@pytest.mark.parametrize("units", ["feet/year", "meter/day", None])
def test_other_units_are_refused(units):
    cube = noisy_cube(n=2, side=3)
    cube.vy.attrs = {} if units is None else {"units": units}
    with pytest.raises(InputError, match="must be in meter/year"):
        limit_speed(cube)
