"""Scores and figures of the demonstration: what was measured, beside what is true."""

from __future__ import annotations

import base64
import html
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from string import Template
from typing import NamedTuple

import matplotlib.dates as mdates
import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from scipy import ndimage

from ogive.model import DAYS_PER_YEAR
from ogive.simulation import SimulatedGlacier

SLOWEST_SHOWN_M_YR = 3.0
ERROR_SHOWN_M_YR = 30.0
HEIGHTS_OF_POINTS = (0.2, 0.45, 0.7)


class Steps:
    """Progress of each step, and how long it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(),
        )  # fmt: skip

    def __enter__(self) -> Steps:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def __call__(self, name: str, total: int = 1) -> Iterator[Callable[[], None]]:
        """Run a step of so many parts; it is given a function to call after each."""
        task = self._progress.add_task(name, total=total)
        started = time.perf_counter()
        yield lambda: self._progress.advance(task)
        self.seconds[name] = time.perf_counter() - started
        self._progress.update(task, completed=total)


class Motion(NamedTuple):
    """Velocity in meter/year, along x and along y."""

    vx: np.ndarray
    vy: np.ndarray

    @property
    def speed(self) -> np.ndarray:
        return np.hypot(self.vx, self.vy)


class Score(NamedTuple):
    """How a product does against the truth; shares of 1, velocities in meter/year."""

    product: str
    place: str
    measured: float
    rmse: float
    nmad: float
    held: float


@dataclass(frozen=True)
class Run:
    """All that was made, and the glacier that knows the truth."""

    glacier: SimulatedGlacier
    image: xr.DataArray
    image_time: datetime
    cube: xr.Dataset
    series: xr.Dataset
    yearly: xr.Dataset
    window_px: int

    @cached_property
    def points(self) -> tuple[np.ndarray, np.ndarray]:
        return np.meshgrid(self.cube.x.values, self.cube.y.values)

    @cached_property
    def ice(self) -> np.ndarray:
        return self.glacier.is_ice(*self.points, self.image_time)

    @cached_property
    def ground(self) -> np.ndarray:
        return self.glacier.is_stable(*self.points)

    @cached_property
    def inner_ice(self) -> np.ndarray:
        """Points whose whole window lies on ice."""
        step_m = abs(float(self.cube.x[1] - self.cube.x[0]))
        pixel_m = abs(float(self.image.x[1] - self.image.x[0]))
        depth = ndimage.distance_transform_cdt(self.ice, metric="chessboard") - 0.5
        return depth * step_m > self.window_px * pixel_m / 2


# ---- the truth -----------------------------------------------------------------------------------


def as_datetime(time: np.datetime64) -> datetime:
    return time.astype("datetime64[us]").item()


def true_pairs(run: Run) -> Motion:
    """Where the ice of each point went between a pair's dates, per year."""
    moved = []
    for earlier, later in zip(
        run.cube.acquisition_date_img1.values, run.cube.acquisition_date_img2.values, strict=True
    ):
        way = run.glacier.displacement(*run.points, as_datetime(earlier), as_datetime(later))
        years = (later - earlier) / np.timedelta64(1, "D") / DAYS_PER_YEAR
        moved.append((way.dx_m / years, way.dy_m / years))
    return Motion(*np.moveaxis(np.array(moved), 1, 0))


def true_mean(run: Run, start: np.datetime64, end: np.datetime64) -> Motion:
    """Mean velocity at each point over a period, from a velocity every ten days or so."""
    parts = max(4, round((end - start) / np.timedelta64(10, "D")))
    shares = (np.arange(parts) + 0.5) / parts
    dates = [as_datetime(start) + (as_datetime(end) - as_datetime(start)) * s for s in shares]
    found = [run.glacier.velocity(*run.points, date) for date in dates]
    return Motion(
        np.where(run.ice, np.mean([v.dx_m for v in found], axis=0), 0.0),
        np.where(run.ice, np.mean([v.dy_m for v in found], axis=0), 0.0),
    )


def true_periods(run: Run) -> Motion:
    means = [true_mean(run, *bounds) for bounds in run.series.time_bounds.values]
    return Motion(np.array([m.vx for m in means]), np.array([m.vy for m in means]))


