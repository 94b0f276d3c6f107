"""How long the outlier filters take on a whole tile, against SciPy's median of one plane.

    pytest benchmarks/test_outliers.py --benchmark-only -s

A tile has 2200 x 2200 points (every 5 pixels of Sentinel-2). The reference, a median filter of 3 x
3 points over ``dx`` alone, is timed in the same run.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.ndimage import median_filter
from tests.correction.conftest import dataset
from tests.correction.test_outliers import FILTERS

SIDE = 2200


@pytest.fixture(scope="module")
def tile():
    """Displacements that are noise alone."""
    return dataset(*np.random.default_rng(0).normal(0, 0.1, (2, SIDE, SIDE)))


@pytest.fixture(scope="module")
def reference_s(tile):
    """Processor time of the reference."""
    start = time.thread_time()
    median_filter(tile.dx.values, 3)
    return time.thread_time() - start


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.benchmark(min_rounds=3, warmup=True, timer=time.thread_time)
def test_filter_of_a_tile(benchmark, tile, reference_s, name):
    reject, _ = FILTERS[name]
    benchmark.pedantic(reject, (tile,), rounds=3, warmup_rounds=1)
    taken = benchmark.stats["median"]
    benchmark.extra_info["ratio"] = taken / reference_s
    print(f"\n{name}: {taken:.2f} s, {taken / reference_s:.1f} times a median of 3 x 3 points")
