"""Annual maps of simulated cubes whose motion is known."""

from __future__ import annotations

import logging

import numpy as np
import odc.geo.xr  # noqa: F401  (the .odc accessor)
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

from ogive.model import DateError, InputError
from ogive.series.annual import DEFAULT_FILTERS, annual
from ogive.series.filters import PUBLISHED
from ogive.series.smoothing import smoothed
from ogive.series.years import Period, overlaps, years_of
from ogive.store.geocube import geocubes, mosaic, tiles_of

EPOCH = np.datetime64("2015-10-01", "ns")
DIMS = ("mid_date", "y", "x")


def when(days) -> np.ndarray:
    return EPOCH + np.asarray(days).astype("timedelta64[D]").astype("timedelta64[ns]")


def grid_of(height: int, width: int) -> GeoBox:
    return GeoBox.from_bbox(
        (344_000, 5_078_000, 344_000 + 50 * width, 5_078_000 + 50 * height),
        "EPSG:32632",
        resolution=50,
    )


def make_cube(first, second, vx, vy=None, **more) -> xr.Dataset:
    """Velocities (n, y, x) or (n,) between days since October 2015, on a 50 m grid."""
    vx = np.asarray(vx, np.float32)
    vy = np.zeros_like(vx) if vy is None else np.asarray(vy, np.float32)
    if vx.ndim == 1:
        vx, vy = (v[:, None, None] * np.ones((1, 3, 3), np.float32) for v in (vx, vy))
    cube = xr.Dataset(
        {name: (DIMS, v, {"units": "meter/year"}) for name, v in (("vx", vx), ("vy", vy))},
        {
            "acquisition_date_img1": ("mid_date", when(first)),
            "acquisition_date_img2": ("mid_date", when(second)),
            **more,
        },
    )
    box = grid_of(*vx.shape[1:])
    places = {axis: box.coordinates[axis].values for axis in ("y", "x")}
    return cube.assign_coords(places).odc.assign_crs("EPSG:32632")


