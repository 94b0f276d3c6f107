"""Files from the web, checked and kept."""

from __future__ import annotations

import logging
import re
import urllib.error
import urllib.request
from http.client import HTTPException, IncompleteRead
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import platformdirs

from ogive.learning.files import file_sha256, written_whole
from ogive.model import InputError

__all__ = ["cache_folder", "downloaded", "is_url"]

_TIMEOUT_S = 30.0
_CHUNK = 1 << 18

_log = logging.getLogger(__name__)


def is_url(text: str) -> bool:
    """Whether a text is an address to download from, not a path.

    Examples
    --------
    >>> is_url("https://example.org/w.safetensors"), is_url("weights/w.safetensors")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def cache_folder() -> Path:
    """Where downloaded weights are kept: the user's cache folder of this system."""
    return platformdirs.user_cache_path("ogive") / "weights"


def downloaded(url: str, *, sha256: str, cache: Path | None = None) -> Path:
    """Download a file once, and give its place in the cache.

    The name in the cache holds the checksum, so that another file of the same address is another
    file here. The file appears there only when it is whole and its checksum right.

    Parameters
    ----------
    url
        ``http`` or ``https``.
    sha256
        What the file must have, in hexadecimal.
    cache
        Folder to keep it in; by default `cache_folder`.

    Raises
    ------
    InputError
        If the address cannot be read, or gives another file.
    """
    address = urlsplit(url)
    if address.scheme.lower() not in {"http", "https"}:
        raise InputError(f"{url} cannot be downloaded: only http and https addresses are")
    name = PurePosixPath(unquote(address.path)).name or "weights"
    kept = (cache or cache_folder()) / f"{sha256[:16]}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}"
    if kept.is_file():
        if file_sha256(kept) == sha256:
            return kept
        _log.warning("%s was damaged in the cache and is downloaded again", kept)
    with written_whole(kept) as partial:
        _fetch(url, partial)
        found = file_sha256(partial)
        if found != sha256:
            raise InputError(
                f"{url} has the SHA-256 {found}, not {sha256}: it is another file than was meant, "
                "or was damaged on the way; nothing was kept"
            )
    return kept


def _fetch(url: str, path: Path) -> None:
    try:
        # The scheme was checked: no file: or ftp: reaches this line.
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:
            expected = answer.length or 0  # by the header; the server may not tell
            done, told = 0, 0
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if expected and 10 * done // expected > told:
                    told = 10 * done // expected
                    _log.info("%s: %.1f of %.1f MB", url, done / 1e6, expected / 1e6)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} was refused: {error.code} {error.reason}") from error
    except IncompleteRead as error:
        raise InputError(f"the download of {url} broke off: try again") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url} cannot be downloaded: {reason}") from error
    if done < expected:
        raise InputError(
            f"the download of {url} broke off after {done:,} of {expected:,} bytes: try again"
        )
