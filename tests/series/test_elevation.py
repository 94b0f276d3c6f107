"""One series from several orbits, jointly with the elevation bias: does it jump, does it cover?"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ogive.correction.orthorectification import sensitivity
from ogive.correction.orthorectification.views import pair_images
from ogive.model import DateError, InputError
from ogive.series.elevation import invert_with_elevation_bias
from ogive.simulation.orbits import displacement_network


def seasonal(amplitude):
    """Years' worth of motion at a speed that swings once a year."""
    return lambda day: day / 365.25 + amplitude * (1 - np.cos(2 * np.pi * day / 365.25)) / 2 / np.pi


def year_of_images(seed=0, **options):
    """A year of two orbits, an image each nine days, pairs of up to two months."""
    chosen = {
        "images": 40, "pairs": None, "span_days": 365.0, "longest_days": 60.0,
        "years_worth": seasonal(0.3), "image_error_m": 0.5, "seed": seed,
    } | options  # fmt: skip
    return displacement_network(chosen.pop("shape", (8, 10)), **chosen)


def true_velocity(made, series):
    days = (series["time_bounds"].values - np.datetime64("2020-06-01")) / np.timedelta64(1, "D")
    (x0, y0), (x1, y1) = (made.displacement_m(days[:, k]) for k in (0, 1))
    years = (days[:, 1] - days[:, 0]) / 365.25
    return ((x1 - x0) / years)[:, None, None], ((y1 - y0) / years)[:, None, None]


def within(estimate, truth, error):
    known = np.isfinite(estimate)
    inside = np.abs(estimate - truth) <= 1.96 * error
    return float(inside[known].mean())


def rmse(values):
    return float(np.sqrt(np.nanmean(np.square(values))))


def test_bias_and_series_hold_their_errors():
    """Twelve years of 80 pixels, seasonal swing of 30 %: 95 % intervals hold 92 to 98 %.

    A swing is no random walk, so that the most likely walk only stands for it; where speed is
    steady the walk goes to its least. The bias is known to a metre: forty images of 0.5 m, two
    pairs of 1 m each, over 0.185.
    """
    bias, vx, vy, off = [], [], [], []
    for seed in range(12):
        made = year_of_images(seed, years_worth=seasonal(0.3 if seed % 2 else 0.0))
        series = invert_with_elevation_bias(made.cube, made.views, "15D", image_error_m=0.5)
        true_x, true_y = true_velocity(made, series)
        away = series["elevation_bias"].values - made.elevation_bias_m
        bias.append(within(away, 0.0, series["elevation_bias_error"].values))
        vx.append(within(series["vx"].values, true_x, series["vx_error"].values))
        vy.append(within(series["vy"].values, true_y, series["vy_error"].values))
        off.append(rmse(away))
        assert float(series["unit_variance"].mean()) == pytest.approx(1.0, abs=0.05)
    print(f"\nin 95 % intervals: bias {np.mean(bias):.3f}, vx {np.mean(vx):.3f}, "
          f"vy {np.mean(vy):.3f}; RMSE of the bias {np.mean(off):.2f} m")  # fmt: skip
    assert 0.92 < np.mean(bias) < 0.98
    assert 0.92 < np.mean(vx) < 0.99
    assert 0.92 < np.mean(vy) < 0.99
    assert np.mean(off) < 1.5


def test_series_of_both_orbits_does_not_jump():
    """Twice the dates of one orbit, no trace of the orbits, and a smaller error than of one alone.

    The series that takes offsets for motion swings with them where the surface is off the model.
    """
    made = year_of_images(shape=(6, 6), bias_m=60.0)
    joint = invert_with_elevation_bias(made.cube, made.views, "15D", image_error_m=0.5)
    level = made.views.copy(deep=True)  # as though all looked from one side
    level["sight_x"][:], level["sight_y"][:] = 0.1, 0.0
    plain = invert_with_elevation_bias(made.cube, level, "15D", image_error_m=0.5)
    assert (plain["geometry"] == 2).all()
    true_x, _ = true_velocity(made, joint)
    high = np.abs(made.elevation_bias_m) > 30

    def error(series):
        return rmse((series["vx"].values - true_x)[:, high])

    assert error(joint) < 0.1 * error(plain)
    # Offsets of 30 to 60 m and 0.185 look like speeds that change by kilometres a year in a year.
    assert float(plain["speed_change"].median()) > 10 * float(joint["speed_change"].median())
    # One orbit alone: half the dates.
    first, last = pair_images(made.cube, made.views)
    orbit = made.views["orbit"].values
    one = made.cube.isel(mid_date=np.flatnonzero((orbit[first] == 1) & (orbit[last] == 1)))
    alone = invert_with_elevation_bias(one, made.views, "15D", image_error_m=0.5)
    assert np.isnan(alone["elevation_bias"]).all()
    assert (alone["geometry"] == 2).all()
    dates = [np.unique(np.concatenate(pair_images(cube, made.views))).size
             for cube in (made.cube, one)]  # fmt: skip
    assert dates == [40, 20]
    assert int(joint["pairs_used"].max()) > 1.8 * int(alone["pairs_used"].max())
    true_alone, _ = true_velocity(made, alone)
    of_one = rmse((alone["vx"].values - true_alone)[:, high])
    print(f"\nRMSE of vx: joint {error(joint):.1f}, offsets taken for motion {error(plain):.1f}, "
          f"one orbit alone {of_one:.1f} m/yr")  # fmt: skip
    assert error(joint) < 0.95 * of_one


