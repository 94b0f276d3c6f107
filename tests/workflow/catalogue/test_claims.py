"""Who works on what: every task done once, whoever dies, on every kind of database."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import func, select, update

from ogive.workflow.catalogue import (
    Failure,
    Product,
    Result,
    claim,
    enter_pairs,
    enter_scenes,
    give_back,
    known_scenes,
    new_owner,
    plan_pairs,
    plan_units,
    record,
    region_status,
    renew,
    unfinished,
)
from ogive.workflow.catalogue.tables import ProductRow, TaskRow

LONG_S = 3600.0
PRODUCT = Product("f" * 16, "match/one.nc", 1234, "c" * 32, {"measured_share": 0.5})


@pytest.fixture
def planned(catalogue, scenes):
    """All fifteen pairs of six scenes, to be matched."""
    enter_scenes(catalogue, scenes)
    earlier, later = np.triu_indices(6, 1)
    enter_pairs(catalogue, known_scenes(catalogue), earlier=earlier, later=later)
    assert plan_pairs(catalogue, "match", inputs="a" * 16).added == 15
    return catalogue


def take(catalogue, owner="one", count=4, *, step="match", lease_s=LONG_S, max_attempts=5):
    return claim(
        catalogue, step, owner=owner, count=count, lease_s=lease_s, max_attempts=max_attempts
    )


def done(one, outcome=PRODUCT):
    return Result(one, outcome, host="here", wall_s=1.5, cpu_s=1.0)


def rows(catalogue, *columns):
    with catalogue.connect() as connection:
        return connection.execute(select(*columns).order_by(TaskRow.id)).all()


def test_claims_come_in_order_and_once(planned):
    first, second = take(planned), take(planned, "two", 100)
    assert [len(first), len(second)] == [4, 11]
    ids = [one.task_id for one in first + second]
    assert ids == sorted(set(ids))
    assert {one.attempts for one in first} == {1}
    assert all(one.earlier_id < one.later_id for one in first)
    assert take(planned, "three") == []
    assert unfinished(planned, "match") == 15


def test_many_at_once_share_without_doing_any_twice(planned):
    """Eight claimants, each with its own connection, until nothing is left."""
    gate = threading.Barrier(8)

    def work(number):
        gate.wait()
        mine = []
        while batch := take(planned, f"run-{number}", 2):
            mine += batch
            record(planned, map(done, batch), owner=f"run-{number}")
        return mine

    with ThreadPoolExecutor(8) as pool:
        shares = list(pool.map(work, range(8)))
    assert Counter(one.task_id for share in shares for one in share).most_common(1)[0][1] == 1
    assert sum(map(len, shares)) == 15
    assert unfinished(planned, "match") == 0
    with planned.connect() as connection:
        assert connection.execute(select(func.count()).select_from(ProductRow)).scalar() == 15


def test_a_result_is_recorded_with_its_product(planned):
    (one,) = take(planned, count=1)
    assert record(planned, [done(one)], owner="one") == [done(one)]
    with planned.connect() as connection:
        product = connection.execute(select(ProductRow)).one()
        row = connection.execute(select(TaskRow).where(TaskRow.id == one.task_id)).one()
    assert (product.task_id, product.path, product.bytes) == (one.task_id, "match/one.nc", 1234)
    assert (row.state, row.host, row.wall_s, row.owner, row.attempts) == (
        "done",
        "here",
        1.5,
        "",
        1,
    )
    assert row.finished_s > 1.6e9


def test_an_expired_lease_is_given_back_and_its_result_refused(planned):
    """The first run was thought dead; when it comes back, the second one's result stands."""
    (late,) = take(planned, count=1, lease_s=-1.0)
    (taken, *_) = take(planned, "two", 15)
    assert (taken.task_id, taken.attempts) == (late.task_id, 2)
    assert record(planned, [done(late)], owner="one") == []
    assert record(planned, [done(taken)], owner="two") == [done(taken)]
    assert record(planned, [done(taken)], owner="two") == []


