"""Draw the figures of ``triplets.md`` and print every number that it quotes.

``python docs/make_triplets_figures.py [FOLDER OF REAL DATA]``
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import griddata

import ogive
from ogive.matching.evidence import chance_snr
from ogive.simulation.sequence import SimpleSequence, simple_sequence

warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)

FIGURES = Path(__file__).resolve().parent / "figures"
OPTIONS = {"window": 32, "step": 8, "search": 8}
PAIR, TRIPLET = cm.batlow(0.72), cm.batlow(0.1)
STEP_PX, SEARCH_PX, RIGHT_PX = 24, 8, 2.0

Floats = NDArray[np.float64]
Looks = dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]


def save(figure: Figure, name: str) -> None:
    """Write a figure and say where."""
    figure.savefig(FIGURES / f"{name}.png", dpi=110)
    print(FIGURES / f"{name}.png")


def plain(axes: Axes) -> None:
    """Leave the frame out where nothing is read from it."""
    axes.spines[["top", "right"]].set_visible(False)


# ---- simulated looks -----------------------------------------------------------------------------


def errors_px(found: xr.Dataset, sequence: SimpleSequence) -> Floats:
    """Distance from the truth; infinite where there is no value."""
    at = np.meshgrid(found["y"].values, found["x"].values, indexing="ij")
    off = np.hypot(
        *(
            found[name].values - ndimage.map_coordinates(true[-1], at, order=1)
            for name, true in (("dx", sequence.dx_px), ("dy", sequence.dy_px))
        )
    )
    return np.where(np.isfinite(off), off, np.inf)


def draw_kept() -> None:
    """Where half of all pairwise matches are false: maps of what is kept, and all thresholds."""
    sequence = simple_sequence((400, 400), likeness=0.3, snr=3.0, seed=1)
    first, middle, last = sequence.images
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    limits = np.linspace(0, 45, 91)
    for one, some, colour, name in (
        (axes[0], [], PAIR, "pair"), (axes[1], [middle], TRIPLET, "triplet"),
    ):  # fmt: skip
        found = ogive.match_triplet(first, some, last, min_snr=0, **OPTIONS)
        off, snr = errors_px(found, sequence), found["snr"].values
        least = chance_snr(OPTIONS["search"])
        kept, right = snr >= least, off <= 1
        false = ~right & np.isfinite(off)
        y, x = np.meshgrid(found["y"], found["x"], indexing="ij")
        drawn = one.scatter(
            x[kept & right], y[kept & right], 7, found["dx"].values[kept & right], marker="s",
            cmap=cm.batlow, vmin=0, vmax=5,
        )  # fmt: skip
        one.scatter(x[kept & false], y[kept & false], 14, color="crimson", marker="x", lw=1)
        one.set(aspect="equal", xlim=(0, 400), ylim=(400, 0), xticks=[], yticks=[])
        one.set_title(
            f"{name}: {(kept & right).sum()} right, {(kept & false).sum()} false", loc="left"
        )
        counts = [[((snr >= s) & which).sum() for s in limits] for which in (right, false)]
        axes[2].plot(limits, counts[0], color=colour, lw=2, label=f"{name}, right")
        axes[2].plot(limits, counts[1], color=colour, lw=1.2, ls="--", label=f"{name}, false")
        print(f"{name}: {(~right).mean():.0%} of all points false, {found.attrs['features']}")
    figure.colorbar(drawn, ax=axes[:2], label="Displacement along x (px)", shrink=0.85)
    axes[2].axvline(least, color="0.6", lw=0.8)
    axes[2].text(least + 0.7, 2080, "chance", color="0.4", va="top")
    axes[2].set(xlabel="Least snr", ylabel="Points kept", ylim=(0, 2100), xlim=(0, 45))
    axes[2].legend(frameon=False)
    plain(axes[2])
    save(figure, "triplets_kept")


def draw_gain() -> None:
    """The gain over the share of false pairwise matches, with one middle image and with three."""
    worlds = {
        "the surface ages": [{"likeness": k, "snr": 3.0} for k in (0.9, 0.6, 0.45, 0.35, 0.3, 0.2)],
        "noise": [{"likeness": 0.4, "snr": s} for s in (6.0, 3.0, 1.5, 1.0, 0.7, 0.5)],
        "clouds": [
            {"likeness": 0.4, "snr": 8.0, "hidden_fraction": h} for h in (0, 0.05, 0.1, 0.16, 0.25)
        ],
    }
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    print("\n| world | false pairwise | pair | 1 middle | 3 middle | gain of 1 | gain of 3 |")
    print("|---|---|---|---|---|---|---|")
    for (name, cases), marker in zip(worlds.items(), "os^", strict=True):
        share, gains = [], []
        for case in cases:
            off, kept = kept_right(case)
            share.append(off)
            gains.append([kept[1] / kept[0], kept[2] / kept[0]])
            print(f"| {name} {case} | {off:.0%} | {kept[0]} | {kept[1]} | {kept[2]} "
                  f"| {gains[-1][0]:.2f} | {gains[-1][1]:.2f} |")  # fmt: skip
        for k, colour in ((0, TRIPLET), (1, PAIR)):
            label = f"{name}, {'one middle image' if k == 0 else 'three'}"
            axes.plot(share, np.array(gains)[:, k], marker=marker, color=colour, lw=1, label=label)
    axes.axhline(1.5, color="0.6", lw=0.8)
    axes.axvline(0.5, color="0.6", lw=0.8)
    axes.set(xlabel="Share of pairwise matches that are false", yscale="log")
    axes.set_ylabel("Points kept within 1 px,\nover those of the pair")
    axes.set_yticks([1, 1.5, 2, 3, 5, 10], ["1", "1.5", "2", "3", "5", "10"])
    axes.minorticks_off()
    axes.legend(frameon=False)
    plain(axes)
    save(figure, "triplets_gain")


def kept_right(case: dict[str, float]) -> tuple[float, list[int]]:
    """Share of false pairwise matches; right points kept by none, one and three middle images."""
    sequence = simple_sequence((300, 300), times=(0, 0.25, 0.5, 0.75, 1), seed=1, **case)
    first, *middles, last = sequence.images
    everything = ogive.match_triplet(first, [], last, min_snr=0, **OPTIONS)
    kept = []
    for some in ([], [middles[1]], middles):
        found = ogive.match_triplet(first, some, last, **OPTIONS)
        kept.append(int((errors_px(found, sequence) <= 1).sum()))
    return float((errors_px(everything, sequence) > 1).mean()), kept


# ---- Perito Moreno -------------------------------------------------------------------------------


def look(folder: Path, day: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A grey look, and where it is not the black beyond the clipped region."""
    with rasterio.open(folder / f"{day}.jpg") as source:
        image = source.read().astype("f4").mean(axis=0)
    return image, ndimage.binary_erosion(image > 12, iterations=8)


