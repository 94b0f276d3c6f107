"""What each part of the learned similarity's training brings: short trainings, one thing changed.

    python benchmarks/ablation.py --steps 600 --out DIR [--only NAME ...]

Each variant is ``examples/similarity/small.yaml`` but for one change, trained for so many steps and
judged twice: by validation (held-out glaciers of the simulated samples, share of windows within
1 px) and on Perito Moreno, which no training sees (share of right points by the protocol of
``bench/README.md``, every eighth point). Data are found through ``OGIVE_DATA``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from learned_real import PeritoMoreno, read

from ogive.learning.weights import fill_network, load_weights
from ogive.similarity.loss import Windows, window_correlation
from ogive.similarity.networks import build_network
from ogive.similarity.train import TrainingConfig, train

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / "examples" / "similarity" / "small.yaml"
CONDITIONS = ["days_between", "sun_azimuth_deg", "sun_elevation_deg", "day_of_year"]
PLAIN = {
    "relief": {"crevasse_share": 0.0, "self_shading_share": 0.0, "shadow_share": 0.0},
    "surface": {"snow_share": 0.0},
    "atmosphere": {"cloud_share": 0.0, "veil_share": 0.0, "cloud_shadow_share": 0.0},
    "sensor": {"signal_to_noise": [8.0, 60.0], "eight_bit_share": 0.0, "stripe_share": 0.0},
    "texture": {"replaced_share": 0.3, "icefall_share": 0.0},
}
"""Samples without relief, air, eight bits and much noise: texture that is moved, little more."""
SELF_SAMPLES = {
    "kind": "self-sample", "share": 0.25, "features": "learned",
    "series": [{"files": "yahtse_l8_pair/LC8*_yahtse.TIF", "place": "LC8063018"}],
}  # fmt: skip
"""A later round: the network that ships labels the only real pair that training may see."""
STABLE_GROUND = {
    "kind": "stable-ground", "share": 0.25,
    "files": "swiss_s2_glaciers/images/*.tif", "masks": "swiss_s2_glaciers/masks",
}  # fmt: skip
VARIANTS: Mapping[str, dict[str, Any]] = {
    "base": {},
    "another seed": {"seed": 1},
    "self-samples": {"more_samples": SELF_SAMPLES},
    "stable ground": {"more_samples": STABLE_GROUND},
    "normalised layers": {"network": {"options": {"norm": "layer"}}},
    "wide normalisation only": {"network": {"options": {"normalisation": "local"}}},
    "fine normalisation only": {"network": {"options": {"normalisation": "local", "box_px": 9}}},
    "no confidence": {"network": {"options": {"weighted": False}}},
    "conditioned": {"network": {"options": {"conditions": CONDITIONS}}},
    "half the width": {"network": {"options": {"width": 8}}},
    "pixel by pixel": {"loss": {"correlator": 0.0, "contrastive": 1.0}},
    "both losses": {"loss": {"contrastive": 0.5}},
    "physics": {
        "loss": {
            "physics": {
                "smooth_strain_rate": 0.02, "bounded_divergence": 0.1, "stable_ground": 0.1,
            }
        }
    },
    "plain samples": {"ranges": PLAIN},
}  # fmt: skip


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping with some entries changed."""
    whole = dict(base)
    for key, value in change.items():
        below = whole.get(key)
        inside = isinstance(value, Mapping) and isinstance(below, Mapping)
        whole[key] = merged(below, value) if inside else value
    return whole