def test_of_a_batch_those_are_recorded_whose_claims_stand(planned):
    """One of four was given to somebody else meanwhile; products and failures go in together."""
    lost, *mine = take(planned, count=4)
    give_back(planned, owner="one", task_ids=[lost.task_id])
    (again,) = take(planned, "two", 1)
    assert again.task_id == lost.task_id
    failure = Failure("MissingImageError", "404")
    results = [done(lost), done(mine[0]), done(mine[1], failure), done(mine[2])]
    assert record(planned, results, owner="one") == results[1:]
    states = dict(rows(planned, TaskRow.id, TaskRow.state))
    assert [states[one.task_id] for one in (lost, *mine)] == ["running", "done", "failed", "done"]
    with planned.connect() as connection:
        found = connection.execute(select(ProductRow.task_id).order_by(ProductRow.task_id))
        assert found.scalars().all() == [mine[0].task_id, mine[2].task_id]
    assert record(planned, [done(again)], owner="two") == [done(again)]


def test_an_own_lease_lost_and_taken_again_is_another_claim(planned):
    (late,) = take(planned, count=1, lease_s=-1.0)
    (again, *_) = take(planned, count=1)
    assert again.task_id == late.task_id
    assert record(planned, [done(late)], owner="one") == []
    assert record(planned, [done(again)], owner="one") == [done(again)]


def test_renewed_leases_hold(planned):
    take(planned, count=3, lease_s=-1.0)
    assert renew(planned, owner="one", lease_s=LONG_S) == 3
    assert len(take(planned, "two", 100)) == 12
    assert renew(planned, owner="nobody", lease_s=LONG_S) == 0


def test_what_kills_its_runs_has_failed_in_the_end(planned):
    for attempt in (1, 2, 3):
        (one, *_) = take(planned, count=1, lease_s=-1.0, max_attempts=3)
        assert one.attempts == attempt
    left = take(planned, count=100, max_attempts=3)
    assert one.task_id not in {each.task_id for each in left}
    (error,) = region_status(planned, ["match"]).errors
    assert (error.step, error.kind, error.count) == ("match", "Lost", 1)
    assert "died 3 times" in error.example


def test_giving_back_does_not_count_as_an_attempt(planned):
    claims = take(planned, count=3)
    assert give_back(planned, owner="one", task_ids=[claims[0].task_id]) == 1
    assert give_back(planned, owner="one") == 2
    assert give_back(planned, owner="one") == 0
    assert [one.attempts for one in take(planned, count=3)] == [1, 1, 1]


def test_a_failure_says_why_and_may_wait_for_another_try(planned):
    first, second, *_ = take(planned, count=2)
    failure = Failure("ImageNotFoundError", "there is no image B08 of scene-1: 404")
    soon = Failure("ServerError", "503", again_after_s=LONG_S)
    record(planned, [done(first, failure), done(second, soon)], owner="one")
    states = dict(rows(planned, TaskRow.id, TaskRow.state))
    assert (states[first.task_id], states[second.task_id]) == ("failed", "pending")
    assert second.task_id not in {one.task_id for one in take(planned, count=100)}
    with planned.begin() as connection:
        connection.execute(update(TaskRow).values(not_before_s=0.0))
    assert [one.task_id for one in take(planned)] == [second.task_id]


def test_owners_differ():
    assert new_owner() != new_owner()


# ---- planning ------------------------------------------------------------------------------------


def test_planning_again_changes_nothing(planned):
    record(planned, map(done, take(planned)), owner="one")
    again = plan_pairs(planned, "match", inputs="a" * 16)
    assert (again.added, again.anew, again.removed) == (0, 0, 0)
    assert unfinished(planned, "match") == 11


def test_changed_parameters_begin_anew(planned):
    record(planned, map(done, take(planned)), owner="one")
    assert plan_pairs(planned, "match", inputs="b" * 16).anew == 15
    assert unfinished(planned, "match") == 15
    assert {one.inputs for one in take(planned, count=100)} == {"b" * 16}
    with planned.connect() as connection:
        assert connection.execute(select(func.count()).select_from(ProductRow)).scalar() == 0


