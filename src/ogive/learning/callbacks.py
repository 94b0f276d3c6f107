"""What happens between the steps of a training: seeds, learning rate, limits, checkpoints.

Each is a Lightning callback with the little state that a checkpoint must hold. `fit` puts them
together; their order matters and is told there.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from ogive.learning.schedule import warm_up
from ogive.model import InputError

__all__ = [
    "Best",
    "FiniteLoss",
    "Interrupted",
    "Interruption",
    "LastCheckpoint",
    "LearningRate",
    "Limits",
    "StepSeeds",
    "averaging_with_warm_up",
]

Mode = Literal["min", "max"]

_log = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818 (not an error: the checkpoint is there)
    """The training was asked to stop, and has left a checkpoint."""


class StepSeeds(Callback):
    """Seeds PyTorch anew for each batch, by its number.

    What a step draws then depends on the seed and the step only, not on what ran before it in this
    process: so a resumed training draws what an undisturbed one does.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed a training step."""
        _seed_torch(_hashed("train", self._seed, trainer.global_rank, batch_idx))

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Seed a validation step; the same each time."""
        _seed_torch(_hashed("validation", self._seed, trainer.global_rank, batch_idx))


def _seed_torch(seed: int) -> None:
    """Seed the generators that are in use.

    `torch.manual_seed` also queues a call, with its traceback, for GPUs that might be used later.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def _hashed(*parts: object) -> int:
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


class Limits(Callback):
    """Counts steps, samples and minutes, over interruptions, and ends the training in time.

    Parameters
    ----------
    max_steps, max_minutes
        The training ends at whichever comes first.
    samples_per_batch
        Of all processes together.
    """

    def __init__(
        self, *, max_steps: int | None, max_minutes: float | None, samples_per_batch: int
    ) -> None:
        self.max_steps, self.max_minutes = max_steps, max_minutes
        self.samples_per_batch = samples_per_batch
        self.samples = 0
        self.reached: Literal["steps", "minutes"] | None = None
        self._minutes_before = 0.0
        self._began = time.monotonic()

    @property
    def minutes(self) -> float:
        """Minutes of training so far, those before an interruption included."""
        return self._minutes_before + (time.monotonic() - self._began) / 60.0

    def share(self, trainer: Trainer) -> float:
        """How much of the training is done, 0 to 1."""
        by_steps = trainer.global_step / self.max_steps if self.max_steps else 0.0
        by_minutes = self.minutes / self.max_minutes if self.max_minutes else 0.0
        return min(max(by_steps, by_minutes), 1.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count, and end the training where a limit is reached."""
        self.samples += self.samples_per_batch
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if self.max_steps is not None and trainer.global_step >= self.max_steps:
            self.reached = "steps"
        elif self.max_minutes is not None and _any_process(
            trainer, self.minutes >= self.max_minutes
        ):
            self.reached = "minutes"
        if self.reached:
            # Lightning validates once more before it stops.
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"samples": self.samples, "minutes": self.minutes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.samples = state_dict["samples"]
        self._minutes_before = state_dict["minutes"]


class LearningRate(Callback):
    """Sets the learning rate before each step, as a function of what is done.

    Parameters
    ----------
    schedule
        Factor of the rate, of the share that is done.
    limits
        Tells that share.
    warm_up_steps
        Over which the rate rises.
    """

    def __init__(
        self, schedule: Callable[[float], float], limits: Limits, *, warm_up_steps: int
    ) -> None:
        self._schedule, self._limits = schedule, limits
        self._warm_up_steps = warm_up_steps

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Scale the rate that the optimiser was made with."""
        factor = self._schedule(self._limits.share(trainer))
        factor *= warm_up(trainer.global_step, self._warm_up_steps)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        pl_module.log("learning_rate", rate, on_step=True, on_epoch=False)


class FiniteLoss(Callback):
    """Ends a training that diverges."""

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss before it reaches the weights."""
        if not bool(torch.isfinite(loss)):
            raise InputError(
                f"the training diverged: its loss is {float(loss.detach())} at step "
                f"{trainer.global_step + 1}; lower the learning rate, or clip gradients"
            )


