"""Who works on a task: a run's name, by which runs of the same machine can see whether it lives."""

from __future__ import annotations

import hashlib
import itertools
import os
import socket
from functools import cache
from pathlib import Path

import psutil

__all__ = ["is_dead", "new_owner"]

_PID_NAMESPACE = Path("/proc/self/ns/pid")
_SAME_START_S = 1.0
# A process may run several times.
_numbers = itertools.count(1)


def new_owner() -> str:
    """Name this process so that no other, before or after, here or elsewhere, has its name.

    Examples
    --------
    >>> is_dead(new_owner())
    False
    """
    started_ms = round(1000 * psutil.Process().create_time())
    return f"{socket.gethostname()[:40]}:{_machine()}:{os.getpid()}:{started_ms}:{next(_numbers)}"


def is_dead(owner: str) -> bool:
    """Whether a run has died for sure: it was of this machine, and its process is gone."""
    try:
        _, machine, pid, started_ms, _ = owner.rsplit(":", 4)
    except ValueError:
        return False
    if machine != _machine():
        return False
    try:
        process = psutil.Process(int(pid))
        another = abs(process.create_time() - int(started_ms) / 1000) > _SAME_START_S
        return another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


@cache
def _machine() -> str:
    """Name this machine since it was started, and the container whose processes are seen."""
    namespace = _PID_NAMESPACE.readlink() if _PID_NAMESPACE.exists() else ""
    told = f"{socket.gethostname()} {round(psutil.boot_time() / 60)} {namespace}"
    return hashlib.blake2b(told.encode(), digest_size=4).hexdigest()
