"""Tasks that are given another chance."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Engine, delete, select, update

from .database import transact
from .entries import parts_of
from .plan import ANEW
from .tables import DONE, FAILED, ProductRow, TaskRow

__all__ = ["begin_again"]

_AT_ONCE = 5_000


def begin_again(
    engine: Engine,
    *,
    steps: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    done: bool = False,
) -> list[str]:
    """Let tasks that failed, or are done, be done again.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    steps
        Only of these steps; by default of all.
    kinds
        Only those that failed for an error of these kinds; by default of any.
    done
        Those that are done, instead of those that failed.

    Returns
    -------
    list of str
        For each task, the path of the product that it had, or ``""``.
    """
    which: list[ColumnElement[bool]] = [TaskRow.state == (DONE if done else FAILED)]
    if steps is not None:
        which.append(TaskRow.step.in_(steps))
    if kinds is not None:
        which.append(TaskRow.error_kind.in_(kinds))

    def begin(connection: Connection) -> list[str]:
        tasks = (
            select(TaskRow.id, ProductRow.path)
            .outerjoin(ProductRow, ProductRow.task_id == TaskRow.id)
            .where(*which)
            .order_by(TaskRow.id)
        )
        found = connection.execute(tasks).all()
        for part in parts_of([row[0] for row in found], _AT_ONCE):
            connection.execute(delete(ProductRow).where(ProductRow.task_id.in_(part)))
            connection.execute(update(TaskRow).where(TaskRow.id.in_(part)).values(**ANEW))
        return [row[1] or "" for row in found]

    return transact(engine, begin)
