"""Pieces of files from servers: asked for again where that may help, and told clearly where not."""

from __future__ import annotations

import logging
import os
import random
import re
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

import requests

from ogive.model import InputError

from .errors import (
    DamagedImageError,
    MissingImageError,
    RefusedError,
    SceneReadError,
    SignatureError,
    UnavailableError,
)
from .signing import Signer

__all__ = ["Piece", "Retries", "fetch"]

_MISSING = {404, 410}
_REFUSED = {401, 403}
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_RANGE_OUTSIDE = 416
_LONGEST_WAIT_S = 120.0

_log = logging.getLogger(__name__)
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently a server is asked.

    Parameters
    ----------
    attempts
        So many times in all.
    wait_s
        After the first failure; it doubles with each further one, and is varied by a quarter so
        that many workers do not return at once. A server's own ``Retry-After`` is kept to instead.
    timeout_s
        So long may a server be silent.
    """

    attempts: int = 5
    wait_s: float = 1.0
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.wait_s < 0 or self.timeout_s <= 0:
            raise InputError(
                f"a server cannot be asked {self.attempts} times, {self.wait_s:g} s apart and with "
                f"a timeout of {self.timeout_s:g} s: give at least 1, 0 and more than 0"
            )


class Piece(NamedTuple):
    """Bytes of a file from ``start`` on, and the size of the whole file."""

    start: int
    data: bytes
    total_bytes: int


class _BusyError(Exception):
    """What may be over at the next attempt."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def fetch(url: str, start: int, stop: int, *, signer: Signer, retries: Retries) -> Piece:
    """Fetch bytes ``start`` to ``stop`` of a file; more where the server gives only the whole.

    Parameters
    ----------
    url
        Without a signature.
    signer
        Gives the address as it is asked for. It is asked to sign afresh once when the server
        refuses an address.

    Raises
    ------
    SceneReadError
        Of the class that tells why; see `ogive.scenes.errors`.
    """
    address = signer(url)
    signed_afresh = False
    attempt = 1
    while True:
        try:
            return _ask(url, address, start, stop, retries.timeout_s)
        except RefusedError as error:
            renewed = address if signed_afresh else signer(url, fresh=True)
            if renewed == address:
                raise _refusal(url, error, signed=signed_afresh) from error
            address, signed_afresh = renewed, True
        except _BusyError as busy:
            if attempt == retries.attempts:
                raise UnavailableError(
                    f"{url} could not be had in {attempt} attempts, the last time because {busy}: "
                    "try again later"
                ) from busy
            wait_s = retries.wait_s * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            wait_s = min(wait_s if busy.wait_s is None else busy.wait_s, _LONGEST_WAIT_S)
            _log.info("%s: %s; attempt %d in %.1f s", url, busy, attempt + 1, wait_s)
            time.sleep(wait_s)
            attempt += 1


def _refusal(url: str, error: RefusedError, *, signed: bool) -> SceneReadError:
    if signed:
        return SignatureError(f"{url} is refused even when it is signed afresh: {error}")
    return error


def _ask(url: str, address: str, start: int, stop: int, timeout_s: float) -> Piece:
    """Ask once."""
    try:
        answer = _session().get(
            address,
            headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
            timeout=timeout_s,
        )
    except (
        requests.Timeout,
        requests.ConnectionError,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise _BusyError(f"the connection failed ({type(error).__name__})") from error
    except requests.RequestException as error:
        raise MissingImageError(f"{url} cannot be asked for: {error}") from error
    return _piece(url, answer, start)


def _piece(url: str, answer: requests.Response, start: int) -> Piece:
    status = answer.status_code
    if status == requests.codes.partial_content:
        told = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
        if told is None or int(told[1]) != start:
            raise _BusyError("the server gave another part of the file than was asked for")
        return Piece(start, answer.content, int(told[3]))
    if status == requests.codes.ok:
        return Piece(0, answer.content, len(answer.content))
    if status in _MISSING:
        raise MissingImageError(f"there is no file {url} (the server says {status})")
    if status in _REFUSED:
        raise RefusedError(
            f"{url} is refused by the server ({status}): it may want a login, a key or a signer, "
            "or there is no such file"
        )
    if status == _RANGE_OUTSIDE:
        raise DamagedImageError(f"{url} ends before byte {start}: the file is truncated")
    if status in _BUSY:
        raise _BusyError(f"the server answered {status}", _retry_after_s(answer))
    raise SceneReadError(f"{url} could not be had: the server answered {status} {answer.reason}")


def _retry_after_s(answer: requests.Response) -> float | None:
    """Seconds that a server asks to be left alone; its other form, a date, is not used by any."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _session() -> requests.Session:
    """One session for each thread of each process, to keep connections open."""
    if getattr(_local, "pid", None) != os.getpid():
        _local.pid, _local.session = os.getpid(), requests.Session()
    session: requests.Session = _local.session
    return session
