"""Draw the figures of ``matching.md`` from real pairs and print every number that it quotes.

``python docs/make_matching_figures.py FOLDER_OF_REAL_DATA``
"""

from __future__ import annotations

import sys
import warnings
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

import ogive
from ogive.evaluation.motion import closure
from ogive.model import DAYS_PER_YEAR, Flag
from ogive.workflow.ground import windows_inside

mpl.use("Agg")
import matplotlib.pyplot as plt
from cmcrameri import cm
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm

warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)

FIGURES = Path(__file__).parent / "figures"
DAYS_YAHTSE = 16
STABLE_FROM_COLUMN = 1100
BEST = 0.82
IMPOSED_PX = (0.0, 0.25, 0.5)
PUBLISHED_AROSICS = (0.68, -1.89)
LARGEST_BYTES = 340_000

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

# ---- what all pairs share ------------------------------------------------------------------------


def read(path: Path) -> NDArray[np.generic]:
    """All bands of a file."""
    with rasterio.open(path) as source:
        return source.read()


def nmad(values: Floats) -> float:
    """Spread of a normal core."""
    known = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(known - np.median(known))))


def moved_by(image: Floats, shift_x: float, shift_y: float) -> Floats:
    """Shift an image by fractions of a pixel in the Fourier domain, its border mirrored."""
    if shift_x == shift_y == 0.0:
        return image.astype(float)
    padded = np.pad(image.astype(float), 64, mode="reflect")
    cycles_y = shift_y * fft.fftfreq(padded.shape[0])[:, None]
    cycles_x = shift_x * fft.rfftfreq(padded.shape[1])[None, :]
    phase = np.exp(-2j * np.pi * (cycles_y + cycles_x))
    return fft.irfft2(fft.rfft2(padded) * phase, s=padded.shape)[64:-64, 64:-64]


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def show(axes: plt.Axes, image: Floats, title: str, *, faint: bool = False) -> None:
    """Draw an image in grey, as a user would stretch it; ``faint`` as a background."""
    low, high = np.quantile(image[image > 0], [0.01, 0.99])
    if faint:
        low, high = low - 0.4 * (high - low), high + 0.2 * (high - low)
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
    title_of(axes, title)


def title_of(axes: plt.Axes, title: str) -> None:
    """Put a title at the left, and leave the ticks of a map out."""
    axes.set_title(title, fontsize=11, loc="left")
    if axes.images:
        axes.set_xticks([])
        axes.set_yticks([])


def extent(result: xr.Dataset) -> tuple[float, float, float, float]:
    """Edges of a map of points in pixels of the image, for ``imshow``."""
    half = result.attrs["step_px"] / 2
    x, y = result.x.values, result.y.values
    return x[0] - half, x[-1] + half, y[-1] + half, y[0] - half


def overlay(axes: plt.Axes, result: xr.Dataset, values: Floats, **options: Any) -> plt.Axes:
    """Draw a map of points over an image."""
    edges = axes.get_xlim(), axes.get_ylim()
    drawn = axes.imshow(
        np.ma.masked_invalid(values), extent=extent(result), interpolation="nearest", **options
    )
    axes.set_xlim(edges[0])
    axes.set_ylim(edges[1])
    return drawn


