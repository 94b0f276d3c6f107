"""Planning: which tasks a step has, given its parameters and what the steps before it have done.

A task whose inputs have changed begins anew; one whose inputs have gone, goes. To plan again what
has not changed does nothing, so that any run may do it at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.orm import aliased

from .database import CatalogueError, now_s, transact
from .entries import parts_of
from .tables import DONE, PENDING, RUNNING, PairRow, ProductRow, StepRow, TaskRow

__all__ = ["ANEW", "Planned", "plan_pairs", "plan_units"]

_AT_ONCE = 5_000
ANEW = {
    "state": PENDING,
    "attempts": 0,
    "owner": "",
    "lease_until_s": 0.0,
    "not_before_s": 0.0,
    "error_kind": "",
    "error": "",
    "finished_s": 0.0,
}
"""What a task that has not begun yet has in its columns."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What planning a step has changed: tasks that are new, begin anew, or are gone."""

    added: int
    anew: int
    removed: int


def plan_pairs(engine: Engine, step: str, *, inputs: str, after: str | None = None) -> Planned:
    """Plan a step of every pair.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    step
        Its name.
    inputs
        Fingerprint of its parameters, and of those of the steps that it rests on.
    after
        The step that a pair must have done before; by default none.

    Raises
    ------
    CatalogueError
        If another run works on the step with other parameters now.
    """

    def plan(connection: Connection) -> Planned:
        _lock(connection, step, inputs)
        _refuse_others(connection, step, TaskRow.inputs != inputs)
        anew = _begin_anew(connection, and_(TaskRow.step == step, TaskRow.inputs != inputs), inputs)
        removed = 0 if after is None else _remove_unready(connection, step, after)
        added = _add_pairs(connection, step, inputs, after)
        return Planned(added=added, anew=anew, removed=removed)

    return transact(engine, plan)


def plan_units(engine: Engine, step: str, units: Mapping[str, str]) -> Planned:
    """Plan a step of the units that it is made of: the region, or tiles of it.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    step
        Its name.
    units
        Fingerprint of parameters and inputs by the unit's name.

    Raises
    ------
    CatalogueError
        If another run works on one of the units with other inputs now.
    """

    def plan(connection: Connection) -> Planned:
        _lock(connection, step, "")
        tasks = select(TaskRow.subject, TaskRow.inputs).where(TaskRow.step == step)
        found = {row[0]: row[1] for row in connection.execute(tasks)}
        gone = sorted(found.keys() - units.keys())
        changed = sorted(name for name in units.keys() & found.keys() if units[name] != found[name])
        for part in parts_of(gone + changed, _AT_ONCE):
            _refuse_others(connection, step, TaskRow.subject.in_(part))
        for part in parts_of(gone, _AT_ONCE):
            connection.execute(
                delete(TaskRow).where(TaskRow.step == step, TaskRow.subject.in_(part))
            )
        for name in changed:
            _begin_anew(
                connection, and_(TaskRow.step == step, TaskRow.subject == name), units[name]
            )
        new = sorted(units.keys() - found.keys())
        if new:
            connection.execute(
                insert(TaskRow),
                [{"step": step, "subject": name, "inputs": units[name]} for name in new],
            )
        return Planned(added=len(new), anew=len(changed), removed=len(gone))

    return transact(engine, plan)


def _lock(connection: Connection, step: str, inputs: str) -> None:
    """Let one run at a time plan a step."""
    mine = select(StepRow.name).where(StepRow.name == step).with_for_update()
    if connection.execute(mine).scalar() is None:
        connection.execute(insert(StepRow).values(name=step, inputs=inputs))
    else:
        connection.execute(update(StepRow).where(StepRow.name == step).values(inputs=inputs))


def _refuse_others(connection: Connection, step: str, which: ColumnElement[bool]) -> None:
    """Refuse to change what somebody works on."""
    statement = select(func.count(), func.min(TaskRow.owner)).where(
        TaskRow.step == step,
        TaskRow.state == RUNNING,
        TaskRow.lease_until_s >= now_s(),
        which,
    )
    count, owner = connection.execute(statement).one()
    if count:
        raise CatalogueError(
            f"{count} tasks of the step {step!r} are being worked on with other parameters or "
            f"inputs (by {owner}): wait until that run ends, or stop it"
        )


def _begin_anew(connection: Connection, which: ColumnElement[bool], inputs: str) -> int:
    tasks = select(TaskRow.id).where(which)
    connection.execute(delete(ProductRow).where(ProductRow.task_id.in_(tasks)))
    statement = update(TaskRow).where(which).values(**ANEW, inputs=inputs)
    return connection.execute(statement).rowcount


def _remove_unready(connection: Connection, step: str, after: str) -> int:
    """Remove the tasks of pairs that have not done, or no longer, what comes before."""
    before = aliased(TaskRow)
    ready = select(before.pair_id).where(before.step == after, before.state == DONE)
    unready = select(TaskRow.id).where(TaskRow.step == step, TaskRow.pair_id.not_in(ready))
    ids = connection.execute(unready).scalars().all()
    for part in parts_of(ids, _AT_ONCE):
        connection.execute(delete(TaskRow).where(TaskRow.id.in_(part)))
    return len(ids)


def _add_pairs(connection: Connection, step: str, inputs: str, after: str | None) -> int:
    own = aliased(TaskRow)
    missing = ~exists().where(own.step == step, own.subject == PairRow.key)
    values = {"step": step, "inputs": inputs, **ANEW, "host": "", "wall_s": 0.0, "cpu_s": 0.0}
    columns = [literal(value).label(name) for name, value in values.items()]
    rows = select(PairRow.key, PairRow.id, *columns).where(missing).order_by(PairRow.id)
    if after is not None:
        before = aliased(TaskRow)
        rows = rows.join(
            before, and_(before.step == after, before.pair_id == PairRow.id, before.state == DONE)
        )
    statement = insert(TaskRow).from_select(["subject", "pair_id", *values], rows)
    counted = connection.execution_options(preserve_rowcount=True)
    return counted.execute(statement).rowcount