def test_velocities_of_cross_orbit_pairs_are_unbiased_to_a_twentieth_of_a_pixel():
    """The mean offset left in cross-orbit pairs, over pixels: 0.05 px of 10 m; 0.5 px before."""
    made = year_of_images(shape=(12, 12))
    series = invert_with_elevation_bias(made.cube, made.views, "15D", image_error_m=0.5)
    lines = sensitivity(made.views)
    first, last = pair_images(made.cube, made.views)
    c = lines["offset_x"].values[last] - lines["offset_x"].values[first]
    high = made.elevation_bias_m > 27
    left = series["elevation_bias"].values - made.elevation_bias_m
    across = np.abs(c) > 0.1
    assert np.abs(c[across] * made.elevation_bias_m[high].mean()).min() > 0.45 * 10
    assert np.abs(c * left[high].mean()).max() < 0.05 * 10


def test_against_plain_linear_algebra():
    """A known walk and declared errors: generalised least squares with dense matrices."""
    made = year_of_images(shape=(1, 2), images=9, span_days=90.0)
    walk = 150.0
    series = invert_with_elevation_bias(
        made.cube, made.views, "20D", image_error_m=0.5, speed_change_m_yr=walk,
        significance=None, scale="declared",
    )  # fmt: skip
    first, last = pair_images(made.cube, made.views)
    t = made.days / 365.25
    images, n = t.size, first.size
    lines = sensitivity(made.views)
    years = t[last] - t[first]
    joined = np.zeros((n, images))
    joined[np.arange(n), last], joined[np.arange(n), first] = 1, -1
    # The walk's covariance of positions, conditioned on nothing: level and slope are parameters.
    second = np.zeros((images - 2, images))
    for k in range(1, images - 1):
        before, after = t[k] - t[k - 1], t[k + 1] - t[k]
        second[k - 1, k - 1 : k + 2] = 1 / before, -1 / before - 1 / after, 1 / after
        second[k - 1] /= np.sqrt((before + after) / 2) * walk
    dispersion = np.eye(n) + 0.25 * joined @ joined.T
    weight = np.linalg.inv(dispersion)
    edges = (series["time_bounds"].values - series["time_bounds"].values[0, 0]) / np.timedelta64(
        1, "D"
    )
    for x in range(2):
        normal = np.zeros((2 * (images - 1) + 1,) * 2)
        right = np.zeros(normal.shape[0])
        for c, axis in enumerate("xy"):
            s = lines[f"offset_{axis}"].values
            design = np.hstack([joined[:, 1:], (s[last] - s[first])[:, None]])
            prior = second[:, 1:]
            d = made.cube[f"v{axis}"].values[:, 0, x] * years
            part = design.T @ weight @ design
            part[:-1, :-1] += prior.T @ prior
            at = np.r_[c * (images - 1) : (c + 1) * (images - 1), 2 * (images - 1)]
            normal[np.ix_(at, at)] += part
            right[at] += design.T @ weight @ d
        covariance = np.linalg.inv(normal)
        solution = covariance @ right
        got = series.isel(y=0, x=x)
        assert float(got["elevation_bias"]) == pytest.approx(solution[-1], rel=1e-4)
        assert float(got["elevation_bias_error"]) == pytest.approx(
            covariance[-1, -1] ** 0.5, rel=1e-5
        )
        for c, axis in enumerate("xy"):
            u = np.r_[0.0, solution[c * (images - 1) : (c + 1) * (images - 1)]]
            own = np.zeros((images, images))
            at = np.r_[c * (images - 1) : (c + 1) * (images - 1)]
            own[1:, 1:] = covariance[np.ix_(at, at)]
            for k in range(series.sizes["time"]):
                hats = np.stack(
                    [np.interp(edges[k], made.days - made.days[0], row) for row in np.eye(images)]
                )
                contrast = hats[:, 1] - hats[:, 0]
                length = (edges[k, 1] - edges[k, 0]) / 365.25
                velocity = contrast @ u / length
                error = np.sqrt(contrast @ own @ contrast) / length
                assert float(got[f"v{axis}"][k]) == pytest.approx(velocity, rel=1e-3, abs=0.05)
                assert float(got[f"v{axis}_error"][k]) == pytest.approx(error, rel=1e-3)
                tie = contrast[1:] @ covariance[at, -1] / length
                with_bias = float(got[f"elevation_bias_v{axis}_cov"][k])
                assert with_bias == pytest.approx(tie, rel=1e-3, abs=1e-4 * error)
                if axis == "y":
                    across = covariance[np.ix_(at - (images - 1), at)]
                    both = contrast[1:] @ across @ contrast[1:] / length**2
                    assert float(got["vxvy_cov"][k]) == pytest.approx(both, rel=1e-3)
        assert int(got["redundancy"]) == 2 * n - 3
        days = (made.cube[f"acquisition_date_img{i}"].values for i in (1, 2))
        begin, end = days
        bounds = series["time_bounds"].values
        expected = [int(((begin < b) & (end > a)).sum()) for a, b in bounds]
        assert got["observations"].values.tolist() == expected


