"""The viewer's server: this computer only unless asked, behind a random word.

The page's address holds a random word and there is no list of pages; its websocket answers only
pages of the same host. The browser names products by their keys; it cannot name a file.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

import panel as pn

from ogive.model import InputError

__all__ = ["Served", "serve"]

LOCAL = "127.0.0.1"


class Served(NamedTuple):
    """A server that is ready to run, and where its page is."""

    server: Any
    url: str


def serve(page: Callable[[], Any], *, title: str, port: int = 0, host: str | None = None) -> Served:
    """Make a server of one page.

    Parameters
    ----------
    page
        Makes the page for each browser.
    title
        Of the browser's window.
    port
        0 takes a free one.
    host
        Name or address of this computer in a network whose other computers may look too; by default
        only this one may.

    Raises
    ------
    InputError
        If the port or the address cannot be used.
    """
    place = host or LOCAL
    names = (place,) if host else (LOCAL, "localhost")
    word = secrets.token_urlsafe(24)
    try:
        port = port or _free_port(place)
        server = pn.serve(
            {word: page},
            title={word: title},
            port=port,
            address=place,
            websocket_origin=[f"{name}:{port}" for name in names],
            show=False,
            start=False,
            verbose=False,
            use_index=False,
            redirect_root=False,
        )
    except (OSError, OverflowError) as error:
        raise InputError(
            f"port {port} of {place} cannot be used ({error}): take another, or 0 for any free one"
        ) from error
    return Served(server, f"http://{place}:{port}/{word}")


def _free_port(place: str) -> int:
    """Find a port that is free now: the websocket's origin has to be known before it is taken."""
    family, *_, address = socket.getaddrinfo(place, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind(address)
        free: int = probe.getsockname()[1]
    return free
