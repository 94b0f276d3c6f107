"""The run of a region: step after step, each shared by its tasks among the workers.

A run claims tasks from the catalogue under a lease, hands them to Dask's workers as jobs, and
records what became of them. It can be stopped at any moment, in any way, and run again: what was
recorded stays, what was published and not recorded is taken up, and the rest is done.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker
from sqlalchemy import Engine

from ogive.model import InputError, OgiveError
from ogive.workflow.catalogue import (
    CatalogueError,
    Claim,
    Failure,
    RegionStatus,
    Result,
    claim,
    give_back,
    give_back_dead,
    new_owner,
    record,
    region_status,
    renew,
    unfinished,
)
from ogive.workflow.cluster import ClusterError, workers
from ogive.workflow.runfile import write_run_file
from ogive.workflow.steps import NAMES
from ogive.workflow.steps.job import Job, perform
from ogive.workflow.steps.region import Region, open_region
from ogive.workflow.steps.road import STEPS, Step

__all__ = ["RunError", "run_region"]

RESOLVED = "run.yaml"
POLL_S = 0.5
TELL_S, TELL_SHARE = 1.0, 0.05
"""Progress is told so often at most, and takes no more of the time: counting takes a while too."""
_NEEDED = ("search", "pair")
"""Steps without which nothing can follow."""

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


class RunError(OgiveError, RuntimeError):
    """The run cannot go on."""


def run_region(
    path: str | Path,
    *,
    steps: Sequence[str] | None = None,
    cluster: str = "local",
    progress: Progress | None = None,
) -> RegionStatus:
    """Run a region (`ogive run region.yaml`).

    Several runs of one region, on one machine or on many with a common folder, share the work.

    Parameters
    ----------
    path
        The run file.
    steps
        Only these; by default all. A step takes what the steps before it have done so far.
    cluster
        As in `ogive.workflow.cluster.workers`.
    progress
        Called with a step, how many of its tasks have ended, and how many there are.

    Returns
    -------
    RegionStatus
        How far the region is now.

    Raises
    ------
    InputError
        If the run file does not fit, or there is no such step.
    CatalogueError
        If the catalogue cannot be used.
    ClusterError
        If the workers cannot be had, or are lost.
    RunError
        If a step failed that all others need.
    """
    chosen = _chosen(steps)
    with open_region(path) as region:
        write_run_file(region.settings, region.folder / RESOLVED, overwrite=True)
        give_back_dead(region.engine)
        owner = new_owner()
        with (
            workers(cluster, region.settings) as client,
            _leases(region.engine, owner, region.settings.run.lease_s),
        ):
            for name in chosen:
                _run_step(_Work(region, name, owner, client, progress))
        return region_status(region.engine, NAMES)


def _chosen(steps: Sequence[str] | None) -> list[str]:
    unknown = [name for name in steps or () if name not in NAMES]
    if unknown:
        raise InputError(f"there is no step {unknown[0]!r}: take {', '.join(NAMES)}")
    return [name for name in NAMES if steps is None or name in steps]


@contextmanager
def _leases(engine: Engine, owner: str, lease_s: float) -> Iterator[None]:
    """Renew the run's leases until it ends, and then give back what it has not done."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(lease_s / 3):
            try:
                renew(engine, owner=owner, lease_s=lease_s)
            except CatalogueError as error:
                _log.warning("leases could not be renewed: %s", error)

    thread = threading.Thread(target=beat, name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        give_back(engine, owner=owner)


# ---- one step ------------------------------------------------------------------------------------


@dataclass
class _Work:
    """A step that is being run: what is in the workers' hands, and what they have handed back."""

    region: Region
    name: str
    owner: str
    client: Client
    progress: Progress | None
    given: dict[Any, Claim] = field(default_factory=dict)
    ended: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    tell_after_s: float = 0.0

    @property
    def step(self) -> Step:
        return STEPS[self.name]


def _run_step(work: _Work) -> None:
    """Plan a step, and work until none of its tasks is left to anybody."""
    planned = work.step.plan(work.region)
    _log.info("%s: %s", work.name, planned)
    with ThreadPoolExecutor(1) as here:
        while True:
            _hand_out(work, here)
            if work.given:
                _take_back(work)
            elif unfinished(work.region.engine, work.name) == 0:
                break
            else:  # others have them, or they wait for another try
                time.sleep(POLL_S)
            if time.monotonic() > work.tell_after_s:
                _tell(work)
    _tell(work)
    if work.name in _NEEDED:
        _refuse_failed(work)


def _hand_out(work: _Work, here: ThreadPoolExecutor) -> None:
    """Claim as many tasks as there are free workers, and give them out."""
    room = _capacity(work) - len(work.given)
    if room < 1:
        return
    run = work.region.settings.run
    claims = claim(
        work.region.engine,
        work.name,
        owner=work.owner,
        count=room,
        lease_s=run.lease_s,
        max_attempts=run.max_attempts,
    )
    if not claims:
        return
    for job in work.step.jobs(work.region, claims):
        if work.step.here:
            future: Any = here.submit(perform_step, job)
        else:
            future = work.client.submit(perform_step, job, pure=False)
        work.given[future] = job.claim
        future.add_done_callback(work.ended.put)


def perform_step(job: Job) -> Result:
    """Do a job, wherever it has come to."""
    return perform(job, STEPS[job.claim.step].perform)


def _capacity(work: _Work) -> int:
    """How many jobs to have out: all workers busy, and some more so that none waits."""
    if work.step.here:
        return 1
    try:
        threads: dict[str, int] = work.client.nthreads()
    except (OSError, TimeoutError) as error:
        raise _lost(work) from error
    if not work.step.of_pairs and all(count > 1 for count in threads.values()):
        # Threads of one process: they would share the drawing and the files of larger products.
        return len(threads)
    busy = sum(threads.values())
    return busy + max(1, busy // 4)


def _take_back(work: _Work) -> None:
    """Wait for a job to end, and record it with all others that have ended."""
    try:
        ended = [work.ended.get(timeout=POLL_S)]
    except queue.Empty:
        if work.client.status == "closed":
            raise _lost(work) from None
        return
    while not work.ended.empty():
        ended.append(work.ended.get())
    results = [_result(work, future) for future in ended]
    recorded = record(work.region.engine, results, owner=work.owner)
    if len(recorded) < len(results):
        _log.warning(
            "%d results of %s came too late: their leases had run out, and others did them",
            len(results) - len(recorded), work.name,
        )  # fmt: skip
    for result in recorded:
        if isinstance(result.outcome, Failure):
            told = result.outcome.error.splitlines()[0]
            _log.warning("%s of %s failed: %s", work.name, result.claim.subject, told)


def _result(work: _Work, future: Any) -> Result:
    claimed = work.given.pop(future)
    if isinstance(future, Future) and future.cancelled():
        raise _lost(work)
    try:
        result: Result = future.result()
    except KilledWorker as error:
        told = (
            f"the workers that did it died ({error.last_worker.address}): is there enough memory?"
        )
        return Result(claimed, Failure("KilledWorker", told), "", 0.0, 0.0)
    return result


def _lost(work: _Work) -> ClusterError:
    return ClusterError(
        f"the Dask scheduler was lost while {work.name} was being done; what is done is kept: run "
        "again"
    )


def _tell(work: _Work) -> None:
    if work.progress is None:
        return
    began_s = time.monotonic()
    for step in region_status(work.region.engine, [work.name]).steps:
        work.progress(work.name, step.done + step.failed, step.total)
    now_s = time.monotonic()
    work.tell_after_s = now_s + max(TELL_S, (now_s - began_s) / TELL_SHARE)


def _refuse_failed(work: _Work) -> None:
    """Stop where nothing can follow."""
    errors = region_status(work.region.engine, [work.name]).errors
    if errors:
        raise RunError(
            f"the step {work.name!r} failed: {errors[0].example}; when that is mended, run "
            "`ogive retry` and run again"
        )
