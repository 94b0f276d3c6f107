"""Speed of the matching, everything included, beside a loop over OpenCV's template matching.

    make bench        or        pytest benchmarks/test_matching.py --benchmark-only -s

Rounds are timed in CPU seconds of all threads, so that "per core" means what it says on a shared
machine; the two-thread gain and the tile are wall time. Measured figures stand in the notes of the
changes, not in assertions.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import ogive

STEP = 5
SEARCH = 32


def report(benchmark, points):
    benchmark.extra_info["points"] = int(points)
    rate = points / benchmark.stats["min"]
    benchmark.extra_info["points_per_second_per_core"] = round(rate)
    print(f"\n{benchmark.name}: {rate:,.0f} points per second per core")


CASES = {
    "defaults at 16 px": {"window": 16},
    "high-pass at 16 px": {"window": 16, "features": "highpass"},
    "defaults at 32 px": {"window": 32},
    "affine at 32 px": {"window": 32, "subpixel": "affine"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.benchmark(timer=time.process_time, min_rounds=5, warmup=True, warmup_iterations=1)
def test_match(benchmark, standard, case):
    options = {"step": STEP, "search": SEARCH, "threads": 1, **CASES[case]}
    result = benchmark(lambda: ogive.match(standard["i1"], standard["i2"], **options))
    report(benchmark, result.dx.size)


@pytest.mark.parametrize("search", [16, SEARCH])
@pytest.mark.benchmark(timer=time.process_time, min_rounds=2, warmup=False)
def test_opencv_loop(benchmark, standard, search):
    """The reference: cv2.matchTemplate at every point of a strip, parabola through the peak."""
    cv2.setNumThreads(1)
    size = 16
    earlier, later = (standard[name] - cv2.blur(standard[name], (21, 21)) for name in ("i1", "i2"))
    rows = range(700, 800, STEP)
    columns = range(64, 1500 - 64 - size, STEP)

    def loop():
        number = 0
        for y in rows:
            for x in columns:
                template = earlier[y : y + size, x : x + size]
                patch = later[y - search : y + size + search, x - search : x + size + search]
                surface = cv2.matchTemplate(patch, template, cv2.TM_CCOEFF_NORMED)
                _, _, _, (j, i) = cv2.minMaxLoc(surface)
                if 0 < i < 2 * search and 0 < j < 2 * search:
                    for a, b, c in (
                        (surface[i, j - 1], surface[i, j], surface[i, j + 1]),
                        (surface[i - 1, j], surface[i, j], surface[i + 1, j]),
                    ):
                        0.5 * (a - c) / (a - 2 * b + c)
                number += 1
        return number

    report(benchmark, benchmark(loop))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor only")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.benchmark(group="threads", min_rounds=5, warmup=True, warmup_iterations=1)
def test_threads(benchmark, standard, threads):
    benchmark(
        lambda: ogive.match(
            standard["i1"], standard["i2"], window=16, step=STEP, search=SEARCH, threads=threads
        )
    )


FIRST_CALL = """
import time, numpy as np
start = time.perf_counter()
import ogive
rng = np.random.default_rng(0)
scene = rng.standard_normal((300, 300)).astype("f4")
ogive.match(scene, np.roll(scene, 2, 1), window=16, step=5, search=8)
print(time.perf_counter() - start)
"""


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.benchmark(min_rounds=1, warmup=False)
def test_first_call(benchmark, tmp_path, cached):
    """A new process, imports included, with and without compiled kernels on disk."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def call():
        done = subprocess.run(
            [sys.executable, "-c", FIRST_CALL],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return float(done.stdout)

    if cached:
        call()
    seconds = benchmark.pedantic(call, rounds=1, iterations=1)
    benchmark.extra_info["seconds"] = round(seconds, 2)
    print(f"\nfirst call, {'cached' if cached else 'compiling'}: {seconds:.1f} s")


@pytest.mark.benchmark(min_rounds=1, warmup=False)
def test_whole_sentinel_2_tile(benchmark, standard):
    """10980 x 10980 px at step 5: 4.8 million points."""
    size = 10980
    times = -(-size // 1500)
    earlier, later = (
        np.tile(standard[name], (times, times))[:size, :size].astype(np.uint16)
        for name in ("i1", "i2")
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = benchmark.pedantic(
        lambda: ogive.match(earlier, later, window=16, step=STEP, search=SEARCH),
        rounds=1,
        iterations=1,
    )
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.extra_info["points"] = result.dx.size
    benchmark.extra_info["peak_gb"] = round(after / 1e6, 2)
    print(f"\ntile: {benchmark.stats['min']:.1f} s, peak {after / 1e6:.2f} GB ({before / 1e6:.2f})")


@pytest.mark.benchmark(min_rounds=1, warmup=False)
def test_memory_does_not_grow(benchmark):
    """A hundred pairs in one process."""
    rng = np.random.default_rng(0)
    scene = rng.standard_normal((500, 500)).astype(np.float32)

    def resident_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    def pairs(number):
        for k in range(number):
            ogive.match(scene, np.roll(scene, k % 5, 1), window=16, step=5, search=8)

    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    pairs(10)
    before = resident_mb()
    benchmark.pedantic(lambda: pairs(100), rounds=1, iterations=1)
    growth = resident_mb() - before
    benchmark.extra_info["growth_mb"] = round(growth, 1)
    print(f"\nresident memory after 100 pairs: {growth:+.1f} MB")
    # Allocators keep some pages; a leak of one float32 field of 97 x 97 points would be 3.8 MB.
    assert growth < 30
