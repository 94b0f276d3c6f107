"""Picking by hand as a person does it: in a real browser, and from the page's outside."""

from __future__ import annotations

import http.client
import io
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
from affine import Affine
from matplotlib.image import imread
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import OutputError, Pair, Scene
from ogive.store.picked_points import read_picked_points
from ogive.view.annotate import annotate
from ogive.view.annotate import session as session_module

pytestmark = [
    # Raised while these tests write files without a reference, on purpose.
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    # One browser at a time: with xdist all of these go to one worker.
    pytest.mark.xdist_group("browser"),
]

UTM = "EPSG:32607"
PLACE = Affine(15, 0, 480_000, 0, -15, 6_680_000)
ROWS, COLUMNS = 500, 640
STAR = {"x": 300.0, "y": 200.0}  # one bright pixel of the earlier image
MOVED = {"x": 307.0, "y": 197.0}  # and where it is in the later one
PAIR = Pair(Scene("a", datetime(2020, 7, 1)), Scene("b", datetime(2020, 7, 11)))


def write(path: Path, pixels: np.ndarray, *, crs: str | None = UTM, place: Affine = PLACE) -> Path:
    georeference = {"crs": crs, "transform": place} if crs else {}
    rows, columns = pixels.shape
    with rasterio.open(
        path, "w", "GTiff", columns, rows, 1, dtype=pixels.dtype, **georeference
    ) as file:
        file.write(pixels, 1)
    return path


def scenery(star: dict[str, float], seed: int = 0) -> np.ndarray:
    """Weak texture, and one bright pixel."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(ROWS, COLUMNS)), 2)
    pixels = 1000 + 100 * noise / noise.std()
    pixels[int(star["y"]), int(star["x"])] = 9000
    return pixels.astype(np.uint16)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("images")
    return (
        write(folder / "scene_20200701.tif", scenery(STAR)),
        write(folder / "scene_20200711.tif", scenery(MOVED, seed=1)),
    )


@contextmanager
def served(images: tuple[Path, Path], output: Path, **options: Any) -> Iterator[str]:
    """The page's address while a session runs in a thread; what fails there fails here."""
    address: queue.Queue[str] = queue.Queue()
    failure: list[BaseException] = []
    counts: list[int] = []

    def work() -> None:
        try:
            counts.append(
                annotate(
                    *images, output, pair=PAIR, open_browser=False, ready=address.put, **options
                )
            )
        except BaseException as error:
            failure.append(error)
            address.put("")

    thread = threading.Thread(target=work)
    thread.start()
    url = address.get(timeout=60)
    if not url:
        thread.join()
        raise failure[0]
    try:
        yield url
    finally:
        with suppress(ConnectionError):  # the page may have ended it already
            ask(url, "POST", "finish")
        thread.join(timeout=30)
    assert not thread.is_alive()
    assert not failure
    assert counts == [len(read_picked_points(output))]


