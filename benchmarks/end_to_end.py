"""The other road measured: a network that takes a pair and gives its flow, beside ogive's hybrid.

    python benchmarks/end_to_end.py --out DIR [--steps N] [--learning-rate R]

``"tiny"`` of `ogive.similarity.end_to_end` is trained on the same samples, from the same seed, in
the order in which the shipped one saw them, and judged where the features are (`learned_cases`,
Perito Moreno): a point is right within 1 px (2 px) at the centre of the window that a matcher would
have had. Weights that are there already are not trained again. ``OGIVE_DATA`` names the folder of
real data.
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
import xarray as xr
from learned import ROOT, simulated_cases
from learned_cases import Case
from learned_real import PeritoMoreno
from learned_scores import STEP_PX, WINDOW_PX, judge, scores
from lightning import LightningModule
from torch import Tensor

from ogive.learning.fit import fit
from ogive.learning.settings import read_settings
from ogive.similarity.end_to_end import FlowNetwork, build_flow_network, train_step_loss
from ogive.similarity.mixture import mixtures
from ogive.similarity.samples.reuse import Reused
from ogive.similarity.samples.sample import stacked
from ogive.similarity.train import RIGHT_PX, TrainingConfig

CONFIG = ROOT / "examples" / "similarity" / "small.yaml"
SCORE = "validation/within_1px"
SEARCH_PX = 8
CROP_PX = 128
"""Side of the crop round a point of Perito Moreno: that of the samples."""


class FlowModule(LightningModule):
    """A flow network in training."""

    def __init__(self, network: FlowNetwork, learning_rate: float) -> None:
        super().__init__()
        self.network = network
        self._learning_rate = learning_rate
        self._counts = torch.zeros(2)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Give the loss of a batch."""
        loss = train_step_loss(self.network, batch)
        self.log("train/loss", loss.detach())
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._counts = torch.zeros(2)

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Count the pixels whose flow is right."""
        flow = self.network(
            batch["earlier"], batch["later"], batch["valid_earlier"], batch["valid_later"]
        )
        error = (flow - batch["displacement"]).square().sum(1).sqrt()
        seen = batch["labelled"] & batch["matchable"]
        self._counts += torch.stack([((error <= RIGHT_PX) & seen).sum(), seen.sum()]).cpu()

    def on_validation_epoch_end(self) -> None:
        """Tell the share."""
        self.log(SCORE, float(self._counts[0] / self._counts[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make AdamW."""
        return torch.optim.AdamW(
            self.network.parameters(), lr=self._learning_rate, weight_decay=1e-3
        )


