"""How fast a cube is inverted, from its Zarr store to the series' Zarr store.

``pytest benchmarks/test_inversion.py -s`` prints pixels per second of CPU time of one core. The
networks are random: observed dates as irregular as two satellites make them, baselines up to a
year and a half as in ITS_LIVE's cubes, or a satellite every 12 days with baselines of 12 to 192
days, as in Charrier et al. (2022). One thread works, and the best of three runs counts.
"""

from __future__ import annotations

import time
from pathlib import Path

import dask
import numpy as np
import odc.geo.xr  # noqa: F401
import pytest
import xarray as xr

from ogive.model import DAYS_PER_YEAR
from ogive.series.invert import invert
from ogive.store.cube import write_cube
from ogive.store.readers import open_cube

SIDE = 64
RUNS = 3


def irregular(rng, observations: int, dates: int, years: float):
    """Dates of two satellites, mostly short baselines, none above 546 days."""
    days = np.sort(rng.choice(np.arange(int(years * DAYS_PER_YEAR)), dates, replace=False))
    i, j = np.triu_indices(dates, 1)
    span = days[j] - days[i]
    fits = (span >= 5) & (span <= 546)
    i, j, span = i[fits], j[fits], span[fits]
    likely = np.exp(-span / 120)
    chosen = np.sort(rng.choice(i.size, observations, replace=False, p=likely / likely.sum()))
    return days[i[chosen]].astype(float), days[j[chosen]].astype(float)


def repeat_pass(rng, observations: int, dates: int):
    """A satellite every 12 days, baselines of 12 to 192 days."""
    i, j = np.triu_indices(dates, 1)
    fits = np.flatnonzero(j - i <= 16)
    chosen = np.sort(rng.choice(fits, observations, replace=False))
    return 12.0 * i[chosen], 12.0 * j[chosen]


def cube_of(rng, first, second, gaps: float) -> xr.Dataset:
    """Seasonal flow, errors of some metres, a tenth of outliers, gaps."""
    n, omega = first.size, 2 * np.pi / 365.25
    moved = 150 / 365.25 * (second - first)
    moved = moved + 10 * (np.sin(omega * second) - np.sin(omega * first))
    error = 3 * rng.lognormal(0, 0.3, n)
    shape = (2, n, SIDE, SIDE)
    both = rng.standard_normal(shape, "f4")
    wrong = rng.random(shape[1:], "f4") < 0.1
    scale = np.where(wrong, np.float32(60), error.astype("f4")[:, None, None])
    for c, part in enumerate((1.0, 0.4)):
        both[c] *= scale
        both[c] += np.where(wrong, np.float32(0), (part * moved).astype("f4")[:, None, None])
    both[:, rng.random(shape[1:], "f4") < gaps] = np.nan
    years = (second - first) / DAYS_PER_YEAR
    velocity = both / years.astype("f4")[:, None, None]
    epoch = np.datetime64("2014-01-01", "ns")
    cube = xr.Dataset(
        {
            "vx": (("mid_date", "y", "x"), velocity[0]),
            "vy": (("mid_date", "y", "x"), velocity[1]),
            "vx_error": ("mid_date", (error / years).astype("f4")),
            "vy_error": ("mid_date", (error / years).astype("f4")),
        },
        {
            "acquisition_date_img1": ("mid_date", epoch + (first * 86_400e9).astype("m8[ns]")),
            "acquisition_date_img2": ("mid_date", epoch + (second * 86_400e9).astype("m8[ns]")),
            "x": 600_060.0 + 120 * np.arange(SIDE),
            "y": 6_000_060.0 - 120 * np.arange(SIDE),
        },
    )
    return cube.odc.assign_crs("EPSG:32607")


def pixels_per_second(cube: xr.Dataset, folder: Path, **options) -> float:
    """Open, invert and write; CPU time of the best run."""
    source = write_cube(cube, folder / "cube.zarr")
    invert(cube.isel(x=slice(1), y=slice(1)), threads=1, **options)  # compile
    best = np.inf
    for run in range(RUNS):
        with dask.config.set(scheduler="synchronous"):
            begin = time.process_time()
            series = invert(open_cube(source), **options)
            write_cube(series, folder / f"series_{run}.zarr")
            best = min(best, time.process_time() - begin)
    return SIDE * SIDE / best


NETWORKS = {
    "n=4836, p=429, irregular": (lambda rng: irregular(rng, 4836, 429, 9.0), 300),
    "n=2000, p=200, every 12 days": (lambda rng: repeat_pass(rng, 2000, 200), 2000),
    "n=2000, p=200, irregular": (lambda rng: irregular(rng, 2000, 200, 4.0), 2000),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("closure", ["dates", "combined"])
def test_pixels_per_second(network, closure, tmp_path):
    make, wanted = NETWORKS[network]
    speed = {}
    for gaps in (0.0, 0.3):
        rng = np.random.default_rng(0)
        cube = cube_of(rng, *make(rng), gaps)
        folder = tmp_path / f"{gaps}"
        speed[gaps] = pixels_per_second(cube, folder, sampling="36D", closure=closure)
    print(
        f"\n{network}, closure={closure}: {speed[0.0]:.0f} pixels/s/core "
        f"(wanted {wanted}), with 30 % gaps {speed[0.3]:.0f}"
    )
    # Gaps must not cost more than a factor of two.
    assert speed[0.3] > 0.5 * speed[0.0]
