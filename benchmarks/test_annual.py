"""Speed of trends and annual maps: 250 x 250 pixels, 2000 pairs, the geocube of the paper."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
import xarray as xr

from ogive.series.annual import annual
from ogive.series.trend import trend

PAIRS, SIDE, DATES = 2000, 250, 150


def geocube(pairs: int = PAIRS, side: int = SIDE) -> xr.Dataset:
    """A network of six years over noise, a tenth of it missing."""
    rng = np.random.default_rng(0)
    days = np.sort(rng.choice(6 * 365, DATES, replace=False))
    i, j = np.triu_indices(DATES, 1)
    span = days[j] - days[i]
    good = np.flatnonzero((span >= 5) & (span <= 400))
    chosen = np.sort(rng.choice(good, pairs, replace=False))
    i, j = i[chosen], j[chosen]
    years = (days[j] - days[i]).astype(np.float32) / np.float32(365.25)
    epoch = np.datetime64("2015-10-01", "ns")
    fields = {}
    for name, level in (("vx", 60.0), ("vy", -40.0)):
        field = rng.standard_normal((pairs, side, side), dtype=np.float32)
        field /= years[:, None, None]
        field += np.float32(level)
        field[rng.random(field.shape, dtype=np.float32) < 0.1] = np.nan
        fields[name] = (("mid_date", "y", "x"), field, {"units": "meter/year"})
    return xr.Dataset(
        fields,
        {
            "acquisition_date_img1": ("mid_date", epoch + days[i].astype("timedelta64[D]")),
            "acquisition_date_img2": ("mid_date", epoch + days[j].astype("timedelta64[D]")),
            "y": 50.0 * np.arange(side)[::-1],
            "x": 50.0 * np.arange(side),
        },
    )


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return geocube()


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    annual(geocube(pairs=100, side=6))


def test_trend_and_mann_kendall(cube, benchmark):
    """Trend, its error and the test of a whole geocube: less than 20 s on two cores.

    The time of all cores together is asserted, which other work on the machine does not change:
    what takes less than 20 s of it takes less than 20 s on two cores, and on one.
    """
    began = time.process_time()
    result = benchmark.pedantic(trend, (cube,), {"threads": 2}, rounds=1)
    used_s = time.process_time() - began
    benchmark.extra_info["cpu_s"] = round(used_s, 1)
    assert np.isfinite(result.trend).all()
    assert used_s < 20.0


def test_annual_maps(cube, benchmark):
    """The whole chain: six filters, levels, spreads, trend and test."""
    result = benchmark.pedantic(annual, (cube,), {"threads": 2}, rounds=1)
    assert np.isfinite(result.v).all()


def test_memory_is_bounded_by_blocks(cube, benchmark):
    """Beside the cube, blocks of a lazy one take what their size says, not the cube's."""
    small = cube.isel(x=slice(0, 120), y=slice(0, 120))
    lazy = small.chunk({"mid_date": -1, "y": 40, "x": 40})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    blocks = benchmark.pedantic(annual, (lazy,), {"threads": 2, "block_px": 40}, rounds=1)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    whole = annual(small, threads=2)
    np.testing.assert_array_equal(blocks.v.values, whole.v.values)
    # Two components of 2000 x 50 x 50 pixels (with the halo) are 40 MB; some copies of them.
    assert grown_mb < 400