class Best(Callback):
    """Keeps the weights that scored best in validation, inside the checkpoint.

    They are taken while validation's own weights are in the network: the averaged ones, if the
    weights are averaged.

    Parameters
    ----------
    monitor
        Name of the score.
    mode
        Whether a low or a high score is good.
    """

    def __init__(self, monitor: str, mode: Mode) -> None:
        self.monitor, self.mode = monitor, mode
        self.score: float | None = None
        self.scores: dict[str, float] = {}
        self.step = 0
        self.weights: dict[str, Tensor] | None = None
        self._validated: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the weights that were validated."""
        self._validated = {
            name: value.detach().cpu().clone() for name, value in pl_module.state_dict().items()
        }

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep them if they are better."""
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise InputError(f"validation gives no {self.monitor!r}: it gives {known}")
        score = float(trainer.callback_metrics[self.monitor])
        # Any score beats none, also one that is not a number: some weights are kept.
        if self.score is None or (score < self.score if self.mode == "min" else score > self.score):
            self.score, self.step, self.weights = score, trainer.global_step, self._validated
            self.scores = {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("validation/")
            }
        _log.info(
            "step %d: %s %.4g (best %.4g at step %d)",
            *(trainer.global_step, self.monitor, score, self.score, self.step),
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "score": self.score,
            "scores": self.scores,
            "step": self.step,
            "weights": self.weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.score, self.step = state_dict["score"], state_dict["step"]
        self.scores, self.weights = state_dict["scores"], state_dict["weights"]


class Interruption(Callback):
    """Notes that somebody asked the training to stop: Ctrl-C, or a queue's SIGTERM.

    Only the main thread can catch signals; elsewhere they do what they do without us, as a second
    signal of the same kind does.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[signal.Signals, Any] = {}

    def catch(self) -> None:
        """Catch signals from now on, in place of Lightning, which would leave no checkpoint."""
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                self._before[each] = signal.signal(each, self._note)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        for each, handler in self._before.items():
            signal.signal(each, handler or signal.SIG_DFL)
        self._before = {}

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self.on_train_end(trainer, pl_module)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        again = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, again)
        _log.warning("asked to stop: a checkpoint is left after this step")


class LastCheckpoint(Callback):
    """Leaves the checkpoint that a training is resumed from.

    Every so many steps, at the end, and when the training is interrupted. Where validation is due
    after a step, the checkpoint waits for it, so that a resumed training need not repeat it.

    Parameters
    ----------
    path
        Of the checkpoint, replaced each time.
    every_steps, validate_every_steps
        How often.
    interruption
        Tells when to stop.
    """

    def __init__(
        self,
        path: Path,
        *,
        every_steps: int,
        validate_every_steps: int | None,
        interruption: Interruption,
    ) -> None:
        self._path, self._every = path, every_steps
        self._validate_every = validate_every_steps
        self._interruption = interruption
        self._leaves = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End an interrupted training, once the figures of its last step have been logged."""
        if self._leaves:
            raise Interrupted

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save where it is time to, or where the training must end."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step = trainer.global_step
        interrupted = _any_process(trainer, self._interruption.wanted)
        validates = self._validate_every is not None and (
            step % self._validate_every == 0 or trainer.should_stop
        )
        due = step % self._every == 0 or trainer.should_stop
        if interrupted or (due and not validates):
            self._save(trainer)
        self._leaves = interrupted and not validates

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, with what validation said."""
        self._leaves = _any_process(trainer, self._interruption.wanted)
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        partial = self._path.with_name(f".{self._path.name}.partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self._path)


def averaging_with_warm_up(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    r"""Make the rule of an exponential moving average of weights.

    The decay grows as :math:`(1 + n) / (10 + n)` up to its limit, as is usual, so that the first
    weights do not linger in the average.
    """

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        kept = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        return kept * averaged + (1.0 - kept) * current

    return average


def _any_process(trainer: Trainer, here: bool) -> bool:
    """Whether something holds in any process of the training."""
    if trainer.world_size == 1:
        return here
    return trainer.strategy.reduce_boolean_decision(here, all=False)


def progress_callback(
    show: Callable[[int, int | None, Mapping[str, float]], None], limits: Limits
) -> Callback:
    """Make a callback that tells a function how many steps of how many are done."""

    class _Progress(Callback):
        def on_train_batch_end(
            self,
            trainer: Trainer,
            pl_module: LightningModule,
            outputs: Any,
            batch: Any,
            batch_idx: int,
        ) -> None:
            if trainer.is_global_zero and not (batch_idx + 1) % trainer.accumulate_grad_batches:
                figures = {name: float(v) for name, v in trainer.callback_metrics.items()}
                show(trainer.global_step, limits.max_steps, figures)

    return _Progress()
