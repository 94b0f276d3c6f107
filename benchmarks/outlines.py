"""Glacier outlines on Swiss glaciers that no training has seen, beside baselines.

    python benchmarks/outlines.py DATA [--weights FILE] [--deeplab FILE] [--out FOLDER]

DATA is the folder that holds ``swiss_s2_glaciers``. The split is that of
``examples/outlines/mini.yaml``; thresholds and the forest are fitted on its training side. Prints
the tables of ``docs/outlines.md``; with ``--out``, keeps their numbers as CSV for its figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from ogive.evaluation.mapping import MapScore, map_score
from ogive.evaluation.reliability import reliability
from ogive.learning.settings import read_settings
from ogive.outlines.baselines.forest import fit_forest
from ogive.outlines.baselines.threshold import fit_threshold
from ogive.outlines.calibration import Calibration, bin_confidence, calibrate_confidence
from ogive.outlines.confidence import band_of_95, confidence, estimated_iou
from ogive.outlines.predict import PredictOptions
from ogive.outlines.sides import split_tiles
from ogive.outlines.tile_maps import tile_probability
from ogive.outlines.tiles import GLACIER, IGNORE
from ogive.outlines.train import TrainingConfig
from ogive.outlines.trained import OutlineModel, load_outline_model

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "examples" / "outlines" / "mini.yaml"
BANDS = ("blue", "green", "red", "nir")
BINS = 100
LEAST_ICE_PX = 200
"""Two hectares: below, the intersection over union of a tile says more of its edges than of it."""

Maps = Callable[[Any], NDArray[np.float32]]


@dataclass(frozen=True)
class Judged:
    """What a way of mapping gives on tiles: probability, and labels, tile by tile."""

    tiles: Sequence[Any]
    probability: Sequence[NDArray[np.float32]]

    @property
    def scores(self) -> list[MapScore]:
        """Of each tile."""
        return [
            map_score(p > 0.5, tile.content.labels == GLACIER, tile.content.labels != IGNORE)
            for tile, p in zip(self.tiles, self.probability, strict=True)
        ]

    @property
    def total(self) -> MapScore:
        """Of all pixels together."""
        return reduce(add, self.scores)

    def by_glacier(self) -> dict[str, MapScore]:
        """Of each glacier, over its tiles."""
        found: dict[str, MapScore] = {}
        for tile, score in zip(self.tiles, self.scores, strict=True):
            place = tile.info.place
            found[place] = found[place] + score if place in found else score
        return found

    def confidence_and_truth(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Confidence of all labelled pixels, and whether the map is right there."""
        sure, right = [], []
        for tile, p in zip(self.tiles, self.probability, strict=True):
            known = tile.content.labels != IGNORE
            sure.append(confidence(p[known]))
            right.append((p[known] > 0.5) == (tile.content.labels[known] == GLACIER))
        return np.concatenate(sure), np.concatenate(right)


def judged(tiles: Sequence[Any], maps: Maps) -> Judged:
    """Map tiles."""
    return Judged(tiles, [maps(tile) for tile in tiles])


def without_coverage(settings: TrainingConfig) -> TrainingConfig:
    """Take masks as they are, although the inventory ends at the border."""
    tiles = tuple(each.model_copy(update={"coverage": None}) for each in settings.data.tiles)
    data = settings.data.model_copy(update={"tiles": tiles})
    return settings.model_copy(update={"data": data})


def of_network(model: OutlineModel, **options: Any) -> Maps:
    """Map by a network."""

    def maps(tile: Any) -> NDArray[np.float32]:
        asked = PredictOptions(**options)
        return tile_probability(tile, model.network, model.bands, model.told, asked)

    return maps


