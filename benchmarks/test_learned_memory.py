"""Memory and time of learned features on a whole Sentinel-2 tile.

    pytest benchmarks/test_learned_memory.py -s --benchmark-only

Two images of 10980 x 10980 pixels, windows of 16 px every 8 px, eight channels: in single precision
the features alone would take 7.7 GB, with their spline coefficients 15.4 GB. A process of its own
is measured, images and interpreter included. Tens of minutes on two cores; SIZE_PX in the
environment makes it smaller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")

MOST_GB = 12.0
"""What the tile may take: what a computer of 16 GB has left beside its system (measured: 8.3)."""

MEASURE = """
import json, resource, sys, time
import numpy as np
import ogive
from ogive.similarity.features import LearnedFeature, learned
from ogive.similarity.networks import build_network
from ogive.simulation.pair import simple_pair

size, subpixel_features = int(sys.argv[1]), sys.argv[2]
made = simple_pair((1098, 1098), seed=3, max_displacement_px=8)
times = -(-size // 1098)
earlier, later = (
    np.tile(np.rint(image).astype(np.uint16), (times, times))[:size, :size]
    for image in (made.earlier, made.later)
)
# Nodata beyond a slanted edge, as on tiles at the border of a swath.
usable = np.add.outer(np.arange(size), 3 * np.arange(size)) > size // 2
del made
try:
    feature = learned(device="cpu")
except ogive.OgiveError:
    feature = LearnedFeature(network=build_network("small").eval(), name="untrained")
wall, processor = time.perf_counter(), time.process_time()
found = ogive.match(
    earlier, later, mask=usable, features=feature, subpixel_features=subpixel_features,
    window=16, step=8, search=16,
)
print(json.dumps({
    "points": int(found.dx.size),
    "measured_share": found.attrs["measured_share"],
    "wall_s": round(time.perf_counter() - wall, 1),
    "processor_s": round(time.process_time() - processor, 1),
    "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("subpixel_features", ["same", "adaptive"])
@pytest.mark.benchmark(min_rounds=1, warmup=False)
def test_whole_tile(benchmark, subpixel_features):
    size = os.environ.get("SIZE_PX", "10980")

    def run():
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, size, subpixel_features],
            check=True,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)

    told = benchmark.pedantic(run, rounds=1, iterations=1)
    benchmark.extra_info.update(told)
    print(f"\n{size} px, sub-pixel on {subpixel_features}: {told}")
    assert told["measured_share"] > 0.5
    assert told["peak_gb"] < MOST_GB
