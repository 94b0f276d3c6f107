"""Kaskawulsh 2018: two orbits of Sentinel-2, two paths of Landsat, each map within one of them."""

from __future__ import annotations

import numpy as np
import odc.geo.xr  # noqa: F401  (gives cubes their .odc accessor)
import pytest
import xarray as xr

from ogive.correction.orthorectification import pair_offsets, remove_offsets
from ogive.scenes.read import rasterize_polygons
from ogive.series.elevation import invert_with_elevation_bias
from ogive.store.readers import open_cube
from ogive.workflow.views import cube_views, views_on_grid

# How the files name where the satellite looked from.
SOURCES = {
    "Sen2-Orb14": ("relative_orbit", 14),
    "Sen2-Ob114": ("relative_orbit", 114),
    "LS8-061018": ("path", 61),
    "LS8-062017": ("path", 62),
}
EPIPOLAR = np.deg2rad(108.0)


@pytest.fixture(scope="module")
def kaskawulsh(data_dir):
    """Every eighth pixel of the cube, with the orbits of its images, and what is ice."""
    folder = data_dir / "kaskawulsh_2018"
    cube = open_cube(folder / "velocity", units="meter/day")
    outline = folder / "outlines" / "glacier_V1_Kaskawulsh_s_inwardBuffer600m.shp"
    ice = rasterize_polygons(outline, cube["vx"].odc.geobox)[::8, ::8]
    names = [str(name).split("_")[0] for name in cube["granule_url"].values]
    numbers = {
        key: [SOURCES[name][1] if SOURCES[name][0] == key else np.nan for name in names]
        for key in ("relative_orbit", "path")
    }
    cube = cube.assign_coords(
        {
            f"{key}_img{k}": ("mid_date", np.array(values, float))
            for key, values in numbers.items()
            for k in (1, 2)
        }
    )
    return cube.isel(y=slice(None, None, 8), x=slice(None, None, 8)).load(), np.array(names), ice


def days(cube, number):
    first = cube["acquisition_date_img1"].values.min()
    return (cube[f"acquisition_date_img{number}"].values - first) / np.timedelta64(1, "D")


def nmad(values):
    values = values[np.isfinite(values)]
    return 1.4826 * np.median(np.abs(values - np.median(values)))


class Chain:
    """Orbit 14's pairs follow each other without a gap: the displacement over any dates."""

    def __init__(self, cube, names):
        self.cube, self.start, self.end = cube, days(cube, 1), days(cube, 2)
        self.pairs = np.flatnonzero(names == "Sen2-Orb14")

    def displacement(self, begin, stop):
        """Metres along +x and +y, by shares of the pairs; ``None`` beyond the chain."""
        if begin < self.start[self.pairs].min() or stop > self.end[self.pairs].max():
            return None
        shares = {
            k: min(stop, self.end[k]) - max(begin, self.start[k])
            for k in self.pairs
            if self.start[k] < stop and self.end[k] > begin
        }
        return {
            name: sum(self.cube[name].values[k] * share / 365.25 for k, share in shares.items())
            for name in ("vx", "vy")
        }


def along_and_across(difference):
    """Components along the epipolar line of orbits 14 and 114, and at right angles to it."""
    x, y = difference["vx"], difference["vy"]
    return (
        x * np.sin(EPIPOLAR) + y * np.cos(EPIPOLAR),
        x * np.cos(EPIPOLAR) - y * np.sin(EPIPOLAR),
    )


def differences(cube, names, source, ice):
    """Spread of a source's displacements less orbit 14's on the same dates, median of its pairs."""
    chain, found = Chain(cube, names), []
    start, end = days(cube, 1), days(cube, 2)
    for k in np.flatnonzero(names == source):
        other = chain.displacement(start[k], end[k])
        if other is not None:
            own = {n: cube[n].values[k] * (end[k] - start[k]) / 365.25 for n in ("vx", "vy")}
            parts = along_and_across({n: own[n] - other[n] for n in own})
            found.append([nmad(part[ice]) for part in parts])
    return np.median(found, axis=0)


