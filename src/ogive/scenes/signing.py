"""Addresses that have to be signed before they can be read, and that expire.

A signer is a function of an address; see `Signer`. Scenes keep addresses without signatures, so
that their fingerprints last; they are signed as they are read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests

from .errors import SignatureError

__all__ = ["SasSigner", "Signer", "sign_known_hosts", "unsigned"]

PLANETARY_COMPUTER_TOKENS = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
_AZURE_HOST = ".blob.core.windows.net"
_SAS_PARAMETERS = {
    "st", "se", "sp", "sv", "sr", "sig", "skoid", "sktid", "skt", "ske", "sks", "skv",
}  # fmt: skip
_RENEW_BEFORE = timedelta(minutes=2)
_TIMEOUT_S = 30.0


class Signer(Protocol):
    """Signs an address, by a token that it may keep; afresh where the kept one was refused."""

    def __call__(self, url: str, /, *, fresh: bool = False) -> str:
        """Give the address as it can be read now."""


class _Token(NamedTuple):
    text: str
    expires: datetime


_tokens: dict[str, _Token] = {}
_tokens_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class SasSigner:
    """Signs addresses of Azure's blob storage by tokens of a service, such as Planetary Computer's.

    Parameters
    ----------
    endpoint
        Address of the service; ``/account/container`` is added to it, and it answers with JSON of
        ``token`` and ``msft:expiry``.
    host
        End of the names of hosts whose addresses are signed; the rest is left as it is.
    """

    endpoint: str = PLANETARY_COMPUTER_TOKENS
    host: str = _AZURE_HOST

    def __call__(self, url: str, /, *, fresh: bool = False) -> str:
        """Give the address as it can be read now.

        Raises
        ------
        SignatureError
            If the service gives no token.
        """
        parts = urlsplit(url)
        if not (parts.hostname or "").endswith(self.host):
            return url
        account, container = (parts.hostname or "").split(".")[0], parts.path.split("/")[1]
        token = self._token(f"{self.endpoint}/{account}/{container}", fresh=fresh)
        return f"{unsigned(url)}{'&' if urlsplit(unsigned(url)).query else '?'}{token}"

    def _token(self, address: str, *, fresh: bool) -> str:
        with _tokens_lock:
            kept = _tokens.get(address)
            if fresh or kept is None or kept.expires - _RENEW_BEFORE < datetime.now(UTC):
                kept = _tokens[address] = _ask_for_token(address)
        return kept.text


def _ask_for_token(address: str) -> _Token:
    try:
        answer = requests.get(address, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        told = answer.json()
        return _Token(str(told["token"]), datetime.fromisoformat(str(told["msft:expiry"])))
    except (requests.RequestException, ValueError, KeyError) as error:
        raise SignatureError(f"{address} gives no token to sign addresses with: {error}") from error


def sign_known_hosts(url: str, /, *, fresh: bool = False) -> str:
    """Sign the addresses of archives that are known to need it: Planetary Computer's.

    Examples
    --------
    >>> sign_known_hosts("https://sentinel-cogs.s3.us-west-2.amazonaws.com/B08.tif")
    'https://sentinel-cogs.s3.us-west-2.amazonaws.com/B08.tif'
    """
    return SasSigner()(url, fresh=fresh)


def unsigned(url: str) -> str:
    """Take Azure's signature off an address, by which it can be told from others for good.

    Examples
    --------
    >>> unsigned("https://x.blob.core.windows.net/a/B08.tif?sv=2024&sig=abc")
    'https://x.blob.core.windows.net/a/B08.tif'
    >>> unsigned("https://archive.org/get?scene=5")
    'https://archive.org/get?scene=5'
    """
    parts = urlsplit(url)
    asked: Mapping[str, str] = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "sig" not in asked:
        return url
    rest = {name: value for name, value in asked.items() if name not in _SAS_PARAMETERS}
    return urlunsplit(parts._replace(query=urlencode(rest)))