def expected(points: pd.DataFrame, days: int) -> xr.Dataset:
    """The reference velocity over so many days, on all pixels of a coarse grid."""
    y, x = np.arange(0.0, 1231, STEP_PX), np.arange(0.0, 1731, STEP_PX)
    grid = tuple(np.meshgrid(x, y))
    return xr.Dataset(
        {
            f"d{axis}": (("y", "x"), griddata(
                points[["x", "y"]].values, days * points[f"v{axis}_px_per_day"].values, grid,
                "nearest",
            ))
            for axis in "xy"
        },
        {"y": y, "x": x},
    )  # fmt: skip


def matched(looks: Looks, days: list[str], prior: xr.Dataset) -> xr.Dataset:
    """Points on the grid of the reference, in windows of 32 px."""
    images, masks = ([looks[day][k] for day in days] for k in (0, 1))
    return ogive.match_triplet(
        images[0], images[1:-1], images[-1], mask=masks, prior=prior, dates=days, step=STEP_PX,
        window=32, search=SEARCH_PX, min_snr=0,
    )  # fmt: skip


def judged(
    found: xr.Dataset, points: pd.DataFrame, pair: Any
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which points are within 2 px of the reference and the pair's shift, and their ``snr``."""
    at = {axis: xr.DataArray(points[axis].values.astype(float), dims="p") for axis in "xy"}
    there = found[["dx", "dy", "snr"]].sel(at, method="nearest")
    off = np.hypot(
        there["dx"] - pair.days * points["vx_px_per_day"].values - pair.shift_x_px,
        there["dy"] - pair.days * points["vy_px_per_day"].values - pair.shift_y_px,
    )
    return np.asarray(off <= RIGHT_PX), there["snr"].values


def middles(days: list[str], earlier: str, later: str, number: int) -> list[str]:
    """The looks nearest to the middle of two dates, in order."""
    stamps = {day: pd.Timestamp(day) for day in days}
    half = stamps[earlier] + (stamps[later] - stamps[earlier]) / 2
    between = [day for day in days if earlier < day < later]
    return sorted(sorted(between, key=lambda day: abs(stamps[day] - half))[:number])


def compare(looks: Looks, points: pd.DataFrame, pairs: pd.DataFrame) -> None:
    """What each pair keeps at the usual threshold, alone and with a look from its middle."""
    print("\n| first, last | middle | pair: right | false | triplet: right | false |")
    print("|---|---|---|---|---|---|")
    for pair in pairs.itertuples(index=False):
        (middle,) = middles(list(looks), pair.earlier, pair.later, 1)
        prior, counts = expected(points, pair.days), []
        for between in ([], [middle]):
            found = matched(looks, [pair.earlier, *between, pair.later], prior)
            right, snr = judged(found, points, pair)
            kept = snr >= chance_snr(SEARCH_PX)
            counts += [(kept & right).sum(), (kept & ~right).sum()]
        print(f"| {pair.earlier}, {pair.later} | {middle} | "
              + " | ".join(map(str, counts)) + " |", flush=True)  # fmt: skip


def main() -> None:
    """Draw all of them; those of real looks where there are any."""
    given = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data"
    )
    FIGURES.mkdir(exist_ok=True)
    draw_kept()
    draw_gain()
    folder, bench = given / "perito_moreno_s2_series", given.parent / "bench"
    if folder.is_dir() and bench.is_dir():
        looks = {path.stem: look(folder, path.stem) for path in sorted(folder.glob("2020*.jpg"))}
        points = pd.read_csv(bench / "perito_moreno_points.csv")
        pairs = pd.read_csv(bench / "perito_moreno_pairs.csv", dtype={"earlier": str, "later": str})
        compare(looks, points, pairs)


if __name__ == "__main__":
    main()
