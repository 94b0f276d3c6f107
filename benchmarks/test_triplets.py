"""What a middle image gains and costs: points kept within a pixel, and CPU time of one core.

``pytest benchmarks/test_triplets.py -s`` prints both as tables; of times the best of three counts.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

import ogive
from ogive.simulation.sequence import simple_sequence

RUNS = 3
OPTIONS = {"step": 8, "threads": 1}
USUAL_SNR = 14.5  # which two of a hundred points without a match reach in a search of 8 px
# Aged and noisy until about half of all pairwise matches fail: (likeness, snr, cloud).
WORLDS = {
    "aged": {"likeness": 0.3, "snr": 3.0},
    "noisy": {"likeness": 0.4, "snr": 0.9},
    "cloudy": {"likeness": 0.4, "snr": 8.0, "hidden_fraction": 0.16},
}
SIZES = {
    "frequency": ((16, 5), (32, 8), (64, 21)),
    "spatial": ((16, 5), (32, 8), (32, 16)),
}


def truth(found, displacement):
    at = np.meshgrid(found["y"].values, found["x"].values, indexing="ij")
    return ndimage.map_coordinates(displacement, at, order=1)


def errors(found, sequence):
    off = np.hypot(
        found["dx"].values - truth(found, sequence.dx_px[-1]),
        found["dy"].values - truth(found, sequence.dy_px[-1]),
    )
    return np.where(np.isfinite(off), off, np.inf)


def most_right(snr, off, most):
    """Right points above the lowest SNR at which no larger share than ``most`` is false."""
    found = np.isfinite(off)
    order = np.argsort(-snr[found])
    right = np.cumsum(off[found][order] <= 1)
    number = np.arange(1, right.size + 1)
    return int(right[(number - right) / number <= most].max(initial=0))


@pytest.mark.parametrize("features", ["orientation", "adaptive", "learned"])
@pytest.mark.parametrize("world", WORLDS)
def test_points_kept(world, features):
    """At the SNR that two points of a hundred without a match reach, and at half and twice it.

    The last line allows the pair whatever SNR leaves it no larger share of false points than the
    triplet has at the usual one.
    """
    if features == "learned":
        pytest.importorskip("torch")
    sequence = simple_sequence((400, 400), times=(0, 0.5, 1), seed=1, **WORLDS[world])
    first, middle, last = sequence.images
    found = [
        ogive.match_triplet(
            first, some, last, window=32, search=8, features=features, min_snr=0, **OPTIONS
        )
        for some in ([], [middle])
    ]
    off = [errors(one, sequence) for one in found]
    print(f"\n{world}, {features}: {np.mean(off[0] > 1):.0%} of pairwise matches are false")
    print("| snr from | pair: right | false | triplet: right | false | ratio |")
    print("|---|---|---|---|---|---|")
    for least in (USUAL_SNR / 2, USUAL_SNR, 2 * USUAL_SNR):
        kept = [one["snr"].values >= least for one in found]
        right = [int((k & (o <= 1)).sum()) for k, o in zip(kept, off, strict=True)]
        false = [int((k & (o > 1) & (o < np.inf)).sum()) for k, o in zip(kept, off, strict=True)]
        ratio = right[1] / max(right[0], 1)
        print(f"| {least:.1f} | {right[0]} | {false[0]} | {right[1]} | {false[1]} | {ratio:.2f} |")
        if least == USUAL_SNR:
            assert ratio >= 1.5
            most = false[1] / (right[1] + false[1])
            best = most_right(found[0]["snr"].values, off[0], most)
            alike = (
                f"at most {most:.1%} false: pair {best}, triplet {right[1]}, ratio "
                f"{right[1] / best:.2f}"
            )
            assert right[1] > best
    print(alike)


@pytest.mark.parametrize(
    ("correlator", "window", "search"),
    [(name, *size) for name, sizes in SIZES.items() for size in sizes],
)
def test_cost(correlator, window, search):
    """Less than three pairwise matches, features and sub-pixel places included.

    `ogive.match` searches 1 point in 16 and is told beside them.
    """
    first, middle, last = simple_sequence((300, 300), likeness=0.5, snr=5, seed=3).images
    options = OPTIONS | {"window": window, "search": search}
    joint = options | {"correlator": correlator}
    ways = {
        "pair": lambda: ogive.match_triplet(first, [], last, **joint),
        "triplet": lambda: ogive.match_triplet(first, middle, last, **joint),
        "match": lambda: ogive.match(
            first, last, features="orientation", fallback=None, **options
        ),
    }  # fmt: skip
    spent = {name: [] for name in ways}
    for _ in range(RUNS + 1):  # the first one compiles
        for name, way in ways.items():
            begun = time.process_time()
            way()
            spent[name].append(time.process_time() - begun)
    pair, triplet, match = (min(spent[name][1:]) for name in ways)
    points = ((300 - window) // OPTIONS["step"] + 1) ** 2
    print(
        f"\n{correlator}, window {window}, search {search}: pair {pair:.2f} s, triplet "
        f"{triplet:.2f} s ({points / triplet:,.0f} points/s), ratio {triplet / pair:.2f}; "
        f"ogive.match {match:.2f} s"
    )
    if correlator == "frequency":
        assert triplet < 3 * pair
