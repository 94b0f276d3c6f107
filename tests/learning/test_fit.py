"""A training is the same whether interrupted or not, ends when it should, leaves what it must."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ogive.learning.callbacks import averaging_with_warm_up
from ogive.learning.fit import FitSettings, Fitted, fit
from ogive.learning.metrics_file import read_metrics
from ogive.learning.schedule import SCHEDULES
from ogive.model import InputError

FAST = {
    "batch_size": 2,
    "log_every_steps": 1,
    "validate_every_steps": 4,
    "warm_up_steps": 3,
    "device": "cpu",
}


def line(index: int) -> dict[str, Tensor]:
    """A point of a noisy line, by its number."""
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(3, generator=generator)
    return {"index": torch.tensor(index), "x": x, "y": x.sum()[None]}


class Line(LightningModule):
    """Learns a line, with everything that could spoil a resumption: noise, dropout, batch norm."""

    def __init__(self, learning_rate: float = 0.05) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.net = nn.Sequential(
                nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1)
            )
        self.learning_rate = learning_rate
        self.seen: list[int] = []
        self.rates: list[float] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.seen += batch["index"].tolist()
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        noise = 0.01 * torch.randn(1)
        loss = nn.functional.mse_loss(self.net(batch["x"] + noise), batch["y"])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        noise = 0.01 * torch.randn(1)
        loss = nn.functional.mse_loss(self.net(batch["x"] + noise), batch["y"])
        self.log("validation/loss", loss, on_epoch=True, batch_size=len(batch["x"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), self.learning_rate)


def run(
    folder: Path,
    *,
    module: LightningModule | None = None,
    train: Callable[[int], Any] = line,
    resume: bool = False,
    validation: Callable[[int], Any] | None = line,
    seed: int = 5,
    progress: Any = None,
    **settings: Any,
) -> tuple[Fitted, LightningModule]:
    module = module or Line()
    fitted = fit(
        module,
        train,
        settings=FitSettings(**(FAST | settings)),
        folder=folder,
        seed=seed,
        validation=validation,
        resume=resume,
        progress=progress,
    )
    return fitted, module


def weights(module: LightningModule) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def figures(folder: Path) -> dict[int, dict[str, float]]:
    return read_metrics(folder / "metrics.csv")


class StopAt:
    """Gives samples, and sends a signal to this process when a number is asked for."""

    def __init__(self, index: int, number: int = signal.SIGTERM) -> None:
        self.index, self.number = index, number

    def __call__(self, index: int) -> dict[str, Tensor]:
        if index == self.index:
            signal.raise_signal(self.number)
        return line(index)


def test_a_training_learns_and_leaves_its_files(tmp_path: Path) -> None:
    fitted, module = run(tmp_path, max_steps=200, validate_every_steps=50, schedule="cosine")
    assert (fitted.stopped, fitted.steps, fitted.samples) == ("steps", 200, 400)
    # The labels' variance is 3, the sum of three unit ones: a third of it is clearly learned.
    assert fitted.scores["validation/loss"] < 1.0
    assert module.seen == list(range(400))
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "metrics.csv", "tensorboard"}
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    rows = figures(tmp_path)
    assert sorted(rows) == list(range(1, 201))
    assert {"train/loss", "learning_rate", "validation/loss"} == rows[200].keys()
    best = min(row["validation/loss"] for row in rows.values() if "validation/loss" in row)
    assert fitted.scores["validation/loss"] == pytest.approx(best, rel=1e-6)
    assert rows[fitted.best_step]["validation/loss"] == pytest.approx(best, rel=1e-6)


def test_same_seed_same_weights(tmp_path: Path) -> None:
    _, one = run(tmp_path / "one", max_steps=12)
    torch.manual_seed(99)  # what the caller drew has no say
    _, same_seed = run(tmp_path / "two", max_steps=12)
    _, other_seed = run(tmp_path / "three", max_steps=12, seed=6)
    assert same(weights(one), weights(same_seed))
    assert not same(weights(one), weights(other_seed))
    assert figures(tmp_path / "one") == figures(tmp_path / "two")


@pytest.mark.parametrize(
    ("stop_step", "options"),
    [
        (10, {}),
        (10, {"ema_decay": 0.9}),
        (10, {"accumulate": 3}),
        (10, {"patience": 9}),
        (8, {"ema_decay": 0.9}),  # after this step there is validation
        (1, {}),
    ],
)
def test_interrupted_and_resumed_is_as_if_undisturbed(
    tmp_path: Path, options: dict[str, Any], stop_step: int
) -> None:
    options = {"max_steps": 20, "schedule": "one-cycle", **options}
    whole, undisturbed = run(tmp_path / "whole", **options)
    per_step = FAST["batch_size"] * options.get("accumulate", 1)
    stop = StopAt(per_step * stop_step - 1)
    first, _ = run(tmp_path / "parts", train=stop, **options)
    # The loader fetches one batch ahead.
    assert first.stopped == "interrupted"
    assert stop_step - 1 <= first.steps <= stop_step
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    second, resumed = run(tmp_path / "parts", resume=True, **options)
    assert (second.stopped, second.steps, second.samples) == ("steps", 20, 20 * per_step)
    # To the bit: one thread adds the same numbers in the same order.
    assert same(weights(resumed), weights(undisturbed))
    assert second.scores == whole.scores
    assert second.best_step == whole.best_step
    assert resumed.seen[0] == per_step * first.steps
    assert resumed.rates == undisturbed.rates[len(undisturbed.rates) - len(resumed.rates) :]
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole")


def test_resuming_twice_and_after_a_crash(tmp_path: Path) -> None:
    """A killed process leaves its last checkpoint, and rows after it that are not believed."""
    _, undisturbed = run(tmp_path / "whole", max_steps=20)

    def crash(index: int) -> dict[str, Tensor]:
        if index >= 2 * 15:
            raise RuntimeError("the power went")
        return line(index)

    with pytest.raises(RuntimeError, match="the power went"):
        run(tmp_path / "parts", train=crash, max_steps=20, checkpoint_every_steps=6)
    assert max(figures(tmp_path / "parts")) > 12
    again, _ = run(tmp_path / "parts", train=StopAt(2 * 17 - 1), max_steps=20, resume=True)
    assert again.stopped == "interrupted"
    _, resumed = run(tmp_path / "parts", max_steps=20, resume=True)
    assert same(weights(resumed), weights(undisturbed))
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole")


def test_resuming_what_had_ended_gives_it_again(tmp_path: Path) -> None:
    first, module = run(tmp_path, max_steps=8)
    before = (tmp_path / "metrics.csv").read_bytes()
    second, again = run(tmp_path, max_steps=8, resume=True)
    assert same(weights(again), weights(module))
    assert (second.steps, second.samples, second.scores) == (8, 16, first.scores)
    assert second.best_step == first.best_step
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_ctrl_c_stops_like_sigterm_and_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    fitted, _ = run(tmp_path, train=StopAt(5, signal.SIGINT), max_steps=20)
    assert fitted.stopped == "interrupted"
    assert signal.getsignal(signal.SIGINT) == before
    assert (tmp_path / "last.ckpt").is_file()


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def impatient(index: int) -> dict[str, Tensor]:
        if index in {9, 10}:
            signal.raise_signal(signal.SIGINT)
        return line(index)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, train=impatient, max_steps=20, batch_size=20)
    assert signal.getsignal(signal.SIGINT) == before
    assert not (tmp_path / "last.ckpt").exists()


def test_training_outside_the_main_thread(tmp_path: Path) -> None:
    ended: list[Fitted] = []
    thread = threading.Thread(target=lambda: ended.append(run(tmp_path, max_steps=3)[0]))
    thread.start()
    thread.join()
    assert ended[0].steps == 3


def test_time_ends_a_training_and_sets_its_schedule(tmp_path: Path) -> None:
    def slow(index: int) -> dict[str, Tensor]:
        time.sleep(0.01)
        return line(index)

    fitted, module = run(tmp_path, train=slow, max_minutes=0.02, schedule="one-cycle")
    assert fitted.stopped == "minutes"
    # Ends with the step in which the time is up; wide, since the machine may be busy.
    assert 0.02 <= fitted.minutes < 0.2
    assert module.rates[0] < max(module.rates)
    assert module.rates[-1] < max(module.rates)


def test_patience_ends_a_training_that_learns_nothing(tmp_path: Path) -> None:
    fitted, _ = run(
        tmp_path, module=Line(learning_rate=0.0), max_steps=400, patience=2, validate_every_steps=2
    )
    assert fitted.stopped == "patience"
    # Batch statistics still change the score at first; two validations after its best it ends.
    assert fitted.steps == fitted.best_step + 2 * 2


def test_best_weights_are_those_that_scored_best(tmp_path: Path) -> None:
    class Spoiled(Line):
        """Its validation says that it is best at step 8."""

        def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
            self.log("validation/loss", abs(self.trainer.global_step - 8.0), on_epoch=True)

    fitted, module = run(tmp_path / "long", module=Spoiled(), max_steps=20, schedule="constant")
    _, at_best = run(tmp_path / "short", max_steps=8, validation=None, schedule="constant")
    assert fitted.best_step == 8
    assert same(weights(module), weights(at_best))


def test_averaged_weights_are_the_average(tmp_path: Path) -> None:
    class Watched(Line):
        """Remembers its weights after each step."""

        history: list[dict[str, Tensor]]

        def on_train_batch_end(self, *_: Any) -> None:
            self.history.append(weights(self))

    module = Watched()
    module.history = []
    run(tmp_path, module=module, max_steps=6, ema_decay=0.3, validation=None)
    rule = averaging_with_warm_up(0.3)
    for name, value in weights(module).items():
        if not value.is_floating_point():
            continue
        average = module.history[0][name]
        for count, later in enumerate(module.history[1:], 1):
            average = rule(average, later[name], count)
        torch.testing.assert_close(value, average)
    assert float(rule(torch.tensor(1.0), torch.tensor(0.0), 0)) == pytest.approx(0.1)
    assert float(rule(torch.tensor(1.0), torch.tensor(0.0), 10**6)) == pytest.approx(0.3)


def test_gradients_of_accumulated_batches_make_one_step(tmp_path: Path) -> None:
    class Plain(Line):
        """No noise: what differs is how samples fall into batches."""

        def __init__(self) -> None:
            super().__init__(0.01)
            with torch.random.fork_rng():
                torch.manual_seed(2)
                self.net = nn.Sequential(nn.Linear(3, 1))

        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            return nn.functional.mse_loss(self.net(batch["x"]), batch["y"])

    big = run(tmp_path / "a", module=Plain(), max_steps=5, batch_size=6, validation=None)[1]
    small = run(
        tmp_path / "b", module=Plain(), max_steps=5, batch_size=2, accumulate=3, validation=None
    )[1]
    for name, value in weights(big).items():
        torch.testing.assert_close(weights(small)[name], value, rtol=1e-5, atol=1e-7)


def test_the_rate_is_the_schedule_after_its_warm_up(tmp_path: Path) -> None:
    _, module = run(tmp_path, max_steps=10, warm_up_steps=4, schedule="cosine", accumulate=2)
    expected = [SCHEDULES["cosine"](step / 10) * min(1.0, (step + 1) / 4) for step in range(10)]
    # Both batches of a step have its rate.
    assert module.rates == pytest.approx([0.05 * rate for rate in expected for _ in range(2)])


@pytest.mark.skipif(sys.platform != "linux", reason="samples here are not found by a new process")
def test_a_signal_to_all_processes_leaves_a_checkpoint(tmp_path: Path) -> None:
    """Queues signal the whole group: workers must go on until the step is done."""

    def signal_all(index: int) -> dict[str, Tensor]:
        if index == 12:  # in the worker
            for process in (os.getppid(), os.getpid()):
                os.kill(process, signal.SIGTERM)
        return line(index)

    fitted, _ = run(tmp_path, train=signal_all, max_steps=200, workers=1)
    assert fitted.stopped == "interrupted"
    resumed, _ = run(tmp_path, max_steps=fitted.steps + 2, workers=1, resume=True)
    assert resumed.stopped == "steps"


def test_progress_is_told_step_by_step(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    run(tmp_path, max_steps=4, progress=lambda done, of, now: told.append((done, of)))
    assert told == [(step, 4) for step in (1, 2, 3, 4)]


def test_workers_make_the_same_samples(tmp_path: Path) -> None:
    _, here = run(tmp_path / "here", max_steps=6)
    _, there = run(tmp_path / "there", max_steps=6, workers=1)
    assert same(weights(here), weights(there))


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_between_nothing_and_the_given_rate(name: str) -> None:
    schedule = SCHEDULES[name]
    values = [schedule(step / 1000) for step in range(1001)]
    assert max(values) == pytest.approx(1.0, abs=1e-5)
    assert min(values) >= 0.0
    # No jump but a restart. Half a cosine over a share of the training is nowhere steeper than
    # pi / 2 over that share; the shortest are one-cycle's rise and the first of the four cycles.
    restarts = name == "cosine-restarts"
    jumps = [abs(one - other) for one, other in pairwise(values) if not restarts or one > other]
    assert max(jumps) <= 3.1416 / 2 / (10 / 150 if restarts else 0.3) / 1000
    assert schedule(-1.0) == values[0]
    assert schedule(2.0) == values[-1]


TWO_PROCESSES = """
import sys
import torch
from lightning.pytorch import LightningModule
from ogive.learning.fit import FitSettings, fit


