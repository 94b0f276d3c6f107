"""Where jobs are done: Dask's workers on this machine, of SLURM, or of any running scheduler."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import dask
from distributed import Client, LocalCluster

from ogive.model import InputError, OgiveError
from ogive.workflow.runfile_settings import RunFile

__all__ = ["CLUSTERS", "ClusterError", "workers"]

CLUSTERS = ("local", "threads", "slurm")
CONNECT_S = 30.0
# Without it Dask would ask the network which machine this is, and there may be none.
LOOPBACK = "127.0.0.1"
_DASK = {
    # A job is done once more where its worker died, and then it has failed: it may be what kills.
    "distributed.scheduler.allowed-failures": 2,
    # Dask would look a hundred times a second at what its workers do.
    "distributed.worker.profile.enabled": False,
}


class ClusterError(OgiveError, RuntimeError):
    """The workers cannot be had, or were lost."""


@contextmanager
def workers(cluster: str, settings: RunFile) -> Iterator[Client]:
    """Lend a client of workers.

    Parameters
    ----------
    cluster
        ``"local"``: processes on this machine; ``"threads"``: threads of this process;
        ``"slurm"``: jobs of a SLURM cluster, as the run file asks for them; or the address of a
        Dask scheduler, such as ``tcp://host:8786``.
    settings
        The run file.

    Raises
    ------
    InputError
        If there is no such cluster.
    ClusterError
        If the scheduler does not answer, or there is no SLURM here.
    """
    with dask.config.set(_DASK):
        if "://" in cluster:
            with _at(cluster) as client:
                yield client
        else:
            with _started(cluster, settings) as started, Client(started) as client:
                yield client


@contextmanager
def _at(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"there is no Dask scheduler at {address} ({error}): start one by `dask scheduler`, or "
            "take --cluster local"
        ) from error
    with client:
        yield client


def _started(cluster: str, settings: RunFile) -> Any:
    count = settings.run.workers or os.cpu_count() or 1
    usual: dict[str, Any] = {
        "host": LOOPBACK,
        "protocol": "tcp://",
        # Any free port, on this machine alone: without one it takes 8787, as others do.
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.ERROR,
    }
    if cluster == "local":
        return LocalCluster(n_workers=count, threads_per_worker=1, **usual)
    if cluster == "threads":
        return LocalCluster(n_workers=1, threads_per_worker=count, processes=False, **usual)
    if cluster == "slurm":
        return _slurm(settings)
    raise InputError(
        f"no cluster {cluster!r}: take {', '.join(CLUSTERS)}, or the address of a scheduler"
    )


def _slurm(settings: RunFile) -> Any:
    if find_spec("dask_jobqueue") is None:
        raise InputError("SLURM needs dask-jobqueue: install it by pip install 'ogive[cluster]'")
    # Otherwise the run would wait for workers that nobody was asked for.
    if shutil.which("sbatch") is None:
        raise ClusterError(
            "there is no SLURM on this machine (no command sbatch): run it on a machine that "
            "submits jobs, or take --cluster local"
        )
    from dask_jobqueue.slurm import SLURMCluster

    asked = settings.run.slurm
    cluster = SLURMCluster(
        queue=asked.queue,
        account=asked.account,
        cores=asked.cores,
        processes=asked.cores,
        memory=asked.memory,
        walltime=asked.walltime,
        interface=asked.interface,
        # Any free port: several runs may share a login node.
        scheduler_options={"dashboard_address": ":0"},
    )
    cluster.scale(jobs=asked.jobs)
    return cluster
