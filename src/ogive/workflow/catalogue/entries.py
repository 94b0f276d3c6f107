"""Scenes and pairs: the catalogue is made to hold what is wanted, and nothing else.

What stays keeps its rows, and with them its tasks and products; what is no longer wanted, or has
changed, goes with all that hangs on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, Table, delete, func, insert, select

from ogive.model import Scene
from ogive.scenes.record import fingerprint as scene_fingerprint
from ogive.scenes.record import from_dict, to_dict
from ogive.workflow.fingerprint import FINGERPRINT_LETTERS, pair_key

from .database import bulk_insert, read, transact
from .tables import Information, PairRow, SceneRow

__all__ = [
    "Entered",
    "KnownScenes",
    "count_pairs",
    "enter_pairs",
    "enter_scenes",
    "known_scenes",
    "noted_pairs",
    "parts_of",
    "scenes_of",
]

Indices = NDArray[np.int64]
Row = TypeVar("Row")

_AT_ONCE = 5_000
_PAIRS = "pairs"
_COUNT_PAIRS = select(func.count()).select_from(PairRow)


@dataclass(frozen=True, slots=True)
class Entered:
    """How many rows were new, how many went, and how many stayed."""

    added: int
    removed: int
    kept: int


@dataclass(frozen=True, slots=True)
class KnownScenes:
    """The scenes of a catalogue, in the order of their time, as columns.

    Parameters
    ----------
    ids
        Their rows.
    fingerprints
        What decides their pixels and time.
    scenes
        The scenes themselves.
    """

    ids: Indices
    fingerprints: tuple[str, ...]
    scenes: tuple[Scene, ...]


def enter_scenes(engine: Engine, scenes: Iterable[Scene]) -> Entered:
    """Make the catalogue hold these scenes and no others.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    scenes
        With different names. One that is there already, and has not changed, stays.

    Raises
    ------
    InputError
        If a scene has no form in JSON.
    """
    wanted = {scene.id: scene for scene in sorted(scenes, key=lambda scene: (scene.time, scene.id))}
    prints = {name: scene_fingerprint(scene) for name, scene in wanted.items()}
    prints = {name: told[:FINGERPRINT_LETTERS] for name, told in prints.items()}

    def enter(connection: Connection) -> Entered:
        found = connection.execute(select(SceneRow.id, SceneRow.name, SceneRow.fingerprint)).all()
        kept = {name for _, name, told in found if prints.get(name) == told}
        _remove(connection, SceneRow, [number for number, name, _ in found if name not in kept])
        columns = ("name", "fingerprint", "acquired", "told")
        rows = [
            (name, prints[name], scene.time.isoformat(), json.dumps(to_dict(scene)))
            for name, scene in wanted.items()
            if name not in kept
        ]
        bulk_insert(connection, _table(SceneRow), columns, rows)
        if len(kept) < len(found):
            _note_pairs(connection, connection.execute(_COUNT_PAIRS).scalar_one())
        return Entered(added=len(rows), removed=len(found) - len(kept), kept=len(kept))

    return transact(engine, enter)


def known_scenes(engine: Engine) -> KnownScenes:
    """Read all scenes of the catalogue."""
    statement = select(SceneRow.id, SceneRow.fingerprint, SceneRow.told).order_by(
        SceneRow.acquired, SceneRow.name
    )
    rows = read(engine, lambda connection: connection.execute(statement).all())
    return KnownScenes(
        np.array([row.id for row in rows], np.int64),
        tuple(row.fingerprint for row in rows),
        tuple(from_dict(json.loads(row.told)) for row in rows),
    )


def scenes_of(engine: Engine, ids: Iterable[int]) -> dict[int, Scene]:
    """Read some scenes, by their rows."""
    wanted = sorted(set(ids))

    def find(connection: Connection) -> dict[int, Scene]:
        found: dict[int, Scene] = {}
        for part in parts_of(wanted, _AT_ONCE):
            statement = select(SceneRow.id, SceneRow.told).where(SceneRow.id.in_(part))
            rows = connection.execute(statement)
            found |= {row[0]: from_dict(json.loads(row[1])) for row in rows}
        return found

    return read(engine, find)


def enter_pairs(engine: Engine, known: KnownScenes, *, earlier: Indices, later: Indices) -> Entered:
    """Make the catalogue hold these pairs and no others.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    known
        Its scenes.
    earlier, later
        Positions of the pairs' scenes in `known`. New pairs will be worked on in this order: pairs
        that share scenes should stand together, so that images are fetched once.
    """
    ids = known.ids
    wanted = _joined(ids[earlier], ids[later])

    def enter(connection: Connection) -> Entered:
        found = connection.execute(select(PairRow.id, PairRow.earlier_id, PairRow.later_id)).all()
        # Row by row, numpy would take a hundred times as long.
        table = np.fromiter(chain.from_iterable(found), np.int64, 3 * len(found)).reshape(-1, 3)
        there = _joined(table[:, 1], table[:, 2])
        gone = table[~np.isin(there, wanted), 0]
        _remove(connection, PairRow, gone.tolist())
        new = ~np.isin(wanted, there)
        rows = list(_pair_rows(known, earlier[new], later[new]))
        columns = ("earlier_id", "later_id", "key", "days")
        bulk_insert(connection, _table(PairRow), columns, rows)
        kept = len(found) - len(gone)
        _note_pairs(connection, kept + len(rows))
        return Entered(added=len(rows), removed=len(gone), kept=kept)

    return transact(engine, enter)


def count_pairs(engine: Engine) -> int:
    """Tell how many pairs the catalogue has."""
    return read(engine, noted_pairs)


def noted_pairs(connection: Connection) -> int:
    """Read the number of pairs, which whoever changes them writes down: to count takes a second."""
    statement = select(Information.told).where(Information.name == _PAIRS)
    told = connection.execute(statement).scalar()
    return int(told or 0)


def _note_pairs(connection: Connection, count: int) -> None:
    connection.execute(delete(Information).where(Information.name == _PAIRS))
    connection.execute(insert(Information).values(name=_PAIRS, told=str(count)))


def _pair_rows(
    known: KnownScenes, earlier: Indices, later: Indices
) -> Iterator[tuple[int, int, str, float]]:
    times = np.array([np.datetime64(scene.time, "us") for scene in known.scenes], "datetime64[us]")
    days = (times[later] - times[earlier]) / np.timedelta64(1, "D")
    ids, prints = known.ids.tolist(), known.fingerprints
    for i, j, length in zip(earlier.tolist(), later.tolist(), days.tolist(), strict=True):
        yield ids[i], ids[j], pair_key(prints[i], prints[j]), length


def _joined(earlier: Indices, later: Indices) -> Indices:
    """Make one number of two rows; there are less than 2^31 scenes."""
    joined: Indices = (earlier << 32) | later
    return joined


def _remove(connection: Connection, kind: type[Any], ids: Sequence[int]) -> None:
    """Remove rows; what hangs on them goes by the tables' own rules."""
    for part in parts_of(ids, _AT_ONCE):
        connection.execute(delete(kind).where(kind.id.in_(part)))


def parts_of(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Cut a sequence into parts that a statement can name."""
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _table(kind: type[Any]) -> Table:
    table: Table = kind.__table__
    return table