def configuration(change: Mapping[str, Any], *, steps: int, folder: Path) -> TrainingConfig:
    """The shipped model's configuration with one thing changed and a short training."""
    base = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    change = dict(change)
    ranges = change.pop("ranges", None)
    more_samples = change.pop("more_samples", None)
    settings = merged(base, change)
    if more_samples is not None:
        settings["samples"]["kinds"].append(more_samples)
    if ranges is not None:
        path = folder / "ranges.yaml"
        path.write_text(yaml.safe_dump(ranges), encoding="utf-8")
        settings["samples"]["kinds"][0]["ranges"] = str(path)
    # A short training warms up in few steps, which a high rate does not survive.
    settings["optimiser"] = {"learning_rate": 1.5e-3}
    settings["training"] |= {
        "max_steps": steps, "validate_every_steps": steps, "checkpoint_every_steps": steps,
        "ema_decay": 0.99, "workers": 0,
    }  # fmt: skip
    return TrainingConfig.model_validate(settings)


@torch.inference_mode()
def perito_moreno(network: torch.nn.Module, glacier: PeritoMoreno, every: int = 8) -> list[float]:
    """Share of right points at windows of 8, 16 and 32 px, mean over the pairs."""
    features = {}
    points = glacier.points.iloc[::every]
    x, y = (torch.tensor(points[axis].to_numpy()) for axis in ("x", "y"))
    for date in {*glacier.pairs.earlier, *glacier.pairs.later}:
        image = torch.from_numpy(read(glacier.looks / f"{date}.jpg").astype("f4").mean(0))
        image = image[None, None, : 8 * (image.shape[0] // 8), : 8 * (image.shape[1] // 8)]
        features[date] = network(image, torch.ones_like(image, dtype=torch.bool))
    shares = []
    for size in (8, 16, 32):
        right = []
        for pair in glacier.pairs.itertuples():
            moved = pair.days * points[["vx_px_per_day", "vy_px_per_day"]].to_numpy()
            around = torch.from_numpy(np.rint(moved)).long()
            shift = np.array([pair.shift_x_px, pair.shift_y_px])
            truth = torch.from_numpy(moved + shift) - around
            first_x, first_y = x - size // 2, y - size // 2
            windows = Windows(
                sample=torch.zeros_like(x), y=first_y, x=first_x,
                search_y=first_y + around[:, 1], search_x=first_x + around[:, 0],
                offset_x=truth[:, 0], offset_y=truth[:, 1],
                matchable=torch.ones_like(x, dtype=torch.bool), size_px=size, radius_px=8,
            )  # fmt: skip
            surface = window_correlation(features[pair.earlier], features[pair.later], windows)
            place = surface.flatten(1).argmax(1)
            error = torch.hypot(place % 17 - 8 - truth[:, 0], place // 17 - 8 - truth[:, 1])
            right.append(float((error <= 2).double().mean()))
        shares.append(float(np.mean(right)))
    return shares


def main() -> None:
    """Train the variants one after the other and print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    arguments = parser.parse_args()
    data = Path(os.environ.get("OGIVE_DATA", HERE.parents[1] / "shared" / "data")).resolve()
    glacier = PeritoMoreno(data / "perito_moreno_s2_series", data.parent / "bench")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(data)
    print("| variant | validation, 1 px | Perito Moreno 8 | 16 | 32 px | CPU s |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in arguments.only:
        folder = out / name.replace(" ", "_")
        folder.mkdir(exist_ok=True)
        begun = time.process_time()
        config = configuration(VARIANTS[name], steps=arguments.steps, folder=folder)
        trained = train(config, folder / "run")
        seconds = time.process_time() - begun
        assert trained.weights is not None
        weights = load_weights(trained.weights)
        network = build_network(weights.architecture, **weights.options)
        fill_network(network, weights, architecture=weights.architecture)
        shares = perito_moreno(network.eval(), glacier)
        score = trained.fitted.scores["validation/within_1px"]
        result = {"validation": score, "perito_moreno": shares, "cpu_s": seconds}
        (out / f"{folder.name}.json").write_text(json.dumps(result), encoding="utf-8")
        columns = " | ".join(f"{value:.3f}" for value in (score, *shares))
        if score == 0:
            raise SystemExit(f"{name}: the training collapsed, not one window is right")
        print(f"| {name} | {columns} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
