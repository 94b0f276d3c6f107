"""What became of each scene: how many pairs it is in, and how many of these were measured."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select

from .database import read
from .tables import DONE, FAILED, PairRow, SceneRow, TaskRow

__all__ = ["SceneUse", "uses_of_scenes"]


@dataclass(frozen=True, slots=True)
class SceneUse:
    """A scene's pairs.

    Parameters
    ----------
    name
        Of the scene.
    pairs
        How many pairs it is in.
    done, failed
        Of how many the step has been done, or has failed.
    """

    name: str
    pairs: int
    done: int
    failed: int


def uses_of_scenes(engine: Engine, step: str) -> list[SceneUse]:
    """Count the pairs of each scene, in the order of the scenes' time.

    Parameters
    ----------
    engine
        Of `open_catalogue`.
    step
        The step of pairs whose outcome counts.
    """
    return read(engine, lambda connection: _uses(connection, step))


def _uses(connection: Connection, step: str) -> list[SceneUse]:
    pairs: dict[int, int] = {}
    ended: dict[tuple[int, str], int] = {}
    for scene in (PairRow.earlier_id, PairRow.later_id):
        for number, count in connection.execute(select(scene, func.count()).group_by(scene)):
            pairs[number] = pairs.get(number, 0) + count
        outcomes = (
            select(scene, TaskRow.state, func.count())
            .join(TaskRow, TaskRow.pair_id == PairRow.id)
            .where(TaskRow.step == step, TaskRow.state.in_((DONE, FAILED)))
            .group_by(scene, TaskRow.state)
        )
        for number, state, count in connection.execute(outcomes):
            ended[number, state] = ended.get((number, state), 0) + count
    named = select(SceneRow.id, SceneRow.name).order_by(SceneRow.acquired, SceneRow.name)
    return [
        SceneUse(
            name, pairs.get(number, 0), ended.get((number, DONE), 0), ended.get((number, FAILED), 0)
        )
        for number, name in connection.execute(named)
    ]