def sample(index):
    x = torch.randn(3, generator=torch.Generator().manual_seed(index))
    return {"x": x, "y": x.sum()[None]}


class Plain(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.mse_loss(self.net(batch["x"]), batch["y"])

    def validation_step(self, batch, batch_idx):
        loss = torch.nn.functional.mse_loss(self.net(batch["x"]), batch["y"])
        self.log("validation/loss", loss, sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


folder, devices = sys.argv[1], int(sys.argv[2])
module = Plain()
fitted = fit(
    module, sample, folder=folder, seed=0, validation=sample, resume="resume" in sys.argv,
    settings=FitSettings(
        max_steps=int(sys.argv[3]), devices=devices, batch_size=4 // devices, device="cpu",
        validate_every_steps=3, validation_samples=4, schedule="constant", warm_up_steps=0,
    ),
)
if fitted.is_writer:
    torch.save({"samples": fitted.samples, "scores": fitted.scores,
                "weights": module.state_dict()}, folder + "/done.pt")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes share a training by gloo")
def test_two_processes_share_the_batches_of_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = {}
    for devices in (1, 2):
        folder = tmp_path / f"{devices}"
        # Two processes stop and resume, from their one checkpoint.
        for words in [["6"]] if devices == 1 else [["3"], ["6", "resume"]]:
            ran = subprocess.run(
                [sys.executable, str(script), str(folder), str(devices), *words],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
        done[devices] = torch.load(folder / "done.pt", weights_only=True)
        assert done[devices]["samples"] == 24
    # Means of halves are the mean, but for rounding.
    torch.testing.assert_close(done[1]["weights"], done[2]["weights"], rtol=1e-5, atol=1e-6)
    for name, score in done[1]["scores"].items():
        assert done[2]["scores"][name] == pytest.approx(score, rel=1e-5)


# -- what cannot be ---------------------------------------------------------------------------


def test_nothing_to_resume_and_nothing_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint .*last\.ckpt to resume from"):
        run(tmp_path / "none", max_steps=2, resume=True)
    assert not (tmp_path / "none").exists()
    run(tmp_path / "run", max_steps=2)
    with pytest.raises(InputError, match="holds a training already"):
        run(tmp_path / "run", max_steps=2)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", None])
def test_a_broken_checkpoint_is_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        torch.save({"weight": torch.zeros(2)}, tmp_path / "last.ckpt")
    else:
        (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(InputError, match="no whole checkpoint of a training"):
        run(tmp_path, max_steps=2, resume=True)


def test_a_checkpoint_does_not_run_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "mark",)

    torch.save({"global_step": Bomb(), "state_dict": {}, "callbacks": {}}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="no whole checkpoint"):
        run(tmp_path, max_steps=2, resume=True)
    assert not (tmp_path / "mark").exists()


def test_divergence_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the training diverged: its loss is (nan|inf) at step"):
        run(tmp_path, module=Line(1e30), max_steps=30, schedule="constant")


def test_a_score_that_validation_does_not_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"validation gives no 'validation/iou': it gives .*loss"):
        fit(
            Line(),
            line,
            settings=FitSettings(**FAST, max_steps=4),
            folder=tmp_path,
            seed=0,
            validation=line,
            monitor="validation/iou",
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_devices_that_are_not_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PyTorch finds 0 CUDA GPUs"):
        run(tmp_path / "run", max_steps=2, device="cuda")
    with pytest.raises(InputError, match="16-mixed needs a GPU"):
        run(tmp_path / "run", max_steps=2, precision="16-mixed")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "max_steps or max_minutes"),
        ({"max_steps": -3}, "greater than 0"),
        ({"max_steps": 3, "devices": 0}, "devices is 0"),
        ({"max_steps": 3, "ema_decay": 1.0}, "less than 1"),
        ({"max_steps": 3, "schedule": "warm"}, "one-cycle"),
        ({"max_steps": 3, "steps": 3}, "not permitted"),
    ],
)
def test_settings_that_make_no_training(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FitSettings(**wrong)
