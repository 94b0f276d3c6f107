"""Fit the confidence of `ogive.match`, judge it where nothing was fitted, and draw it.

``python benchmarks/confidence.py DATA WORK`` writes the coefficients into the package, for
``"adaptive"`` and for the learned features that ship, and beside it the figure of the docs and
``WORK/confidence.json`` with all figures. DATA is the folder of the project's real data; what was
measured is kept in WORK, so that after a change of the fit nothing is measured again. From nothing
it takes about half an hour of one core. ``--weights FILE`` fits for other weights, beside them.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from confidence_cases import Source, crops, glaciers, test_glaciers
from confidence_evidence import Evidence, measured_evidence
from confidence_fit import Judged, fitted, joined, judged
from confidence_real import RIGHT_PX, moreno_pairs, moreno_settings
from learned_scores import Remembered

from ogive.evaluation.reliability import reliability
from ogive.learning.files import file_sha256
from ogive.learning.provenance import commit_of, versions_of
from ogive.matching.confidence import Calibration
from ogive.similarity.features import SHIPPED, confidence_path, learned
from ogive.view.reliability import plot_reliability

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ogive"
ADAPTIVE = PACKAGE / "matching" / "adaptive.confidence.json"
FIGURE = ROOT / "docs" / "figures" / "confidence_reliability.png"
CROPS, GLACIERS, TEST_CROPS = 60, 16, 24
COMMAND = "python benchmarks/confidence.py DATA WORK"
JOINED = "learned, else adaptive"


def held_out(data: Path) -> Mapping[str, tuple[list[Source], dict[str, Any], float]]:
    """Give what is judged on: pairs, how they are matched, and how near the truth is right."""
    return {
        "Crops of other places": (crops(data, "test", TEST_CROPS), {}, 1.0),
        "Test glaciers": (test_glaciers(), {}, 1.0),
        "Perito Moreno (within 2 px)": (
            moreno_pairs(data), {"settings": moreno_settings}, RIGHT_PX
        ),
    }  # fmt: skip


def figures_of(found: Judged) -> dict[str, float]:
    """How reliable a confidence is, and how many points are right."""
    known = found.measured
    told = reliability(found.confidence[known], found.right[known])
    right = found.right
    return {
        "points": float(right.size),
        "measured_share": float(known.mean()),
        "right_share": float(right.mean()),
        "right_share_of_measured": told.base_rate,
        "median_error_of_right_px": float(np.median(found.error_px[right])),
        "kept_at_95": found.kept_at(0.95),
        "kept_at_99": found.kept_at(0.99),
        "second_share": float(found.second.mean()),
        "expected_calibration_error": told.expected_calibration_error,
        "brier": told.brier,
        "brier_of_base_rate": told.base_rate * (1.0 - told.base_rate),
    }


def about(features: str, **more: str | int) -> dict[str, Any]:
    """Tell how a calibration was made."""
    return {
        "features": features,
        **more,
        "command": COMMAND,
        "pairs": f"{CROPS} crops of validation places, {GLACIERS} simulated glaciers",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit_of(),
        "versions": versions_of(("ogive", "numpy", "scikit-learn")),
    }


def main() -> None:
    """Measure, fit, judge, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--weights", type=Path, default=PACKAGE / "similarity" / SHIPPED)
    parser.add_argument("--views", type=int, default=1, help="of the learned features")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Of small crops the adaptive filter often cannot be measured; that is part of what is fitted.
    logging.getLogger("ogive").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    data = given.data.resolve()
    network = learned(given.weights, views=given.views)
    sha256 = file_sha256(given.weights)
    names: dict[str, tuple[str, Any]] = {
        "adaptive": ("adaptive", "adaptive"),
        "learned": (f"learned {sha256[:12]} {given.views}", Remembered(network)),
    }

    def measured(sources: Sequence[Source], **options: Any) -> dict[str, list[Evidence]]:
        return {
            name: measured_evidence(sources, key, features, given.work, **options)
            for name, (key, features) in names.items()
        }

    evidence = measured([*crops(data, "validation", CROPS), *glaciers(GLACIERS)])
    calibrations = {
        "adaptive": fitted(evidence["adaptive"], about("adaptive")),
        "learned": fitted(
            evidence["learned"],
            about("learned", weights_sha256=sha256, views=given.views),
        ),
    }
    _write(ADAPTIVE, calibrations["adaptive"])
    _write(confidence_path(given.weights, given.views), calibrations["learned"])

    results: dict[str, dict[str, dict[str, float]]] = {}
    panels: dict[str, dict[str, Any]] = {}
    for title, (sources, options, right_px) in held_out(data).items():
        found = measured(sources, **options)
        methods = {
            name: judged(found[name], calibrations[name], right_px=right_px) for name in names
        }
        pair = calibrations["learned"], calibrations["adaptive"]
        methods[JOINED] = joined(found["learned"], found["adaptive"], pair, right_px=right_px)
        results[title] = {name: figures_of(each) for name, each in methods.items()}
        panels[title] = {
            name: reliability(each.confidence[each.measured], each.right[each.measured])
            for name, each in methods.items()
        }
    (given.work / "confidence.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    plot_reliability(panels, what="right").savefig(FIGURE, dpi=90)
    for title, methods in results.items():
        print(title)
        for name, row in methods.items():
            told = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
            print(f"  {name}: {told}")


def _write(path: Path, calibration: Calibration) -> None:
    path.write_text(calibration.to_json() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
