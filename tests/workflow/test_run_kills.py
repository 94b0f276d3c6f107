"""Kill -9 at random moments: every pair done once, every product whole, all equal bit for bit."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import DBAPIError
from tests.servers.stac import Fault
from tests.workflow.regions import PAIRS, contents, folder_of

from ogive.workflow.catalogue.tables import ProductRow, TaskRow
from ogive.workflow.run_upkeep import broken_products, clean_region
from ogive.workflow.status import read_status
from ogive.workflow.steps import NAMES as STEPS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no kill -9 on Windows")

TASKS = 2 * PAIRS + 6
DEADLINE_S = 300.0
OGIVE = [sys.executable, "-c", "from ogive.cli import main; main()"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@contextmanager
def started(*words, stdout=subprocess.PIPE):
    """A process in a group of its own, which is killed in the end whatever happens."""
    process = subprocess.Popen(
        words, env=ENVIRONMENT, start_new_session=True, stdout=stdout, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        kill(process)
        if process.stdout:
            process.stdout.close()


def quietly(*words):
    return started(*words, stdout=subprocess.DEVNULL)


def kill(process):
    """Kill -9, with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(path, *words):
    return started(*OGIVE, "run", str(path), "--quiet", *words)


def finish(path, *words):
    """Run until it ends by itself."""
    with run(path, *words) as process:
        told, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, told


def ended(path):
    """How many tasks have ended so far; 0 where the catalogue is not there yet."""
    file = folder_of(path) / "catalogue.sqlite"
    if not file.exists():
        return 0
    engine = create_engine(f"sqlite:///{file}")
    try:
        with engine.connect() as connection:
            return connection.execute(select(func.count()).where(TaskRow.state == "done")).scalar()
    except DBAPIError:  # no tables yet
        return 0
    finally:
        engine.dispose()