def test_parameters_cannot_change_under_a_run(planned):
    from ogive.workflow.catalogue import CatalogueError

    take(planned)
    with pytest.raises(CatalogueError, match=r"4 tasks of the step 'match'.*other parameters"):
        plan_pairs(planned, "match", inputs="b" * 16)
    give_back(planned, owner="one")
    plan_pairs(planned, "match", inputs="b" * 16)


def test_a_step_follows_the_one_before(planned):
    def plan():
        return plan_pairs(planned, "calibrate", inputs="c" * 16, after="match")

    assert plan().added == 0
    first = take(planned)
    record(planned, map(done, first), owner="one")
    assert plan().added == 4
    assert {one.subject for one in take(planned, step="calibrate")} == {
        one.subject for one in first
    }
    give_back(planned, owner="one")
    plan_pairs(planned, "match", inputs="b" * 16)
    assert plan().removed == 4


def test_units_come_and_go_and_change(catalogue):
    assert plan_units(catalogue, "cube", {"west": "1" * 16, "east": "2" * 16}).added == 2
    claims = take(catalogue, step="cube")
    assert [one.subject for one in claims] == ["east", "west"]
    assert claims[0].earlier_id is None
    record(catalogue, map(done, claims), owner="one")
    planned = plan_units(catalogue, "cube", {"east": "3" * 16, "north": "4" * 16})
    assert (planned.added, planned.anew, planned.removed) == (1, 1, 1)
    assert sorted(one.subject for one in take(catalogue, step="cube")) == ["east", "north"]


def test_units_do_not_change_under_a_run(catalogue):
    from ogive.workflow.catalogue import CatalogueError

    plan_units(catalogue, "cube", {"west": "1" * 16, "east": "2" * 16})
    take(catalogue, step="cube", count=1)
    plan_units(catalogue, "cube", {"west": "1" * 16, "east": "2" * 16})
    with pytest.raises(CatalogueError, match="1 tasks"):
        plan_units(catalogue, "cube", {"west": "1" * 16})


def test_two_plan_at_once(catalogue, scenes):
    enter_scenes(catalogue, scenes)
    earlier, later = np.triu_indices(6, 1)
    enter_pairs(catalogue, known_scenes(catalogue), earlier=earlier, later=later)
    gate = threading.Barrier(4)

    def plan(_):
        gate.wait()
        return plan_pairs(catalogue, "match", inputs="a" * 16).added

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(plan, range(4))) == [0, 0, 0, 15]


# ---- status --------------------------------------------------------------------------------------


def test_status_counts_by_step_state_and_kind(planned):
    claims = take(planned, count=8)
    gone = Failure("ImageNotFoundError", "there is no image B08 of scene-1: 404")
    cut = Failure("TruncatedImageError", "the image ends in the middle")
    outcomes = [PRODUCT, PRODUCT, PRODUCT, gone, gone, cut]
    record(planned, map(done, claims, outcomes), owner="one")
    take(planned, "two", 1, lease_s=-1.0)
    status = region_status(planned, ["search", "match", "calibrate"])
    (match,) = status.steps
    assert (match.step, match.pending, match.running, match.done, match.failed) == (
        "match", 7, 2, 3, 3,
    )  # fmt: skip
    assert match.total == 15
    assert (status.scenes, status.pairs) == (6, 15)
    assert [(error.kind, error.count) for error in status.errors] == [
        ("ImageNotFoundError", 2),
        ("TruncatedImageError", 1),
    ]
    assert status.runs == {"one": 2}
    # Six tasks ended within the last quarter of an hour; nine are left at 24 an hour.
    assert match.pace_per_hour == 24
    assert match.left_s == pytest.approx(9 / 24 * 3600)
    assert (match.wall_s, match.cpu_s) == (1.5, 1.0)


def test_status_of_nothing(catalogue):
    status = region_status(catalogue, ["match"])
    assert (status.scenes, status.pairs, status.steps, status.errors) == (0, 0, (), ())


def test_no_pace_no_time_left(planned):
    (match,) = region_status(planned, ["match"]).steps
    assert match.left_s is None
