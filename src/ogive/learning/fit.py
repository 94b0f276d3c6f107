"""Training, whatever is trained: one function round Lightning's Trainer.

It runs on the CPU or on any number of GPUs, ends after so many steps or minutes or when validation
no longer improves, can be interrupted at any time and resumed as if it had not been, and leaves the
best weights in the module.
"""

from __future__ import annotations

import logging
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning_utilities.core.rank_zero import rank_zero_only
from pydantic import Field, field_validator, model_validator
from torch.utils.data import DataLoader

from ogive.learning.batches import Sample, SampleFunction, endless_batches, fixed_batches
from ogive.learning.callbacks import (
    Best,
    FiniteLoss,
    Interrupted,
    Interruption,
    LastCheckpoint,
    LearningRate,
    Limits,
    Mode,
    StepSeeds,
    averaging_with_warm_up,
    progress_callback,
)
from ogive.learning.device import resolve_device
from ogive.learning.metrics_file import MetricsFile
from ogive.learning.schedule import SCHEDULES
from ogive.learning.settings import Settings
from ogive.model import InputError

__all__ = [
    "LAST_CHECKPOINT",
    "METRICS",
    "FitSettings",
    "Fitted",
    "check_fit",
    "fit",
    "is_first_process",
]

LAST_CHECKPOINT = "last.ckpt"
METRICS = "metrics.csv"
TENSORBOARD = "tensorboard"

_log = logging.getLogger(__name__)

Progress = Callable[[int, int | None, Mapping[str, float]], None]


