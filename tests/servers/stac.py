"""A STAC API on the loopback, with faults by script.

It serves a folder of items and images, such as ``ogive simulate`` makes: the API that pystac-client
speaks (landing page, collections, search in pages), the images with range requests, and a service
of tokens as Planetary Computer has one. What is asked is logged, so that tests can count.

    with StacServer(folder) as server:
        server.fault("B08.tif", Fault(status=503), Fault(status=503))
        client = pystac_client.Client.open(server.url)

It also runs by itself: ``python -m tests.servers.stac FOLDER --port 8080``.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import shapely

CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
]
JSON = "application/geo+json"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one answer.

    ``status`` answers with an error; ``keep_bytes`` breaks the connection after so many bytes of
    the body; ``truncated_to`` gives the file as if it ended there; ``wait_s`` comes before.
    """

    status: int | None = None
    retry_after_s: int | None = None
    keep_bytes: int | None = None
    truncated_to: int | None = None
    wait_s: float = 0.0
    forever: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it was answered."""

    method: str
    path: str
    range: str
    status: int
    sent_bytes: int


class StacServer:
    """The server, in a thread of its own.

    Parameters
    ----------
    folder
        Holds items as JSON files (``type`` is ``Feature``) and their images.
    signed
        Images are given only for a token of this server's that has not expired; else 403.
    token_s
        So long a token lasts.
    page
        Items of one page of an answer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        signed: bool = False,
        token_s: float = 3600.0,
        page: int = 100,
        ranges: bool = True,
        port: int = 0,
    ) -> None:
        self.folder = Path(folder)
        self.signed, self.token_s, self.page, self.ranges = signed, token_s, page, ranges
        self.requests: list[Request] = []
        self.tokens: dict[str, float] = {}
        self._faults: dict[str, deque[Fault]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.items = list(self._read_items())

    @property
    def url(self) -> str:
        """Root of the API."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def tokens_url(self) -> str:
        """Address of the service of tokens."""
        return f"{self.url}/token"

    def __enter__(self) -> StacServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(self, path_part: str, *faults: Fault) -> None:
        """Let the next answers for paths that hold a text go wrong, in this order."""
        with self._lock:
            self._faults.setdefault(path_part, deque()).extend(faults)

    def mend(self) -> None:
        """Take all faults back."""
        with self._lock:
            self._faults.clear()

    def expire_tokens(self) -> None:
        """Let all tokens that were given be void."""
        with self._lock:
            self.tokens.clear()

    def asked(self, path_part: str) -> list[Request]:
        """Requests whose path holds a text."""
        with self._lock:
            return [request for request in self.requests if path_part in request.path]

    def next_fault(self, path: str) -> Fault | None:
        with self._lock:
            for part, faults in self._faults.items():
                if part in path and faults:
                    return faults[0] if faults[0].forever else faults.popleft()
        return None

    def note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def new_token(self) -> dict[str, str]:
        name, now = secrets.token_hex(8), time.time()
        with self._lock:
            self.tokens[name] = now + self.token_s
        expires = datetime.now(UTC) + timedelta(seconds=self.token_s)
        return {"msft:expiry": expires.isoformat(), "token": f"sv=2024&sig={name}"}

    def accepts(self, query: dict[str, list[str]]) -> bool:
        given = query.get("sig", [""])[0]
        with self._lock:
            return not self.signed or self.tokens.get(given, 0.0) > time.time()

    def _read_items(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.rglob("*.json")):
            item = json.loads(path.read_text(encoding="utf-8"))
            if item.get("type") != "Feature":
                continue
            for asset in item["assets"].values():
                place = (path.parent / asset["href"]).resolve().relative_to(self.folder.resolve())
                asset["href"] = f"{self.url}/files/{place.as_posix()}"
            item["links"] = []
            yield item

    def collections(self) -> list[dict[str, Any]]:
        names = sorted({item["collection"] for item in self.items})
        return [_collection(name, self.url) for name in names]

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One page of an answer; ``token`` says from which item on."""
        found = [item for item in self.items if _fits(item, asked)]
        found.sort(key=lambda item: item["properties"]["datetime"], reverse=True)
        start = int(asked.get("token") or 0)
        limit = min(int(asked.get("limit") or self.page), self.page)
        answer = {
            "type": "FeatureCollection",
            "features": found[start : start + limit],
            "numberMatched": len(found),
            "links": [],
        }
        if start + limit < len(found):
            answer["links"] = [
                {
                    "rel": "next",
                    "href": f"{self.url}/search",
                    "method": "POST",
                    "body": {**asked, "token": str(start + limit)},
                }
            ]
        return answer


def _collection(name: str, url: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [
            {"rel": "self", "href": f"{url}/collections/{name}", "type": "application/json"},
            {"rel": "root", "href": url, "type": "application/json"},
        ],
    }


def _fits(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    told = item["properties"]
    if asked.get("ids") and item["id"] not in asked["ids"]:
        return False
    if asked.get("collections") and item["collection"] not in asked["collections"]:
        return False
    outline = shapely.geometry.shape(item["geometry"])
    if asked.get("bbox") and not outline.intersects(shapely.box(*asked["bbox"])):
        return False
    wanted = asked.get("intersects")
    if wanted and not outline.intersects(shapely.geometry.shape(wanted)):
        return False
    if asked.get("datetime"):
        first, _, last = asked["datetime"].partition("/")
        if not first <= told["datetime"] <= (last or first):
            return False
    return all(_holds(told, name, tests) for name, tests in (asked.get("query") or {}).items())


def _holds(told: dict[str, Any], name: str, tests: dict[str, Any]) -> bool:
    value = told.get(name)
    compare = {
        "eq": lambda bound: value == bound,
        "lt": lambda bound: value is not None and value < bound,
        "lte": lambda bound: value is not None and value <= bound,
        "gte": lambda bound: value is not None and value >= bound,
        "in": lambda bound: value in bound,
    }
    return all(compare[test](bound) for test, bound in tests.items())


def _handler(server: StacServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """The server keeps its own log."""

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._answer(json.loads(self.rfile.read(length) or b"{}"))

        def _answer(self, asked: dict[str, Any]) -> None:
            parts = urlsplit(self.path)
            fault = server.next_fault(parts.path) or Fault()
            time.sleep(fault.wait_s)
            try:
                if fault.status is not None:
                    self._send(fault.status, b"", fault=fault)
                elif parts.path.startswith("/files/"):
                    self._send_file(parts.path, parse_qs(parts.query), fault)
                else:
                    self._send_json(parts.path, parse_qs(parts.query), asked, fault)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _send_json(
            self, path: str, query: dict[str, list[str]], asked: dict[str, Any], fault: Fault
        ) -> None:
            answer = self._api(path, query, asked)
            status = 404 if answer is None else 200
            self._send(status, json.dumps(answer).encode(), kind=JSON, fault=fault)

        def _api(self, path: str, query: dict[str, list[str]], asked: dict[str, Any]) -> Any:
            if path in {"", "/"}:
                return _landing(server.url)
            if path == "/collections":
                return {"collections": server.collections(), "links": []}
            if path.startswith("/collections/"):
                known = {collection["id"]: collection for collection in server.collections()}
                return known.get(path.removeprefix("/collections/"))
            if path == "/search":
                return server.search(asked or _from_query(query))
            if path.startswith("/token/"):
                return server.new_token()
            return None

        def _send_file(self, path: str, query: dict[str, list[str]], fault: Fault) -> None:
            file = (server.folder / path.removeprefix("/files/")).resolve()
            if not server.accepts(query):
                self._send(403, b"AuthenticationFailed", fault=fault)
                return
            if not file.is_file() or server.folder.resolve() not in file.parents:
                self._send(404, b"", fault=fault)
                return
            data = file.read_bytes()[: fault.truncated_to]
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted is None or not server.ranges:
                self._send(200, data, fault=fault)
                return
            start, stop = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
            if start >= len(data):
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"}, fault=fault)
                return
            place = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
            self._send(206, data[start:stop], place, fault=fault)

        def _send(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            *,
            kind: str = "application/octet-stream",
            fault: Fault,
        ) -> None:
            sent = body if fault.keep_bytes is None else body[: fault.keep_bytes]
            server.note(
                Request(self.command, self.path, self.headers.get("Range", ""), status, len(sent))
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", kind)
            if fault.retry_after_s is not None:
                self.send_header("Retry-After", str(fault.retry_after_s))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)
            if len(sent) < len(body):
                self.close_connection = True

    return Handler


def _landing(url: str) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "loopback",
        "description": "Items of a folder",
        "conformsTo": CONFORMS,
        "links": [
            {"rel": "self", "href": url, "type": "application/json"},
            {"rel": "root", "href": url, "type": "application/json"},
            {"rel": "data", "href": f"{url}/collections", "type": "application/json"},
            {"rel": "search", "href": f"{url}/search", "type": JSON, "method": "POST"},
            {"rel": "search", "href": f"{url}/search", "type": JSON, "method": "GET"},
        ],
    }


def _from_query(query: dict[str, list[str]]) -> dict[str, Any]:
    asked: dict[str, Any] = {name: values[0] for name, values in query.items()}
    for name, read in (("bbox", float), ("collections", str), ("ids", str)):
        if name in asked:
            asked[name] = [read(value) for value in asked[name].split(",")]
    if "intersects" in asked:
        asked["intersects"] = json.loads(asked["intersects"])
    return asked


def main() -> None:
    """Serve a folder until it is stopped."""
    parser = argparse.ArgumentParser(description="Serve a folder of STAC items and images.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--signed", action="store_true", help="images want a token")
    given = parser.parse_args()
    with StacServer(given.folder, port=given.port, signed=given.signed) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
