"""Fingerprints: what a result was made of, in sixteen letters.

A step of a run is a pure function of its parameters and inputs. Their fingerprint names its result:
equal fingerprints, equal results, so that nothing is done twice and a changed parameter redoes just
what depends on it. A fingerprint is the first 64 bits of BLAKE2b over canonical JSON (sorted keys,
no spaces): among a million results two would share one once in some forty million regions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ogive.model import InputError

__all__ = ["FINGERPRINT_LETTERS", "file_fingerprint", "fingerprint", "pair_key"]

FINGERPRINT_LETTERS = 16
_BYTES = FINGERPRINT_LETTERS // 2
_CHUNK = 2**20


def fingerprint(*parts: Any) -> str:
    """Name what some values make together, the same on every machine.

    Parameters
    ----------
    *parts
        Numbers, text, dates, paths (as they are written, not what they hold: see
        `file_fingerprint`), dataclasses, pydantic models, and lists and mappings of these.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Raises
    ------
    InputError
        If a part has no canonical form.

    Examples
    --------
    >>> fingerprint({"window": 32, "step": 8}) == fingerprint({"step": 8, "window": 32})
    True
    >>> fingerprint({"window": 32}) == fingerprint({"window": 33})
    False
    """
    text = json.dumps(
        [_plain(part) for part in parts], sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.blake2b(text.encode(), digest_size=_BYTES).hexdigest()


def file_fingerprint(path: str | Path) -> str:
    """Name what a file holds, wherever it lies; of a folder, what its files hold.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=_BYTES)
    path = Path(path)
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(file.relative_to(path).as_posix().encode())
            with file.open("rb") as opened:
                while chunk := opened.read(_CHUNK):
                    digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def pair_key(earlier: str, later: str) -> str:
    """Name a pair of scenes by their fingerprints; quick, for there are millions of pairs.

    Examples
    --------
    >>> pair_key("0f", "1e") == pair_key("1e", "0f")
    False
    """
    return hashlib.blake2b(f"{earlier}>{later}".encode(), digest_size=_BYTES).hexdigest()


def _plain(value: Any) -> Any:
    """Turn a value into what JSON says in one way only."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="python"))
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        # 3 and 3.0 are one parameter, however a file writes it.
        return int(value) if value.is_integer() else value
    raise InputError(f"{value!r} of type {type(value).__name__} has no fingerprint")
