"""How far a region is: tasks by step and state, errors by kind, pace, and time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from .database import now_s, read
from .entries import noted_pairs
from .tables import DONE, FAILED, RUNNING, STATES, SceneRow, State, TaskRow

__all__ = ["ErrorKind", "RegionStatus", "StepStatus", "region_status"]

PACE_WINDOW_S = 900.0


@dataclass(frozen=True, slots=True)
class StepStatus:
    """Tasks of one step.

    Parameters
    ----------
    step
        Its name.
    pending, running, done, failed
        Tasks by state; those whose lease has run out count as pending.
    retried
        Tasks that were claimed more than once.
    wall_s, cpu_s
        Mean of the tasks that are done; 0 where none is.
    pace_per_hour
        Tasks that ended in the last quarter of an hour, per hour.
    """

    step: str
    pending: int
    running: int
    done: int
    failed: int
    wall_s: float
    cpu_s: float
    pace_per_hour: float

    @property
    def total(self) -> int:
        """All tasks of the step."""
        return self.pending + self.running + self.done + self.failed

    @property
    def left_s(self) -> float | None:
        """Seconds until the step has ended at this pace; ``None`` where there is no pace."""
        left = self.pending + self.running
        if not left:
            return 0.0
        return 3600 * left / self.pace_per_hour if self.pace_per_hour else None


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Tasks of a step that failed for one kind of reason, and the sentence of one of them."""

    step: str
    kind: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """The whole of it.

    Parameters
    ----------
    scenes, pairs
        How many there are.
    steps
        Those that have tasks, in the order that was asked for.
    errors
        By step and kind, the most frequent first.
    runs
        Runs that are at work now, and their tasks.
    """

    scenes: int
    pairs: int
    steps: tuple[StepStatus, ...]
    errors: tuple[ErrorKind, ...]
    runs: Mapping[str, int] = field(default_factory=dict)


def region_status(engine: Engine, steps: Sequence[str]) -> RegionStatus:
    """Count how far a region is; a million pairs take a fraction of a second, a second on MariaDB.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    steps
        Names of the steps, in the order wanted.
    """
    return read(engine, lambda connection: _status(connection, steps))


def _status(connection: Connection, steps: Sequence[str]) -> RegionStatus:
    counts = _counts(connection)
    expired = _expired(connection, steps)
    told = []
    for step in steps:
        own = {state: counts.get((step, state), 0) for state in STATES}
        if any(own.values()):
            told.append(_step(connection, step, own, expired.get(step, 0)))
    scenes = connection.execute(select(func.count()).select_from(SceneRow)).scalar_one()
    pairs = noted_pairs(connection)
    errors, runs = _errors(connection, steps), _runs(connection, steps)
    return RegionStatus(scenes, pairs, tuple(told), errors, runs)


def _of(steps: Sequence[str]) -> ColumnElement[bool]:
    """Name the steps, for the index on step and state to be used."""
    return TaskRow.step.in_(steps)


def _counts(connection: Connection) -> dict[tuple[str, str], int]:
    statement = select(TaskRow.step, TaskRow.state, func.count()).group_by(
        TaskRow.step, TaskRow.state
    )
    return {(step, state): count for step, state, count in connection.execute(statement)}


def _expired(connection: Connection, steps: Sequence[str]) -> dict[str, int]:
    statement = (
        select(TaskRow.step, func.count())
        .where(_of(steps), TaskRow.state == RUNNING, TaskRow.lease_until_s < now_s())
        .group_by(TaskRow.step)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def _step(connection: Connection, step: str, own: Mapping[State, int], expired: int) -> StepStatus:
    recent = select(func.count()).where(
        TaskRow.step == step, TaskRow.finished_s > now_s() - PACE_WINDOW_S
    )
    ended = connection.execute(recent).scalar_one()
    # The mean of some that ended last: of all, it would read the whole table.
    last = (
        select(TaskRow.wall_s, TaskRow.cpu_s)
        .where(TaskRow.step == step, TaskRow.state == DONE, TaskRow.finished_s > 0)
        .order_by(TaskRow.finished_s.desc())
        .limit(200)
        .subquery()
    )
    wall, cpu = connection.execute(select(func.avg(last.c.wall_s), func.avg(last.c.cpu_s))).one()
    return StepStatus(
        step=step,
        pending=own["pending"] + expired,
        running=own["running"] - expired,
        done=own["done"],
        failed=own["failed"],
        wall_s=float(wall or 0.0),
        cpu_s=float(cpu or 0.0),
        pace_per_hour=ended * 3600 / PACE_WINDOW_S,
    )


def _errors(connection: Connection, steps: Sequence[str]) -> tuple[ErrorKind, ...]:
    statement = (
        select(TaskRow.step, TaskRow.error_kind, func.count(), func.min(TaskRow.error))
        .where(_of(steps), TaskRow.state == FAILED)
        .group_by(TaskRow.step, TaskRow.error_kind)
        .order_by(func.count().desc(), TaskRow.step, TaskRow.error_kind)
    )
    return tuple(ErrorKind(*row) for row in connection.execute(statement))


def _runs(connection: Connection, steps: Sequence[str]) -> dict[str, int]:
    statement = (
        select(TaskRow.owner, func.count())
        .where(_of(steps), TaskRow.state == RUNNING, TaskRow.lease_until_s >= now_s())
        .group_by(TaskRow.owner)
        .order_by(TaskRow.owner)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}
