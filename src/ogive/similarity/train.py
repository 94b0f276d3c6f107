"""Training of the similarity: from a configuration to weights with their card.

``ogive train similarity CONFIG.yaml --output DIR`` leaves in its folder ``config.yaml`` as it was
resolved, ``metrics.csv``, ``tensorboard/``, ``last.ckpt`` to resume from, and at its end
``model.safetensors`` with ``model.md``, its card.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ogive.learning.card import DataSource, ModelCard
from ogive.learning.device import full_precision
from ogive.learning.fit import Fitted, Progress, check_fit, fit
from ogive.learning.split import Side, Split
from ogive.learning.training_folder import (
    Trained,
    keep_config,
    keep_weights,
    model_card,
    refuse_other_config,
)
from ogive.model import InputError

from .loss import (
    INITIAL_SCALE,
    LossConfig,
    correlator_loss,
    draw_windows,
    similarity_loss,
    window_correlation,
)
from .mixture import Mixture, mixtures
from .networks import build_network
from .samples.real_settings import SelfSampleSettings, SeriesSettings, StableGroundSettings
from .samples.reuse import Reused
from .samples.sample import stacked
from .training_config import (
    VALIDATION_SEEDS,
    Kind,
    ManualSettings,
    OptimiserSettings,
    SimulatedSettings,
    TextureSettings,
    TrainingConfig,
    ValidationSettings,
)

__all__ = ["SimilarityModule", "Trained", "TrainingConfig", "train"]

SCORE = "validation/within_1px"
RIGHT_PX = 1.0

_log = logging.getLogger(__name__)


class SimilarityModule(LightningModule):
    """A network that learns to match, and the scale of correlation that it learns beside.

    Parameters
    ----------
    network
        One of `ogive.similarity.networks`, or like them.
    loss
        What it lowers.
    optimiser
        Learning rate and weight decay.
    validation
        How it is judged: by the share of windows of held-out samples whose highest correlation is
        within 1 px of the truth, ``validation/within_1px``, the mean over the windows' sizes.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: LossConfig,
        optimiser: OptimiserSettings,
        validation: ValidationSettings,
    ) -> None:
        super().__init__()
        # The layout in which convolutions are fastest on CPUs and GPUs.
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())
        # Averaging copies the module, which read-only mappings do not allow.
        self._loss = replace(loss, physics=dict(loss.physics))
        self._optimiser, self._validation = optimiser, validation
        self._right: dict[str, Tensor] = {}

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Give the loss of a batch; its draws come from PyTorch's generator, which `fit` seeds."""
        parts = similarity_loss(
            self.network,
            batch,
            self._loss,
            scale=self.log_scale.exp(),
            generator=torch.default_generator,
        )
        for name, part in parts.items():
            self.log(f"train/{name}", part.detach())
        self.log("train/scale", self.log_scale.detach().exp())
        return parts["loss"]

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._right = {}

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Count the windows that are matched rightly, in full precision."""
        with full_precision(self.device):
            self._judge(batch)

    def _judge(self, batch: Mapping[str, Tensor]) -> None:
        pairs = batch["earlier"].shape[0]
        features = self.network(
            torch.cat([batch["earlier"], batch["later"]]),
            torch.cat([batch["valid_earlier"], batch["valid_later"]]),
            torch.cat([batch["condition_earlier"], batch["condition_later"]]),
        )
        asked = replace(self._loss, windows_per_pair=self._validation.windows_per_pair)
        for size in self._validation.windows_px:
            windows = draw_windows(
                batch, size_px=size, config=asked, generator=torch.default_generator
            )
            surface = window_correlation(features[:pairs], features[pairs:], windows)
            loss, _ = correlator_loss(
                surface, windows, scale=self.log_scale.exp(), vanished=self._loss.vanished
            )
            right = _distance_px(surface, windows.offset_x, windows.offset_y) <= RIGHT_PX
            seen = windows.matchable
            self._count(f"within_1px_{size}", (right & seen).sum(), seen.sum())
            self._count("loss", loss.sum(), torch.ones_like(loss).sum())

    def on_validation_epoch_end(self) -> None:
        """Tell the shares, over all processes."""
        totals = {
            name: cast(Tensor, self.trainer.strategy.reduce(total, reduce_op="sum"))
            for name, total in self._right.items()
        }
        scores = {name: float(total[0] / total[1]) for name, total in totals.items()}
        shares = [score for name, score in scores.items() if name != "loss"]
        scores["within_1px"] = sum(shares) / len(shares)
        for name, score in scores.items():
            # The same in each process already, since it is of their sums.
            self.log(f"validation/{name}", score, rank_zero_only=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make AdamW; the scale of correlation does not decay."""
        groups: list[dict[str, Any]] = [
            {"params": list(self.network.parameters())},
            {"params": [self.log_scale], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups,
            lr=self._optimiser.learning_rate,
            weight_decay=self._optimiser.weight_decay,
        )

    def _count(self, name: str, part: Tensor, whole: Tensor) -> None:
        counted = torch.stack([part, whole]).detach().double()
        self._right[name] = self._right.get(name, torch.zeros_like(counted)) + counted


def _distance_px(surface: Tensor, offset_x: Tensor, offset_y: Tensor) -> Tensor:
    """Between the highest candidate and the truth."""
    candidates = surface.shape[-1]
    place = surface.flatten(1).argmax(1)
    dx = place % candidates - candidates // 2
    dy = place // candidates - candidates // 2
    return torch.hypot(dx - offset_x, dy - offset_y)


def train(
    config: TrainingConfig,
    folder: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Train a similarity.

    Parameters
    ----------
    config
        Of `ogive.learning.settings.read_settings`, or made.
    folder
        For what is left; it must not hold another training.
    resume
        Whether to go on with the training in the folder, which must be of the same configuration
        but for its length, its devices and how often it logs and leaves checkpoints.
    progress
        Called after each step with steps done, steps in all if known, and the last figures.

    Returns
    -------
    Trained
        Interrupted trainings leave no weights; resume them.

    Raises
    ------
    InputError
        If the data hold nothing to learn from, the network does not fit them, the folder holds
        another training or none to resume, or the training diverges.

    Examples
    --------
    >>> from ogive.learning.settings import read_settings
    >>> config = read_settings("similarity.yaml", TrainingConfig)  # doctest: +SKIP
    >>> train(config, "run").fitted.scores["validation/within_1px"]  # doctest: +SKIP
    0.71
    """
    folder = Path(folder)
    check_fit(config.training, folder, resume=resume)
    if resume:
        refuse_other_config(config, folder)
    _refuse_small(config)
    network = _seeded_network(config)
    seeds: dict[Side, int] = {"train": config.seed, "validation": VALIDATION_SEEDS + config.seed}
    samples, split = mixtures(config.samples, config.split, seeds=seeds)
    if "train" not in samples:
        raise InputError("no place falls to the training's side: give train a share, or a place")
    for side in samples.values():
        _refuse_unfit(network, side, config)
    shown = Reused(
        samples["train"].sample, times=config.samples.shown_times, kept=config.samples.kept
    )
    validation = samples.get("validation")
    module = SimilarityModule(
        network, loss=config.loss.config(), optimiser=config.optimiser, validation=config.validation
    )
    keep_config(config, folder)
    fitted = fit(
        module,
        shown.sample,
        settings=config.training,
        folder=folder,
        seed=config.seed,
        validation=validation.sample if validation is not None else None,
        monitor=SCORE,
        mode="max",
        resume=resume,
        progress=progress,
        collate=stacked,
    )
    if fitted.stopped == "interrupted" or not fitted.is_writer:
        return Trained(folder, None, "", fitted)
    card = _card(config, network, split, fitted)
    options = cast(Mapping[str, Any], network.options)
    kept = keep_weights(folder, network, fitted=fitted, options=options, card=card)
    _log.info("%s: SHA-256 %s", kept.weights, kept.sha256)
    return kept


def _seeded_network(config: TrainingConfig) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(config.seed)
        return build_network(config.network.name, **config.network.options)


def _refuse_unfit(network: nn.Module, samples: Mixture, config: TrainingConfig) -> None:
    """Let one sample through, before anything is written."""
    sample = samples.sample(0)
    bands = sample["earlier"].shape[0]
    if bands != network.bands:
        raise InputError(
            f"the network {config.network.name!r} takes {network.bands} bands, but the samples "
            f"have {bands}: set its option bands, or choose other bands"
        )


def _refuse_small(config: TrainingConfig) -> None:
    """Refuse samples without room for window and search."""
    largest = max(*config.loss.windows_px, *config.validation.windows_px)
    least = largest + 2 * config.loss.radius_px
    if config.samples.size_px < least:
        raise InputError(
            f"samples of {config.samples.size_px} px are too small: a window of {largest} px and "
            f"a search of {config.loss.radius_px} px need {least}"
        )


def _card(config: TrainingConfig, network: nn.Module, split: Split, fitted: Fitted) -> ModelCard:
    return model_card(
        config,
        network,
        name=config.name,
        architecture=config.network.name,
        note=config.note,
        seed=config.seed,
        data=_data(config),
        split=split,
        fitted=fitted,
    )


def _data(config: TrainingConfig) -> tuple[DataSource, ...]:
    found: list[DataSource] = []
    for kind in config.samples.kinds:
        for group in _groups(kind):
            name = group.name or "unnamed"
            found.append(DataSource(name, group.licence or "not told", f"{kind.kind} samples"))
    return tuple(found)


def _groups(
    kind: Kind,
) -> Sequence[TextureSettings | SeriesSettings | StableGroundSettings | ManualSettings]:
    """Those parts of a kind's settings that name data."""
    if isinstance(kind, SimulatedSettings):
        return kind.textures
    if isinstance(kind, SelfSampleSettings):
        return kind.series
    return (kind,)
