"""The catalogue holds what is wanted, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from sqlalchemy import func, select

from ogive.model import Asset, Scene
from ogive.scenes.network import pair_indices
from ogive.workflow.catalogue import (
    Product,
    Result,
    claim,
    count_pairs,
    enter_pairs,
    enter_scenes,
    known_scenes,
    plan_pairs,
    record,
)
from ogive.workflow.catalogue.tables import PairRow, ProductRow, TaskRow
from ogive.workflow.fingerprint import pair_key


def count(catalogue, kind):
    with catalogue.connect() as connection:
        return connection.execute(select(func.count()).select_from(kind)).scalar()


def all_pairs(catalogue):
    known = known_scenes(catalogue)
    chosen = pair_indices(known.scenes)
    return enter_pairs(catalogue, known, earlier=chosen.earlier, later=chosen.later)


def test_scenes_come_back_as_they_went_in_by_time(catalogue, scenes):
    told = replace(
        scenes[0],
        assets={"B08": Asset("https://a/b.tif", "nir", scale=1e-4, offset=-0.1)},
        properties={"name": "Glacier d’Argentière", "numbers": [1, 2.5]},
    )
    entered = enter_scenes(catalogue, [*scenes[::-1][:5], told])
    assert (entered.added, entered.removed, entered.kept) == (6, 0, 0)
    known = known_scenes(catalogue)
    assert known.scenes == (told, *scenes[1:])
    assert len(set(known.fingerprints)) == 6


def test_the_microsecond_of_an_acquisition_is_kept(catalogue):
    scene = Scene("one", datetime(2020, 7, 1, 10, 30, 5, 123457))
    enter_scenes(catalogue, [scene])
    assert known_scenes(catalogue).scenes == (scene,)


def test_what_is_there_stays_and_what_has_changed_begins_anew(catalogue, scenes):
    enter_scenes(catalogue, scenes)
    all_pairs(catalogue)
    before = dict(
        zip(known_scenes(catalogue).fingerprints, known_scenes(catalogue).ids, strict=True)
    )
    plan_pairs(catalogue, "match", inputs="a" * 16)
    claims = claim(catalogue, "match", owner="one", count=99, lease_s=60.0, max_attempts=5)
    product = Product("f" * 16, "one.nc", 1, "c" * 32)
    record(catalogue, [Result(one, product, "here", 1, 1) for one in claims], owner="one")
    assert count(catalogue, ProductRow) == 15

    moved = replace(scenes[2], assets={"B08": Asset("elsewhere.tif")})
    entered = enter_scenes(catalogue, [*scenes[:2], moved, *scenes[3:5]])
    assert (entered.added, entered.removed, entered.kept) == (1, 2, 4)
    after = known_scenes(catalogue)
    kept = [name for name in after.fingerprints if name in before]
    assert len(kept) == 4
    assert all(
        before[n] == i for n, i in zip(after.fingerprints, after.ids, strict=True) if n in kept
    )
    # Of the pairs, those of the four scenes that stayed, with their products.
    assert count_pairs(catalogue) == count(catalogue, PairRow) == 6
    assert count(catalogue, TaskRow) == count(catalogue, ProductRow) == 6
    pairs = all_pairs(catalogue)
    assert (pairs.added, pairs.removed, pairs.kept) == (4, 0, 6)


def test_pairs_follow_the_limits(catalogue, scenes):
    enter_scenes(catalogue, scenes)
    all_pairs(catalogue)
    known = known_scenes(catalogue)
    short = pair_indices(known.scenes, max_days=20)
    entered = enter_pairs(catalogue, known, earlier=short.earlier, later=short.later)
    assert (entered.added, entered.removed, entered.kept) == (0, 6, 9)
    with catalogue.connect() as connection:
        found = connection.execute(
            select(PairRow.key, PairRow.days, PairRow.earlier_id).order_by(PairRow.id)
        ).all()
    assert {days for _, days, _ in found} == {10.0, 20.0}
    assert found[0].key == pair_key(known.fingerprints[0], known.fingerprints[1])


def test_new_pairs_are_worked_on_in_the_order_given(catalogue, scenes):
    enter_scenes(catalogue, scenes)
    known = known_scenes(catalogue)
    earlier, later = np.array([3, 0, 1]), np.array([5, 2, 4])
    enter_pairs(catalogue, known, earlier=earlier, later=later)
    plan_pairs(catalogue, "match", inputs="a" * 16)
    claims = claim(catalogue, "match", owner="one", count=99, lease_s=60.0, max_attempts=5)
    position = {number: k for k, number in enumerate(known.ids.tolist())}
    assert [(position[one.earlier_id], position[one.later_id]) for one in claims] == [
        (3, 5), (0, 2), (1, 4),
    ]  # fmt: skip


def test_no_scenes_no_pairs(catalogue, scenes):
    enter_scenes(catalogue, scenes)
    all_pairs(catalogue)
    assert enter_scenes(catalogue, []).removed == 6
    assert count_pairs(catalogue) == count(catalogue, PairRow) == 0
    assert known_scenes(catalogue).scenes == ()
    assert all_pairs(catalogue).added == 0


def test_a_scene_that_json_cannot_hold_is_refused_and_nothing_entered(catalogue, scenes):
    from ogive.model import InputError

    wrong = replace(scenes[0], properties={"cloud": float("nan")})
    with pytest.raises(InputError, match="JSON has no such number"):
        enter_scenes(catalogue, [wrong, *scenes[1:]])
    assert known_scenes(catalogue).scenes == ()


def test_thousands_of_pairs(catalogue):
    """Quickly enough that a million take less than a minute: see benchmarks/test_catalogue.py."""
    many = [
        Scene(f"{k}", datetime(2016, 1, 1 + k // 24 % 28, k % 24, k // 672)) for k in range(150)
    ]
    enter_scenes(catalogue, many)
    known = known_scenes(catalogue)
    chosen = pair_indices(known.scenes, min_days=1)
    assert chosen.earlier.size > 5_000
    entered = enter_pairs(catalogue, known, earlier=chosen.earlier, later=chosen.later)
    assert entered.added == count_pairs(catalogue) == count(catalogue, PairRow)
    assert entered.added == chosen.earlier.size
    assert plan_pairs(catalogue, "match", inputs="a" * 16).added == chosen.earlier.size