def test_the_walk_is_found():
    """Speeds drawn as a random walk of 100 m/yr in a year: the most likely one is near."""
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        grid = np.arange(0.0, 366.0, 2.5)
        speed = 1 + np.cumsum(rng.standard_normal(grid.size)) * 0.5 * np.sqrt(2.5 / 365.25)
        place = np.concatenate([[0.0], np.cumsum(speed[:-1] * 2.5 / 365.25)])

        def worth(day, grid=grid, place=place):
            return np.interp(day, grid, place)

        made = year_of_images(seed, years_worth=worth, shape=(3, 3))
        series = invert_with_elevation_bias(made.cube, made.views, "15D", image_error_m=0.5)
        found.append(float(np.log(series["speed_change"].median())))
    # vx = 200, vy = -100 m/yr times 0.5: 79 m/yr in the mean square.
    assert np.exp(np.mean(found)) == pytest.approx(79, rel=0.35)


def test_blunders_are_left_out():
    made = year_of_images(shape=(6, 6), blunders=0.1)
    series = invert_with_elevation_bias(made.cube, made.views, "15D", image_error_m=0.5)
    share = series["pairs_rejected"] / (series["pairs_rejected"] + series["pairs_used"])
    assert float(share.mean()) == pytest.approx(0.19, abs=0.02)
    away = series["elevation_bias"].values - made.elevation_bias_m
    assert rmse(away) < 1.6
    clean = invert_with_elevation_bias(
        made.cube, made.views, "15D", image_error_m=0.5, significance=None
    )
    assert rmse(clean["elevation_bias"].values - made.elevation_bias_m) > 2 * rmse(away)


def test_a_bias_without_a_pair_across_orbits_left_is_none():
    """Two pairs across the orbits contradict each other by far: where both go, so does the bias."""
    made = year_of_images(shape=(4, 4), images=16, span_days=150.0)
    first, last = pair_images(made.cube, made.views)
    orbit = made.views["orbit"].values
    forward = np.flatnonzero((orbit[first] == 1) & (orbit[last] == 2))[[0, -1]]
    kept = np.sort(np.r_[np.flatnonzero(orbit[first] == orbit[last]), forward])
    cube = made.cube.copy(deep=True)
    for name in ("vx", "vy"):
        values = cube[name].values
        for pair, off in zip(forward, (60.0, -60.0), strict=True):
            years = float(made.days[last[pair]] - made.days[first[pair]]) / 365.25
            values[pair] += off / years
    series = invert_with_elevation_bias(
        cube.isel(mid_date=kept), made.views, "20D", image_error_m=0.5
    )
    none = np.isnan(series["elevation_bias"].values)
    assert none.sum() >= 4  # of sixteen; in the others one of the two is believed
    assert (series["pairs_rejected"].values[none] >= 2).all()
    np.testing.assert_array_equal(np.isnan(series["elevation_bias_error"].values), none)
    np.testing.assert_array_equal((series["geometry"].values & 4) > 0, none)
    true_x, _ = true_velocity(made, series)
    assert rmse((series["vx"].values - true_x)[:, none]) < 60