def wait_for(path, count, process, moment):
    """Wait until so many tasks have ended, and a moment more, or the run has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while ended(path) < count and process.poll() is None:
        assert time.monotonic() < deadline, "the run does not go on"
        time.sleep(0.02)
    time.sleep(moment)


def check_all_done_once(path):
    """Every task is done and has one product; those that were in hand were claimed again."""
    status = read_status(path)
    assert {step.step: step.done for step in status.steps} == dict.fromkeys(STEPS, 1) | {
        "match": PAIRS, "calibrate": PAIRS,
    }  # fmt: skip
    assert status.errors == ()
    assert status.runs == {}
    engine = create_engine(f"sqlite:///{folder_of(path) / 'catalogue.sqlite'}")
    with engine.connect() as connection:
        paths = connection.execute(select(ProductRow.path)).scalars().all()
        attempts = connection.execute(select(TaskRow.attempts)).scalars().all()
    engine.dispose()
    assert Counter(paths).most_common(1)[0][1] == 1
    assert len(paths) == len(attempts) == TASKS
    assert broken_products(path) == []
    return Counter(attempts)


def kill_again_and_again(path, times, seed):
    """Kill runs at random moments; each goes on from where the one before was."""
    moments = random.Random(seed)
    killed = 0
    while killed < times:
        with run(path, "--cluster", "threads") as process:
            # From before the first task to the last one, and anywhere within a task.
            count = moments.randint(0, TASKS * (killed + 1) // times)
            wait_for(path, count, process, moments.uniform(0, 0.3))
            if process.poll() is not None:
                assert process.returncode == 0, process.stdout.read()
                return killed
            kill(process)
            killed += 1
    return killed


@pytest.mark.parametrize(
    "times", [2, pytest.param(10, marks=pytest.mark.slow)], ids=["twice", "ten times"]
)
def test_the_whole_run_is_killed(new_region, sound, undisturbed, times):
    path = new_region(run={"lease_s": 5.0, "max_attempts": 2 * times + 2})
    killed = kill_again_and_again(path, times, seed=times)
    finish(path, "--cluster", "threads")
    attempts = check_all_done_once(path)
    # A run has at most three pairs in hand, or one larger task.
    assert sum(count * (number - 1) for number, count in attempts.items()) <= 3 * killed
    assert contents(path) == contents(undisturbed)
    clean_region(path)
    assert [found.name for found in folder_of(path).rglob("*.partial")] == []
    assert contents(path) == contents(undisturbed)


# ---- a cluster of Dask's own programs ------------------------------------------------------------


@contextmanager
def scheduler(folder):
    """A Dask scheduler of its own; it writes its address into a file."""
    told = folder / f"{secrets.token_hex(4)}.json"
    words = (
        sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
        "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(told),
    )  # fmt: skip
    with quietly(*words) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not told.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.05)
        yield SimpleNamespace(process=process, address=json.loads(told.read_text())["address"])


def worker(address):
    """A Dask worker without a nanny, which stays dead."""
    return quietly(
        sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads",
        "1", "--host", "127.0.0.1", "--no-dashboard",
    )  # fmt: skip


@pytest.mark.parametrize(
    "times", [1, pytest.param(10, marks=pytest.mark.slow)], ids=["once", "ten times"]
)
def test_workers_are_killed(new_region, sound, undisturbed, times):
    """The scheduler gives what they had to another worker; the run does not notice."""
    path = new_region()
    moments = random.Random(times)
    with ExitStack() as stack:
        dask = stack.enter_context(scheduler(path.parent))
        alive = stack.enter_context(worker(dask.address))
        process = stack.enter_context(run(path, "--cluster", dask.address))
        for number in range(times):
            count = moments.randint(2, max(3, TASKS * (number + 1) // times))
            wait_for(path, count, process, moments.uniform(0, 0.3))
            kill(alive)
            alive = stack.enter_context(worker(dask.address))
        told, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, told
    attempts = check_all_done_once(path)
    assert set(attempts) == {1}
    assert contents(path) == contents(undisturbed)


@pytest.mark.slow
def test_the_scheduler_is_killed_ten_times(new_region, sound, undisturbed):
    """The run says so and gives back what it had; the next one goes on with another scheduler."""
    path = new_region(run={"max_attempts": 30})
    moments = random.Random(10)
    for number in range(10):
        with (
            scheduler(path.parent) as dask,
            worker(dask.address),
            run(path, "--cluster", dask.address) as process,
        ):
            wait_for(
                path,
                moments.randint(0, TASKS * (number + 1) // 10),
                process,
                moments.uniform(0, 0.3),
            )
            kill(dask.process)
            told, _ = process.communicate(timeout=DEADLINE_S)
        if process.returncode:
            assert process.returncode == 2, told
            # It may have died before the run had found it.
            assert "scheduler was lost" in told or "there is no Dask scheduler" in told
    finish(path, "--cluster", "threads")
    check_all_done_once(path)
    assert contents(path) == contents(undisturbed)


@pytest.mark.slow
def test_a_lost_scheduler_is_told_and_what_was_in_hand_given_back(new_region, sound):
    path = new_region()
    with (
        scheduler(path.parent) as dask,
        worker(dask.address),
        run(path, "--cluster", dask.address) as process,
    ):
        wait_for(path, 4, process, 0.0)
        kill(dask.process)
        told, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2, told
    assert "the Dask scheduler was lost" in told
    status = read_status(path)
    assert status.runs == {}
    assert {step.running for step in status.steps} == {0}


# ---- many runs at once ---------------------------------------------------------------------------


def test_two_runs_share_one_postgresql(new_region, sound, undisturbed, postgresql):
    """Both work, on the same tasks, and no task is done by both."""
    path = new_region(run={"catalogue": postgresql})
    # Images come slowly, so that neither run is through before the other has begun.
    sound.fault("_B08", Fault(wait_s=0.3, forever=True))
    engine = create_engine(postgresql)
    seen = set()
    with (
        run(path, "--cluster", "threads") as one,
        run(path, "--cluster", "threads") as other,
    ):
        while any(process.poll() is None for process in (one, other)):
            seen |= owners_at_work(engine)
            time.sleep(0.05)
        answers = [process.communicate(timeout=DEADLINE_S)[0] for process in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], answers
    assert len(seen) == 2
    with engine.connect() as connection:
        attempts = connection.execute(select(TaskRow.attempts)).scalars().all()
        products = connection.execute(select(func.count()).select_from(ProductRow)).scalar()
    engine.dispose()
    assert attempts == [1] * TASKS
    assert products == TASKS
    assert contents(path) == contents(undisturbed)


def owners_at_work(engine):
    """Runs that have pairs in hand now; none where there are no tables yet."""
    mine = select(TaskRow.owner).where(TaskRow.step == "match", TaskRow.state == "running")
    try:
        with engine.connect() as connection:
            return set(connection.execute(mine).scalars())
    except DBAPIError:
        return set()