def trained(folder: Path, *, steps: int, learning_rate: float) -> FlowNetwork:
    """Train, or read what was trained here before."""
    network = build_flow_network("tiny")
    kept = folder / "tiny.pt"
    if kept.is_file():
        network.load_state_dict(torch.load(kept, weights_only=True))
        return network.eval()
    config = read_settings(CONFIG, TrainingConfig)
    mixed, _ = mixtures(config.samples, config.split, seeds={"train": 0, "validation": 5000})
    shown = Reused(
        mixed["train"].sample, times=config.samples.shown_times, kept=config.samples.kept
    )
    torch.default_generator.manual_seed(config.seed)
    network = build_flow_network("tiny")
    settings = config.training.model_copy(
        update={"max_steps": steps, "validate_every_steps": steps // 5, "workers": 0}
    )
    begun = time.process_time()
    fitted = fit(
        FlowModule(network, learning_rate), shown.sample, settings=settings,
        folder=folder / "run", seed=config.seed, validation=mixed["validation"].sample,
        monitor=SCORE, mode="max", collate=stacked,
    )  # fmt: skip
    print(f"{steps} steps in {time.process_time() - begun:.0f} s of CPU: {fitted.scores}")
    torch.save(network.state_dict(), kept)
    return network.eval()


@torch.inference_mode()
def flow_of(network: FlowNetwork, earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Flow ``(batch, 2, y, x)`` of images ``(batch, y, x)``."""
    first, second = (torch.from_numpy(np.ascontiguousarray(i))[:, None] for i in (earlier, later))
    everywhere = torch.ones_like(first, dtype=torch.bool)
    flow: np.ndarray = network(first, second, everywhere, everywhere).numpy()
    return flow


def as_match(network: FlowNetwork, case: Case) -> xr.Dataset:
    """The flow at the centres of the windows that a matcher has."""
    flow = flow_of(network, case.earlier[None], case.later[None])[0]
    starts = [np.arange(0, size - WINDOW_PX + 1, STEP_PX) for size in case.earlier.shape]
    y, x = (start + (WINDOW_PX - 1) / 2 for start in starts)
    # The centre lies between four pixels.
    near = [flow[:, int(a) :, int(b) :] for a in (y[0], y[0] + 1) for b in (x[0], x[0] + 1)]
    middle = np.mean(
        [part[:, ::STEP_PX, ::STEP_PX][:, : y.size, : x.size] for part in near], axis=0
    )
    planes = {"dx": middle[0], "dy": middle[1], "correlation": np.ones_like(middle[0])}
    return xr.Dataset(
        {name: (("y", "x"), plane) for name, plane in planes.items()}, {"y": y, "x": x}
    )


def perito_moreno(network: FlowNetwork, glacier: PeritoMoreno, every: int = 4) -> dict[str, float]:
    """Share of right points by the protocol.

    The later image is moved by the whole-pixel reference and, for each point, by another offset of
    up to 8 px: so far a matcher searches, and without it a network that says zero would be right.
    """
    rng = np.random.default_rng(0)
    points = glacier.points.iloc[::every]
    half = CROP_PX // 2
    shares = []
    for pair in glacier.pairs.itertuples():
        first, second = glacier.images[pair.earlier], glacier.images[pair.later]
        moved = pair.days * points[["vx_px_per_day", "vy_px_per_day"]].to_numpy()
        around = np.rint(moved).astype(int) + rng.integers(-SEARCH_PX, SEARCH_PX + 1, moved.shape)
        padded = [np.pad(image, half + 32, mode="reflect") for image in (first, second)]
        crops: list[list[np.ndarray]] = [[], []]
        for x, y, (u, v) in zip(points.x, points.y, around, strict=True):
            for k, (right, down) in enumerate(((0, 0), (u, v))):
                top, left = int(y) + 32 + down, int(x) + 32 + right
                crops[k].append(padded[k][top : top + CROP_PX, left : left + CROP_PX])
        found = [
            flow_of(network, np.stack(crops[0][i : i + 32]), np.stack(crops[1][i : i + 32]))[
                :, :, half, half
            ]
            for i in range(0, len(points), 32)
        ]
        residual = np.concatenate(found) + around - moved - [pair.shift_x_px, pair.shift_y_px]
        shares.append(float((np.hypot(*residual.T) <= 2.0).mean()))
    clear = shares[:4]
    return {"right_share": float(np.mean(shares)), "first_four_pairs": float(np.mean(clear))}


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6500)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("OGIVE_DATA", ROOT.parent / "shared" / "data")).resolve()
    os.chdir(data)
    network = trained(out, steps=given.steps, learning_rate=given.learning_rate)
    result: dict[str, Any] = {"parameters": sum(p.numel() for p in network.parameters())}
    for situation, cases in simulated_cases(out).items():
        result[situation] = scores([judge(case, as_match(network, case)) for case in cases])
    result["perito_moreno"] = perito_moreno(
        network, PeritoMoreno(data / "perito_moreno_s2_series", data.parent / "bench")
    )
    (out / "end_to_end.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    for name, found in result.items():
        print(name, found if not isinstance(found, dict) else {
            key: round(value, 3) for key, value in found.items()
            if key in ("right_share", "median_error_of_right_px", "first_four_pairs")
        })  # fmt: skip


if __name__ == "__main__":
    main()