def arrows(
    axes: plt.Axes, result: xr.Dataset, dx: Floats, dy: Floats, where: Bools, every: int
) -> None:
    """Draw the directions of what moves, all of one length."""
    rows = np.arange(every // 2, dx.shape[0], every)[:, None]
    columns = np.arange(every // 2, dx.shape[1], every)[None, :]
    drawn = where[rows, columns]
    length = np.hypot(dx, dy)[rows, columns][drawn]
    x, y = np.meshgrid(result.x.values[columns[0]], result.y.values[rows[:, 0]])
    axes.quiver(
        x[drawn], y[drawn], dx[rows, columns][drawn] / length, dy[rows, columns][drawn] / length,
        color="w", angles="xy", scale=34, width=0.0032, headwidth=3.6, zorder=3,
    )  # fmt: skip


def save(figure: plt.Figure, name: str, *, dpi: int = 80) -> None:
    """Write a figure beside the text, in 256 colours where it would be large."""
    FIGURES.mkdir(exist_ok=True)
    path = FIGURES / f"matching_{name}.png"
    figure.savefig(path, dpi=dpi, bbox_inches="tight")
    plt.close(figure)
    if path.stat().st_size > LARGEST_BYTES:
        with Image.open(path) as full:
            small = full.convert("RGB").quantize(256)
        small.save(path, optimize=True)


# ---- Yahtse --------------------------------------------------------------------------------------


class Yahtse(NamedTuple):
    """Two Landsat 8 images of 15 m, 16 days apart."""

    earlier: Floats
    later: Floats
    folder: Path

    @classmethod
    def read(cls, data: Path) -> Yahtse:
        """Read both images."""
        folder = data / "yahtse_l8_pair"
        names = (f"LC8063018{day}LGN00_B8_yahtse.TIF" for day in ("2016200", "2016216"))
        return cls(*(read(folder / name)[0].astype(float) for name in names), folder)


def on_stable_columns(result: xr.Dataset) -> Bools:
    """Points of the ground east of the glacier."""
    return np.broadcast_to(result.x.values > STABLE_FROM_COLUMN, result.dx.shape)


def best_stable(result: xr.Dataset) -> Bools:
    """The best 82 % of the stable points by correlation, what has no value counted as worst."""
    stable = on_stable_columns(result)
    measured = np.isfinite(result.dx.values)
    correlation = np.where(measured, result.correlation.values, -1)
    return stable & measured & (correlation >= np.quantile(correlation[stable], 1 - BEST))


def stable_residuals(result: xr.Dataset) -> tuple[Floats, Floats]:
    """Both components on the best stable points, without their medians."""
    best = best_stable(result)
    dx, dy = result.dx.values[best], result.dy.values[best]
    return dx - np.median(dx), dy - np.median(dy)


def draw_yahtse(pair: Yahtse) -> None:
    """Draw image, speed, flags, and what the pair says of itself."""
    result = ogive.match(pair.earlier, pair.later, window=16, step=4, search=32)
    cleaned = ogive.remove_outliers(result)
    stable = on_stable_columns(cleaned)
    calibrated = ogive.calibrate(cleaned, stable)
    dx, dy = calibrated.dx.values, calibrated.dy.values
    speed = np.hypot(dx, dy) * 15 / DAYS_YAHTSE
    error = np.sqrt((calibrated.dx_var.values + calibrated.dy_var.values) / 2)
    clear = np.hypot(dx, dy) > 3 * error
    figure, axes = plt.subplots(2, 2, figsize=(14.4, 9.0), layout="constrained")
    show(axes[0, 0], pair.earlier, "(a) Landsat 8, band 8, 18 July 2016")
    bar = 5000 / 15
    bottom = pair.earlier.shape[0] - 40
    axes[0, 0].axvline(STABLE_FROM_COLUMN, color="tab:orange", linewidth=1)
    axes[0, 0].text(
        STABLE_FROM_COLUMN + 12, bottom - 15, "stable ground", color="tab:orange", fontsize=9
    )
    axes[0, 0].plot([40, 40 + bar], [bottom, bottom], color="w", linewidth=3)
    axes[0, 0].text(40 + bar / 2, bottom - 15, "5 km", color="w", ha="center", fontsize=9)
    show(axes[0, 1], pair.earlier, "(b) speed to 3 August 2016, and its direction", faint=True)
    drawn = overlay(
        axes[0, 1], calibrated, np.where(clear, speed, np.nan), cmap=cm.batlow,
        norm=LogNorm(0.2, 20), alpha=0.9,
    )  # fmt: skip
    arrows(axes[0, 1], calibrated, dx, dy, np.nan_to_num(speed) > 0.5, 11)
    scale = figure.colorbar(drawn, ax=axes[0, 1], label="m/d, where above three errors")
    scale.set_ticks([0.2, 0.5, 1, 2, 5, 10, 20], labels=["0.2", "0.5", "1", "2", "5", "10", "20"])
    draw_flags(figure, axes[1, 0], cleaned)
    draw_spectra(axes[1, 1], result)
    save(figure, "yahtse", dpi=72)
    report_yahtse(result, cleaned, calibrated, speed)


FLAG_COLOURS = {
    Flag.MEASURED: "#d9d9d9",
    Flag.OUTSIDE: "#7570b3",
    Flag.NO_PEAK: "#1b9e77",
    Flag.LOW_CORRELATION: "#d95f02",
    Flag.OUTLIER: "#e7298a",
}


def draw_flags(figure: plt.Figure, axes: plt.Axes, result: xr.Dataset) -> None:
    """Draw why points have no value."""
    flag = result.flag.values
    number = np.full(flag.shape, -1)
    for k, known in enumerate(FLAG_COLOURS):
        number[flag == known] = k
    if (number < 0).any():
        raise ValueError(f"flags without a colour: {np.unique(flag[number < 0])}")
    drawn = axes.imshow(
        number, cmap=ListedColormap(list(FLAG_COLOURS.values())), extent=extent(result),
        norm=BoundaryNorm(np.arange(len(FLAG_COLOURS) + 1) - 0.5, len(FLAG_COLOURS)),
        interpolation="nearest",
    )  # fmt: skip
    title_of(axes, "(c) flag, after the outlier filters")
    legend = figure.colorbar(drawn, ax=axes)
    names = [
        f"{known.name.lower().replace('_', ' ')}\n{(flag == known).mean():.1%}"
        for known in FLAG_COLOURS
    ]
    legend.set_ticks(range(len(names)), labels=names)


def draw_spectra(axes: plt.Axes, result: xr.Dataset) -> None:
    """Draw the pair's coherence and the filter that follows from it."""
    frequency = result.frequency.values
    inside = frequency <= 0.5
    axes.plot(frequency[inside], result.coherence.values[inside], label="coherence γ²", color="k")
    axes.plot(
        frequency[inside], result.filter_response.values[inside], label="filter H, maximum 1",
        color="tab:orange",
    )  # fmt: skip
    axes.set_xlabel("cycles per pixel")
    axes.set_ylim(0, 1.03)
    axes.set_xlim(0, 0.5)
    wavelengths = axes.secondary_xaxis(1.0)
    wavelengths.set_xticks([1 / 20, 1 / 8, 1 / 4, 1 / 3, 1 / 2], ["20 px", "8", "4", "3", "2"])
    axes.legend(frameon=False)
    axes.set_title("(d) what the pair says of itself; wavelengths above", fontsize=11, loc="left")


def report_yahtse(
    result: xr.Dataset, cleaned: xr.Dataset, calibrated: xr.Dataset, speed: Floats
) -> None:
    """Print what figure 1 shows."""
    total = result.flag.size
    rows = [
        [
            flag.name.lower(),
            *(f"{float((field.flag == flag).mean()):.1%}" for field in (result, cleaned)),
        ]
        for flag in FLAG_COLOURS
    ]
    print_table("Yahtse, window 16, step 4: flags", ["flag", "matched", "after outliers"], rows)
    at = {value: k for k, value in enumerate(np.round(result.frequency.values * 64).astype(int))}
    rows = [
        [
            f"{k / 64:.3f}",
            f"{64 / k:.1f}",
            *(f"{float(result[name][at[k]]):.3f}" for name in ("coherence", "filter_response")),
        ]
        for k in (2, 4, 8, 12, 16, 20, 24, 28, 32)
    ]
    print_table("Yahtse: spectra", ["cycles/px", "wavelength px", "coherence", "filter"], rows)
    fast = xr.DataArray(speed, coords=calibrated.dx.coords)
    fall = fast.sel(x=slice(930, 1060), y=slice(540, 640))
    tongue = fast.sel(x=slice(890, 1050), y=slice(720, 930))
    tongue = tongue.where(tongue > 5)
    ice = speed > 0.5
    stable = on_stable_columns(cleaned)
    rows = [
        ["speed above the icefall, 99 % quantile, m/d", f"{float(fall.quantile(0.99)):.1f}"],
        ["tongue below the icefall, median and 99 % quantile, m/d",
         f"{float(tongue.median()):.1f}, {float(tongue.quantile(0.99)):.1f}"],
        ["the same, m/yr",
         f"{float(tongue.median()) * DAYS_PER_YEAR:.0f}, "
         f"{float(tongue.quantile(0.99)) * DAYS_PER_YEAR:.0f}"],
    ]  # fmt: skip
    rows += [["points", str(total)]]
    for name in ("dx", "dy"):
        values = calibrated[name]
        attributes = values.attrs
        before = np.sqrt(cleaned[f"{name}_var"].values)
        after = np.sqrt(calibrated[f"{name}_var"].values)
        ground = stable & np.isfinite(values.values)
        residual = np.abs(values.values[ground])
        rows += [
            [f"shift of {name}, px", f"{attributes['stable_shift']:.3f} ± "
             f"{attributes['stable_shift_error']:.3f}"],
            [f"excess error of {name}, px", f"{attributes['excess_error']:.3f}"],
            [f"median declared error of {name} on ice before / after the excess, px",
             f"{np.nanmedian(before[ice]):.3f} / {np.nanmedian(after[ice]):.3f}"],
            ["the same on stable ground, px",
             f"{np.nanmedian(before[ground]):.3f} / {np.nanmedian(after[ground]):.3f}"],
            [f"95 % intervals of {name} that hold zero on stable ground, before / after",
             f"{np.mean(residual < 1.96 * before[ground]):.3f} / "
             f"{np.mean(residual < 1.96 * after[ground]):.3f}"],
        ]  # fmt: skip
    print_table("Yahtse, window 16, step 4, calibrated", ["what", "value"], rows)


def draw_stable_ground(pair: Yahtse) -> None:
    """Draw residuals on stable ground at two windows under three imposed shifts."""
    figure, axes = plt.subplots(2, 2, figsize=(12.4, 7.0), layout="constrained", sharex=True)
    bins = np.linspace(-0.75, 0.75, 76)
    rows = []
    for row, subpixel in enumerate(("translation", "parabola")):
        for column, window in enumerate((16, 32)):
            spreads, kept = [], 0.0
            for shift, colour in zip(IMPOSED_PX, ("k", "tab:blue", "tab:orange"), strict=True):
                later = moved_by(pair.later, shift, shift)
                result = ogive.match(
                    pair.earlier, later, window=window, step=8, search=32, subpixel=subpixel
                )
                x, y = stable_residuals(result)
                spreads.append((nmad(x) + nmad(y)) / 2)
                kept = float((result.flag == 0).mean()) if shift == 0 else kept
                axes[row, column].hist(
                    np.concatenate([x, y]), bins, histtype="step", color=colour, linewidth=1.4,
                    label=f"moved by {shift:g} px: NMAD {spreads[-1]:.3f}", density=True,
                )  # fmt: skip
            method = "Gauss-Newton" if subpixel == "translation" else "parabola"
            mean = float(np.mean(spreads))
            title_of(axes[row, column], f"{method}, window {window}: mean {mean:.3f} px")
            axes[row, column].legend(frameon=False, fontsize=9)
            rows.append(
                [method, str(window), *(f"{s:.3f}" for s in spreads), f"{mean:.4f}", f"{kept:.3f}"]
            )
    for axis in axes[1]:
        axis.set_xlabel("dx and dy less their medians, px")
    for axis in axes.flat:
        axis.set_yticks([])
    save(figure, "stable_ground")
    print_table(
        "Yahtse: NMAD on stable ground, px",
        ["peak", "window", "0 px", "0.25 px", "0.5 px", "mean", "kept of all points, 0 px"], rows,
    )  # fmt: skip


def report_windows(pair: Yahtse) -> None:
    """Print what a window of any size is worth on this pair."""
    rows = []
    for window in (8, 12, 16, 24, 32, 48, 64):
        spreads, kept, error = [], 0.0, 0.0
        for shift in IMPOSED_PX:
            later = moved_by(pair.later, shift, shift)
            result = ogive.match(pair.earlier, later, window=window, step=8, search=32)
            x, y = stable_residuals(result)
            spreads.append((nmad(x) + nmad(y)) / 2)
            if shift == 0.0:
                kept = float((result.flag == 0).mean())
                cleaned = ogive.remove_outliers(result)
                speed = np.hypot(cleaned.dx, cleaned.dy) * 15 / DAYS_YAHTSE
                error = float(np.sqrt(cleaned.dx_var.where(speed > 0.5).median()))
        rows.append(
            [
                str(window),
                str(window * 15),
                f"{kept:.2f}",
                f"{np.mean(spreads):.3f}",
                f"{error:.3f}",
            ]
        )
    header = ["window px", "m", "kept", "NMAD on stable ground px", "declared error on ice px"]
    print_table("Yahtse: windows", header, rows)


class Compared(NamedTuple):
    """Our displacements and another correlator's at the same points, in our pixels."""

    ours_x: Floats
    ours_y: Floats
    theirs_x: Floats
    theirs_y: Floats
    metres_per_pixel: float
    x: Floats
    y: Floats


def compared(pair: Yahtse) -> Compared:
    """Match at the other correlator's points; free both of their medians on stable ground."""
    east, north = (
        read(pair.folder / f"2016200_2016216_r32x32_s32x32_{axis}xyz.tif")[0].astype(float)
        for axis in ("east", "north")
    )
    result = ogive.match(pair.earlier, pair.later, window=32, step=8, search=32)
    # Its windows of 32 px start 32 px inside the image and stand 8 px apart: four of our points.
    rows, columns = (min(east.shape[k], result.dx.shape[k] - 4) for k in (0, 1))
    known = ((east > -30000) & (north > -30000))[:rows, :columns]
    inner = np.s_[4 : 4 + rows, 4 : 4 + columns]
    x, y = np.meshgrid(result.x.values[inner[1]], result.y.values[inner[0]])
    # Its east is reversed, and its north is up.
    fields = [
        result.dx.values[inner], result.dy.values[inner],
        -east[:rows, :columns], -north[:rows, :columns],
    ]  # fmt: skip
    known &= np.isfinite(fields[0])
    still = known & (x > STABLE_FROM_COLUMN)
    ours_x, ours_y, theirs_x, theirs_y = (f[known] - np.median(f[still]) for f in fields)
    length = np.hypot(ours_x, ours_y)
    faster = length > 5
    scale = float(np.median(np.hypot(theirs_x, theirs_y)[faster] / length[faster]))
    return Compared(
        ours_x, ours_y, theirs_x / scale, theirs_y / scale, scale, x[known], y[known]
    )  # fmt: skip


def apart_without_plane(both: Compared) -> Floats:
    """Length of the difference, less a plane fitted to it where our speed is below 0.3 m/d."""
    slow = np.hypot(both.ours_x, both.ours_y) * 15 / DAYS_YAHTSE < 0.3
    columns = np.stack([np.ones_like(both.x), both.x / 1000, both.y / 1000], axis=1)
    left = []
    for ours, theirs in ((both.ours_x, both.theirs_x), (both.ours_y, both.theirs_y)):
        difference = theirs - ours
        used = slow & (np.abs(difference) < 3)
        for _ in range(3):
            plane, *_ = np.linalg.lstsq(columns[used], difference[used], rcond=None)
            away = difference - columns @ plane
            used = slow & (np.abs(away) < 3 * nmad(away[slow]))
        left.append(difference - columns @ plane)
    return np.hypot(*left)


def draw_independent(pair: Yahtse) -> None:
    """Draw our displacements against an independent correlator's."""
    both = compared(pair)
    apart = np.hypot(both.ours_x - both.theirs_x, both.ours_y - both.theirs_y)
    fast = np.hypot(both.ours_x, both.ours_y) * 15 / DAYS_YAHTSE > 1
    figure, axes = plt.subplots(1, 3, figsize=(15.6, 4.9), layout="constrained")
    for axis, ours, theirs, name in (
        (axes[0], both.ours_x, both.theirs_x, "dx"),
        (axes[1], both.ours_y, both.theirs_y, "dy"),
    ):
        limits = [-3, 13] if name == "dx" else [-6, 13]
        drawn = axis.hexbin(
            ours, theirs, gridsize=90, extent=(*limits, *limits), bins="log", mincnt=1,
            cmap=cm.lapaz_r, linewidths=0.1,
        )  # fmt: skip
        axis.plot(limits, limits, color="tab:orange", linewidth=0.8)
        axis.set_xlabel(f"ogive {name}, px")
        axis.set_ylabel(f"independent {name}, px")
        axis.set_aspect("equal")
        title_of(axis, f"({'ab'[name == 'dy']}) {name}, all points")
    figure.colorbar(drawn, ax=axes[1], label="points")
    show(axes[2], pair.earlier, "(c) length of the difference, px", faint=True)
    drawn = axes[2].scatter(
        both.x, both.y, c=np.clip(apart, 0.05, 10), s=2.2, marker="s", cmap=cm.lajolla_r,
        norm=LogNorm(0.05, 10), linewidths=0,
    )  # fmt: skip
    bar = figure.colorbar(drawn, ax=axes[2])
    bar.set_ticks([0.1, 0.5, 1.5, 10], labels=["0.1", "0.5", "1.5", "≥ 10"])
    save(figure, "independent")
    still = both.x > STABLE_FROM_COLUMN
    tilted = apart_without_plane(both)
    mountain = (both.x > 250) & (both.x < 560) & (both.y > 330) & (both.y < 470)
    rows = [
        ["points with both", str(apart.size)],
        ["metres per pixel in its fast offsets", f"{both.metres_per_pixel:.2f}"],
        ["points faster than 1 m/d", str(int(fast.sum()))],
        ["of these within 1.5 px", f"{(apart[fast] < 1.5).mean():.3f}"],
        ["of these within 0.5 px", f"{(apart[fast] < 0.5).mean():.3f}"],
        ["median difference on them, px", f"{np.median(apart[fast]):.3f}"],
        ["median difference on stable ground, px", f"{np.median(apart[still]):.3f}"],
        ["without a plane in the difference: fast points within 0.5 px, median",
         f"{(tilted[fast] < 0.5).mean():.3f}, {np.median(tilted[fast]):.3f} px"],
        ["points on the mountain between the glaciers", str(int(mountain.sum()))],
        ["median there, ogive dx, dy, px",
         f"{np.median(both.ours_x[mountain]):+.2f}, {np.median(both.ours_y[mountain]):+.2f}"],
        ["median there, the other dx, dy, px",
         f"{np.median(both.theirs_x[mountain]):+.2f}, {np.median(both.theirs_y[mountain]):+.2f}"],
        ["NMAD on stable ground, ogive dx, dy, px",
         f"{nmad(both.ours_x[still]):.3f}, {nmad(both.ours_y[still]):.3f}"],
        ["NMAD on stable ground, the other dx, dy, px",
         f"{nmad(both.theirs_x[still]):.3f}, {nmad(both.theirs_y[still]):.3f}"],
    ]  # fmt: skip
    print_table("Yahtse against independent offsets, window 32", ["what", "value"], rows)


# ---- Perito Moreno -------------------------------------------------------------------------------


class Moreno(NamedTuple):
    """Sentinel-2 images of one place, cut out along a polygon."""

    images: dict[str, Floats]
    usable: Bools
    ice: Bools
    rim: Bools

    @classmethod
    def read(cls, data: Path, dates: tuple[str, ...]) -> Moreno:
        """Read images, and masks: inside the polygon, ice, and the rim of rock beside the ice."""
        folder = data / "perito_moreno_s2_series"
        mask = read(folder / "mask.jpg").astype(int)
        ice = mask[0] > 128
        inside = ndimage.binary_opening(mask.max(axis=0) > 64, iterations=2)
        # JPEG smears the polygon's edge over a block of 8 px.
        usable = ndimage.binary_erosion(inside, iterations=6, border_value=1)
        rim = usable & ~ndimage.binary_dilation(ice, iterations=4)
        images = {day: read(folder / f"{day}.jpg").astype("f4").mean(axis=0) for day in dates}
        return cls(images, usable, ice, rim)

    def match(self, earlier: str, later: str, **options: Any) -> xr.Dataset:
        """Match two dates inside the polygon."""
        return ogive.match(
            self.images[earlier], self.images[later], window=32, step=8, search=16,
            mask=self.usable, **options,
        )  # fmt: skip

    def on_ice(self, result: xr.Dataset) -> Bools:
        """Points whose window is all ice."""
        return windows_inside(self.ice & self.usable, window_px=32, step_px=8)

    def on_rim(self, result: xr.Dataset) -> Bools:
        """Points whose window is all rock."""
        return windows_inside(self.rim, window_px=32, step_px=8) & np.isfinite(result.dx.values)


def days_between(earlier: str, later: str) -> int:
    """Days between two dates."""
    one, two = (date(int(d[:4]), int(d[4:6]), int(d[6:])) for d in (earlier, later))
    return (two - one).days


MORENO_DATES = ("20200121", "20200131", "20200205", "20200207", "20200210", "20200220")
TRIPLET = ("20200131", "20200210", "20200220")
CLOUDED_TRIPLET = ("20200121", "20200131", "20200210")
OTHER_ORBIT = ("20200207",)


def report_phases(place: Moreno) -> dict[str, list[tuple[str, float]]]:
    """Print the shift of ice against rock, less the flow: parallax between two orbits.

    The flow is that of the 20-day pair of one orbit, in pixels per day.
    """
    steady = ogive.remove_outliers(place.match(TRIPLET[0], TRIPLET[2]))
    rim = place.on_rim(steady)
    days = days_between(TRIPLET[0], TRIPLET[2])
    flow = [(steady[c].values - np.median(steady[c].values[rim])) / days for c in ("dx", "dy")]
    rows: list[list[str]] = []
    found: dict[str, list[tuple[str, float]]] = {"one orbit": [], "to": [], "from": []}
    clear = [day for day in MORENO_DATES if day != "20200121"]
    for k, earlier in enumerate(clear):
        for later in clear[k + 1 :]:
            if (earlier, later) == (TRIPLET[0], TRIPLET[2]):
                continue
            result = ogive.remove_outliers(place.match(earlier, later))
            rim, ice = place.on_rim(result), place.on_ice(result)
            baseline = days_between(earlier, later)
            kind = "to" if later in OTHER_ORBIT else "from" if earlier in OTHER_ORBIT else ""
            shifts = [float(np.median(result[c].values[rim])) for c in ("dx", "dy")]
            left = [
                float(np.nanmedian((result[c].values - shift - baseline * rate)[ice]))
                for c, shift, rate in zip(("dx", "dy"), shifts, flow, strict=True)
            ]
            found[kind or "one orbit"].append((f"{earlier[4:]}-{later[4:]}", left[0]))
            rows.append(
                [
                    earlier,
                    later,
                    str(baseline),
                    f"{kind} the other orbit" if kind else "one orbit",
                    str(int(rim.sum())),
                    *(f"{value:+.2f}" for value in (*shifts, *left)),
                ]
            )
    print_table(
        "Perito Moreno: what remains on ice when the shift of rock and the flow are taken off, px",
        ["earlier", "later", "days", "orbits", "points on rock", "shift dx", "shift dy",
         "left dx", "left dy"], rows,
    )  # fmt: skip
    return found


def report_unmasked(place: Moreno) -> None:
    """Print what the black surroundings do when nobody says that they are no ground."""
    unmasked = ogive.match(
        place.images[TRIPLET[1]], place.images[TRIPLET[2]], window=32, step=8, search=16
    )
    beside = windows_inside(~place.ice, window_px=32, step_px=8)
    beside &= np.isfinite(unmasked.dx.values)
    masked = ogive.remove_outliers(place.match(TRIPLET[1], TRIPLET[2]))
    rim = place.on_rim(masked)
    rows = [
        [name, str(int(where.sum()))]
        + [f"{float(np.median(field[c].values[where])):+.2f}" for c in ("dx", "dy")]
        for name, field, where in (
            ("black surroundings not masked: all beside the ice", unmasked, beside),
            ("masked: rock", masked, rim),
        )
    ]
    print_table("Perito Moreno, 10 to 20 February: what seems to be stable ground",
                ["ground", "points", "median dx px", "median dy px"], rows)  # fmt: skip


def speed_px_d(place: Moreno, result: xr.Dataset, days: int) -> tuple[xr.Dataset, Floats]:
    """Displacement calibrated on the rim, and its speed."""
    # The rim is narrow: a fifth of the ten independent windows that are asked for by default.
    calibrated = ogive.calibrate(result, place.on_rim(result), min_count=30, min_area=2000)
    return calibrated, np.hypot(calibrated.dx.values, calibrated.dy.values) / days


class ReferencePoints(NamedTuple):
    """Where the series has a reference velocity, and where that is above 0.2 px/d."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    fast: Bools


def reference_points(data: Path, result: xr.Dataset) -> ReferencePoints:
    """Points on the ice that have a reference velocity, on the grid of a result."""
    path = data.parent / "bench" / "perito_moreno_points.csv"
    points = np.loadtxt(path, delimiter=",", skiprows=1)
    column = np.rint((points[:, 0] - result.x.values[0]) / 8).astype(int)
    row = np.rint((points[:, 1] - result.y.values[0]) / 8).astype(int)
    return ReferencePoints(
        np.clip(row, 0, result.sizes["y"] - 1),
        np.clip(column, 0, result.sizes["x"] - 1),
        np.hypot(points[:, 2], points[:, 3]) > 0.2,
    )


class Triplet(NamedTuple):
    """Three displacements that must close."""

    d12: xr.Dataset
    d23: xr.Dataset
    d13: xr.Dataset


def matched(place: Moreno, days: tuple[str, ...]) -> Triplet:
    """Match the three pairs of three dates, forward and backward, without outliers."""
    pairs = (*pairwise(days), (days[0], days[2]))
    return Triplet(
        *(ogive.remove_outliers(place.match(a, b, forward_backward=1.0)) for a, b in pairs)
    )


def draw_moreno(data: Path, place: Moreno) -> None:
    """Draw speeds of three pairs, and the checks that need no truth."""
    triplet = matched(place, TRIPLET)
    figure, axes = plt.subplots(2, 2, figsize=(13.6, 9.4), layout="constrained")
    show(axes[0, 0], place.images[TRIPLET[0]], "(a) Sentinel-2, 31 January 2020")
    axes[0, 0].contour(place.rim, [0.5], colors="tab:orange", linewidths=0.7)
    pairs = (*pairwise(TRIPLET), (TRIPLET[0], TRIPLET[2]))
    drawn = None
    for axis, letter, moved, (earlier, later) in zip(
        axes.flat[1:], "bcd", triplet, pairs, strict=True
    ):
        days = days_between(earlier, later)
        calibrated, speed = speed_px_d(place, moved, days)
        show(axis, place.images[earlier], f"({letter}) {day_month(earlier)} to {day_month(later)}, "
             f"{days} days", faint=True)  # fmt: skip
        drawn = overlay(axis, calibrated, speed, cmap=cm.batlow, vmin=0, vmax=0.4, alpha=0.9)
        strong = place.on_ice(moved) & (np.nan_to_num(speed) > 0.08)
        arrows(axis, calibrated, calibrated.dx.values, calibrated.dy.values, strong, 10)
    figure.colorbar(drawn, ax=axes[:, 1], label="px/d", shrink=0.7)
    save(figure, "perito_moreno", dpi=72)
    found = report_phases(place)
    report_unmasked(place)
    draw_checks(place, triplet, found)
    report_speeds(data, place, {TRIPLET: triplet, CLOUDED_TRIPLET: matched(place, CLOUDED_TRIPLET)})


def day_month(day: str) -> str:
    """A date as it is said."""
    return f"{int(day[6:])} {date(2020, int(day[4:6]), 1):%B}"


def report_speeds(data: Path, place: Moreno, triplets: dict[tuple[str, ...], Triplet]) -> None:
    """Print speeds, forward-backward distances and closures."""
    speeds, backward, closures = [], [], []
    for days, triplet in triplets.items():
        pairs = (*pairwise(days), (days[0], days[2]))
        ice = place.on_ice(triplet.d12)
        for (earlier, later), moved in zip(pairs, triplet, strict=True):
            calibrated, speed = speed_px_d(place, moved, days_between(earlier, later))
            row, column, fast = reference_points(data, moved)
            trunk = speed[row, column]
            quartiles = np.nanquantile(trunk, [0.25, 0.5, 0.75])
            shift = [
                f"{calibrated[c].attrs['stable_shift']:+.2f} ± "
                f"{calibrated[c].attrs['stable_shift_error']:.2f}"
                for c in ("dx", "dy")
            ]
            kept = np.isfinite(moved.dx.values)
            speeds.append(
                [
                    f"{earlier} to {later}",
                    f"{kept[ice].mean():.3f}",
                    *shift,
                    *(f"{value:.3f}" for value in (*quartiles, np.nanmedian(trunk[fast]))),
                ]
            )
            distance = moved.forward_backward_distance.values[ice]
            known = distance[np.isfinite(distance)]
            backward.append(
                [
                    f"{earlier} to {later}",
                    str(known.size),
                    *(f"{value:.3f}" for value in np.quantile(known, [0.5, 0.95])),
                    f"{np.mean(known > 1):.4f}",
                ]
            )
        closures.append(closure_row(days, triplet, ice))
    print_table("Perito Moreno: speed at the reference points, px/d",
                ["pair", "kept on ice", "shift dx px", "shift dy px", "25 %", "median", "75 %",
                 "median where the reference is above 0.2"],
                speeds)  # fmt: skip
    print_table("Perito Moreno: forward-backward distance on ice, px",
                ["pair", "points", "median", "95 %", "share above 1 px"], backward)  # fmt: skip
    print_table("Perito Moreno: closure d12 + d23 - d13 on ice, px",
                ["triplet", "points", "median dx", "median dy", "NMAD dx", "NMAD dy",
                 "median length", "95 % length", "in 95 % intervals"], closures)  # fmt: skip


def closure_row(days: tuple[str, ...], triplet: Triplet, ice: Bools) -> list[str]:
    """What remains of three displacements, and whether their declared errors explain it."""
    residual = closure(*triplet)
    x, y = residual.dx.values[ice], residual.dy.values[ice]
    z = []
    for c, values in (("dx", x), ("dy", y)):
        variance = sum(moved[f"{c}_var"].values for moved in triplet)[ice]
        z.append(values / np.sqrt(variance))
    both = np.concatenate(z)
    both = both[np.isfinite(both)]
    length = np.hypot(x, y)
    length = length[np.isfinite(length)]
    return [
        ", ".join(d[4:] for d in days), str(length.size), f"{np.nanmedian(x):+.3f}",
        f"{np.nanmedian(y):+.3f}", f"{nmad(x):.3f}", f"{nmad(y):.3f}", f"{np.median(length):.3f}",
        f"{np.quantile(length, 0.95):.3f}", f"{np.mean(np.abs(both) < 1.96):.3f}",
    ]  # fmt: skip


def draw_checks(place: Moreno, triplet: Triplet, found: dict[str, list[tuple[str, float]]]) -> None:
    """Draw forward-backward distance, closure, and the parallax between two orbits."""
    figure, axes = plt.subplots(1, 3, figsize=(17.6, 4.9), layout="constrained",
                                width_ratios=[1, 1, 0.72])  # fmt: skip
    background = place.images[TRIPLET[0]]
    residual = closure(*triplet)
    for axis, values, title in (
        (axes[0], triplet.d12.forward_backward_distance.values,
         "(a) forward-backward distance, 31 January to 10 February"),
        (axes[1], np.hypot(residual.dx.values, residual.dy.values),
         "(b) length of the closure residual"),
    ):  # fmt: skip
        show(axis, background, title, faint=True)
        drawn = overlay(axis, triplet.d12, values, cmap=cm.lajolla_r, vmin=0, vmax=0.5)
    figure.colorbar(drawn, ax=axes[:2], label="px", shrink=0.85)
    colours = {"one orbit": "k", "to": "tab:orange", "from": "tab:blue"}
    labels = {"one orbit": "one orbit", "to": "to the other orbit", "from": "back from it"}
    position, names = 0, []
    for kind, values in found.items():
        at = np.arange(position, position + len(values))
        axes[2].barh(at, [value for _, value in values], color=colours[kind], label=labels[kind])
        names += [name for name, _ in values]
        position += len(values)
    axes[2].set_yticks(range(position), names, fontsize=9)
    axes[2].axvline(0, color="k", linewidth=0.6)
    axes[2].invert_yaxis()
    axes[2].set_xlabel("dx, px")
    axes[2].legend(frameon=False, fontsize=9)
    axes[2].set_title("(c) ice against rock, less the flow", fontsize=11, loc="left")
    save(figure, "perito_moreno_checks", dpi=72)


# ---- a pair displaced as a whole -----------------------------------------------------------------


class Displaced(NamedTuple):
    """Two Sentinel-2 images of one place on grids that do not agree."""

    reference: Floats
    target: Floats

    @classmethod
    def read(cls, data: Path) -> Displaced:
        """Cut both images to their common place."""
        folder = data / "arosics_s2_pair"
        with (
            rasterio.open(folder / "ref_S2A_20160608T153121_T33UUU_sub.jp2") as one,
            rasterio.open(folder / "tgt_S2A_20160529T153631_T33UUU_sub.jp2") as two,
        ):
            left = round((two.bounds.left - one.bounds.left) / 10)
            up = round((two.bounds.top - one.bounds.top) / 10)
            reference, target = one.read(1), two.read(1)
        rows = min(reference.shape[0], target.shape[0] - up)
        columns = min(reference.shape[1] - left, target.shape[1])
        return cls(
            reference[:rows, left : left + columns].astype(float),
            target[up : up + rows, :columns].astype(float),
        )

    def match(self, shift: float, **options: Any) -> xr.Dataset:
        """Match after the target was moved by a shift along both axes."""
        return ogive.match(
            self.reference, moved_by(self.target, shift, shift), window=32, search=8,
            mask=ogive.Masks(self.reference > 0, self.target > 0), **options,
        )  # fmt: skip


def draw_displaced(data: Path) -> None:
    """Draw the displacement, and what peak locking does to it."""
    pair = Displaced.read(data)
    moved = ogive.remove_outliers(pair.match(0.0, step=16))
    figure, axes = plt.subplots(
        1, 3, figsize=(15.4, 5.2), layout="constrained", width_ratios=[0.8, 0.8, 1.2]
    )
    usable = moved.flag != Flag.MASKED
    rows = [["points inside both images", str(int(usable.sum()))],
            ["of these kept", f"{float((moved.flag == 0).sum() / usable.sum()):.3f}"]]  # fmt: skip
    for axis, name, letter in ((axes[0], "dx", "a"), (axes[1], "dy", "b")):
        values = moved[name].values
        middle = float(np.nanmedian(values))
        drawn = axis.imshow(values, cmap=cm.vik, vmin=middle - 0.3, vmax=middle + 0.3,
                            interpolation="nearest")  # fmt: skip
        axis.set_facecolor("0.85")
        title_of(axis, f"({letter}) {name}: median {middle:+.3f} px")
        figure.colorbar(drawn, ax=axis, label="px")
        error = float(np.sqrt(moved[f"{name}_var"].median()))
        rows += [[f"{name}: median, NMAD, median declared error, px",
                  f"{middle:+.3f}, {nmad(values):.3f}, {error:.3f}"]]  # fmt: skip
    third = moved.sizes["x"] // 3
    sides = [float(moved.dy.isel(x=part).median()) for part in (np.s_[:third], np.s_[-third:])]
    rows += [["median dy of the left and the right third, px",
              f"{sides[0]:+.3f}, {sides[1]:+.3f}"]]  # fmt: skip
    print_table("Displaced as a whole, window 32, step 16", ["what", "value"], rows)
    report_features(pair)
    locking = peak_locking(pair)
    draw_peak_locking(axes[2], locking)
    save(figure, "displaced")


def report_features(pair: Displaced) -> None:
    """Print medians by features and peak: what was published is a parabola on plain images."""
    rows = []
    for features in ("intensity", "highpass", "adaptive"):
        row = [features]
        for subpixel in ("parabola", "translation"):
            result = pair.match(0.0, step=32, features=features, subpixel=subpixel)
            row += [f"{float(result.dx.median()):+.3f}, {float(result.dy.median()):+.3f}"]
        rows.append(row)
    print_table("Displaced as a whole: median dx, dy by features, px, step 32",
                ["features", "parabola", "Gauss-Newton"], rows)  # fmt: skip


IMPOSED_AROSICS = np.round(np.arange(0.0, 1.0, 0.1), 1)


def peak_locking(pair: Displaced) -> dict[str, NDArray[np.float64]]:
    """Median displacement less what was imposed, by sub-pixel method: ``(shift, component)``."""
    found = {}
    for subpixel in ("translation", "parabola"):
        results = [pair.match(float(s), step=32, subpixel=subpixel) for s in IMPOSED_AROSICS]
        found[subpixel] = np.array(
            [
                [float(result[c].median()) - s for c in ("dx", "dy")]
                for s, result in zip(IMPOSED_AROSICS, results, strict=True)
            ]
        )
    table = [
        [f"{s:.1f}", *(f"{value:+.3f}" for name in found for value in found[name][k])]
        for k, s in enumerate(IMPOSED_AROSICS)
    ]
    for label, function in (("mean", np.mean), ("range", np.ptp)):
        columns = [function(found[name], axis=0) for name in found]
        table.append([label, *(f"{value:+.3f}" for column in columns for value in column)])
    print_table("Displaced as a whole: median found less imposed, px, step 32",
                ["imposed", "Gauss-Newton dx", "dy", "parabola dx", "dy"], table)  # fmt: skip
    return found


def draw_peak_locking(axes: plt.Axes, found: dict[str, NDArray[np.float64]]) -> None:
    """Draw the error of a median under shifts that are known."""
    truth = found["translation"].mean(axis=0)
    names = {"translation": "Gauss-Newton", "parabola": "parabola"}
    for subpixel, colour in (("translation", "k"), ("parabola", "tab:orange")):
        for component, marker in ((0, "o-"), (1, "s--")):
            total = truth[component] + IMPOSED_AROSICS
            away = found[subpixel][:, component] - truth[component]
            label = f"{names[subpixel]}, {('dx', 'dy')[component]}"
            order = np.argsort(total % 1)
            axes.plot((total % 1)[order], away[order], marker, color=colour, markersize=4,
                      linewidth=1, label=label)  # fmt: skip
    for component, name in enumerate(("dx", "dy")):
        away = PUBLISHED_AROSICS[component] - truth[component]
        axes.plot(truth[component] % 1, away, "*", color="tab:red", markersize=12,
                  label="published" if component == 0 else None, zorder=0)  # fmt: skip
        axes.annotate(name, (truth[component] % 1, away), xytext=(7, 3),
                      textcoords="offset points", color="tab:red", fontsize=9)  # fmt: skip
    axes.axhline(0, color="0.7", linewidth=0.7, zorder=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.12, 0.12)
    axes.set_xlabel("fraction of a pixel at which the pair is displaced")
    axes.set_ylabel("median displacement, less the mean of Gauss-Newton, px")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower right")
    axes.set_title("(c) moved by known fractions", fontsize=11, loc="left")


def main() -> None:
    """Make all."""
    data = Path(sys.argv[1]).resolve()
    yahtse = Yahtse.read(data)
    draw_yahtse(yahtse)
    draw_stable_ground(yahtse)
    report_windows(yahtse)
    draw_independent(yahtse)
    draw_moreno(data, Moreno.read(data, MORENO_DATES))
    draw_displaced(data)
    print(f"\nm/d to m/yr: times {DAYS_PER_YEAR}")


if __name__ == "__main__":
    main()