@pytest.mark.parametrize(
    ("source", "least", "most"),
    [("Sen2-Ob114", 0.3, 0.8), ("LS8-061018", 1.0, 2.5), ("LS8-062017", 0.8, 2.0)],
)
def test_orbits_differ_by_match_noise_only(kaskawulsh, source, least, most):
    """No offsets: the spread along the epipolar line is that across it.

    Half a metre between the orbits of Sentinel-2, one to two from Landsat with its larger pixel.
    Between orbits 14 and 114 a bias of 10 m of the model would make 1.8 m, along the line only.
    """
    cube, names, ice = kaskawulsh
    along, across = differences(cube, names, source, ice)
    print(f"\n{source} less Sen2-Orb14: {along:.2f} m along the epipolar line, {across:.2f} across")
    assert least < along < most
    assert least < across < most
    assert 0.6 < along / across < 1.6


def test_angles_of_the_orbits_say_that_the_bias_cannot_be_seen(kaskawulsh):
    cube, names, ice = kaskawulsh
    views, _ = cube_views(cube)
    assert (views["geometry"] == "nominal").all()
    zenith = {
        int(orbit): float(np.rad2deg(np.arctan(np.hypot(x, y))))
        for orbit, x, y in zip(views["orbit"], views["sight_x"], views["sight_y"], strict=True)
    }
    # 10° apart, were there pairs across the two.
    assert zenith[14] < 1.5
    assert zenith[114] == pytest.approx(10.0, abs=0.5)
    assert set(zenith) == {14, 114, 61, 62}
    line = pair_offsets(cube, views)
    assert float(np.hypot(line["offset_x"], line["offset_y"]).max()) < 1e-3
    series = invert_with_elevation_bias(cube, views, "30D", image_error_m=0.5)
    assert np.isnan(series["elevation_bias"]).all()
    seen = series["pairs_used"].values > 0
    assert (series["geometry"].values[seen] & 2 > 0).all()
    # The series of all four is delivered: tens to hundreds of metres a year, on the ice.
    speed = series["v"].median("time").values[ice]
    assert 50 < np.nanmedian(speed) < 250
    # After the joint estimate the orbits differ as before: there was nothing to take off.
    freed = remove_offsets(cube, views, series["elevation_bias"])
    after = differences(freed, names, "Sen2-Ob114", ice)
    np.testing.assert_allclose(after, differences(cube, names, "Sen2-Ob114", ice), rtol=1e-6)


def pairs_across(chain, names, offsets, rng, number=24):
    """Pairs between the two orbits' dates: orbit 14's flow, orbit 114's real differences to it.

    ``offsets`` are metres along x and y that a date of orbit 114 sees more than one of orbit 14.
    """
    own = np.flatnonzero(names == "Sen2-Ob114")
    noise = []
    for k in own:
        span = chain.end[k] - chain.start[k]
        flow = chain.displacement(chain.start[k], chain.end[k])
        noise.append({n: chain.cube[n].values[k] * span / 365.25 - flow[n] for n in flow})
    dates = {
        14: np.unique(np.r_[chain.start[chain.pairs], chain.end[chain.pairs]]),
        114: np.unique(np.r_[chain.start[own], chain.end[own]]),
    }
    both = [(a, b) for a in dates[14] for b in dates[114] if 3 <= abs(b - a) <= 30]
    found = []
    for a, b in (both[k] for k in rng.choice(len(both), number, replace=False)):
        sign = 1.0 if b > a else -1.0
        flow = chain.displacement(min(a, b), max(a, b))
        error = noise[rng.integers(len(noise))]
        seen = {
            n: flow[n] + error[n] + sign * shift
            for n, shift in zip(("vx", "vy"), offsets, strict=True)
        }
        found.append((min(a, b), max(a, b), 14 if b > a else 114, 114 if b > a else 14, seen))
    return found


