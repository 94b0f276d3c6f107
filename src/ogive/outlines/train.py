"""Training of outlines: from a configuration to weights with their card.

``ogive train outlines CONFIG.yaml --output DIR`` leaves in its folder ``config.yaml`` as it was
resolved, ``metrics.csv``, ``tensorboard/``, ``last.ckpt`` to resume from, and at its end
``model.safetensors`` with ``model.md``, its card.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

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
from ogive.learning.weights import fill_network, load_weights

from .bands import bands_in_order
from .calibration import Calibration, calibrate_confidence
from .loss import deep_focal_loss
from .networks import Logits, OutlineNetwork, build_network, members_of
from .samples import LABELS, LOCATION, PatchSamples
from .sides import split_tiles
from .tile_maps import confidence_bins_of
from .tiles import GLACIER, IGNORE, Tile
from .trained import model_options
from .training_config import (
    VALIDATION_SEEDS,
    LossSettings,
    OptimiserSettings,
    TrainingConfig,
)

__all__ = ["OutlinesModule", "Trained", "TrainingConfig", "train"]

SCORE = "validation/iou"

_log = logging.getLogger(__name__)


class OutlinesModule(LightningModule):
    """A network that learns where glaciers are.

    Parameters
    ----------
    network
        It learns in place. It is judged by the intersection over union of its glaciers with those
        of the labels, over all pixels of validation, ``validation/iou``.
    loss, optimiser
        What it lowers, and how fast.
    """

    def __init__(
        self, network: OutlineNetwork, *, loss: LossSettings, optimiser: OptimiserSettings
    ) -> None:
        super().__init__()
        # The layout in which convolutions are fastest on CPUs and GPUs.
        self.network: OutlineNetwork = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._loss, self._optimiser = loss, optimiser
        self._counted: dict[str, Tensor] = {}

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Give the loss of a batch; the members of an ensemble learn each by itself."""
        losses = [
            self._loss_of(self._logits(batch, member), batch[LABELS])
            for member in members_of(self.network)
        ]
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss.detach() / len(losses))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._counted = {}

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Count what is found, missed and invented, in full precision."""
        with full_precision(self.device):
            logits, labels = self._logits(batch, self.network), batch[LABELS]
        known = labels != IGNORE
        found, true = (logits.main.argmax(1) == GLACIER) & known, (labels == GLACIER) & known
        self._count("iou", (found & true).sum(), (found | true).sum())
        self._count("accuracy", (known & (found == true)).sum(), known.sum())
        loss = self._loss_of(logits, labels)
        self._count("loss", loss * known.sum(), known.sum())

    def on_validation_epoch_end(self) -> None:
        """Tell the scores, over all processes."""
        for name, counted in self._counted.items():
            total = cast(Tensor, self.trainer.strategy.reduce(counted, reduce_op="sum"))
            self.log(f"validation/{name}", float(total[0] / total[1].clamp(min=1)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make Adam, or AdamW where weights decay."""
        kind = torch.optim.AdamW if self._optimiser.weight_decay else torch.optim.Adam
        return kind(
            self.network.parameters(),
            lr=self._optimiser.learning_rate,
            weight_decay=self._optimiser.weight_decay,
        )

    def _logits(self, batch: Mapping[str, Tensor], network: OutlineNetwork) -> Logits:
        features = {name: batch[name] for name in network.options.modalities}
        logits: Logits = network(features, batch.get(LOCATION))
        return logits

    def _loss_of(self, logits: Logits, labels: Tensor) -> Tensor:
        return deep_focal_loss(logits, labels, **self._loss.model_dump())

    def _count(self, name: str, part: Tensor, whole: Tensor) -> None:
        counted = torch.stack([part.double(), whole.double()]).detach()
        self._counted[name] = self._counted.get(name, torch.zeros_like(counted)) + counted


def train(
    config: TrainingConfig,
    folder: str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Train a network of outlines.

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
        If the data cannot be used, the folder holds another training or none to resume, weights to
        start from do not fit, or the training diverges.

    Examples
    --------
    >>> from ogive.learning.settings import read_settings
    >>> config = read_settings("examples/outlines/mini.yaml", TrainingConfig)  # doctest: +SKIP
    >>> train(config, "run").fitted.scores["validation/iou"]  # doctest: +SKIP
    0.81
    """
    folder = Path(folder)
    check_fit(config.training, folder, resume=resume)
    if resume:
        refuse_other_config(config, folder)
    network = _network(config)
    sides, split = split_tiles(config)
    patch_px = network.options.patch_px
    training = _samples(config, sides["train"], "train", patch_px=patch_px)
    validation = _samples(config, sides["validation"], "validation", patch_px=patch_px)
    training(0), validation(0)  # what does not fit is told before anything is written
    keep_config(config, folder)
    shown = min(config.training.validation_samples, len(validation))
    _log.info(
        "%d tiles to learn from; %d of %d patches of %d tiles to judge by",
        *(len(sides["train"]), shown, len(validation), len(sides["validation"])),
    )
    fitted = fit(
        OutlinesModule(network, loss=config.loss, optimiser=config.optimiser),
        training,
        settings=config.training.model_copy(update={"validation_samples": shown}),
        folder=folder,
        seed=config.seed,
        validation=validation,
        monitor=SCORE,
        mode="max",
        resume=resume,
        progress=progress,
    )
    if fitted.stopped == "interrupted" or not fitted.is_writer:
        return Trained(folder, None, "", fitted)
    calibration = _calibrated(config, network, sides["validation"])
    card = _card(config, network, split, fitted)
    options = model_options(config, network, calibration)
    return keep_weights(folder, network, fitted=fitted, options=options, card=card)


def _network(config: TrainingConfig) -> OutlineNetwork:
    """Make the network: drawn from the seed, or as it was left by another training."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(config.seed)
        network = build_network(config.network.name, **config.network_options())
    if config.strategy.start_from is not None:
        weights = load_weights(config.strategy.start_from)
        fill_network(network, weights, architecture=config.network.name)
    return network


def _samples(
    config: TrainingConfig, tiles: Sequence[Tile], side: Side, *, patch_px: int
) -> PatchSamples:
    learns = side == "train"
    return PatchSamples(
        tiles=tiles,
        bands=config.data.bands,
        patch_px=patch_px,
        seed=config.seed if learns else VALIDATION_SEEDS + config.seed,
        told=config.strategy.told_of(),
        augmentation=config.augmentation.augmentation() if learns else None,
    )


def _calibrated(
    config: TrainingConfig, network: OutlineNetwork, tiles: Sequence[Tile]
) -> Calibration:
    """Learn from the tiles of validation what the network's confidence is worth."""
    network.eval()
    bins = confidence_bins_of(
        tiles, network, bands_in_order(config.data.bands), config.strategy.told_of()
    )
    return calibrate_confidence(bins)


def _card(
    config: TrainingConfig, network: OutlineNetwork, split: Split, fitted: Fitted
) -> ModelCard:
    return model_card(
        config,
        network,
        name=config.name,
        architecture=config.network.name,
        note=config.note,
        seed=config.seed,
        data=tuple(
            DataSource(tiles.name or "unnamed", tiles.licence or "not told", f"{tiles.kind} tiles")
            for tiles in config.data.tiles
        ),
        split=split,
        fitted=fitted,
    )