def of_pixels(mapper: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Maps:
    """Map by pixels."""
    return lambda tile: mapper(tile.content.pixels)


def score_table(found: Mapping[str, Judged]) -> pd.DataFrame:
    """One row for each way of mapping."""
    rows = []
    for name, each in found.items():
        total = each.total
        per_glacier = np.array(
            [
                s.iou
                for s in each.by_glacier().values()
                if s.true_positive + s.false_negative >= LEAST_ICE_PX
            ]
        )
        rows.append(
            {
                "method": name, "IoU": total.iou, "precision": total.precision,
                "recall": total.recall, "F1": total.f1, "area": total.area_bias,
                "median IoU per glacier": np.median(per_glacier),
                "worst tenth": np.quantile(per_glacier, 0.1),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def calibration_table(
    validation: Judged, test: Judged
) -> tuple[pd.DataFrame, dict[str, Calibration]]:
    """Errors of confidence on test tiles, raw and calibrated on validation tiles."""
    bins = bin_confidence(*validation.confidence_and_truth())
    curves = {
        "monotone": calibrate_confidence(bins),
        "free": calibrate_confidence(bins, monotone=False),
    }
    sure, right = test.confidence_and_truth()
    rows = [("raw", sure), *((name, curve(sure)) for name, curve in curves.items())]
    table = pd.DataFrame(
        {
            "confidence": name,
            "ECE": reliability(told, right, bins=BINS).expected_calibration_error,
            "mean confidence": told.mean(),
            "accuracy": right.mean(),
        }
        for name, told in rows
    )
    return table, curves


def iou_estimates(test: Judged, curve: Calibration) -> pd.DataFrame:
    """Estimated and true intersection over union of each tile with some ice."""
    rows = []
    for tile, p, score in zip(test.tiles, test.probability, test.scores, strict=True):
        known = tile.content.labels != IGNORE
        if score.true_positive + score.false_negative < LEAST_ICE_PX:
            continue
        worth = curve(confidence(p[known]))
        glacier = p[known] > 0.5
        band = band_of_95(glacier, worth)
        truth = tile.content.labels[known] == GLACIER
        rows.append(
            {
                "tile": tile.info.name, "true": score.iou,
                "estimated": estimated_iou(worth, glacier), "ice_px": int(truth.sum()),
                "inner_px": int(band.inner.sum()), "outer_px": int(band.outer.sum()),
                "ice in outer": float((truth & band.outer).sum() / truth.sum()),
                "inner is ice": float((truth & band.inner).sum() / max(band.inner.sum(), 1)),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _markdown(table: pd.DataFrame, places: int = 3) -> str:
    lines = ["| " + " | ".join(table.columns) + " |", "| --- " * len(table.columns) + "|"]
    for row in table.itertuples(index=False):
        cells = (f"{v:.{places}f}" if isinstance(v, float) else str(v) for v in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--deeplab", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = load_outline_model(asked.weights and asked.weights.resolve(), device="cpu")
    other = asked.deeplab and load_outline_model(asked.deeplab.resolve(), device="cpu")
    out = asked.out and asked.out.resolve()
    os.chdir(asked.data)  # before the settings are read: their paths are relative to it
    settings = read_settings(CONFIG, TrainingConfig)
    sides, _ = split_tiles(settings)
    as_masked, _ = split_tiles(without_coverage(settings))
    began = time.process_time()
    ways: dict[str, Maps] = {
        "NDWI and blue": of_pixels(fit_threshold(sides["train"], BANDS, index="ndwi")),
        "random forest": of_pixels(fit_forest(sides["train"], BANDS)),
        "mini": of_network(model),
        "mini, eight ways": of_network(model, test_time_augmentation=True),
    }
    if other:
        ways["DeepLabv3+"] = of_network(other)
    found: dict[str, Judged] = {}
    seconds = {}
    for name, maps in ways.items():
        start = time.process_time()
        found[name] = judged(sides["test"], maps)
        seconds[name] = time.process_time() - start
    table = score_table(found)
    table["s / km2"] = [
        seconds[n] / (0.0001 * sum(t.content.labels.size for t in sides["test"])) for n in found
    ]
    print(f"{len(sides['test'])} test tiles of {len(found['mini'].by_glacier())} glaciers\n")
    print(_markdown(table), "\n")
    print("with ground beyond the border, of which the inventory does not tell, taken for ground:")
    for name, each in found.items():
        everywhere = Judged(as_masked["test"], each.probability).total
        print(f"  {name}: IoU {everywhere.iou:.3f}")
    print()
    validation = judged(sides["validation"], ways["mini"])
    print("validation IoU", round(validation.total.iou, 4), "\n")
    calibrated, curves = calibration_table(validation, found["mini"])
    print(_markdown(calibrated, 4), "\n")
    estimates = iou_estimates(found["mini"], curves["monotone"])
    pearson, spearman = (
        kind(estimates["true"], estimates["estimated"])[0] for kind in (pearsonr, spearmanr)
    )
    difference = estimates["estimated"] - estimates["true"]
    print(
        f"estimated against true IoU of {len(estimates)} tiles: r {pearson:.3f}, "
        f"rank {spearman:.3f}, RMSE {np.sqrt((difference**2).mean()):.3f}, "
        f"mean difference {difference.mean():+.3f}"
    )
    outer = np.average(estimates["ice in outer"], weights=estimates["ice_px"])
    inner = np.average(estimates["inner is ice"], weights=estimates["inner_px"])
    print(f"95 % band: {100 * outer:.1f} % of the ice is inside the outer outline,")
    print(f"{100 * inner:.1f} % of what the inner outline holds is ice")
    print(f"{time.process_time() - began:.0f} s of CPU time")
    if out:
        _keep(out, table, found, validation, curves, estimates)


def _keep(
    out: Path,
    table: pd.DataFrame,
    found: Mapping[str, Judged],
    validation: Judged,
    curves: Mapping[str, Calibration],
    estimates: pd.DataFrame,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "scores.csv", index=False)
    estimates.to_csv(out / "estimates.csv", index=False)
    glaciers = {name: each.by_glacier() for name, each in found.items()}
    pd.DataFrame(
        {
            "glacier": list(glaciers["mini"]),
            "ice_km2": [
                (s.true_positive + s.false_negative) / 1e4 for s in glaciers["mini"].values()
            ],
            **{name: [s.iou for s in each.values()] for name, each in glaciers.items()},
        }
    ).to_csv(out / "glaciers.csv", index=False)
    for side, each in (("validation", validation), ("test", found["mini"])):
        sure, right = each.confidence_and_truth()
        kinds = {"raw": sure, **{name: curve(sure) for name, curve in curves.items()}}
        for kind, told in kinds.items():
            bins = reliability(told, right, bins=BINS)
            pd.DataFrame(
                {"predicted": bins.predicted, "observed": bins.observed, "count": bins.counts}
            ).to_csv(out / f"reliability_{side}_{kind}.csv", index=False)


if __name__ == "__main__":
    main(sys.argv[1:])
