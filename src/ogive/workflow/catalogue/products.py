"""What has been published: which product each task has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from .database import read
from .entries import parts_of
from .tables import DONE, ProductRow, TaskRow

__all__ = ["Published", "all_paths", "bytes_by_step", "paths_of", "products_of"]

_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Published:
    """The product of a task that is done.

    Parameters
    ----------
    subject
        The pair's key, or the unit's name.
    fingerprint, path, bytes, checksum, figures
        As of `Product`.
    """

    subject: str
    fingerprint: str
    path: str
    bytes: int
    checksum: str
    figures: Mapping[str, Any]


def products_of(engine: Engine, step: str) -> list[Published]:
    """List all products of a step, ordered by subject."""
    statement = (
        select(
            TaskRow.subject,
            ProductRow.fingerprint,
            ProductRow.path,
            ProductRow.bytes,
            ProductRow.checksum,
            ProductRow.figures,
        )
        .join(ProductRow, ProductRow.task_id == TaskRow.id)
        .where(TaskRow.step == step, TaskRow.state == DONE)
        .order_by(TaskRow.subject)
    )
    rows = read(engine, lambda connection: connection.execute(statement).all())
    return [Published(*row[:-1], figures=json.loads(row[-1])) for row in rows]


def paths_of(engine: Engine, step: str, subjects: Sequence[str]) -> dict[str, str]:
    """Find the products of some subjects, by subject."""

    def find(connection: Connection) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in parts_of(subjects, _AT_ONCE):
            statement = (
                select(TaskRow.subject, ProductRow.path)
                .join(ProductRow, ProductRow.task_id == TaskRow.id)
                .where(TaskRow.step == step, TaskRow.subject.in_(part))
            )
            found |= {row[0]: row[1] for row in connection.execute(statement)}
        return found

    return read(engine, find)


def bytes_by_step(engine: Engine, steps: Sequence[str]) -> dict[str, int]:
    """Sum the sizes of the products of each of some steps that has any."""
    statement = (
        select(TaskRow.step, func.sum(ProductRow.bytes))
        .join(ProductRow, ProductRow.task_id == TaskRow.id)
        .where(TaskRow.step.in_(steps), TaskRow.state == DONE)
        .group_by(TaskRow.step)
    )
    rows = read(engine, lambda connection: connection.execute(statement).all())
    return {step: int(total) for step, total in rows}


def all_paths(engine: Engine) -> set[str]:
    """List the paths of all products of all steps."""
    statement = select(ProductRow.path)
    return set(read(engine, lambda connection: connection.execute(statement).scalars().all()))
