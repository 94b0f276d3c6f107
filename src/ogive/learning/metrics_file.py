"""The figures of a training as one CSV file, a row for each step that was logged."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning_utilities.core.rank_zero import rank_zero_only

from ogive.learning.files import written_whole

__all__ = ["MetricsFile", "read_metrics"]

_LEFT_OUT = {"epoch", "step"}


def read_metrics(path: Path) -> dict[int, dict[str, float]]:
    """Read the figures of a training, by the number of steps done."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            int(row.pop("step")): {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        }


class MetricsFile(Logger):
    """Writes what Lightning logs into one file that outlives interruptions.

    Lightning's own logger starts a new file when a training is resumed; this one goes on with the
    file that is there, after leaving out what came after the checkpoint.

    Parameters
    ----------
    path
        The file; read first if it is there.
    last_step
        Steps done when the training begins: rows after it are left out.
    """

    def __init__(self, path: Path, *, last_step: int = 0) -> None:
        super().__init__()
        self._path = path
        before = read_metrics(path)
        self._rows = {step: row for step, row in before.items() if step <= last_step}

    @property
    def name(self) -> str:
        """Name of the log, for Lightning."""
        return "metrics"

    @property
    def version(self) -> str:
        """There is one version."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Leave out the settings: they have their own file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add the figures of a step, counted from 0 by Lightning, and write the file."""
        row = self._rows.setdefault((step or 0) + 1, {})
        row.update({name: value for name, value in metrics.items() if name not in _LEFT_OUT})
        columns = ["step", *sorted({name for row in self._rows.values() for name in row})]
        with (
            written_whole(self._path, durable=False) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({"step": step, **self._rows[step]} for step in sorted(self._rows))
