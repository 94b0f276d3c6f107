"""The folder of a training: its configuration, and the weights with their card that it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ogive.model import InputError

from .card import DataSource, ModelCard
from .files import written_whole
from .fit import Fitted, is_first_process
from .provenance import commit_of, versions_of
from .settings import Settings, differences, read_settings, settings_yaml
from .split import SIDES, Split
from .weights import save_weights

__all__ = [
    "CARD",
    "CONFIG",
    "WEIGHTS",
    "Trained",
    "keep_config",
    "keep_weights",
    "model_card",
    "refuse_other_config",
]

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
CARD = "model.md"
PACKAGES = ("ogive", "torch", "lightning", "numpy")
FREE_WHEN_RESUMED = {
    "max_steps", "max_minutes", "patience", "checkpoint_every_steps", "log_every_steps", "device",
    "devices", "workers",
}  # fmt: skip
"""Settings of ``training`` that a resumed training may change."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left.

    Attributes
    ----------
    folder
        Where.
    weights
        The file of the best weights; ``None`` if it was interrupted.
    sha256
        Of that file.
    fitted
        How long it was, how it ended, and its scores.
    """

    folder: Path
    weights: Path | None
    sha256: str
    fitted: Fitted


def keep_config(config: Settings, folder: Path) -> None:
    """Write a training's configuration into its folder, by the process that writes files."""
    if is_first_process():
        with written_whole(folder / CONFIG) as path:
            path.write_text(settings_yaml(config), encoding="utf-8")


def refuse_other_config(config: Settings, folder: Path) -> None:
    """Let a training be resumed by its own configuration only, but for what is free to change.

    Raises
    ------
    InputError
        If anything else differs; it is named.
    """
    changed = [
        name
        for name in differences(read_settings(folder / CONFIG, type(config)), config)
        if name.removeprefix("training.") not in FREE_WHEN_RESUMED
    ]
    if changed:
        raise InputError(
            f"the training in {folder} was begun with other settings: {', '.join(changed)}; "
            f"resume it with its own {CONFIG}, or begin anew in another folder"
        )


def keep_weights(
    folder: Path,
    network: nn.Module,
    *,
    fitted: Fitted,
    options: Mapping[str, Any],
    card: ModelCard,
) -> Trained:
    """Write weights and card into the folder of a training.

    Parameters
    ----------
    folder
        Of the training.
    network
        With its best weights.
    fitted
        What the training came to.
    options
        What the network is made again with.
    card
        Of the model; it names the architecture.
    """
    sha256 = save_weights(
        folder / WEIGHTS,
        network.state_dict(),
        architecture=card.architecture,
        options=options,
        card=card,
    )
    with written_whole(folder / CARD) as path:
        path.write_text(card.to_markdown(), encoding="utf-8")
    return Trained(folder, folder / WEIGHTS, sha256, fitted)


def model_card(
    config: Settings,
    network: nn.Module,
    *,
    name: str,
    architecture: str,
    note: str,
    seed: int,
    data: Sequence[DataSource],
    split: Split,
    fitted: Fitted,
) -> ModelCard:
    """Tell of a trained network: data, split, date, commit, configuration, scores, versions.

    Parameters
    ----------
    config
        What it was trained with; of absolute paths only the last part is told.
    network
        It.
    name, architecture, note, seed
        As the configuration says.
    data
        What it learned from.
    split
        How places were divided.
    fitted
        What the training came to.
    """
    lasted = f"{fitted.steps:,} steps ({fitted.samples:,} samples, {fitted.minutes:.0f} minutes)"
    machine = f"{torch.get_num_threads()} CPU threads"
    told = f"{lasted}, weights of step {fitted.best_step:,}, {machine}."
    return ModelCard(
        name=name,
        architecture=architecture,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        data=tuple(data),
        split={side: split.places_of(side) for side in SIDES if split.places_of(side)},
        date=datetime.now(UTC).date().isoformat(),
        commit=commit_of(),
        seed=seed,
        config=_without_folders(config.model_dump(mode="json")),
        scores={key.removeprefix("validation/"): fitted.scores[key] for key in fitted.scores},
        versions=versions_of(PACKAGES),
        note=" ".join(part for part in (note, told) if part),
    )


def _without_folders(value: Any) -> Any:
    """Leave out where a machine keeps its files: of absolute paths, only the last part is told."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(each) for each in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value