class FitSettings(Settings):
    """How long, how fast and where a network is trained."""

    max_steps: int | None = Field(
        default=None, gt=0, description="The training ends after so many steps of the optimiser..."
    )
    max_minutes: float | None = Field(
        default=None, gt=0, description="...or after so many minutes, whichever comes first."
    )
    batch_size: int = Field(default=8, gt=0, description="Samples in a batch, of each device.")
    accumulate: int = Field(default=1, gt=0, description="Batches whose gradients make one step.")
    schedule: Literal["constant", "cosine", "cosine-restarts", "one-cycle"] = Field(
        default="one-cycle",
        description="Of the learning rate: constant, cosine, cosine-restarts or one-cycle.",
    )
    warm_up_steps: int = Field(
        default=200, ge=0, description="First steps, over which the learning rate rises."
    )
    gradient_clip: float | None = Field(
        default=1.0, gt=0, description="Longest gradient; null for no limit."
    )
    ema_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Decay of the moving average of weights, such as 0.999; null for none.",
    )
    validate_every_steps: int = Field(default=500, gt=0, description="How often validation runs.")
    validation_samples: int = Field(default=64, gt=0, description="Samples of each validation.")
    patience: int | None = Field(
        default=None,
        gt=0,
        description="Validations without improvement after which it ends; null: never.",
    )
    checkpoint_every_steps: int = Field(
        default=500, gt=0, description="How often a checkpoint is left."
    )
    log_every_steps: int = Field(default=50, gt=0, description="How often figures are logged.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="auto, cpu, cuda or mps."
    )
    devices: int = Field(default=1, ge=-1, description="How many of them; -1 for all GPUs.")
    precision: Literal["32", "16-mixed", "bf16-mixed"] = Field(
        default="32", description="Of the arithmetic: 32, bf16-mixed, or 16-mixed (GPU only)."
    )
    workers: int = Field(
        default=0, ge=0, description="Processes that make samples; 0 makes them in turn."
    )
    deterministic: bool = Field(
        default=True, description="Whether only repeatable operations are used on the CPU."
    )

    @field_validator("precision", mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        """Accept 32 without quotes, which YAML reads as a number."""
        return str(given) if isinstance(given, int) else given

    @model_validator(mode="after")
    def _limited(self) -> FitSettings:
        if self.max_steps is None and self.max_minutes is None:
            raise ValueError("give max_steps or max_minutes: the training must end")
        if self.devices == 0:
            raise ValueError("devices is 0: give a number, or -1 for all GPUs")
        return self


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training came to.

    Attributes
    ----------
    stopped
        Why it ended: ``"steps"``, ``"minutes"``, ``"patience"`` or ``"interrupted"``.
    steps, samples, minutes
        How long it was, interruptions not counted.
    best_step
        The step whose weights are in the module now.
    scores
        What validation said of them; empty without validation.
    is_writer
        Whether this process is the one that writes files (of several devices, the first).
    """

    stopped: Literal["steps", "minutes", "patience", "interrupted"]
    steps: int
    samples: int
    minutes: float
    best_step: int
    scores: Mapping[str, float]
    is_writer: bool = True


def fit(
    module: LightningModule,
    train: SampleFunction,
    *,
    settings: FitSettings,
    folder: str | Path,
    seed: int,
    validation: SampleFunction | None = None,
    monitor: str = "validation/loss",
    mode: Mode = "min",
    resume: bool = False,
    progress: Progress | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
) -> Fitted:
    """Train a module.

    On the CPU, with ``deterministic``, the same seed, settings and number of threads give the same
    weights to the bit, whether the training was interrupted or not: samples are numbered, what a
    step draws depends on its number, and the learning rate on the share that is done. (Not so
    with ``max_minutes``, where the clock sets the rate.)

    Parameters
    ----------
    module
        Has ``training_step``, ``configure_optimizers`` and, with validation, ``validation_step``
        that logs ``monitor``. Draws from PyTorch's own generators are seeded for each step. It is
        changed in place: it ends with the best weights of validation, or else with the last.
    train
        Gives the sample of a number; numbers run from 0 without an end.
    settings
        How long, how fast, where.
    folder
        Gets ``last.ckpt``, ``metrics.csv`` and ``tensorboard/``.
    seed
        Of what the steps draw. Whoever built the module seeded its weights.
    validation
        Gives the samples that are held out; none for a training without validation.
    monitor, mode
        The score that decides which weights are best, and whether ``"min"`` or ``"max"`` is good.
    resume
        Whether to go on from the folder's ``last.ckpt``.
    progress
        Called after each step with steps done, steps in all if known, and the last figures.
    collate
        Puts samples together, in place of stacking their tensors.

    Returns
    -------
    Fitted
        How it ended. After SIGTERM or Ctrl-C a checkpoint is left and ``stopped`` says so.

    Raises
    ------
    InputError
        If there is nothing to resume, the folder holds a training already, the device is not here,
        or the training diverges.
    """
    folder = Path(folder)
    last = folder / LAST_CHECKPOINT
    _refuse_folder(last, resume=resume)
    accelerator, devices = _devices(settings)
    checkpoint = _read_checkpoint(last) if resume else None
    steps_before = int(checkpoint["global_step"]) if checkpoint else 0
    if checkpoint is not None and settings.max_steps and steps_before >= settings.max_steps:
        return _finished(module, checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    monitored = monitor if validation is not None else None
    conduct = _conduct(settings, last, seed=seed, devices=devices, monitor=monitored, mode=mode)
    if progress is not None:
        conduct.callbacks.append(progress_callback(progress, conduct.limits))
    with _quiet_lightning(), _deterministic(settings, accelerator), torch.random.fork_rng([]):
        trainer = Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            sync_batchnorm=devices > 1,
            use_distributed_sampler=False,
            precision=settings.precision,
            max_epochs=-1,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.gradient_clip,
            val_check_interval=settings.validate_every_steps * settings.accumulate,
            check_val_every_n_epoch=None,
            limit_val_batches=1.0 if monitored else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=settings.log_every_steps,
            logger=_loggers(folder, steps_before),
            callbacks=conduct.callbacks,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = _Data(train, validation, settings, conduct, collate)
        interrupted = False
        try:
            with _interruptible():
                trainer.fit(
                    module,
                    datamodule=data,
                    ckpt_path=str(last) if resume else None,
                    weights_only=True,
                )
        except Interrupted:
            interrupted = True
    return _ended(module, trainer, conduct, interrupted=interrupted)


@dataclass(frozen=True, slots=True)
class _Conduct:
    """What happens between steps, and the parts of it that are asked afterwards."""

    callbacks: list[Callback]
    limits: Limits
    best: Best | None
    interruption: Interruption


def _conduct(
    settings: FitSettings,
    last: Path,
    *,
    seed: int,
    devices: int,
    monitor: str | None,
    mode: Mode,
) -> _Conduct:
    """Put the callbacks together; without a monitor, there is no validation."""
    limits = Limits(
        max_steps=settings.max_steps,
        max_minutes=settings.max_minutes,
        samples_per_batch=settings.batch_size * devices,
    )
    best = Best(monitor, mode) if monitor else None
    interruption = Interruption()
    # Best looks while averaged weights are in the module, so it comes before the averaging, which
    # takes them out; the checkpoint comes after all that it must hold.
    callbacks: list[Callback] = [StepSeeds(seed), limits, FiniteLoss(), interruption]
    schedule = SCHEDULES[settings.schedule]
    callbacks.append(LearningRate(schedule, limits, warm_up_steps=settings.warm_up_steps))
    if best is not None:
        callbacks.append(best)
    if settings.ema_decay is not None:
        callbacks.append(WeightAveraging(avg_fn=averaging_with_warm_up(settings.ema_decay)))
    if best is not None and settings.patience is not None:
        callbacks.append(
            EarlyStopping(best.monitor, patience=settings.patience, mode=mode, check_finite=False)
        )
    callbacks.append(
        LastCheckpoint(
            last,
            every_steps=settings.checkpoint_every_steps,
            validate_every_steps=settings.validate_every_steps if best else None,
            interruption=interruption,
        )
    )
    return _Conduct(callbacks, limits, best, interruption)


class _Data(LightningDataModule):
    """Loads samples once it is known which process of how many this is."""

    def __init__(
        self,
        train: SampleFunction,
        validation: SampleFunction | None,
        settings: FitSettings,
        conduct: _Conduct,
        collate: Callable[[list[Any]], Any] | None,
    ) -> None:
        super().__init__()
        self._train, self._validation = train, validation
        self._settings, self._conduct, self._collate = settings, conduct, collate

    def _common(self) -> dict[str, Any]:
        assert self.trainer is not None
        return {
            "batch_size": self._settings.batch_size,
            "rank": self.trainer.global_rank,
            "ranks": self.trainer.world_size,
            "workers": self._settings.workers,
            "pinned": self.trainer.strategy.root_device.type == "cuda",
            "collate": self._collate,
        }

    def train_dataloader(self) -> DataLoader[Sample]:
        """Load from the first sample that was not seen."""
        # The first that happens after Lightning has set its own handlers of signals.
        self._conduct.interruption.catch()
        first = self._conduct.limits.samples
        return endless_batches(self._train, first=first, **self._common())

    def val_dataloader(self) -> DataLoader[Sample] | list[Any]:
        """Load the samples that are held out."""
        if self._validation is None:
            return []
        count = self._settings.validation_samples
        return fixed_batches(self._validation, count=count, **self._common())


def _loggers(folder: Path, steps_before: int) -> list[Any]:
    return [
        MetricsFile(folder / METRICS, last_step=steps_before),
        TensorBoardLogger(
            folder,
            name=TENSORBOARD,
            version="",
            default_hp_metric=False,
            purge_step=steps_before or None,
        ),
    ]


def is_first_process() -> bool:
    """Whether this process writes files; asked before a trainer can tell."""
    return int(getattr(rank_zero_only, "rank", None) or 0) == 0


def check_fit(settings: FitSettings, folder: str | Path, *, resume: bool) -> None:
    """Refuse what `fit` would refuse, before anything is written.

    Raises
    ------
    InputError
        As `fit` does, for its folder, its checkpoint and its devices.
    """
    last = Path(folder) / LAST_CHECKPOINT
    _refuse_folder(last, resume=resume)
    _devices(settings)
    if resume:
        _read_checkpoint(last)


def _refuse_folder(last: Path, *, resume: bool) -> None:
    if not is_first_process():
        return  # the first has begun already
    if resume and not last.is_file():
        raise InputError(f"there is no checkpoint {last} to resume from: begin without resume")
    if not resume and last.exists():
        raise InputError(
            f"{last.parent} holds a training already: resume it, or take another folder"
        )


def _devices(settings: FitSettings) -> tuple[str, int]:
    """Lightning's name of the accelerator, and how many are used."""
    kind = resolve_device(settings.device).type
    if kind != "cuda" and settings.precision == "16-mixed":
        raise InputError("precision 16-mixed needs a GPU: take 32 or bf16-mixed")
    if kind != "cuda":
        return kind, max(settings.devices, 1)
    count = torch.cuda.device_count()
    if settings.devices > count:
        raise InputError(f"{settings.devices} GPUs were asked for, but there are {count} here")
    return "gpu", count if settings.devices == -1 else settings.devices


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours; of tensors and plain values only, nothing else is unpickled."""
    try:
        read: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _ = read["global_step"], read["state_dict"], read["callbacks"]
    except (RuntimeError, EOFError, OSError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} is no whole checkpoint of a training; begin anew in another folder"
        ) from error
    return read


def _finished(module: LightningModule, checkpoint: Mapping[str, Any]) -> Fitted:
    """Give again what a training had come to when it had ended."""
    counted = checkpoint["callbacks"][Limits.__qualname__]
    best = checkpoint["callbacks"].get(Best.__qualname__) or {}
    module.load_state_dict(best.get("weights") or checkpoint["state_dict"])
    steps = int(checkpoint["global_step"])
    return Fitted(
        stopped="steps",
        steps=steps,
        samples=counted["samples"],
        minutes=counted["minutes"],
        best_step=best.get("step", steps),
        scores=best.get("scores", {}),
        is_writer=is_first_process(),
    )


def _ended(
    module: LightningModule, trainer: Trainer, conduct: _Conduct, *, interrupted: bool
) -> Fitted:
    """Leave the best weights in the module, and tell how it ended."""
    best, steps = conduct.best, trainer.global_step
    if best is not None and best.weights is not None and not interrupted:
        module.load_state_dict(best.weights)
    return Fitted(
        stopped="interrupted" if interrupted else conduct.limits.reached or "patience",
        steps=steps,
        samples=conduct.limits.samples,
        minutes=conduct.limits.minutes,
        best_step=best.step if best is not None else steps,
        scores=best.scores if best is not None else {},
        is_writer=trainer.is_global_zero,
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C be what it is elsewhere: Lightning exits, and ignores further ones."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from None


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice to itself: what matters is checked and said here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Such as the number of workers, which is a setting.
            warnings.simplefilter("ignore", PossibleUserWarning)
            # Lightning 2.6 calls what PyTorch 2.13 renames.
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _deterministic(settings: FitSettings, accelerator: str) -> Iterator[None]:
    """Use repeatable operations only; what was set before is set again."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(settings.deterministic and accelerator == "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
