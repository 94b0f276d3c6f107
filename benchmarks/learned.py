"""Learned features against classical ones: one table in Markdown, all figures in JSON.

    python benchmarks/learned.py [--features NAME ...] [--weights FILE] [--out DIR]

Six simulated situations with known motion that no training has seen (`learned_cases`), Perito
Moreno and Yahtse (`learned_real`). Every feature is measured at equal settings (window 16, step 8,
each point searched over the whole range on its own) and at its best (the window with most right
points, with the default search). A point on ice is right within one pixel of the truth.

``learned`` is what users get: points that the adaptive features find more precisely, or more
surely, are theirs; ``alone`` it goes without; ``learned+adaptive`` refines all with the adaptive
features. Simulated pairs are made once and kept in DIR, and so are the figures of each feature:
remove its file there to measure it again. A feature of one channel takes two minutes of one core,
the learned ones ten for each view. ``OGIVE_DATA`` names the folder of real data.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.resources
import json
import os
import pickle
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import learned_cases
import numpy as np
from learned_cases import SIMULATED, Case, simulate
from learned_real import PeritoMoreno, Yahtse
from learned_report import report
from learned_scores import (
    Method,
    Remembered,
    at_best,
    at_equal_settings,
    bias_curve,
    check_full_search,
    seconds_per_million_points,
)

import ogive.simulation
from ogive.matching.features import FEATURES

CLASSICAL = ("intensity", "highpass", "wallis", "sobel", "orientation", "adaptive")
LEARNED: Mapping[str, dict[str, Any]] = {
    "learned": {},
    "learned alone": {"fallback": None},
    "learned, four views": {"views": 4},
    "learned, four views, alone": {"views": 4, "fallback": None},
    "learned+adaptive": {"subpixel_features": "adaptive"},
}
"""Learned features by name: how many views, and what `ogive.match` does beside."""
ROOT = Path(__file__).resolve().parents[1]


def simulated_cases(folder: Path) -> dict[str, list[Case]]:
    """All cases by situation, from the folder if the simulator has not changed since."""
    digest = hashlib.sha256()
    sources = Path(ogive.simulation.__file__).parent.glob("*.py")
    for path in [*sorted(sources), Path(learned_cases.__file__)]:
        digest.update(path.read_bytes())
    kept = folder / f"cases-{digest.hexdigest()[:12]}.pickle"
    if kept.is_file():
        # Written by this script, a few lines below.
        return dict(pickle.loads(kept.read_bytes()))
    cases: dict[str, list[Case]] = {}
    for situation, recipe in SIMULATED.items():
        print(f"simulating {situation!r}: {recipe.about}", flush=True)
        cases[situation] = [simulate(situation, seed) for seed in recipe.seeds]
    kept.write_bytes(pickle.dumps(cases))
    return cases


def method(name: str, weights: str | None) -> tuple[Method, Method]:
    """Features by name: for scoring, where their last stacks are kept, and for timing."""
    if name in LEARNED:
        # Imported here, so that classical features are measured without torch.
        from ogive.similarity.features import learned

        options = dict(LEARNED[name])
        network = learned(weights, device="cpu", views=options.pop("views", 1))
        return Method(name, Remembered(network, most=40), options), Method(name, network, options)
    if name != "adaptive" and name not in FEATURES:
        raise SystemExit(f"no features {name!r}: take of {', '.join((*CLASSICAL, *LEARNED))}")
    return Method(name, name, {}), Method(name, name, {})


def real_data() -> tuple[PeritoMoreno, Yahtse] | None:
    """The real pairs, where their folder is to be found."""
    given = os.environ.get("OGIVE_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    looks, known = folder / "perito_moreno_s2_series", folder.parent / "bench"
    if not looks.is_dir() or not known.is_dir():
        print(f"real pairs are left out: {looks} or {known} is missing (set OGIVE_DATA)")
        return None
    return PeritoMoreno(looks, known), Yahtse(folder / "yahtse_l8_pair")


def measure(
    scored: Method,
    timed: Method,
    cases: Mapping[str, list[Case]],
    real: tuple[PeritoMoreno, Yahtse] | None,
    shifts: Mapping[tuple[str, str], Any],
) -> dict[str, Any]:
    """All figures of one feature."""
    easy = cases["easy"][0]
    found: dict[str, Any] = {
        "equal": {name: at_equal_settings(pairs, scored) for name, pairs in cases.items()},
        "best": {name: at_best(pairs, scored) for name, pairs in cases.items()},
        "bias": bias_curve(easy, scored),
        "seconds_per_million_points": seconds_per_million_points(easy, timed),
    }
    if real is not None:
        perito_moreno, yahtse = real
        found["perito_moreno"] = {
            **perito_moreno.protocol(scored),
            **perito_moreno.consistency(scored),
            "baselines": perito_moreno.baselines(scored, shifts),
        }
        found["yahtse"] = yahtse.scores(scored)
    return found


def common_distances(results: Mapping[str, dict[str, Any]]) -> None:
    """Distance to Perito Moreno's reference at the points that are right for every feature.

    Replaces the distances of single points by their median.
    """
    parts = [found["perito_moreno"] for found in results.values() if "perito_moreno" in found]
    if not parts:
        return
    distances = np.stack([part.pop("distances_16") for part in parts])
    with np.errstate(invalid="ignore"):
        common = (distances < 1.0).all(axis=0)
    for part, distance in zip(parts, distances, strict=True):
        part["common_points"] = int(common.sum())
        part["median_distance_where_all_are_right_px"] = float(np.median(distance[common]))


def chosen(names: Iterable[str] | None, weights: str | None) -> list[str]:
    """The features to measure: all that there are, unless some are named."""
    if names:
        return list(names)
    if weights is None:
        shipped = importlib.resources.files("ogive.similarity") / "weights/small.safetensors"
        if not shipped.is_file():
            print("learned features are left out: no weights are shipped (give --weights FILE)")
            return list(CLASSICAL)
    return [*CLASSICAL, *LEARNED]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", nargs="+", metavar="NAME", help="of all, only these")
    parser.add_argument("--weights", metavar="FILE", help="of the learned features")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "learned", metavar="DIR")
    given = parser.parse_args()
    (given.out / "features").mkdir(parents=True, exist_ok=True)
    check_full_search()
    cases = simulated_cases(given.out)
    real = real_data()
    shifts = {} if real is None else real[0].shifts()
    results: dict[str, dict[str, Any]] = {}
    for name in chosen(given.features, given.weights):
        kept = given.out / "features" / f"{name}.json"
        if not kept.is_file():
            start = time.process_time()
            found = measure(*method(name, given.weights), cases, real, shifts)
            kept.write_text(json.dumps(found, default=np.ndarray.tolist), encoding="utf-8")
            print(f"{name}: measured in {time.process_time() - start:.0f} s of CPU", flush=True)
        results[name] = json.loads(kept.read_text(encoding="utf-8"))
    common_distances(results)
    versions = {part: importlib.metadata.version(part) for part in ("ogive", "numpy", "numba")}
    (given.out / "learned.json").write_text(
        json.dumps({"versions": versions, "weights": given.weights, "features": results}, indent=1),
        encoding="utf-8",
    )
    table = report(results)
    (given.out / "learned.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
