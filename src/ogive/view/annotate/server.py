"""The page's server: this computer only, behind a random word, nothing but the page and its images.

Requests carry no name of a file. The page's own files are a fixed list, tiles are numbers, and
whatever else is asked for is not there.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from ogive.model import InputError, OgiveError, OutputError
from ogive.view.annotate.session import Session, StaleError

__all__ = ["AnnotationServer"]

HOST = "127.0.0.1"
_PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "annotate.js": ("annotate.js", "text/javascript; charset=utf-8"),
    "marks.js": ("marks.js", "text/javascript; charset=utf-8"),
    "pane.js": ("pane.js", "text/javascript; charset=utf-8"),
    "picks.js": ("picks.js", "text/javascript; charset=utf-8"),
    "pyramid.js": ("pyramid.js", "text/javascript; charset=utf-8"),
}
_MOST_BYTES = 32 * 2**20
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_log = logging.getLogger(__name__)


class _Answer(NamedTuple):
    body: bytes
    kind: str
    status: HTTPStatus = HTTPStatus.OK


class AnnotationServer(ThreadingHTTPServer):
    """Serves one session at a random port (or the one given) of this computer.

    Parameters
    ----------
    session
        What is annotated.
    port
        0 takes a free one.

    Attributes
    ----------
    url : str
        Where the page is; the random word in it is the key.

    Raises
    ------
    InputError
        If the port is taken.
    """

    daemon_threads = True
    # A finished session must not wait for a browser that keeps its connection open.
    block_on_close = False

    def __init__(self, session: Session, *, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} cannot be used ({error}): take another, or 0 for any free one"
            ) from error
        self.url = f"http://{HOST}:{self.server_port}/{self.token}/"

    def finish(self) -> None:
        """Let `serve_forever` return."""
        threading.Thread(target=self.shutdown, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of a failure; a browser that left before its answer is none."""
        error = sys.exception()
        if isinstance(error, ConnectionError | TimeoutError):
            _log.debug("the browser closed a connection: %s", error)
            return
        _log.error("a request failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: AnnotationServer
    protocol_version = "HTTP/1.1"
    server_version = "ogive"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 120

    def do_GET(self) -> None:
        """Answer with the page, its description, its points or a tile."""
        self._answer(self._get)

    def do_PUT(self) -> None:
        """Take the points."""
        self._answer(self._put)

    def do_POST(self) -> None:
        """End the session."""
        self._answer(self._post)

    def _get(self, path: str) -> _Answer:
        if path in _PAGE:
            name, kind = _PAGE[path]
            page = files("ogive.view.annotate").joinpath("page", name)
            return _Answer(page.read_bytes(), kind)
        session = self.server.session
        if path == "pair":
            return _json(session.description())
        if path == "points":
            return _json(session.points())
        tile = _tile_asked(path)
        pixels = None if tile is None else session.tile(*tile)
        if pixels is None:
            return _said("there is nothing here", HTTPStatus.NOT_FOUND)
        return _Answer(pixels, "application/octet-stream")

    def _put(self, path: str) -> _Answer:
        if path != "points":
            return _said("there is nothing here", HTTPStatus.NOT_FOUND)
        if self.headers.get_content_type() != "application/json":
            return _said("points come as JSON", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            return _said("a length is needed", HTTPStatus.LENGTH_REQUIRED)
        if not 0 <= length <= _MOST_BYTES:
            return _said("too long", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            message = json.loads(self.rfile.read(length))
        except ValueError as error:
            return _said(f"this is no JSON ({error})", HTTPStatus.BAD_REQUEST)
        return _json(self.server.session.replace(message))

    def _post(self, path: str) -> _Answer:
        if path != "finish":
            return _said("there is nothing here", HTTPStatus.NOT_FOUND)
        return _json({"finished": True})

    def _answer(self, act: Callable[[str], _Answer]) -> None:
        """Let in who knows the word and is no page of another place; tell what went wrong."""
        path = self._path_behind_the_word()
        if path is None:
            answer = _said("the address is not complete", HTTPStatus.FORBIDDEN)
        else:
            try:
                answer = act(path)
            except StaleError as error:
                answer = _said(str(error), HTTPStatus.CONFLICT)
            except OutputError as error:
                answer = _said(str(error), HTTPStatus.INSUFFICIENT_STORAGE)
            except OgiveError as error:
                answer = _said(str(error), HTTPStatus.BAD_REQUEST)
        # What a refused request still has to say is not read.
        self.close_connection = self.close_connection or (
            answer.status >= HTTPStatus.BAD_REQUEST and self.command != "GET"
        )
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        if self.command == "POST" and answer.status == HTTPStatus.OK:
            self.server.finish()  # the answer is on its way: nothing more will be

    def _path_behind_the_word(self) -> str | None:
        port = self.server.server_port
        # A foreign name that leads here is a page elsewhere that tries to read this one.
        if self.headers.get("Host") not in {f"{HOST}:{port}", f"localhost:{port}"}:
            return None
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {
            f"http://{HOST}:{port}",
            f"http://localhost:{port}",
        }:
            return None
        word, slash, path = self.path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(word.encode(), self.server.token.encode()):
            return None
        return path

    def log_message(self, format: str, *args: Any) -> None:
        """Keep requests out of the user's sight, and the word out of logs."""


def _tile_asked(path: str) -> tuple[Literal["earlier", "later"], int, int, int] | None:
    """Read ``tile/earlier/LEVEL/COLUMN/ROW``."""
    parts = path.split("/")
    if len(parts) != 5 or parts[0] != "tile":
        return None
    if not all(part.isascii() and part.isdigit() and len(part) < 8 for part in parts[2:]):
        return None
    level, column, row = (int(part) for part in parts[2:])
    if parts[1] == "earlier":
        return "earlier", level, column, row
    return ("later", level, column, row) if parts[1] == "later" else None


def _json(value: Any) -> _Answer:
    return _Answer(json.dumps(value).encode(), "application/json")


def _said(sentence: str, status: HTTPStatus) -> _Answer:
    return _Answer(json.dumps({"error": sentence}).encode(), "application/json", status)
