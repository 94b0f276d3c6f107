"""One picture of a velocity map: how fast, which way, over what ground, how still the rock."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ogive.model import GridError, InputError
from ogive.store.atomic import atomic_path
from ogive.store.layer_colours import short_units

from .map_parts import (
    Frame,
    crs_of,
    draw_bar,
    draw_ground,
    draw_layer,
    draw_place,
    frame_of,
    hillshade,
    is_georeferenced,
    layer_norm,
    step_of,
    thinned,
    upright,
)

__all__ = ["hillshade", "quicklook"]

_ARROWS_ACROSS = 26
_NMAD = 1.4826  # of a normal distribution: its standard deviation over its median deviation


def quicklook(
    velocity: xr.Dataset,
    path: str | Path | None = None,
    *,
    background: xr.DataArray | None = None,
    stable: xr.DataArray | NDArray[np.bool_] | None = None,
) -> Figure:
    """Draw a velocity map: speed and direction over an image, and the residuals on stable ground.

    The colours are logarithmic where the fastest ice is more than twenty times faster than the
    median of what moves. Arrows are medians of blocks of points, drawn where the speed is above
    twice its error. The north arrow points to geographic north at the centre of the map.

    Parameters
    ----------
    velocity
        ``vx``, ``vy``, ``v`` on ``(y, x)``; ``v_error``, if there, decides where arrows are drawn.
    path
        Where to write a PNG; ``None`` writes nothing.
    background
        An image or a hillshade on any grid of the same coordinate reference system, drawn in grey.
    stable
        True where the ground does not move, on the grid of `velocity`: adds the histogram.

    Returns
    -------
    matplotlib.figure.Figure
        It belongs to no window and needs no closing: it goes when the last reference to it goes.

    Raises
    ------
    InputError
        If a variable is missing, or `stable` is on another grid.
    GridError
        If `background` has another coordinate reference system.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> figure = quicklook(velocity, "quicklook.png", background=image)  # doctest: +SKIP
    """
    missing = [name for name in ("vx", "vy", "v") if name not in velocity]
    if missing:
        raise InputError(f"a quicklook needs {', '.join(missing)}: the dataset lacks them")
    ground = None if stable is None else _stable(stable, velocity)
    if background is not None:
        _check_background(background, velocity)
    frame = frame_of(velocity["v"])
    figure = Figure(figsize=_size(frame, with_histogram=ground is not None), layout="constrained")
    if ground is None:
        axes = figure.subplots()
    else:
        axes, beside = figure.subplots(1, 2, width_ratios=[9.2, 2.8])
        _draw_residuals(beside, velocity, ground)
    _draw_map(figure, axes, velocity, background)
    if path is not None:
        with atomic_path(path) as written:
            figure.savefig(written, dpi=150, format="png")
    return figure


def _stable(stable: xr.DataArray | NDArray[np.bool_], velocity: xr.Dataset) -> NDArray[np.bool_]:
    ground = np.asarray(stable, dtype=bool)
    if ground.shape != velocity["v"].shape:
        raise InputError(
            f"the mask of stable ground has the shape {ground.shape}, the velocity has "
            f"{velocity['v'].shape}: give it on the grid of the velocity"
        )
    return ground


def _check_background(background: xr.DataArray, velocity: xr.Dataset) -> None:
    one, other = crs_of(velocity["v"]), crs_of(background)
    if one != other:
        told = [crs.name if crs is not None else "no reference" for crs in (one, other)]
        raise GridError(
            f"the velocity is in {told[0]} but the background is in {told[1]}: bring the "
            "background to the grid of the velocity"
        )


def _size(frame: Frame, *, with_histogram: bool) -> tuple[float, float]:
    """Give the figure the shape of the map, within reason."""
    ratio = abs((frame.top - frame.bottom) / (frame.right - frame.left))
    width = 8.0 if ratio < 1 else 6.0
    height = width * min(max(ratio, 0.4), 1.6) + 0.6
    return width + 1.2 + (2.8 if with_histogram else 0.0), height


def _draw_map(
    figure: Figure,
    axes: Axes,
    velocity: xr.Dataset,
    background: xr.DataArray | None,
) -> None:
    if background is not None:
        draw_ground(axes, background)
    speed = upright(thinned(velocity["v"]))
    norm = layer_norm(speed, "v")
    # The ground shows through where it hardly moves.
    veil = np.nan_to_num(0.35 + 0.45 * np.clip(np.ma.filled(norm(speed), 0), 0, 1))
    alpha = veil if background is not None else None
    drawn = draw_layer(axes, velocity["v"], "v", norm=norm, alpha=alpha)
    units = short_units(str(velocity["v"].attrs.get("units", "")))
    draw_bar(figure, axes, drawn, f"speed ({units})", extend="both", shrink=0.85, pad=0.01)
    _draw_arrows(axes, velocity, units)
    axes.set_title(_title(velocity), fontsize=10)
    draw_place(axes, velocity["v"])


def _title(velocity: xr.Dataset) -> str:
    share = 100 * float(np.isfinite(velocity["v"].values).mean())
    if "img_pair_info" not in velocity:
        return f"{share:.0f} % of points measured"
    info = velocity["img_pair_info"].attrs
    dates = [str(info[f"acquisition_date_{image}"])[:8] for image in ("img1", "img2")]
    first, last = (f"{day[:4]}-{day[4:6]}-{day[6:8]}" for day in dates)
    return f"{first} to {last}, {share:.0f} % of points measured"


def _draw_arrows(axes: Axes, velocity: xr.Dataset, units: str) -> None:
    side = max(1, math.ceil(max(velocity["v"].shape) / _ARROWS_ACROSS))
    moving = velocity[["vx", "vy"]]
    if "v_error" in velocity:
        moving = moving.where(velocity["v"] > 2 * velocity["v_error"])
    # A block with few points says little of its own flow.
    blocks = moving.coarsen(x=side, y=side, boundary="trim")
    enough = moving["vx"].notnull().coarsen(x=side, y=side, boundary="trim").mean() >= 0.3
    centres = _median(blocks).where(enough)
    vx, vy = centres["vx"].values, centres["vy"].values
    speed = np.hypot(vx, vy)
    if not np.isfinite(speed).any():
        return
    fastest = float(np.nanpercentile(speed, 98))
    # Roots, so that slow tributaries are seen beside the trunk.
    shrink = np.sqrt(np.clip(speed / fastest, 1e-9, 1.5)) / np.where(speed > 0, speed, 1)
    spacing = side * abs(step_of(velocity["v"], "x"))
    axes.quiver(
        *np.meshgrid(centres["x"].values, centres["y"].values),
        vx * shrink,
        vy * shrink,
        angles="xy",
        scale_units="xy",
        scale=1 / (1.3 * spacing),
        pivot="middle",
        color="white",
        edgecolor="black",
        linewidth=0.4,
        width=0.0028,
        minshaft=1.6,
    )
    # Under the map, or inside it where the axis has numbers below.
    georeferenced = is_georeferenced(velocity["v"])
    axes.annotate(
        f"longest arrows: {float(f'{fastest:.2g}'):g} {units}; length as the root of speed",
        (0.5, -0.015 if georeferenced else 0.985),
        xycoords="axes fraction",
        ha="center",
        va="top",
        fontsize=8,
        bbox=None if georeferenced else {"facecolor": "white", "alpha": 0.75, "linewidth": 0},
    )


def _median(blocks: Any) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a block without any point is NaN
        median: xr.Dataset = blocks.median()
    return median


def _draw_residuals(axes: Axes, velocity: xr.Dataset, ground: NDArray[np.bool_]) -> None:
    units = str(velocity["v"].attrs.get("units", "")).replace("meter/year", "m/yr")
    found = {
        name: velocity[name].values[ground & np.isfinite(velocity[name].values)]
        for name in ("vx", "vy")
    }
    axes.set_title(f"{found['vx'].size} points of stable ground", fontsize=10)
    axes.set_xlabel(f"residual ({units})")
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    if not all(values.size for values in found.values()):
        axes.annotate("no points", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return
    spread = max(_spread(values) for values in found.values()) or 1.0
    bins = np.linspace(-6 * spread, 6 * spread, 61)
    for (name, values), colour in zip(
        found.items(), (cm.batlow(0.15), cm.batlow(0.7)), strict=True
    ):
        outside = 100 * float((np.abs(values) > bins[-1]).mean())
        axes.hist(
            values,
            list(bins),
            histtype="stepfilled",
            alpha=0.45,
            color=colour,
            label=(
                f"{name}: median {np.median(values):.3g},\n"
                f"NMAD {_spread(values):.3g},\n{outside:.1f} % beyond"
            ),
        )
    axes.axvline(0, ymax=0.75, color="black", linewidth=0.8)
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])
    axes.legend(fontsize=8, loc="upper left", frameon=False, ncols=2, handlelength=1)


def _spread(values: NDArray[Any]) -> float:
    """Normalised median absolute deviation: a standard deviation that outliers leave alone."""
    return float(_NMAD * np.median(np.abs(values - np.median(values))))