def ask(
    url: str,
    method: str = "GET",
    path: str = "",
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    raw_path: str | None = None,
) -> tuple[int, bytes]:
    """One request, with exactly the path and headers given."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=30)
    try:
        connection.request(method, raw_path or parts.path + path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


# ---- in a browser --------------------------------------------------------------------------------


class Person:
    """What a person does with the page, in pixels of the images."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.set_default_timeout(90_000)

    def open(self, url: str) -> Person:
        self.page.goto(url)
        self.loaded()
        return self

    def loaded(self) -> None:
        """Wait until no tile is on its way for two frames in a row."""
        self.page.wait_for_selector('body[data-loading="0"]', state="attached")
        self.frame()
        self.page.wait_for_selector('body[data-loading="0"]', state="attached")

    def frame(self) -> None:
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => "
                           "requestAnimationFrame(done)))")  # fmt: skip

    def canvas(self, side: str) -> Any:
        return self.page.locator(f'.pane[data-side="{side}"] canvas')

    def view(self, side: str) -> SimpleNamespace:
        self.frame()
        told = self.canvas(side).evaluate("(canvas) => ({ ...canvas.dataset })")
        numbers = {name: float(told[name]) for name in ("x", "y", "scale")}
        return SimpleNamespace(shown=told["shown"], **numbers)

    def screen(self, side: str, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image lies on the screen."""
        view, box = self.view(side), self.canvas(side).bounding_box()
        return (
            box["x"] + box["width"] / 2 + (x - view.x) * view.scale,
            box["y"] + box["height"] / 2 + (y - view.y) * view.scale,
        )

    def move(self, side: str, x: float, y: float) -> None:
        self.page.mouse.move(*self.screen(side, x, y))

    def click(self, side: str, x: float, y: float) -> None:
        self.page.mouse.click(*self.screen(side, x, y))

    def zoom_to(self, side: str, x: float, y: float, scale: float) -> None:
        """Turn the wheel over a place until it is large enough."""
        for _ in range(40):
            if self.view(side).scale >= scale:
                break
            self.move(side, x, y)
            self.page.mouse.wheel(0, -200)
        self.loaded()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saved(self) -> None:
        self.page.wait_for_selector('#saved[data-state="saved"]')

    def rows(self) -> list[list[str]]:
        return [row.locator("td").all_inner_texts() for row in self.page.locator("#list tr").all()]

    def picture(self, side: str) -> np.ndarray:
        """What the screen shows of one view, grey 0 to 1."""
        self.frame()
        shot = imread(io.BytesIO(self.canvas(side).screenshot()))
        return shot[..., :3].mean(axis=-1)


@pytest.fixture
def person(browser: Any) -> Iterator[Person]:
    context = browser.new_context(viewport={"width": 1300, "height": 760})
    person = Person(context.new_page())
    yield person
    context.close()
    assert person.errors == []


def test_features_picked_in_both_images_are_saved_where_they_are(images, tmp_path, person):
    output = tmp_path / "points.gpkg"
    with served(images, output) as url:
        person.open(url)
        person.zoom_to("earlier", **STAR, scale=16)
        view = person.view("earlier")
        # The bright pixel is seen where the view says that it is, as a square of its size.
        person.press("n")
        person.page.locator("#clip").fill("0")
        person.page.mouse.move(5, 5)
        box = person.canvas("earlier").bounding_box()
        place = np.subtract(person.screen("earlier", **STAR), (box["x"], box["y"]))
        left, top = (round(value) - 40 for value in place)
        around = person.picture("earlier")[top : top + 80, left : left + 80]
        rows, columns = np.nonzero(around > 0.6)
        centre = [columns.mean() + 0.5 + left, rows.mean() + 0.5 + top]
        np.testing.assert_allclose(centre, place, atol=1)  # edges lie on whole screen pixels
        np.testing.assert_allclose([np.ptp(columns), np.ptp(rows)], view.scale, atol=2)

        person.click("earlier", **STAR)
        assert "later image" in person.page.inner_text("#hint")
        person.click("later", **MOVED)
        person.saved()
        table = person.rows()
    points = read_picked_points(output)
    # A click hits one screen pixel, 1/16 of an image pixel or less.
    click_px = 0.51 / view.scale
    (point,) = points.itertuples()
    assert point.dx_px == pytest.approx(7, abs=2 * click_px)
    assert point.dy_px == pytest.approx(-3, abs=2 * click_px)
    assert point.geometry.x == pytest.approx(480_000 + 15 * 300.5, abs=15 * click_px)
    assert point.geometry.y == pytest.approx(6_680_000 - 15 * 200.5, abs=15 * click_px)
    assert point.dx == pytest.approx(15 * point.dx_px)
    assert point.dy == pytest.approx(-15 * point.dy_px)
    assert (point.x2, point.y2) == pytest.approx(
        (point.geometry.x + point.dx, point.geometry.y + point.dy)
    )
    assert points.crs == UTM
    assert (point.earlier, point.later) == ("scene_20200701.tif", "scene_20200711.tif")
    assert point.earlier_time.isoformat() == "2020-07-01T00:00:00+00:00"
    assert point.later_time.isoformat() == "2020-07-11T00:00:00+00:00"
    assert (point.confidence, point.unit) == (2, "metre")
    assert abs(time.time() - point.picked_at.timestamp()) < 600
    length_m = np.hypot(point.dx, point.dy)
    assert table == [["1", f"{point.dx_px:.2f}", f"{point.dy_px:.2f}", f"{length_m:.1f}", "2", "×"]]


def test_views_move_together_until_they_are_unlinked(images, tmp_path, person):
    with served(images, tmp_path / "points.gpkg") as url:
        person.open(url)

        def both() -> list[tuple[float, float, float]]:
            views = [person.view(side) for side in ("earlier", "later")]
            return [(view.x, view.y, view.scale) for view in views]

        before = both()
        person.zoom_to("earlier", 400, 300, scale=3)
        assert both()[0] == both()[1] != before[0]
        held = person.screen("later", 400, 300)
        person.page.mouse.move(*held)
        person.page.mouse.down()
        person.page.mouse.move(held[0] + 60, held[1] - 30, steps=3)
        person.page.mouse.up()
        # What was held is still under the pointer, in both views.
        for side in ("earlier", "later"):
            shift = np.subtract(person.screen(side, 400, 300), held)
            if side == "later":
                np.testing.assert_allclose(shift, [60, -30], atol=1.5)
        assert both()[0] == both()[1]
        assert person.rows() == []  # a drag is no click

        person.press("u")
        person.move("later", 400, 300)
        person.page.mouse.wheel(0, -400)
        assert both()[0] != both()[1]
        assert person.page.get_attribute("#link", "aria-pressed") == "false"
        person.page.click("#link")
        assert both()[0] == both()[1]


def test_everything_is_reached_by_keys(images, tmp_path, person):
    """A whole session without a pointer."""
    output = tmp_path / "points.gpkg"
    with served(images, output) as url:
        person.open(url)
        person.canvas("earlier").focus()
        person.press("ArrowRight", "+", "+", "Shift+ArrowDown")
        start, scale = person.view("earlier"), person.view("earlier").scale
        person.press("3", "Enter", "Tab")
        assert person.page.evaluate("() => document.activeElement.parentElement.dataset.side") == (
            "later"
        )
        person.press("ArrowRight", "ArrowRight", "Shift+ArrowUp", "Enter")
        person.saved()
        (row,) = person.rows()
        assert float(row[1]) == pytest.approx(20 / scale, abs=0.011)  # written with two decimals
        assert float(row[2]) == pytest.approx(-1 / scale, abs=0.011)
        assert row[4] == "3"
        assert person.view("earlier").scale == start.scale

        person.press("1")  # of the pair just made
        assert person.rows()[0][4] == "1"
        person.press("Alt+ArrowLeft")
        assert float(person.rows()[0][1]) == pytest.approx(19 / scale, abs=0.011)
        person.press("Control+z", "Control+z")
        assert person.rows()[0] == row
        person.press("Control+y")
        assert person.rows()[0][4] == "1"
        person.press("Delete")
        assert person.rows() == []
        person.press("Control+z")
        assert person.rows()[0][4] == "1"

        person.press("Enter", "Escape", "Tab")  # half a pair, forgotten; on to the list
        assert person.page.evaluate("() => document.activeElement.tagName") == "TR"
        person.press("Enter")
        assert person.page.get_attribute("#list tr", "aria-selected") == "true"
        person.press("?")
        assert person.page.is_visible("#keys")
        person.press("Escape")
        assert person.page.is_hidden("#keys")
        person.page.wait_for_selector('#saved[data-state="saved"]')
    points = read_picked_points(output)
    assert points["confidence"].tolist() == [1]


def test_space_flickers_between_the_dates(images, tmp_path, person):
    with served(images, tmp_path / "points.gpkg") as url:
        person.open(url)
        person.zoom_to("earlier", **STAR, scale=8)
        person.press("l", "n")  # without the loupe, which would cover it; with sharp pixels
        person.move("earlier", STAR["x"] + 4, STAR["y"] + 8)
        person.loaded()

        def star_seen_at(side: str, place: dict[str, float]) -> bool:
            box = person.canvas(side).bounding_box()
            x, y = np.subtract(person.screen(side, **place), (box["x"], box["y"])).round()
            around = person.picture(side)[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
            return bool(around.mean() > 0.9)

        assert star_seen_at("earlier", STAR)
        assert not star_seen_at("earlier", MOVED)
        person.press("Space")
        assert person.view("earlier").shown == "later"
        assert star_seen_at("earlier", MOVED)
        assert not star_seen_at("earlier", STAR)
        assert "2020-07-11" in person.page.inner_text('.pane[data-side="earlier"] .badge')
        # Both features can be picked in one view.
        person.click("earlier", **MOVED)
        person.press("Space")
        person.click("earlier", **STAR)
        person.saved()
        (row,) = person.rows()
        # Two clicks on whole screen pixels of an eighth of an image pixel, and two decimals.
        assert float(row[1]) == pytest.approx(7, abs=1.02 / 8 + 0.01)
        assert float(row[2]) == pytest.approx(-3, abs=1.02 / 8 + 0.01)


def test_the_loupe_magnifies_what_lies_under_the_cursor(images, tmp_path, person):
    with served(images, tmp_path / "points.gpkg") as url:
        person.open(url)
        person.zoom_to("earlier", **STAR, scale=12)
        person.press("n")  # sharp pixels, so that the star is a square
        person.move("earlier", **STAR)
        person.loaded()
        magnified = 4 * person.view("earlier").scale
        shown = person.picture("earlier") > 0.97
        person.press("l")
        rows, columns = np.nonzero(shown & (person.picture("earlier") <= 0.97))
        # The star is the one white pixel of the loupe, as wide as it is high; the cross's arms
        # (four of them, 5 wide at most) are not white, and the magnification is written in white.
        sides = [np.count_nonzero(np.bincount(part) > magnified / 2) for part in (rows, columns)]
        np.testing.assert_allclose(sides, magnified, atol=6)


def test_a_session_goes_on_where_the_last_one_stopped(images, tmp_path, person):
    output = tmp_path / "points.gpkg"
    with served(images, output) as url:
        person.open(url)
        for x in (100, 250):
            person.click("earlier", x, 150)
            person.click("later", x + 30, 180)
        person.saved()
        person.page.reload()
        person.loaded()
        before = person.rows()
        assert len(before) == 2
    kept = read_picked_points(output)
    with served(images, output) as url:
        person.open(url)
        assert person.rows() == before
        person.page.click("#list tr:first-child button")
        person.saved()
    left = read_picked_points(output)
    assert left["id"].tolist() == [2]
    assert left.geometry.iloc[0].equals_exact(kept.geometry.iloc[1], 1e-6)
    assert left["picked_at"].iloc[0] == kept["picked_at"].iloc[1]


def test_a_mark_can_be_dragged_and_what_cannot_be_saved_is_told(
    images, tmp_path, person, monkeypatch
):
    output = tmp_path / "points.gpkg"
    with served(images, output) as url:
        person.open(url)
        person.click("earlier", 200, 200)
        person.click("later", 240, 200)
        person.saved()
        full = OutputError("points.gpkg cannot be written: the disk is full")
        writes = session_module.write_picked_points

        def fails(*_: Any) -> None:
            raise full

        monkeypatch.setattr(session_module, "write_picked_points", fails)
        person.move("later", 240, 200)
        person.page.mouse.down()
        person.page.mouse.move(*person.screen("later", 260, 210), steps=4)
        person.page.mouse.up()
        person.page.wait_for_selector('#saved[data-state="failed"]')
        assert "NOT SAVED: points.gpkg cannot be written: the disk is full" in (
            person.page.inner_text("#saved")
        )
        monkeypatch.setattr(session_module, "write_picked_points", writes)
        person.saved()  # it is tried again by itself
        scale = person.view("later").scale
    (moved,) = read_picked_points(output).itertuples()
    # Taken and let go on whole screen pixels.
    assert moved.dx_px == pytest.approx(60, abs=2 / scale)
    assert moved.dy_px == pytest.approx(10, abs=2 / scale)


def test_the_page_finishes_the_session(images, tmp_path, person):
    output = tmp_path / "points.gpkg"
    with served(images, output) as url:
        person.open(url)
        person.click("earlier", 200, 200)
        person.click("later", 240, 200)
        person.page.click("#finish")
        person.page.wait_for_selector("#finished:not([hidden])")
        assert "Pairs in points.gpkg: 1." in person.page.inner_text("#finished")
        for _ in range(100):  # ten seconds
            try:
                ask(url)
            except ConnectionError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the server still answers")


@pytest.mark.slow
def test_a_whole_sentinel2_tile_opens_within_three_seconds(tmp_path, person):
    size = 10_980
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(1024, 1024)), 1.5)
    pixels = np.tile((2000 + 3000 * texture).clip(1, 20000).astype(np.uint16), (11, 11))
    paths = []
    for date in ("20200701", "20200711"):
        path = tmp_path / f"T07VDH_{date}T210531_B08.tif"
        with rasterio.open(
            path, "w", "GTiff", size, size, 1, crs=UTM, transform=Affine(10, 0, 4e5, 0, -10, 67e5),
            dtype="uint16", nodata=0, tiled=True, compress="deflate", predictor=2, num_threads=2,
        ) as file:  # fmt: skip
            file.write(pixels[:size, :size], 1)
        paths.append(path)
    begin = time.monotonic()
    for path in paths:
        with rasterio.open(path) as file:
            file.read(1)
    plain = time.monotonic() - begin
    with served((paths[0], paths[1]), tmp_path / "points.gpkg") as url:
        begin = time.monotonic()
        person.open(url)
        # On a machine so busy that the mere reading of both takes seconds, a few times that.
        took = time.monotonic() - begin
        print(f"opened in {took:.1f} s; both are read in {plain:.1f} s")
        assert took < max(3, 4 * plain)
        assert person.picture("earlier").std() > 0.05
        person.zoom_to("earlier", 5000, 5000, scale=2)
        assert person.picture("later").std() > 0.05


# ---- from outside --------------------------------------------------------------------------------


def points_message(revision: int = 0, **changes: Any) -> bytes:
    point = {"id": 1, "x": 1.0, "y": 2.0, "x2": 3.0, "y2": 4.0, "confidence": 3,
             "picked": "2024-05-01T10:00:00.500Z"} | changes  # fmt: skip
    return json.dumps({"revision": revision, "points": [point]}).encode()


JSON = {"Content-Type": "application/json"}


def test_only_who_knows_the_word_and_only_the_page(images, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("do not read")
    with served(images, tmp_path / "points.gpkg") as url:
        parts = urlsplit(url)
        word = parts.path.strip("/")
        assert parts.hostname == "127.0.0.1"
        assert len(word) >= 32
        assert ask(url)[0] == 200
        for path in ("/", "/pair", f"/{word[:-1]}/pair", f"/{word}x/pair", f"/{word}", "//pair"):
            assert ask(url, raw_path=path)[0] == 403, path
        for path in (
            "../../../../etc/passwd", "..%2f..%2fsecret.txt", "page/index.html", "server.py",
            "./index.html", str(secret), f"/{secret}", "tile/earlier/0/0/-1", "tile/earlier/9/0/0",
            "tile/secret/0/0/0", "tile/earlier/0/0/99999999999", "tile/earlier/0/0/%D9%A3",
            "points/..",
        ):  # fmt: skip
            status, body = ask(url, path=path)
            assert status == 404, path
            assert b"do not read" not in body
        # A page elsewhere that leads its own name here, or sends a form, is not let in.
        assert ask(url, headers={"Host": f"evil.example:{parts.port}"})[0] == 403
        foreign = {**JSON, "Origin": "http://evil.example"}
        assert ask(url, "PUT", "points", body=points_message(), headers=foreign)[0] == 403
        assert ask(url, "POST", "finish", headers={"Origin": "http://evil.example"})[0] == 403
        plain = {"Content-Type": "text/plain"}
        assert ask(url, "PUT", "points", body=points_message(), headers=plain)[0] == 415
        assert ask(url, "PUT", "pair", body=b"{}", headers=JSON)[0] == 404
        assert ask(url, "POST", "points", body=b"{}", headers=JSON)[0] == 404
        huge = {**JSON, "Content-Length": str(2**40)}
        assert ask(url, "PUT", "points", headers=huge)[0] == 413
        assert ask(url, "DELETE", "points")[0] == 501
    assert len(read_picked_points(tmp_path / "points.gpkg")) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        b'{"revision": 0}',
        b'{"revision": "0", "points": []}',
        points_message(x=float("nan")),
        points_message(x=1e9),
        points_message(y2=-1.0),
        points_message(confidence=4),
        points_message(confidence=2.5),
        points_message(picked="yesterday"),
        points_message(picked="2024-05-01T10:00:00"),
        points_message(id="1"),
    ],
)
def test_what_is_no_point_is_refused_in_a_sentence(images, tmp_path, body):
    with served(images, tmp_path / "points.gpkg") as url:
        status, told = ask(url, "PUT", "points", body=body, headers=JSON)
        assert status == 400
        assert len(json.loads(told)["error"]) > 20
        assert json.loads(ask(url, path="points")[1]) == {"revision": 0, "points": []}


def test_nothing_changed_elsewhere_is_overwritten(images, tmp_path):
    output = tmp_path / "points.gpkg"
    with served(images, output) as url:
        assert ask(url, "PUT", "points", body=points_message(), headers=JSON)[0] == 200
        status, told = ask(url, "PUT", "points", body=points_message(x=9.0), headers=JSON)
        assert status == 409  # made from revision 0, as another window would
        assert b"another window" in told
        assert read_picked_points(output).geometry.x.iloc[0] == 480_000 + 15 * 1.5
        os.utime(output, ns=(1, 1))  # as if another program had written it
        status, told = ask(url, "PUT", "points", body=points_message(1), headers=JSON)
        assert status == 409
        assert b"another program" in told


def test_tiles_are_the_pixels(images, tmp_path):
    with served(images, tmp_path / "points.gpkg") as url:
        with rasterio.open(images[1]) as file:
            pixels = file.read(1)
        status, body = ask(url, path="tile/later/0/2/1")
        assert status == 200
        tile = np.frombuffer(body, "<f4").reshape(256, 256)
        rows, columns = ROWS - 256, COLUMNS - 512
        np.testing.assert_array_equal(tile[:rows, :columns], pixels[256:, 512:])
        assert np.isnan(tile[rows:]).all()
        assert np.isnan(tile[:, columns:]).all()
        told = json.loads(ask(url, path="pair")[1])
        assert (told["width"], told["height"], told["crs"]) == (COLUMNS, ROWS, UTM)


def test_images_without_a_map_save_pixels_and_say_so(tmp_path, caplog):
    images = (
        write(tmp_path / "a_20200701.tif", scenery(STAR), crs=None),
        write(tmp_path / "b_20200711.tif", scenery(MOVED), crs=None),
    )
    output = tmp_path / "points.gpkg"
    with served(images, output, allow_no_crs=True) as url:
        assert ask(url, "PUT", "points", body=points_message(), headers=JSON)[0] == 200
    assert "saved in pixels" in caplog.text
    points = read_picked_points(output)
    assert "pixels of the image" in points.crs.name
    (point,) = points.itertuples()
    assert (point.geometry.x, point.geometry.y, point.x2, point.y2) == (1, 2, 3, 4)
    assert (point.dx, point.dy, point.dx_px, point.dy_px, point.unit) == (2, 2, 2, 2, "pixel")
    with served(images, output, allow_no_crs=True) as url:  # and they are taken up again
        assert json.loads(ask(url, path="points")[1])["points"][0]["x2"] == 3


# ---- the command ---------------------------------------------------------------------------------


def refused(*words: Any) -> str:
    answer = CliRunner().invoke(app, ["annotate", *map(str, words), "--no-browser"])
    assert answer.exit_code == 2, answer.output
    assert "http://" not in answer.output
    return answer.stderr


def test_wrong_input_is_a_sentence(images, tmp_path):
    output = tmp_path / "points.gpkg"
    earlier, later = images
    away = write(
        tmp_path / "away_20200711.tif", scenery(STAR), place=PLACE * Affine.translation(9e4, 0)
    )
    zone8 = write(tmp_path / "zone8_20200711.tif", scenery(STAR), crs="EPSG:32608")
    bare = write(tmp_path / "bare_20200711.tif", scenery(STAR), crs=None)
    undated = write(tmp_path / "undated.tif", scenery(STAR))
    text = tmp_path / "text_20200711.tif"
    text.write_text("no image")
    assert "do not overlap" in refused(earlier, away, "-o", output)
    assert "EPSG:32608" in refused(earlier, zone8, "-o", output)
    assert "--pixels" in refused(earlier, bare, "-o", output)
    assert "--dates" in refused(earlier, undated, "-o", output)
    assert "swap" in refused(later, earlier, "-o", output)
    assert "no image" in refused(earlier, text, "-o", output)
    assert "there is no file" in refused(earlier, tmp_path / "none_20200711.tif", "-o", output)
    assert "no band" in refused(earlier, later, "-o", output, "--band", "7")
    assert ".gpkg" in refused(earlier, later, "-o", tmp_path / "points.txt")
    assert not list(tmp_path.glob("points*"))
    (tmp_path / "file").write_text("")
    told = refused(earlier, later, "-o", tmp_path / "file" / "points.gpkg")
    assert "cannot be written" in told
    (tmp_path / "folder.gpkg").mkdir()
    assert "it is a folder" in refused(earlier, later, "-o", tmp_path / "folder.gpkg")
    text.rename(tmp_path / "other.gpkg")
    assert "no picked points" in refused(earlier, later, "-o", tmp_path / "other.gpkg")
    assert (tmp_path / "other.gpkg").read_text() == "no image"


def test_points_of_other_images_are_not_mixed(images, tmp_path):
    output = tmp_path / "points.gpkg"
    with served(images, output) as url:
        ask(url, "PUT", "points", body=points_message(), headers=JSON)
    other = shutil.copy(images[1], tmp_path / "other_20200721.tif")
    assert "scene_20200711.tif, not of" in refused(images[0], other, "-o", output)


def test_a_taken_port_is_told(images, tmp_path):
    with served(images, tmp_path / "one.gpkg") as url:
        port = urlsplit(url).port
        told = refused(*images, "-o", tmp_path / "two.gpkg", "--port", port)
        assert f"port {port} cannot be used" in told


def test_the_command_tells_where_the_page_is_and_what_was_kept(images, tmp_path):
    """The command as a process: its address is the first line, and the page ends it."""
    import subprocess
    import sys

    output = tmp_path / "points.gpkg"
    words = ["annotate", *map(str, images), "-o", str(output), "--no-browser"]
    with subprocess.Popen(
        [sys.executable, "-c", "from ogive.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            assert ask(url, "PUT", "points", body=points_message(), headers=JSON)[0] == 200
        finally:
            ask(url, "POST", "finish")
        rest = process.stdout.read()
    assert process.returncode == 0
    assert f"pairs in {output}: 1" in rest


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_a_session_with_its_points(images, tmp_path):
    import signal
    import subprocess
    import sys
    from threading import Timer

    # What runs in the background of a shell inherits that Ctrl-C is ignored.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    output = tmp_path / "points.gpkg"
    words = ["annotate", *map(str, images), "-o", str(output), "--no-browser"]
    with subprocess.Popen(
        [sys.executable, "-c", heard + "from ogive.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert ask(url, "PUT", "points", body=points_message(), headers=JSON)[0] == 200
        deadline = Timer(60.0, process.kill)
        deadline.start()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        deadline.cancel()
    assert process.returncode == 0
    assert f"pairs in {output}: 1" in rest
    assert len(read_picked_points(output)) == 1
