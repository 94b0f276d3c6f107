"""Kaskawulsh 2018: two orbits of Sentinel-2, two paths of Landsat, each map within one of them."""

from __future__ import annotations

import numpy as np
import pytest

from ogive.correction.orthorectification_views import pair_offsets
from ogive.scenes.read import rasterize_polygons
from ogive.series.elevation import invert_with_elevation_bias
from ogive.store.readers import open_cube
from ogive.workflow.elevation_bias import cube_views

# How the files name where the satellite looked from.
SOURCES = {
    "Sen2-Orb14": ("relative_orbit", 14),
    "Sen2-Ob114": ("relative_orbit", 114),
    "LS8-061018": ("path", 61),
    "LS8-062017": ("path", 62),
}


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


def differences(cube, names, ice):
    """Spread, along and across the epipolar line, of orbit 114's displacements less orbit 14's.

    Orbit 14's pairs are a chain without gaps: the displacement over any dates is a sum of shares.
    """
    start, end = days(cube, 1), days(cube, 2)
    chain = np.flatnonzero(names == "Sen2-Orb14")
    turn = np.deg2rad(108.0)
    spreads = []
    for k in np.flatnonzero(names == "Sen2-Ob114"):
        d = {}
        for name in ("vx", "vy"):
            moved = cube[name].values[k] * (end[k] - start[k])
            for one in chain:
                shared = min(end[k], end[one]) - max(start[k], start[one])
                if shared > 0:
                    moved = moved - cube[name].values[one] * shared
            d[name] = moved[ice] / 365.25
        along = d["vx"] * np.sin(turn) + d["vy"] * np.cos(turn)
        across = d["vx"] * np.cos(turn) - d["vy"] * np.sin(turn)
        for values in (along, across):
            values = values[np.isfinite(values)]
            spreads.append(1.4826 * np.median(np.abs(values - np.median(values))))
    return np.median(np.array(spreads).reshape(-1, 2), axis=0)


def test_orbits_differ_by_match_noise_only(kaskawulsh):
    """No offsets: the spread along the epipolar line is that across it, half a metre.

    Between orbits 14 and 114 a bias of 10 m of the model would make 1.8 m, along the line only.
    """
    along, across = differences(*kaskawulsh)
    assert 0.3 < along < 0.8
    assert 0.3 < across < 0.8
    assert along < 1.6 * across


def test_angles_of_the_orbits_say_that_the_bias_cannot_be_seen(kaskawulsh):
    cube, _, ice = kaskawulsh
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
