"""How fast velocity and elevation bias are estimated, in CPU time of one core.

``pytest benchmarks/test_elevation_bias.py -s`` prints pixels per second; the best of three counts.
"""

from __future__ import annotations

import time

import pytest

from ogive.correction.orthorectification import elevation_bias
from ogive.correction.orthorectification.triplets import triplet_elevation_bias
from ogive.series.elevation import invert_with_elevation_bias
from ogive.simulation.orbits import displacement_network

RUNS = 3
CASES = {
    "20 pairs of 8 images": {"images": 8, "pairs": 20},
    "66 pairs of 12 images": {"images": 12, "pairs": None},
    "234 pairs of 40 images": {
        "images": 40, "pairs": None, "span_days": 365.0, "longest_days": 60.0,
    },
}  # fmt: skip
METHODS = {
    "constant": lambda made: elevation_bias(made.cube, made.views, threads=1),
    "constant, image errors": lambda made: elevation_bias(
        made.cube, made.views, image_error_m=0.5, threads=1
    ),
    "triplets": lambda made: triplet_elevation_bias(made.cube, made.views, threads=1),
    "series": lambda made: invert_with_elevation_bias(
        made.cube, made.views, "20D", image_error_m=0.5, threads=1
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_speed(method, case):
    """A tenth of the displacements are blunders."""
    made = displacement_network((20, 50), blunders=0.05, **CASES[case])
    METHODS[method](displacement_network((1, 4), **CASES[case]))  # compiles
    best = float("inf")
    for _ in range(RUNS):
        begun = time.process_time()
        METHODS[method](made)
        best = min(best, time.process_time() - begun)
    print(f"\n{method}, {case}: {1000 / best:,.0f} pixels/s")
    assert best < 60
