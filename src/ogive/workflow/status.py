"""How far a region is, as tables for a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ogive.workflow.catalogue import RegionStatus, StepStatus, region_status
from ogive.workflow.steps import NAMES
from ogive.workflow.steps.region import open_region

__all__ = ["read_status", "status_tables"]

_EXAMPLE_LETTERS = 160


def read_status(path: str | Path) -> RegionStatus:
    """Count how far the region of a run file is (`ogive status region.yaml`).

    Raises
    ------
    InputError
        If the run file does not fit.
    CatalogueError
        If the catalogue cannot be used.
    """
    with open_region(path) as region:
        return region_status(region.engine, NAMES)


def status_tables(status: RegionStatus) -> Group:
    """Lay a status out: steps with their pace, and errors by kind.

    Parameters
    ----------
    status
        Of `read_status`.
    """
    parts: list[Table | Text] = [
        Text(f"{status.scenes:,} scenes, {status.pairs:,} pairs"),
        _steps(status),
    ]
    if status.errors:
        parts.append(_errors(status))
    for owner, count in status.runs.items():
        parts.append(Text(f"at work: {owner} with {count:,} tasks"))
    return Group(*parts)


def _steps(status: RegionStatus) -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("step", "done", "failed", "running", "pending", "s each", "per hour", "left"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in status.steps:
        counts = (step.done, step.failed, step.running, step.pending)
        table.add_row(
            step.step,
            *(f"{count:,}" for count in counts),
            f"{step.wall_s:.2f}" if step.done else "",
            f"{step.pace_per_hour:,.0f}" if step.pace_per_hour else "",
            _left(step),
        )
    return table


def _left(step: StepStatus) -> str:
    """Tell the time left in the two largest units.

    Examples
    --------
    >>> _left(StepStatus("match", 90, 0, 10, 0, 1.0, 1.0, 60.0))
    '1 h 30 min'
    """
    if step.left_s is None:
        return "unknown"
    minutes = round(step.left_s / 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else ("" if not step.left_s else "< 1 min")


def _errors(status: RegionStatus) -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("step", "error", "tasks", "for example"):
        table.add_column(name, justify="right" if name == "tasks" else "left")
    for error in status.errors:
        first = error.example.splitlines()[0] if error.example else ""
        table.add_row(error.step, error.kind, f"{error.count:,}", Text(first[:_EXAMPLE_LETTERS]))
    return table
