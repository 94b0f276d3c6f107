"""The viewer as a person uses it: in a real browser, by mouse and by keyboard, and from outside."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from .simulated import ground

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed").expect

pytestmark = pytest.mark.xdist_group("browser")

SHOTS = Path(__file__).resolve().parents[3] / "build" / "viewer"
COMMAND = "from ogive.cli import main; main()"


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """The page's address, as the command tells it."""
    arguments = ["view", str(project), "--no-browser", "--points", str(project / "gnss.csv")]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--points-crs", "EPSG:32632"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stderr is not None
        told = server.stdout.readline().strip()
        assert told.startswith("http://127.0.0.1:"), server.stderr.read()
        yield told
        server.send_signal(signal.SIGINT)
        _, complaints = server.communicate(timeout=60)
    assert server.returncode == 0, complaints
    assert "Traceback" not in complaints


class Person:
    """What a person does with the page."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        self.elsewhere: list[str] = []
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._heard)
        page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "blob:", "data:")):
            self.elsewhere.append(request.url)

    def open(self, address: str) -> Person:
        self.page.goto(address)
        self.figures(1)
        self.settled()
        return self

    def figures(self, count: int) -> None:
        """Wait until so many figures are on the page."""
        figures = self.page.locator(".bk-Figure:visible")
        expect(figures).to_have_count(count, timeout=90_000)

    def settled(self) -> None:
        """Wait until all that was sent has been drawn."""
        self.page.wait_for_function(
            "() => Bokeh.documents.length > 0 && Bokeh.documents.every((one) => one.is_idle)"
        )
        self.page.wait_for_timeout(400)

    def chosen(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True)

    def at(self, share_x: float, share_y: float) -> tuple[float, float]:
        """A place of the screen by its shares of the map's figure."""
        box = self.page.locator(".bk-Figure").first.bounding_box()
        return box["x"] + share_x * box["width"], box["y"] + share_y * box["height"]

    def shot(self, name: str) -> np.ndarray:
        """A picture of the page, kept for a look."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")
        return np.asarray(imread(SHOTS / f"{name}.png"))

    def titled(self, title: str) -> None:
        """Wait until the map has a title."""
        self.page.wait_for_function(
            """(title) => Bokeh.documents.some((one) => [...one._all_models.values()].some(
                 (model) => model.type === "Title" && model.text === title))""",
            arg=title,
        )
        self.settled()

    def fill(self, label: str, text: str) -> None:
        self.chosen(label).fill(text)
        self.chosen(label).press("Enter")


@pytest.fixture
def person(browser: Any, address: str) -> Iterator[Person]:
    context = browser.new_context(viewport={"width": 1640, "height": 1000}, accept_downloads=True)
    person = Person(context.new_page()).open(address)
    yield person
    assert person.problems == []
    assert person.elsewhere == []
    context.close()


def trunk() -> tuple[float, float]:
    """Where the simulated glacier is fastest."""
    place = ground(60)
    row, column = np.unravel_index(np.argmax(np.hypot(place.vx, place.vy)), place.vx.shape)
    return place.grid.coordinates["x"].values[column], place.grid.coordinates["y"].values[row]


def test_the_first_view_is_a_glacier_over_its_ground(person):
    person.titled("speed, 2023–2024")
    picture = person.shot("map")
    assert person.chosen("Ground").input_value() == "hillshade of dem.tif"
    map_only = picture[60:600, 420:980, :3].reshape(-1, 3)
    # Batlow runs from dark blue to pink: ice and rock are both there.
    assert (map_only[:, 0] > map_only[:, 2] + 0.1).mean() > 0.05
    assert (map_only[:, 2] > map_only[:, 0] + 0.1).mean() > 0.2


def test_a_click_shows_its_series_and_another_one_below(person):
    person.page.mouse.click(*person.at(0.42, 0.45))
    person.figures(2)
    person.page.mouse.click(*person.at(0.35, 0.3))
    person.figures(3)
    person.settled()
    person.shot("points")
    person.page.get_by_role("button", name="Remove points").click()
    person.figures(1)


@pytest.mark.parametrize("width_px", [1366, 1640])
def test_the_series_are_seen_in_narrow_windows_and_wide_ones(person, width_px):
    person.page.set_viewport_size({"width": width_px, "height": 1000})
    person.page.mouse.click(*person.at(0.42, 0.45))
    person.figures(2)
    person.settled()
    person.shot(f"window_{width_px}")
    box = person.page.locator(".bk-Figure").nth(1).bounding_box()
    assert box["x"] + box["width"] <= width_px
    # Below a square map, two thirds of it.
    assert box["y"] + 0.67 * box["height"] <= 1000


def test_everything_is_reached_by_the_keyboard(person):
    x, y = trunk()
    reached = set()
    for _ in range(40):
        person.page.keyboard.press("Tab")
        reached.add(
            person.page.evaluate(
                """() => {
                     let node = document.activeElement
                     while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement
                     const label = node?.labels?.[0] ?? node?.getRootNode().querySelector("label")
                     return (label?.textContent || node?.textContent || "").trim()
                   }"""
            )
        )
        if "Point: x, y" in reached and "map.csv" in " ".join(reached):
            break
    wanted = {"Product", "Layer", "Date", "Colour scale", "Hide", "Ground", "Point: x, y"}
    assert wanted <= reached, reached
    person.chosen("Point: x, y").focus()
    person.page.keyboard.type(f"{x}, {y}")
    person.page.keyboard.press("Enter")
    person.figures(2)
    person.settled()
    person.shot("keyboard")


def test_a_line_has_its_section_and_pairs_their_network(person):
    person.page.get_by_label("adds to the profile line").check()
    for share in ((0.3, 0.15), (0.42, 0.45), (0.6, 0.7)):
        person.page.mouse.click(*person.at(*share))
        person.settled()
    person.figures(2)
    # The section of the last corner is drawn anew when it has been computed, and takes the place
    # of what is clicked meanwhile.
    person.page.wait_for_timeout(3000)
    person.settled()
    person.figures(2)
    person.shot("profile")
    person.page.get_by_text("Network", exact=True).click()
    person.figures(3)
    person.settled()
    person.shot("network")


def test_products_layers_and_dates_are_chosen(person):
    person.chosen("Product").select_option("cube.zarr")
    person.titled("speed, median of 25 of 80 pairs")
    person.page.get_by_role("button", name="later ▶").click()
    person.titled("speed, " + person.chosen("Date").locator("option").nth(1).inner_text())
    person.chosen("Product").select_option("velocity.nc")
    person.titled("speed, one map")
    person.chosen("Layer").select_option(label="why a point has no value (flag)")
    person.titled("why a point has no value, one map")
    person.shot("flags")
    person.chosen("Product").select_option("series.zarr")
    person.titled("speed, 2019-01-01 to 2019-03-02")
    person.chosen("Layer").select_option(label="velocity along x (vx), m/yr")
    person.titled("velocity along x, 2019-01-01 to 2019-03-02")
    person.shot("component")


def test_what_cannot_be_done_is_said(person):
    person.fill("Point: x, y", "1, 2")
    person.page.get_by_text("lies outside of").wait_for()
    person.fill("Point: x, y", "here")
    person.page.get_by_text("is no place: give its two coordinates").wait_for()
    x, y = trunk()
    person.fill("Point: x, y", f"{x}, {y}")
    person.figures(2)
    assert not person.page.get_by_text("is no place").is_visible()


def test_what_is_shown_can_be_kept(person, tmp_path):
    x, y = trunk()
    person.fill("Point: x, y", f"{x}, {y}")
    person.figures(2)
    person.settled()
    for name in ("map", "points"):
        with person.page.expect_download() as kept:
            person.page.get_by_text(f"{name}.csv", exact=True).click()
        kept.value.save_as(tmp_path / f"{name}.csv")
        with person.page.expect_download() as kept:
            person.page.get_by_role("button", name=f"{name}.png").click()
        kept.value.save_as(SHOTS / f"exported_{name}.png")
        assert imread(SHOTS / f"exported_{name}.png").shape[0] > 200
    assert len(pd.read_csv(tmp_path / "map.csv")) > 3000
    points = pd.read_csv(tmp_path / "points.csv")
    assert set(points["kind"]) == {"observations", "series", "years", "stations"}


# ---- from outside --------------------------------------------------------------------------------


def ask(address: str, path: str, **headers: str) -> int:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/", "/view", "/../../etc/passwd", "/static/../../../../../../etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd", "/static//etc/passwd",
        "/components/_/_/../../../../../../etc/passwd", "/components/pathlib/Path//etc/passwd",
    ],
)  # fmt: skip
def test_nothing_but_the_page_is_served(address, path):
    assert ask(address, path) in {400, 403, 404}


def test_the_page_needs_its_word(address):
    word = urlsplit(address).path
    assert ask(address, word) == 200
    assert ask(address, word[:-3] + "abc") == 404


def test_other_pages_cannot_speak_to_it(address):
    handshake = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "bokeh, token",
    }  # fmt: skip
    socket = urlsplit(address).path + "/ws"
    assert ask(address, socket, Origin="http://elsewhere.example", **handshake) == 403