def test_offsets_put_on_real_flow_are_found_and_taken_off_again(kaskawulsh):
    """Real flow, real differences of the two orbits, their angles, and a model 13 m wrong.

    The maps hold no pair across the orbits, so 24 are put together: orbit 14's displacement over
    their dates, plus what one of orbit 114's maps differs from orbit 14's, plus the offsets.
    """
    cube, names, ice = kaskawulsh
    chain = Chain(cube, names)
    views, found = cube_views(cube)
    whole = views_on_grid(views, found, cube)
    sight = {
        orbit: whole.isel(image=int(np.flatnonzero(views["orbit"].values == orbit)[0]))
        for orbit in (14, 114)
    }
    row, column = np.mgrid[0 : cube.sizes["y"], 0 : cube.sizes["x"]]
    height = 20.0 * np.sin(2 * np.pi * row / 60) * np.cos(2 * np.pi * column / 80)
    per_metre = [
        -(sight[114][f"sight_{axis}"].values - sight[14][f"sight_{axis}"].values) for axis in "xy"
    ]
    made = pairs_across(chain, names, [s * height for s in per_metre], np.random.default_rng(0))
    within = [
        (chain.start[k], chain.end[k], *[14 if names[k] == "Sen2-Orb14" else 114] * 2,
         {n: cube[n].values[k] * (chain.end[k] - chain.start[k]) / 365.25 for n in ("vx", "vy")})
        for k in np.flatnonzero(np.char.startswith(names, "Sen2"))
    ]  # fmt: skip
    rows = made + within
    years = np.array([(stop - begin) / 365.25 for begin, stop, *_ in rows])
    first = cube["acquisition_date_img1"].values.min()
    values = {
        n: (
            ("mid_date", "y", "x"),
            np.stack([one[4][n] for one in rows]) / years[:, None, None],
            {"units": "meter/year"},
        )
        for n in ("vx", "vy")
    }
    values |= {f"{n}_error": ("mid_date", 0.6 / years) for n in ("vx", "vy")}
    coords = {"y": cube["y"], "x": cube["x"]}
    for k in (1, 2):
        when = first + np.array([np.timedelta64(round(one[k - 1] * 86_400), "s") for one in rows])
        coords |= {
            f"acquisition_date_img{k}": ("mid_date", when.astype("datetime64[ns]")),
            f"mission_img{k}": ("mid_date", np.full(len(rows), "S")),
            f"relative_orbit_img{k}": ("mid_date", np.array([float(one[1 + k]) for one in rows])),
        }
    joined = xr.Dataset(values, coords).odc.assign_crs("EPSG:32607")
    joined_views, sources = cube_views(joined)
    on_grid = views_on_grid(joined_views, sources, joined)
    series = invert_with_elevation_bias(joined, on_grid, "30D", image_error_m=0.3)
    bias = series["elevation_bias"].values
    off = (bias - height)[ice & np.isfinite(bias)]
    error = series["elevation_bias_error"].values[ice & np.isfinite(bias)]
    print(f"\nbias found again: NMAD {nmad(off):.2f} m")
    # Two pairs of half a metre over 0.18 tell 4 m; some twenty of them, not independent, 1 m.
    assert nmad(off) < 1.2
    assert 0.90 < (np.abs(off) < 1.96 * error).mean() < 0.99
    spread = {"before": [], "after": []}
    for begin, stop, earlier, _, seen in made:
        flow = chain.displacement(begin, stop)
        sign = 1.0 if earlier == 14 else -1.0
        for name, known in (("before", 0.0), ("after", bias)):
            left = {
                n: seen[n] - flow[n] - sign * s * known
                for n, s in zip(("vx", "vy"), per_metre, strict=True)
            }
            spread[name].append([nmad(part[ice]) for part in along_and_across(left)])
    before, after = (np.median(spread[name], axis=0) for name in ("before", "after"))
    for name, (along, across) in (("before", before), ("after", after)):
        print(f"{name}: {along:.2f} m along the epipolar line, {across:.2f} m across")
    # Along the line the offsets double the spread, and leave no more of it than across the line.
    assert before[0] > 2 * before[1]
    assert after[0] < 1.1 * after[1]
    assert after[1] == pytest.approx(before[1], rel=0.1)
