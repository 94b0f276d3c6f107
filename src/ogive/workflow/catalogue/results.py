"""Results of claims: products and failures, each entered if its claim still stands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update

from .claims import FREE, Claim
from .database import now_s, transact
from .entries import parts_of
from .tables import DONE, FAILED, PENDING, RUNNING, ProductRow, TaskRow

__all__ = ["Failure", "Product", "Result", "record"]

_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Product:
    """What a task has published.

    Parameters
    ----------
    fingerprint
        Of what it was made of.
    path
        File or folder, relative to the region's folder.
    bytes, checksum
        Its size, and BLAKE2b of its content.
    figures
        What it shows, in figures, for the report.
    """

    fingerprint: str
    path: str
    bytes: int
    checksum: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task has no product.

    Parameters
    ----------
    kind
        Name of the error's class.
    error
        Its sentence.
    again_after_s
        Seconds until it may be tried again; ``None`` if that would not help.
    """

    kind: str
    error: str
    again_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a claim: a product or a failure, where, and how long it took."""

    claim: Claim
    outcome: Product | Failure
    host: str
    wall_s: float
    cpu_s: float


def record(engine: Engine, results: Iterable[Result], *, owner: str) -> list[Result]:
    """Record what became of claims, each if it still stands.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    results
        Products, which have been published already, and failures.
    owner
        Who claimed the tasks.

    Returns
    -------
    list of Result
        Those that were recorded; the claims of the others had been given to somebody else.
    """
    wanted = {result.claim.task_id: result for result in results}

    def write(connection: Connection) -> list[Result]:
        ours = [
            number
            for part in parts_of(sorted(wanted), _AT_ONCE)
            for number in _standing(connection, part, owner, wanted)
        ]
        recorded = [wanted[number] for number in ours]
        if recorded:
            _write_outcomes(connection, recorded)
        return recorded

    return transact(engine, write) if wanted else []


def _standing(
    connection: Connection, ids: Sequence[int], owner: str, wanted: Mapping[int, Result]
) -> list[int]:
    """Lock the tasks of an owner whose claims are the ones that results are of."""
    statement = (
        select(TaskRow.id, TaskRow.attempts)
        .where(TaskRow.id.in_(ids), TaskRow.owner == owner, TaskRow.state == RUNNING)
        .order_by(TaskRow.id)
        .with_for_update()
    )
    found = connection.execute(statement).all()
    return [number for number, attempts in found if wanted[number].claim.attempts == attempts]


def _write_outcomes(connection: Connection, results: Sequence[Result]) -> None:
    """Write states and products in a few statements, however many results there are."""
    ids = [result.claim.task_id for result in results]
    statement = (
        update(TaskRow)
        .where(TaskRow.id == bindparam("task"))
        .values(
            **FREE, finished_s=now_s(), not_before_s=now_s() + bindparam("again_after_s")
        )
    )  # fmt: skip
    connection.execute(statement, [_columns(result) for result in results])
    products = [
        _product(result.claim.task_id, result.outcome)
        for result in results
        if isinstance(result.outcome, Product)
    ]
    for part in parts_of(ids, _AT_ONCE):
        connection.execute(delete(ProductRow).where(ProductRow.task_id.in_(part)))
    if products:
        connection.execute(insert(ProductRow), products)


def _columns(result: Result) -> dict[str, Any]:
    """What a result changes in its task's row."""
    outcome = result.outcome
    told: dict[str, Any] = {
        "task": result.claim.task_id,
        "host": result.host[:96],
        "wall_s": result.wall_s,
        "cpu_s": result.cpu_s,
        "again_after_s": 0.0,
    }
    if isinstance(outcome, Product):
        return told | {"state": DONE, "error_kind": "", "error": ""}
    again = outcome.again_after_s
    return told | {
        "state": FAILED if again is None else PENDING,
        "error_kind": outcome.kind[:64],
        "error": outcome.error,
        "again_after_s": again or 0.0,
    }


def _product(task_id: int, product: Product) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "fingerprint": product.fingerprint,
        "path": product.path,
        "bytes": product.bytes,
        "checksum": product.checksum,
        "figures": json.dumps(product.figures, allow_nan=False),
    }