def pairs_of_periods(run: Run) -> Motion:
    """What one would say without an inversion: the median of the pairs that overlap a period."""
    first, second = (run.cube[f"acquisition_date_img{k}"] for k in (1, 2))
    medians = []
    for start, end in run.series.time_bounds.values:
        over = run.cube[["vx", "vy"]].isel(
            mid_date=np.flatnonzero((first.values < end) & (second.values > start))
        )
        median = over.median("mid_date")
        medians.append((median.vx.values, median.vy.values))
    return Motion(*np.moveaxis(np.array(medians), 1, 0))


# ---- scores --------------------------------------------------------------------------------------


def scores(run: Run) -> list[Score]:
    """Judge every product on all points of ice, away from the margin, and on still ground."""
    periods = true_periods(run)
    rests = (run.series.observations.values > 0) & run.series.vx.notnull().values
    year = run.yearly.isel(year=0)
    true_year = true_mean(run, year.year_start.values, year.year_end.values)
    series = Motion(*(np.where(rests, run.series[name].values, np.nan) for name in ("vx", "vy")))
    simple = Motion(*(np.where(rests, values, np.nan) for values in pairs_of_periods(run)))
    judged: list[tuple[str, Motion, Motion, xr.Dataset | None]] = [
        ("single pairs, over their own span", measured_of(run.cube), true_pairs(run), run.cube),
        ("inverted series, in each period", series, periods, run.series),
        ("for comparison: median of the pairs that overlap a period", simple, periods, None),
        ("annual map", measured_of(year), true_year, year),
    ]
    places = (
        ("all ice", run.ice),
        ("ice, whole window", run.inner_ice),
        ("stable ground", run.ground),
    )
    return [score(*what, place, where) for what in judged for place, where in places]


def measured_of(product: xr.Dataset) -> Motion:
    return Motion(product.vx.values, product.vy.values)


def score(
    product: str,
    found: Motion,
    true: Motion,
    errors: xr.Dataset | None,
    place: str,
    where: np.ndarray,
) -> Score:
    """Compare without leaving any outlier out."""
    there = np.broadcast_to(where, found.vx.shape)
    known = there & np.isfinite(found.vx)
    off_x, off_y = (found.vx - true.vx)[known], (found.vy - true.vy)[known]
    both = np.concatenate([off_x, off_y])
    held = float("nan")
    if errors is not None:
        sigma = np.concatenate([errors[name].values[known] for name in ("vx_error", "vy_error")])
        held = float(np.mean(np.abs(both) <= 1.96 * sigma))
    return Score(
        product=product,
        place=place,
        measured=float(known.sum() / there.sum()),
        rmse=float(np.sqrt(np.mean(both**2))),
        nmad=float(1.4826 * np.median(np.abs(both - np.median(both)))),
        held=held,
    )


def table_rows(judged: Sequence[Score]) -> list[tuple[str, ...]]:
    return [
        (s.product, s.place, f"{100 * s.measured:.0f} %", f"{s.rmse:.1f}", f"{s.nmad:.1f}",
         "" if np.isnan(s.held) else f"{100 * s.held:.0f} %")
        for s in judged
    ]  # fmt: skip


HEADINGS = ("product", "where", "share measured", "RMSE (m/yr)", "NMAD (m/yr)",
            "truth within 95 % intervals")  # fmt: skip


# ---- the map -------------------------------------------------------------------------------------


