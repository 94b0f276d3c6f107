"""Claims: who works on what, for how long, and with what result.

A claim is a lease: it is renewed while its run lives, and given back by whoever looks next when it
has run out. A result is recorded only for a claim that still stands, so that of two runs that did
the same task (one was thought dead) one is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, case, func, select, update

from .database import now_s, read, transact
from .entries import parts_of
from .owner import is_dead
from .tables import FAILED, PENDING, RUNNING, PairRow, TaskRow

__all__ = [
    "FREE",
    "Claim",
    "claim",
    "give_back",
    "give_back_dead",
    "renew",
    "unfinished",
]

LOST = "Lost"
"""Kind of the error of a task whose runs have died once too often."""
_AT_ONCE = 5_000
FREE = {"owner": "", "lease_until_s": 0.0}
"""What a task that nobody works on has in its columns."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that is ours for as long as its lease.

    Parameters
    ----------
    task_id
        Its row.
    step, subject
        Which step, of which pair (its key) or unit (its name).
    inputs
        Fingerprint of parameters and inputs, apart from the pair itself.
    attempts
        How often it was claimed, with this time.
    earlier_id, later_id
        Rows of the pair's scenes; ``None`` for a unit.
    """

    task_id: int
    step: str
    subject: str
    inputs: str
    attempts: int
    earlier_id: int | None
    later_id: int | None


def claim(
    engine: Engine, step: str, *, owner: str, count: int, lease_s: float, max_attempts: int
) -> list[Claim]:
    """Take some tasks, the first ones that are free.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    step
        Which step.
    owner
        Who takes them (`new_owner`).
    count
        How many at most.
    lease_s
        For how long, unless renewed.
    max_attempts
        A task whose runs died so often has failed, for it may be what kills them.

    Returns
    -------
    list of Claim
        In the order of the tasks; empty if none is free now.
    """
    taken: dict[str, Any] = {
        "state": RUNNING,
        "owner": owner,
        "lease_until_s": now_s() + lease_s,
        "attempts": TaskRow.attempts + 1,
    }

    def take(connection: Connection) -> list[Claim]:
        _give_back_expired(connection, step, max_attempts)
        free = (
            select(TaskRow.id)
            .where(TaskRow.step == step, TaskRow.state == PENDING, TaskRow.not_before_s <= now_s())
            .order_by(TaskRow.id)
            .limit(count)
            .with_for_update(skip_locked=True)
        )
        ids = connection.execute(free).scalars().all()
        if not ids:
            return []
        for part in parts_of(ids, _AT_ONCE):
            connection.execute(update(TaskRow).where(TaskRow.id.in_(part)).values(**taken))
        return [one for part in parts_of(ids, _AT_ONCE) for one in _claims(connection, part)]

    return transact(engine, take)


def renew(engine: Engine, *, owner: str, lease_s: float) -> int:
    """Prolong all leases of a run, and count them."""
    statement = (
        update(TaskRow)
        .where(TaskRow.owner == owner, TaskRow.state == RUNNING)
        .values(lease_until_s=now_s() + lease_s)
    )
    return transact(engine, lambda connection: connection.execute(statement).rowcount)


def give_back(engine: Engine, *, owner: str, task_ids: Sequence[int] | None = None) -> int:
    """Give back what was claimed and not done, as if it had not been tried.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    owner
        Who claimed it.
    task_ids
        Which tasks; by default all of the owner's.
    """

    def release(connection: Connection) -> int:
        mine = (TaskRow.owner == owner, TaskRow.state == RUNNING)
        free: dict[str, Any] = {**FREE, "state": PENDING, "attempts": TaskRow.attempts - 1}
        if task_ids is None:
            return connection.execute(update(TaskRow).where(*mine).values(**free)).rowcount
        return sum(
            connection.execute(
                update(TaskRow).where(*mine, TaskRow.id.in_(part)).values(**free)
            ).rowcount
            for part in parts_of(task_ids, _AT_ONCE)
        )

    return transact(engine, release)


def give_back_dead(engine: Engine) -> int:
    """Give back the tasks of runs of this machine that have died, before their leases run out."""
    statement = select(TaskRow.owner).where(TaskRow.state == RUNNING).distinct()
    owners = read(engine, lambda connection: connection.execute(statement).scalars().all())
    dead = [owner for owner in owners if is_dead(owner)]
    expire = (
        update(TaskRow)
        .where(TaskRow.state == RUNNING, TaskRow.owner.in_(dead))
        .values(lease_until_s=0.0)
    )
    return transact(engine, lambda connection: connection.execute(expire).rowcount) if dead else 0


def unfinished(engine: Engine, step: str) -> int:
    """Count the tasks of a step that are pending, or in somebody's hands."""
    statement = select(func.count()).where(
        TaskRow.step == step, TaskRow.state.in_([PENDING, RUNNING])
    )
    return read(engine, lambda connection: connection.execute(statement).scalar_one())


def _give_back_expired(connection: Connection, step: str, max_attempts: int) -> None:
    expired = (
        select(TaskRow.id)
        .where(TaskRow.step == step, TaskRow.state == RUNNING, TaskRow.lease_until_s < now_s())
        .with_for_update(skip_locked=True)
    )
    ids = connection.execute(expired).scalars().all()
    hopeless = TaskRow.attempts >= max_attempts
    told = f"the runs that worked on it died {max_attempts} times: is there enough memory?"
    for part in parts_of(ids, _AT_ONCE):
        connection.execute(
            update(TaskRow)
            .where(TaskRow.id.in_(part))
            .values(
                **FREE,
                state=case((hopeless, FAILED), else_=PENDING),
                error_kind=case((hopeless, LOST), else_=""),
                error=case((hopeless, told), else_=""),
            )
        )


def _claims(connection: Connection, ids: Sequence[int]) -> list[Claim]:
    statement = (
        select(
            TaskRow.id,
            TaskRow.step,
            TaskRow.subject,
            TaskRow.inputs,
            TaskRow.attempts,
            PairRow.earlier_id,
            PairRow.later_id,
        )
        .outerjoin(PairRow, TaskRow.pair_id == PairRow.id)
        .where(TaskRow.id.in_(ids))
        .order_by(TaskRow.id)
    )
    return [Claim(*row) for row in connection.execute(statement)]