def glacier_cube(
    *, height=24, width=30, dates=50, keep=0.5, slope=-3.0, image_m=0.5, match_m=0.7, seed=0
) -> xr.Dataset:
    """A valley glacier that flows south-west between still walls and slows down, six years."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(int(6 * 365.25), dates, replace=False))
    i, j = np.triu_indices(dates, 1)
    span = days[j] - days[i]
    chosen = (span >= 5) & (span <= 400) & (rng.random(i.size) < keep)
    i, j = i[chosen], j[chosen]
    years = (days[j] - days[i]) / 365.25
    across = np.linspace(-1.6, 1.6, width)
    shape = np.clip(1 - across**2, 0, None) * np.linspace(0.6, 1.0, height)[:, None]
    middle = (days[i] + days[j]) / 730.5 - 3.0
    speed = (120 + slope * middle)[:, None, None] * shape
    fields = []
    for share in (-0.6, -0.8):
        image = image_m * rng.normal(size=(dates, height, width))
        match = match_m * rng.normal(size=(i.size, height, width))
        error = (image[j] - image[i] + match) / years[:, None, None]
        fields.append(share * speed + error)
    return make_cube(days[i], days[j], *fields)


def truth(cube: xr.Dataset, slope=-3.0) -> np.ndarray:
    height, width = cube.sizes["y"], cube.sizes["x"]
    across = np.linspace(-1.6, 1.6, width)
    shape = np.clip(1 - across**2, 0, None) * np.linspace(0.6, 1.0, height)[:, None]
    return (120 + slope * (np.arange(6) - 2.5))[:, None, None] * shape


PLAIN = {"filters": (), "smoothing": "none"}


# ---- years ---------------------------------------------------------------------------------------


def test_hydrological_and_calendar_years():
    record = np.datetime64("2015-08-30", "ns"), np.datetime64("2021-12-31", "ns")
    names = [year.name for year in years_of(*record)]
    assert names == ["2015_2016", "2016_2017", "2017_2018", "2018_2019", "2019_2020", "2020_2021"]
    assert [year.name for year in years_of(*record, "01-01")] == [str(y) for y in range(2016, 2022)]
    with pytest.raises(DateError, match="year_start"):
        years_of(*record, "02-30")
    week = np.datetime64("2018-09-20", "ns"), np.datetime64("2018-09-27", "ns")
    assert [year.name for year in years_of(*week)] == ["2017_2018"]


@pytest.mark.parametrize("method", ["weighted_mean", "median", "ols"])
def test_a_pair_across_two_years_weighs_in_each_by_its_overlap(method):
    # Two pairs lie in the first year (366 days); one has 90 of its 120 days in it; two follow.
    first, second = [10, 100, 276, 400, 500], [70, 200, 396, 460, 600]
    error = xr.Variable("mid_date", np.full(5, 4.0, "f4"))
    cube = make_cube(first, second, [100, 100, 60, 40, 40.0], vx_error=error, vy_error=error)
    if method == "ols":
        # The middles span less than a year: no line, but the mean of the year's pairs.
        short = cube.isel(mid_date=slice(0, 3))
        maps = annual(short, method="ols", **PLAIN)
        assert maps.trend.isnull().all()
        expected = (100 + 100 + 0.75 * 60) / 2.75
        assert maps.v.sel(year="2015_2016").values == pytest.approx(expected, rel=1e-6)
        return
    maps = annual(cube, method=method, **PLAIN)
    assert list(maps.year.values) == ["2015_2016", "2016_2017"]
    if method == "weighted_mean":
        expected = (100 + 100 + 0.75 * 60) / 2.75, (0.25 * 60 + 40 + 40) / 2.25
    else:
        expected = 100.0, 40.0
    assert maps.v.values[:, 1, 1] == pytest.approx(expected, rel=1e-6)
    assert maps["count"].values[:, 1, 1].tolist() == [3, 3]
    assert maps.cnt.values[1, 1] == 5


def test_shares_of_pairs_sum_to_one():
    from ogive.series.observations import pairs_of

    cube = glacier_cube(height=2, width=2)
    periods = years_of(np.datetime64("2013-01-01", "ns"), np.datetime64("2024-01-01", "ns"))
    np.testing.assert_allclose(overlaps(pairs_of(cube), periods).sum(axis=0), 1.0, atol=1e-12)


# ---- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ols", "theil_sen"])
def test_a_known_glacier_comes_back_within_its_errors(method):
    cube = glacier_cube()
    maps = annual(cube, method=method, smoothing="none")
    true = truth(cube)
    ice = true.min(axis=0) > 20
    inside = np.abs(maps.v.values - true) < 1.96 * maps.v_error.values
    # Of one network, with errors of the images in common: 95 % less what the estimate of the error
    # from fifty dates lacks (two per cent), and three deviations of the share of some 300 pixels.
    assert 0.95 - 0.02 - 0.04 < inside[:, ice].mean() <= 1.0
    direction = np.arctan2(-0.8, -0.6)
    assert maps.a.values[ice] == pytest.approx(direction, abs=0.05)
    assert maps.direction.values[:, ice] == pytest.approx(direction, abs=0.1)
    bias = (maps.v.values - true)[:, ice].mean()
    assert abs(bias) < 0.5 * maps.v_error.values[:, ice].mean()


@pytest.mark.parametrize("method", ["median", "weighted_mean"])
def test_means_of_a_steady_glacier(method):
    cube = glacier_cube(slope=0.0)
    error = xr.Variable("mid_date", _declared(cube))
    cube = cube.assign(vx_error=error, vy_error=error)
    maps = annual(cube, method=method, smoothing="none")
    true = truth(cube, 0.0)
    ice = true.min(axis=0) > 20
    inside = np.abs(maps.v.values - true) < 1.96 * maps.v_error.values
    assert inside[:, ice].mean() > 0.88  # errors of means of some fifty unequal pairs
    assert abs((maps.v.values - true)[:, ice].mean()) < 0.5 * maps.v_error.values[:, ice].mean()


def _declared(cube: xr.Dataset) -> np.ndarray:
    span = cube.acquisition_date_img2.values - cube.acquisition_date_img1.values
    return (np.hypot(0.5 * 2**0.5, 0.7) / (span / np.timedelta64(1, "D") / 365.25)).astype("f4")


def test_speeds_are_of_components_and_noise_makes_none():
    rng = np.random.default_rng(0)
    n = 400
    first = rng.integers(0, 300, n)
    vx, vy = rng.normal(0, 30, (2, n, 4, 4))
    maps = annual(make_cube(first, first + 30, vx, vy), method="median", **PLAIN)
    # The mean magnitude of this noise is 37.6 m/yr; the median of components has an error of 1.9
    # in each (sqrt(pi / 2) 30 / sqrt(400)), so that its length is 2.4 in the mean.
    assert float(maps.v[0].mean()) < 4.0


def test_spreads_of_a_known_distribution():
    rng = np.random.default_rng(1)
    n = 3000
    angle = rng.normal(0.5, np.radians(2.0), (n, 2, 2))
    speed = rng.normal(100, 12, (n, 2, 2))
    first = rng.integers(0, 300, n)
    cube = make_cube(first, first + 60, speed * np.cos(angle), speed * np.sin(angle))
    maps = annual(cube, method="median", **PLAIN)
    # Standard errors of a standard deviation: 1 / sqrt(2 n) = 1.3 %; four of them.
    assert maps.stdev.values == pytest.approx(12, rel=0.06)
    assert maps.stdeva.values == pytest.approx(np.radians(2.0), rel=0.06)
    assert maps.v_std.values[0] == pytest.approx(12, rel=0.06)
    assert maps.flag.values.all()
    cut = annual(cube, method="median", filters=("percentiles",), smoothing="none")
    # A normal distribution between its 20th and 80th percentile has 0.463 of its deviation.
    assert cut.stdev.values == pytest.approx(12 * 0.463, rel=0.06)
    assert cut.v.values == pytest.approx(maps.v.values)


def test_tails_cut_first_flatten_a_trend():
    cube = glacier_cube(height=6, slope=-6.0)
    published = {"filters": PUBLISHED, "filter_options": {"percentiles": {"about": "level"}}}
    better = annual(cube, smoothing="none")
    paper = annual(cube, smoothing="none", trim_levels=True, **published)
    centre = np.s_[:, 13:17]
    shape = truth(cube, 1.0).max(axis=0) / 122.5
    true = -6.0 * shape[centre]
    assert np.abs(better.trend.values[centre] / true - 1).mean() < 0.1
    assert (paper.trend.values[centre] / true).mean() < 0.8


def test_flag_says_why():
    first = np.arange(0, 360, 12)
    steady = np.full(30, 100.0)
    vx = np.stack([steady, steady, np.where(np.arange(30) % 2, 190, 10.0), steady], axis=1)
    vy = np.stack([0 * steady, np.where(np.arange(30) % 2, 6, -6.0), 0 * steady, 0 * steady], 1)
    vx[:, 3] = np.nan
    maps = annual(make_cube(first, first + 12, vx[:, None], vy[:, None]), method="median", **PLAIN)
    # An angle of 3.4 degrees to both sides, and a variation of 90 %.
    assert maps.reason.values[0].tolist() == [0, 8, 4, 1]
    assert maps.flag.values[0].tolist() == [1, 0, 0, 0]
    meanings = dict(zip(maps.reason.flag_masks, maps.reason.flag_meanings.split(), strict=True))
    assert meanings[8] == "direction_varies"
    loose = annual(
        make_cube(first, first + 12, vx[:, None], vy[:, None]), method="median",
        max_direction_std_deg=5.0, max_variation_percent=95.0, **PLAIN,
    )  # fmt: skip
    assert loose.flag.values[0].tolist() == [1, 1, 1, 0]


# ---- gaps and bad input --------------------------------------------------------------------------


def test_a_year_without_data_is_empty_and_said_so(caplog):
    cube = glacier_cube(height=4, width=6)
    first, second = cube.acquisition_date_img1.values, cube.acquisition_date_img2.values
    outside = (second < np.datetime64("2017-10-01")) | (first > np.datetime64("2018-10-01"))
    with caplog.at_level(logging.WARNING):
        maps = annual(cube.isel(mid_date=np.flatnonzero(outside)))
    assert maps.attrs["years_without_data"] == "2017_2018"
    assert "2017_2018" in caplog.text
    gap = maps.sel(year="2017_2018")
    for name in ("v", "vx", "vy", "v_error", "direction", "v_std"):
        assert gap[name].isnull().all(), name
    assert (gap["count"] == 0).all()
    assert maps.v.sel(year=["2016_2017", "2018_2019"]).notnull().all()


@pytest.mark.parametrize("method", ["ols", "theil_sen", "median", "weighted_mean"])
def test_a_single_pair(method):
    error = xr.Variable("mid_date", np.array([7.0], "f4"))
    cube = make_cube([30], [330], [50.0], vx_error=error, vy_error=error)
    maps = annual(cube, method=method)
    assert maps.v.values == pytest.approx(50.0)
    assert maps.v_error.values == pytest.approx(7.0)
    assert (maps.reason.values & 2).all()
    assert not maps.flag.values.any()
    assert maps.trend.isnull().all()
    assert maps.stdev.isnull().all()


def test_a_single_pair_without_errors_has_none():
    maps = annual(make_cube([30], [330], [50.0]))
    assert maps.v.values == pytest.approx(50.0)
    assert maps.v_error.isnull().all()


def test_one_season_is_flagged():
    starts = np.concatenate([365 * k + np.arange(270, 330, 6) for k in range(4)])
    maps = annual(make_cube(starts, starts + 24, np.full(starts.size, 80.0)), **PLAIN)
    assert (maps.reason.values & 16).all()
    assert not maps.flag.values.any()
    all_year = annual(make_cube(starts, starts + 300, np.full(starts.size, 80.0)), **PLAIN)
    assert not (all_year.reason.values & 16).any()


def test_no_observation_at_all():
    maps = annual(make_cube([30, 60], [330, 360], np.full((2, 3, 3), np.nan)))
    assert maps.v.isnull().all()
    assert (maps.reason == 1).all()
    assert maps.attrs["observations_given"] == 0


@pytest.mark.parametrize(
    ("units", "said"),
    [("feet/year", "'feet/year'"), ("m/d", "'m/d'"), (None, "states no units")],
)
def test_other_units_are_refused(units, said):
    cube = make_cube([30], [330], [50.0])
    cube.vx.attrs = {} if units is None else {"units": units}
    with pytest.raises(InputError, match=said):
        annual(cube)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "mean"}, "method 'mean' is unknown"),
        ({"method": "weighted_mean"}, "vx_error and no vy_error"),
        ({"smoothing": "box"}, "smoothing 'box'"),
        ({"filters": ("percentiles", "speed")}, "must come last"),
        ({"periods": []}, "at least one"),
        ({"block_px": 0}, "block_px=0"),
        ({"threads": 0}, "threads is 0"),
        ({"max_variation_percent": 0}, "positive"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        annual(make_cube([30], [330], [50.0]), **options)


def test_maps_without_dates_are_refused():
    cube = make_cube([30], [330], [50.0])
    with pytest.raises(DateError, match="mid_date"):
        annual(cube.isel(mid_date=0))
    with pytest.raises(DateError, match="no length"):
        Period.of("2018-10-01", "2018-05-01")
    with pytest.raises(InputError, match="no pair"):
        annual(cube.isel(mid_date=slice(0, 0)))


# ---- blocks, threads, tiles ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ols", "median"])
def test_blocks_and_threads_do_not_matter(method):
    cube = glacier_cube(dates=25)
    whole = annual(cube, method=method, threads=1)
    for other in (
        annual(cube, method=method, block_px=7, threads=3),
        annual(cube.chunk({"mid_date": 40, "y": 9, "x": 8}), method=method, block_px=11),
    ):
        xr.testing.assert_identical(whole, other)


def test_halo_is_five_pixels_with_the_published_filters():
    cube = make_cube([30], [330], [50.0])
    assert annual(cube).attrs["halo_px"] == 5
    assert annual(cube, filters=DEFAULT_FILTERS, smoothing="none").attrs["halo_px"] == 4


def test_tiles_join_without_a_seam():
    cube = glacier_cube(height=33, width=41, dates=25)
    # Values that only the neighbourhood rejects, at the seams too.
    rng = np.random.default_rng(5)
    wrong = rng.random(cube.vx.shape) < 0.02
    cube.vx.values[wrong] += rng.normal(0, 300, wrong.sum())
    whole = annual(cube)
    parts = {name: annual(part) for name, part in geocubes(cube, size_px=20, overlap_px=5)}
    assert len(parts) == 20
    joined = mosaic(parts)
    assert whole.attrs["removed_by_spatial_median"] > 100
    for name in whole.data_vars:
        np.testing.assert_array_equal(joined[name].values, whole[name].values, err_msg=str(name))
    assert joined.odc.geobox == whole.odc.geobox
    # Without an overlap there is a seam: the test above can fail.
    bare = {name: annual(part) for name, part in geocubes(cube, size_px=11, overlap_px=0)}
    assert not np.array_equal(mosaic(bare).v.values, whole.v.values, equal_nan=True)


def test_tiles_of_the_paper():
    tiles = tiles_of(grid_of(500, 490))
    assert len(tiles) == 9
    assert tiles[4].rows == slice(235, 485)
    assert tiles[4].core_rows == slice(240, 480)
    assert tiles[0].name == "x344000_y5091000"
    with pytest.raises(InputError, match="no core"):
        tiles_of(grid_of(9, 9), size_px=10, overlap_px=5)


def test_smoothing_leaves_gaps_and_planes_alone():
    y, x = np.mgrid[:6, :7].astype(float)
    plane = 2 * y - x
    for how in ("gaussian", "median"):
        inner = smoothed(plane, how)[1:-1, 1:-1]
        assert inner == pytest.approx(plane[1:-1, 1:-1])
        holed = plane.copy()
        holed[2, 3] = np.nan
        assert np.isnan(smoothed(holed, how)).sum() == 1
        constant = np.where(np.isnan(holed), np.nan, 5.0)
        known = np.isfinite(constant)
        assert smoothed(constant, how)[known] == pytest.approx(5.0)