def draw_map(run: Run) -> Figure:
    """Draw the scene, the true speed, the measured one, and the difference."""
    year = run.yearly.isel(year=0)
    true = true_mean(run, year.year_start.values, year.year_end.values)
    found = measured_of(year)
    span = (
        f"{as_datetime(year.year_start.values):%b %Y} to {as_datetime(year.year_end.values):%b %Y}"
    )
    figure = Figure(figsize=(13, 11.8), layout="constrained")
    scene, truth, measured, wrong = figure.subplots(2, 2).flat
    for panel in (scene, truth, measured, wrong):
        draw_image(panel, run)
    scene.set_title(f"The scene of {run.image_time:%d %B %Y}", loc="left")
    for number, (x, y) in enumerate(chosen_points(run), 1):
        scene.plot(x, y, "o", color="white", markeredgecolor="black", markersize=7)
        scene.annotate(
            str(number), (x, y), (7, 4), textcoords="offset points", color="black", weight="bold",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0},
        )  # fmt: skip

    fastest = float(np.percentile(true.speed[run.ice], 99.5))
    colours = {"cmap": cm.batlow, "norm": LogNorm(SLOWEST_SHOWN_M_YR, fastest)}
    draw_field(truth, run, np.where(run.ice, true.speed, np.nan), **colours)
    truth.set_title(f"Truth: mean speed, {span}", loc="left")
    drawn = draw_field(measured, run, found.speed, **colours)
    draw_arrows(measured, run, found)
    measured.set_title("Measured: annual map of the same year, same colours", loc="left")
    bar = figure.colorbar(drawn, ax=truth, extend="both", label="speed (m/yr)", shrink=0.9)
    ticks = [tick for tick in (3, 10, 30, 100, 300) if tick <= fastest]
    bar.set_ticks(ticks, labels=[str(tick) for tick in ticks])
    bar.minorticks_off()

    limits = Normalize(-ERROR_SHOWN_M_YR, ERROR_SHOWN_M_YR)
    drawn = draw_field(wrong, run, found.speed - true.speed, cmap=cm.vik, norm=limits)
    wrong.set_title("Measured less true speed", loc="left")
    figure.colorbar(drawn, ax=wrong, extend="both", label="difference (m/yr)", shrink=0.9)
    for panel, colour in ((truth, "white"), (measured, "white"), (wrong, "black")):
        panel.contour(*run.points, run.ice, [0.5], colors=colour, linewidths=0.8)
    return figure


def draw_image(panel: Axes, run: Run) -> None:
    dark, bright = np.percentile(run.image.values, [1, 99])
    panel.imshow(
        run.image.values, cmap="gray", vmin=dark, vmax=bright, extent=frame(run.image),
        interpolation="antialiased",
    )  # fmt: skip
    panel.set(xticks=[], yticks=[], aspect="equal")
    left, bottom = run.image.x.values.min() + 200, run.image.y.values.min() + 200
    edge = [withStroke(linewidth=3, foreground="black")]
    panel.plot([left, left + 1000], [bottom, bottom], color="white", linewidth=4,
               path_effects=[withStroke(linewidth=6, foreground="black")])  # fmt: skip
    panel.text(left + 500, bottom + 60, "1 km", color="white", ha="center", va="bottom",
               path_effects=edge)  # fmt: skip


def draw_field(panel: Axes, run: Run, values: np.ndarray, **colours: object) -> ScalarMappable:
    return panel.imshow(
        values, extent=frame(run.cube), interpolation="nearest", alpha=0.85, **colours
    )


def frame(grid: xr.DataArray | xr.Dataset) -> tuple[float, float, float, float]:
    x, y = grid.x.values, grid.y.values
    half = (x[1] - x[0]) / 2
    return x[0] - half, x[-1] + half, y[-1] - half, y[0] + half


def draw_arrows(panel: Axes, run: Run, found: Motion) -> None:
    """Draw directions of all ice that moves by more than twice its error; lengths as roots."""
    year = run.yearly.isel(year=0)
    every = np.s_[1::3, 1::3]
    sure = (found.speed > 2 * year.v_error.values) & run.ice
    speed = np.where(sure, found.speed, np.nan)[every]
    x, y = (axis[every] for axis in run.points)
    panel.quiver(
        x, y, found.vx[every] / np.sqrt(speed), found.vy[every] / np.sqrt(speed), color="white",
        edgecolor="black", linewidth=0.4, width=0.0028, angles="xy", scale_units="xy", scale=0.06,
    )  # fmt: skip


# ---- the series ----------------------------------------------------------------------------------


def chosen_points(run: Run) -> list[tuple[float, float]]:
    """The fastest ice at three heights of the glacier, from the tongue upwards."""
    terrain = run.glacier.terrain
    height = xr.DataArray(terrain.elevation_m, {"y": terrain.y, "x": terrain.x}, ("y", "x"))
    height = height.interp(x=run.cube.x, y=run.cube.y).values
    year = run.yearly.isel(year=0)
    speed = true_mean(run, year.year_start.values, year.year_end.values).speed
    low, high = np.percentile(height[run.ice], [0, 100])
    chosen = []
    for share in HEIGHTS_OF_POINTS:
        near = run.ice & (np.abs(height - low - share * (high - low)) < 0.03 * (high - low))
        row, column = np.unravel_index(np.argmax(np.where(near, speed, -1)), speed.shape)
        chosen.append((float(run.cube.x[column]), float(run.cube.y[row])))
    return chosen


