"""A task on its way to a worker, and what becomes of it there.

A worker knows nothing of the catalogue: it gets a job, publishes a product under the name that its
fingerprint gives, and says so. If the product is there already, made by a run that died before it
could say so, it is taken as it is: products appear whole or not at all.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask

from ogive.model import OgiveError
from ogive.workflow.catalogue import Claim, Failure, Product, Result
from ogive.workflow.fingerprint import file_fingerprint
from ogive.workflow.runfile_settings import RunFile

__all__ = ["NETCDF", "Job", "perform", "product_of", "size_of"]

NETCDF = threading.RLock()
"""Held where NetCDF files are read or written, since their library does not bear two threads."""
FEWEST_S, MOST_S = 10.0, 600.0
"""Wait before another try at what may be over soon; it doubles with each."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs to know of a task.

    Parameters
    ----------
    claim
        The task.
    fingerprint
        Of what its product is made of.
    settings
        The run file.
    inputs
        Scenes, paths of earlier products, grids: what the step asks for.
    """

    claim: Claim
    fingerprint: str
    settings: RunFile
    inputs: Mapping[str, Any] = field(default_factory=dict)


def perform(job: Job, make: Callable[[Job], Product]) -> Result:
    """Do a job, and tell what became of it; whatever goes wrong becomes a failure that says so.

    Parameters
    ----------
    job
        What is to be done.
    make
        The step's function, which publishes the product.
    """
    wall, cpu = time.perf_counter(), time.thread_time()
    outcome: Product | Failure
    try:
        # Not by the cluster that this runs on, which would wait for itself.
        with dask.config.set(scheduler="threads", num_workers=job.settings.run.threads):
            outcome = make(job)
    except OgiveError as error:
        outcome = _failure(error, job.claim.attempts, job.settings.run.max_attempts)
    except Exception as error:
        _log.warning("%s of %s failed unexpectedly", job.claim.step, job.claim.subject)
        told = "".join(traceback.format_exception(error))
        outcome = Failure(type(error).__name__, f"unexpected: {error}\n{told}")
    return Result(
        claim=job.claim,
        outcome=outcome,
        host=socket.gethostname(),
        wall_s=time.perf_counter() - wall,
        cpu_s=time.thread_time() - cpu,
    )


def _failure(error: OgiveError, attempts: int, max_attempts: int) -> Failure:
    """Let what may be over soon be tried again, a few times."""
    again = None
    if getattr(error, "transient", False) and attempts < max_attempts:
        again = min(FEWEST_S * 2 ** (attempts - 1), MOST_S)
    return Failure(type(error).__name__, str(error), again_after_s=again)


def product_of(job: Job, path: Path, folder: Path, figures: Mapping[str, Any]) -> Product:
    """Describe a product that has been published."""
    return Product(
        fingerprint=job.fingerprint,
        path=path.relative_to(folder).as_posix(),
        bytes=size_of(path),
        checksum=file_fingerprint(path),
        figures=figures,
    )


def size_of(path: Path) -> int:
    """Size of a file, or of all files of a folder, in bytes."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