def test_images_of_one_day_from_two_orbits_tell_the_bias_at_once():
    """Two satellites within the hour: a stereo pair, whatever the ice does."""
    days = np.array([0, 0.03, 10, 10.03, 20, 20.03])
    times = np.datetime64("2020-06-01T10:00", "ns") + (days * 86400e9).astype("timedelta64[ns]")
    sight = np.tile([0.08, -0.1], 3)
    i, j = np.triu_indices(6, 1)
    apart = (days[j] - days[i]) > 1
    i, j = i[apart], j[apart]
    place = np.array([0, 0, 30, 30, 10, 10.0])  # there and back
    d = place[j] - place[i] - (sight[j] - sight[i]) * 25.0
    years = (days[j] - days[i]) / 365.25
    maps = ("mid_date", "y", "x")
    cube = xr.Dataset(
        {
            "vx": (maps, (d / years)[:, None, None], {"units": "meter/year"}),
            "vy": (maps, np.zeros((i.size, 1, 1)), {"units": "meter/year"}),
            "vx_error": ("mid_date", 0.5 / years),
            "vy_error": ("mid_date", 0.5 / years),
        },
        {
            "acquisition_date_img1": ("mid_date", times[i]),
            "acquisition_date_img2": ("mid_date", times[j]),
            "y": [0.0],
            "x": [0.0],
        },
    )
    views = xr.Dataset(
        {"sight_x": ("image", sight), "sight_y": ("image", np.zeros(6))},
        {"time": ("image", times), "mission": ("image", np.tile(["landsat", "sentinel-2"], 3))},
    )
    mission = np.tile(["L", "S"], 3)
    cube = cube.assign_coords(
        mission_img1=("mid_date", mission[i]), mission_img2=("mid_date", mission[j])
    )
    series = invert_with_elevation_bias(
        cube, views, "10D", speed_change_m_yr=5000.0, scale="declared", image_error_m=0.1
    )
    assert float(series["elevation_bias"][0, 0]) == pytest.approx(25.0, abs=0.1)
    assert float(series["elevation_bias_error"][0, 0]) < 3
    np.testing.assert_allclose(series["vx"].values.ravel() * 10 / 365.25, [30, -20], atol=0.3)


@pytest.mark.parametrize(("azimuth", "flagged"), [(103.0, True), (60.0, False), (13.0, False)])
def test_flow_along_the_epipolar_line_is_said(azimuth, flagged):
    """Ice that flows towards 60° crosses a line towards 103° by 43°."""
    turn = np.deg2rad(azimuth)
    made = year_of_images(
        shape=(2, 2), vx_m_yr=300 * np.sin(turn), vy_m_yr=300 * np.cos(turn), bias_m=5.0
    )
    series = invert_with_elevation_bias(made.cube, made.views, "15D", image_error_m=0.5)
    expected = min(abs(azimuth - 103.0), 90.0)
    np.testing.assert_allclose(series["epipolar_angle"], expected, atol=3)
    assert ((series["geometry"].values & 8) > 0).all() == flagged
    # Two orbits have one epipolar line.
    assert ((series["geometry"].values & 16) > 0).all()


def test_gaps_threads_and_empty_pixels():
    made = year_of_images(shape=(3, 5), images=14, span_days=120.0)
    cube = made.cube.copy(deep=True)
    cube["vx"][:, 0, 0] = np.nan
    cube["vy"][::2, 1, 1] = np.nan
    one = invert_with_elevation_bias(cube, made.views, "20D", threads=1)
    many = invert_with_elevation_bias(cube, made.views, "20D", threads=4)
    xr.testing.assert_identical(one, many)
    assert int(one["geometry"][0, 0]) == 1
    assert np.isnan(one["vx"].values[:, 0, 0]).all()
    assert np.isfinite(one["vx"].values[:, 1, 1]).all()
    single = invert_with_elevation_bias(cube.isel(y=[1], x=[1]), made.views, "20D")
    np.testing.assert_allclose(single["vx"].values[:, 0, 0], one["vx"].values[:, 1, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sampling": "fortnight"}, InputError, "no length of time"),
        ({"sampling": "900D"}, DateError, "less than one period"),
        ({"image_error_m": -1.0}, InputError, "image_error_m"),
        ({"speed_change_m_yr": 0.0}, InputError, "speed_change_m_yr"),
        ({"significance": 2.0}, InputError, "probability"),
        ({"scale": "big"}, InputError, "unknown"),
        ({"least_baseline": 0.0}, InputError, "positive"),
        ({"threads": 0}, InputError, "at least 1"),
    ],
)
def test_bad_input_is_told(options, error, message):
    made = year_of_images(shape=(1, 1), images=6, span_days=60.0)
    with pytest.raises(error, match=message):
        invert_with_elevation_bias(made.cube, made.views, **({"sampling": "20D"} | options))
    with pytest.raises(InputError, match="needs errors"):
        invert_with_elevation_bias(made.cube.drop_vars("vy_error"), made.views, "20D")