def draw_series(run: Run) -> Figure:
    """Draw pairs as bars, the series with its interval, and the truth, at chosen points."""
    points = chosen_points(run)
    figure = Figure(figsize=(11, 3.3 * len(points)), layout="constrained")
    for number, ((x, y), panel) in enumerate(
        zip(points, figure.subplots(len(points), 1, sharex=True), strict=True), 1
    ):
        draw_point(panel, run, x, y)
        panel.set_title(f"Point {number}", loc="left")
        panel.set_ylabel("speed (m/yr)")
        panel.spines[["top", "right"]].set_visible(False)
        if number == 1:
            panel.legend(loc="upper left", ncols=4, frameon=False)
    locator = mdates.AutoDateLocator()
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    return figure


def draw_point(panel: Axes, run: Run, x: float, y: float) -> None:
    observed, series = (data.sel(x=x, y=y) for data in (run.cube, run.series))
    speed = np.hypot(observed.vx.values, observed.vy.values)
    spans = mdates.date2num(
        np.stack([observed[f"acquisition_date_img{k}"].values for k in (1, 2)], axis=1)
    )
    bars = [[(start, v), (end, v)] for (start, end), v in zip(spans, speed, strict=True)]
    panel.add_collection(LineCollection(bars, color="0.6", linewidths=1.3))
    panel.plot([], [], color="0.6", label="single pairs, over their span")

    bounds = mdates.date2num(series.time_bounds.values)
    edges = np.append(bounds[:, 0], bounds[-1, 1])
    value, reach = np.hypot(series.vx.values, series.vy.values), 1.96 * series.v_error.values
    colour = cm.batlow(0.15)
    panel.stairs(value + reach, edges, baseline=np.maximum(value - reach, 0), fill=True,
                 color=colour, alpha=0.25, label="95 % interval")  # fmt: skip
    rests = series.observations.values > 0
    panel.stairs(np.where(rests, value, np.nan), edges, baseline=None, color=colour, lw=2,
                 label="inverted series")  # fmt: skip

    days = np.arange(edges[0], edges[-1], 3.0)
    dates = [mdates.num2date(day).replace(tzinfo=None) for day in days]
    truth = [run.glacier.velocity(np.array([x]), np.array([y]), date) for date in dates]
    panel.plot(days, [np.hypot(v.dx_m, v.dy_m).item() for v in truth], color=cm.batlow(0.75),
               lw=2, label="truth")  # fmt: skip
    top = np.nanmax(np.hypot([v.dx_m for v in truth], [v.dy_m for v in truth]))
    panel.set_ylim(0, 1.6 * top)
    panel.set_xlim(edges[0], edges[-1])
    outside = int((speed > 1.6 * top).sum())
    if outside:
        panel.text(0.995, 0.97, f"{outside} pairs above", transform=panel.transAxes, ha="right",
                   va="top", fontsize=9)  # fmt: skip


# ---- the page ------------------------------------------------------------------------------------

PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ogive: a simulated glacier, measured</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222 }
img { max-width: 100%; height: auto } figure { margin: 1.5rem 0 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: left }
td { vertical-align: top } td:nth-child(2) { white-space: nowrap }
td.number, th.number { text-align: right } tr.first td { border-top: 2px solid #999 }
figcaption, small { color: #555 }
</style></head><body>
<h1>A simulated glacier, measured</h1>
<p>$summary</p>
<figure><img src="data:image/png;base64,$map" alt="A scene, true speed, measured speed, difference">
<figcaption>The scene with the points of the series; the true mean speed of a hydrological year; the
measured one (arrows: direction, length as the root of speed); measured less true. The line is the
true margin. Beside the ice the truth is zero, and what is measured there is error.</figcaption>
</figure>
<figure><img src="data:image/png;base64,$series" alt="Series at three points">
<figcaption>The fastest ice at three heights, 1 lowest. Grey: pairs over their span. Steps: the
inverted series and its declared 95 % interval, without a line where no pair was left. The curve is
the truth.</figcaption></figure>
<h2>Against the truth</h2>
$scores
<p><small>All that a product gives is judged, outliers included; RMSE and NMAD are of the components
x and y. Shares are of all points and dates, those under cloud too. "Whole window" leaves out points
whose matching window reaches over the glacier's margin.</small></p>
<h2>What is hard here</h2>
<ul>
<li><b>Clouds.</b> They and their shadows are masked by the scenes' own classification, and windows
of which too much is masked have no value. Haze at their edges is not masked.</li>
<li><b>Shadows of mountains.</b> They move with the sun and are not masked; in winter they cover
much of the scene, and their edges look like motion.</li>
<li><b>Snow.</b> The snow line climbs and falls; winter snow hides crevasses, and what is left to
match is weak texture.</li>
<li><b>Few pairs.</b> The two orbits are not paired with each other, since errors of the elevation
model would look like motion. So each date is linked to a few others only, and an outlier finds
little to contradict it.</li>
<li><b>The icefall.</b> Ice that is stretched and broken fast soon looks different: there most pairs
have no value, and some that have one are far too slow.</li>
<li><b>Margins.</b> A window over the margin sees rock and ice at once.</li>
</ul>
<h2>How long it took</h2>
$times
<p><small>$versions</small></p>
<h2>Pairs left out</h2>
<p>$left_out</p>
<p>What ogive warned of while it worked is in <code>demo.log</code>.</p>
</body></html>
""")


def write_report(
    run: Run,
    judged: Sequence[Score],
    folder: Path,
    *,
    steps: Steps,
    scenes_told: str,
    pairs_left_out: Sequence[str],
) -> Path:
    """Write both figures and the page, print the scores, and give the page's path."""
    rows = table_rows(judged)
    draw_map(run).savefig(folder / "demo.png", dpi=80)
    draw_series(run).savefig(folder / "series.png", dpi=80)
    days = run.cube.date_dt.values
    summary = (
        f"{scenes_told} {run.cube.sizes['mid_date']} pairs of {days.min():.0f} to {days.max():.0f} "
        f"days were matched, calibrated on the ground beside the glacier, stacked, and inverted "
        f"into a series of {run.series.sizes['time']} periods."
    )
    page = PAGE.substitute(
        summary=html.escape(summary),
        map=embedded(folder / "demo.png"),
        series=embedded(folder / "series.png"),
        scores=html_table(HEADINGS, rows),
        times=html_table(
            ("step", "seconds"), [(name, f"{s:.1f}") for name, s in steps.seconds.items()]
        ),
        versions=html.escape(versions()),
        left_out="<br>".join(map(html.escape, pairs_left_out)) or "None.",
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    print_scores(rows)
    return path


def embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text; a product's name is told once."""
    words = 2 if len(headings) > 2 else 1

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = [""] * words + [' class="number"'] * (len(row) - words)
        return "".join(
            f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
            for kind, cell in zip(kinds, row, strict=True)
        )

    lines, before = [f"<tr>{cells('th', headings)}</tr>"], None
    for row in rows:
        again = row[0] == before
        mark = "" if again or words == 1 else ' class="first"'
        lines.append(f"<tr{mark}>{cells('td', ['' if again else row[0], *row[1:]])}</tr>")
        before = row[0]
    return f"<table>{''.join(lines)}</table>"


def versions() -> str:
    names = ("ogive", "numpy", "scipy", "numba", "xarray", "rasterio", "zarr")
    told = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return f"{told}; Python {platform.python_version()}; {os.cpu_count()} processor cores."


def print_scores(rows: Sequence[Sequence[str]]) -> None:
    """Print the table as plain text, which a log keeps readable."""
    print()
    before = None
    for product, place, measured, rmse, nmad, held in rows:
        if product != before:
            print(product)
        before = product
        told = f"; truth within 95 % intervals: {held}" if held else ""
        print(f"  {place:18} {measured:>5} measured; RMSE {rmse:>5}, NMAD {nmad:>5} m/yr{told}")
