"""Figures of annotate.md: the page with pairs over Yahtse Glacier, and samples cut from them.

Nobody sat in front of it: a script sets the pairs where matching is surest, for the picture only.

python docs/make_annotate_figures.py [FOLDER OF REAL DATA]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from playwright.sync_api import Page, sync_playwright
from scipy.ndimage import label

import ogive
from ogive.model import Pair
from ogive.similarity.samples.manual import ManualSamples, read_picked_pair
from ogive.view.annotate import annotate
from ogive.workflow.acquisition import acquired_pair

FIGURES = Path(__file__).resolve().parent / "figures"
SIZE = {"width": 1420, "height": 800}
# The tongue, in pixels of the image: x, y of its middle, and screen pixels per pixel.
LOOK = {"x": 905.0, "y": 700.0, "scale": 1.6}
APART_PX = 60
LAST = (940.0, 800.0)  # the pair that is just being picked is beside the one nearest to it


def surest(earlier: xr.DataArray, later: xr.DataArray) -> list[tuple[float, float, float, float]]:
    """Places in both images (pixels), far from each other, where matching is surest."""
    match = ogive.match(earlier, later, window=32, step=8, search=32)
    grid = earlier.odc.geobox.transform
    column = (match.x.values - grid.c) / grid.a - 0.5
    row = (match.y.values - grid.f) / grid.e - 0.5
    x, y = np.meshgrid(column, row)
    dx, dy = match.dx.values / grid.a, match.dy.values / grid.e
    on_ice = np.hypot(dx, dy) > 4
    inside = (np.abs(x - LOOK["x"]) < 150) & (np.abs(y - LOOK["y"]) < 190)
    quality = np.where(on_ice & inside, match.correlation.values, -1.0)
    found: list[tuple[float, float, float, float]] = []
    while quality.max() > 0.6:
        at = np.unravel_index(int(np.nanargmax(quality)), quality.shape)
        place = (float(x[at]), float(y[at]), float(dx[at]), float(dy[at]))
        found.append(place)
        quality[np.hypot(x - place[0], y - place[1]) < APART_PX] = -1
    return found


def to_screen(page: Page, side: str, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the image lies on the screen."""
    canvas = page.locator(f'.pane[data-side="{side}"] canvas')
    view, box = canvas.evaluate("(c) => ({ ...c.dataset })"), canvas.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    scale = float(view["scale"])
    return middle[0] + (x - float(view["x"])) * scale, middle[1] + (y - float(view["y"])) * scale


def settle(page: Page) -> None:
    """Let all tiles come."""
    page.wait_for_timeout(400)
    page.wait_for_selector('body[data-loading="0"]', state="attached")


def look_at(page: Page) -> None:
    """Zoom to the tongue and take its contrast."""
    for _ in range(60):
        page.wait_for_timeout(60)
        scale = float(page.locator("canvas").first.evaluate("(c) => c.dataset.scale"))
        if scale >= LOOK["scale"]:
            break
        page.mouse.move(*to_screen(page, "earlier", LOOK["x"], LOOK["y"]))
        page.mouse.wheel(0, -60)
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    settle(page)
    page.keyboard.press("c")


def picture(url: str, places: list[tuple[float, float, float, float]]) -> None:
    """Set the pairs, begin one more, and take the page's picture."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(url)
        settle(page)
        look_at(page)
        for k, (x, y, dx, dy) in enumerate(places):
            page.mouse.click(*to_screen(page, "earlier", x, y))
            page.mouse.click(*to_screen(page, "later", x + dx, y + dy))
            page.keyboard.press("321"[k % 5 // 2])
        page.keyboard.press("Escape")
        nearest = min(places, key=lambda p: np.hypot(p[0] - LAST[0], p[1] - LAST[1]))
        x, y = nearest[0] - 8, nearest[1] - 40
        page.mouse.click(*to_screen(page, "earlier", x, y))
        page.mouse.move(*to_screen(page, "later", x + nearest[2], y + nearest[3]))
        settle(page)
        page.screenshot(path=FIGURES / "annotate_page.png")
        browser.close()


def samples_figure(points: Path, folder: Path) -> Figure:
    """Four samples: both squares, the label, and where it has gone."""
    samples = ManualSamples([read_picked_pair(points, folder)], size_px=96, seed=4)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    axes: Any = figure.subplots(2, 4)
    for k in range(4):
        sample = samples.sample(k)
        patches, count = label(sample["labelled"].numpy())
        displacement = sample["displacement"].numpy()
        for row, name in enumerate(("earlier", "later")):
            axis = axes[row, k]
            image = sample[name].numpy()[0]  # type: ignore[literal-required]
            axis.imshow(image, cmap="gray", vmin=np.percentile(image, 1),
                        vmax=np.percentile(image, 99))  # fmt: skip
            for patch in range(1, count + 1):
                rows, columns = np.nonzero(patches == patch)
                dx, dy = row * displacement[:, rows, columns].mean(axis=1)
                at = (columns.min() - 0.5 + dx, rows.min() - 0.5 + dy)
                side = (np.ptp(columns) + 1, np.ptp(rows) + 1)
                colour = ("#ffb000", "#45bdff")[row]
                axis.add_patch(Rectangle(at, *side, fill=False, edgecolor=colour, linewidth=1.6))
            axis.set(xticks=[], yticks=[])
        axes[0, k].set_title(f"weight {float(sample['weight']):.2g}", fontsize=9)
    axes[0, 0].set_ylabel("earlier")
    axes[1, 0].set_ylabel("later")
    return figure


def main(data: Path) -> None:
    """Make both figures."""
    folder = data / "yahtse_l8_pair"
    paths = [folder / f"LC80630182016{day}LGN00_B8_yahtse.TIF" for day in (200, 216)]
    places = surest(*(ogive.read_image(path) for path in paths))
    pair: Pair = acquired_pair(*paths)
    with tempfile.TemporaryDirectory() as work:
        points = Path(work) / "yahtse.gpkg"
        ready: Queue[str] = Queue()
        thread = threading.Thread(
            target=annotate,
            args=(*paths, points),
            kwargs={"pair": pair, "open_browser": False, "ready": ready.put},
            daemon=True,
        )
        thread.start()
        picture(ready.get(timeout=60), places)
        samples_figure(points, folder).savefig(FIGURES / "annotate_samples.png", dpi=110)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(__file__).resolve().parents[2] / "shared" / "data")
