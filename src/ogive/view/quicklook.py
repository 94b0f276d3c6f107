"""One picture of a velocity map: how fast, which way, over what ground, how still the rock."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.colors import LightSource, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from ogive.model import GridError, InputError
from ogive.scenes.read import valid_mask
from ogive.store.atomic import atomic_path

__all__ = ["hillshade", "quicklook"]

_LARGEST_SIDE_PX = 1600
_ARROWS_ACROSS = 26
_LOG_FROM_RATIO = 20.0
_NMAD = 1.4826  # of a normal distribution: its standard deviation over its median deviation


class _Frame(NamedTuple):
    """Edges of a map, in its own coordinates."""

    left: float
    right: float
    bottom: float
    top: float


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
    frame = _frame(velocity["v"])
    figure = Figure(figsize=_size(frame, with_histogram=ground is not None), layout="constrained")
    if ground is None:
        axes = figure.subplots()
    else:
        axes, beside = figure.subplots(1, 2, width_ratios=[9.2, 2.8])
        _draw_residuals(beside, velocity, ground)
    _draw_map(figure, axes, velocity, frame, background)
    if path is not None:
        with atomic_path(path) as written:
            figure.savefig(written, dpi=150, format="png")
    return figure


def hillshade(
    elevation: xr.DataArray, *, azimuth_deg: float = 315.0, altitude_deg: float = 45.0
) -> xr.DataArray:
    """Shade an elevation model by a lamp, as a background for `quicklook`.

    Parameters
    ----------
    elevation
        Metres, dims ``(y, x)``, coordinates in metres; NaN stays NaN.
    azimuth_deg, altitude_deg
        Where the light comes from: clockwise from north, and above the horizon.

    Returns
    -------
    xarray.DataArray
        Brightness from 0 to 1 on the same grid.

    Examples
    --------
    >>> slope = xr.DataArray(np.outer(np.ones(5), np.arange(5.0)), dims=("y", "x"),
    ...                      coords={"y": np.arange(5.0)[::-1], "x": np.arange(5.0)})
    >>> towards, away = hillshade(-slope, azimuth_deg=90), hillshade(slope, azimuth_deg=90)
    >>> bool(towards[2, 2] > away[2, 2])
    True
    """
    # Matplotlib takes rows to run southwards for a positive dy.
    step_x, step_y = _step(elevation, "x"), -_step(elevation, "y")
    light = LightSource(azdeg=azimuth_deg, altdeg=altitude_deg)
    shade = light.hillshade(elevation.values.astype(float), dx=step_x, dy=step_y)
    return elevation.copy(data=np.where(np.isfinite(elevation.values), shade, np.nan))


def _stable(stable: xr.DataArray | NDArray[np.bool_], velocity: xr.Dataset) -> NDArray[np.bool_]:
    ground = np.asarray(stable, dtype=bool)
    if ground.shape != velocity["v"].shape:
        raise InputError(
            f"the mask of stable ground has the shape {ground.shape}, the velocity has "
            f"{velocity['v'].shape}: give it on the grid of the velocity"
        )
    return ground


def _check_background(background: xr.DataArray, velocity: xr.Dataset) -> None:
    one, other = (
        CRS.from_wkt(array["spatial_ref"].attrs["crs_wkt"]) if _is_georeferenced(array) else None
        for array in (velocity["v"], background)
    )
    if one != other:
        told = [crs.name if crs is not None else "no reference" for crs in (one, other)]
        raise GridError(
            f"the velocity is in {told[0]} but the background is in {told[1]}: bring the "
            "background to the grid of the velocity"
        )


def _step(array: xr.DataArray, axis: str) -> float:
    values = array[axis].values
    return float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 1.0


def _frame(array: xr.DataArray) -> _Frame:
    edges = []
    for axis in ("x", "y"):
        values, half = array[axis].values, abs(_step(array, axis)) / 2
        edges += [float(values.min()) - half, float(values.max()) + half]
    if not _is_georeferenced(array) and _step(array, "y") > 0:
        edges[2], edges[3] = edges[3], edges[2]  # rows of an image run downwards
    return _Frame(*edges)


def _is_georeferenced(array: xr.DataArray) -> bool:
    return "spatial_ref" in array.coords


def _size(frame: _Frame, *, with_histogram: bool) -> tuple[float, float]:
    """Give the figure the shape of the map, within reason."""
    ratio = abs((frame.top - frame.bottom) / (frame.right - frame.left))
    width = 8.0 if ratio < 1 else 6.0
    height = width * min(max(ratio, 0.4), 1.6) + 0.6
    return width + 1.2 + (2.8 if with_histogram else 0.0), height


def _draw_map(
    figure: Figure,
    axes: Axes,
    velocity: xr.Dataset,
    frame: _Frame,
    background: xr.DataArray | None,
) -> None:
    if background is not None:
        _draw_background(axes, background)
    speed = _upright(_thinned(velocity["v"]))
    norm = _scale(speed)
    # The ground shows through where it hardly moves.
    veil = np.nan_to_num(0.35 + 0.45 * np.clip(np.ma.filled(norm(speed), 0), 0, 1))
    colours = axes.imshow(
        speed,
        extent=frame,
        cmap=cm.batlow,
        norm=norm,
        alpha=veil if background is not None else None,
        interpolation="nearest",
    )
    units = str(velocity["v"].attrs.get("units", "")).replace("meter/year", "m/yr")
    bar = figure.colorbar(colours, ax=axes, extend="both", shrink=0.85, pad=0.01)
    bar.set_label(f"speed ({units})")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_formatter("")
    _draw_arrows(axes, velocity, units)
    axes.set(xlim=(frame.left, frame.right), ylim=(frame.bottom, frame.top), aspect="equal")
    axes.set_title(_title(velocity), fontsize=10)
    if _is_georeferenced(velocity["v"]):
        axes.set_xticks([])
        axes.set_yticks([])
        _draw_scale_bar(axes, frame)
        _draw_north(axes, velocity["v"], frame)
    else:
        axes.set(xlabel="x (pixel)", ylabel="y (pixel)")


def _title(velocity: xr.Dataset) -> str:
    share = 100 * float(np.isfinite(velocity["v"].values).mean())
    if "img_pair_info" not in velocity:
        return f"{share:.0f} % of points measured"
    info = velocity["img_pair_info"].attrs
    dates = [str(info[f"acquisition_date_{image}"])[:8] for image in ("img1", "img2")]
    first, last = (f"{day[:4]}-{day[4:6]}-{day[6:8]}" for day in dates)
    return f"{first} to {last}, {share:.0f} % of points measured"


def _draw_background(axes: Axes, background: xr.DataArray) -> None:
    image = _thinned(background)
    pixels = np.where(valid_mask(image), image.values, np.nan).astype(np.float32)
    if not np.isfinite(pixels).any():
        return
    dark, bright = np.nanpercentile(pixels, [1, 99])
    axes.imshow(
        _upright(image.copy(data=pixels)),
        extent=_frame(background),
        cmap="gray",
        vmin=dark,
        vmax=bright,
        interpolation="antialiased",
    )


def _thinned(array: xr.DataArray) -> xr.DataArray:
    """Take every n-th point of what is larger than the picture."""
    every = max(1, math.ceil(max(array.shape) / _LARGEST_SIDE_PX))
    return array[::every, ::every]


def _upright(array: xr.DataArray) -> NDArray[Any]:
    """Put the first row on top, as the frame has it."""
    values: NDArray[Any] = array.values
    flipped = _is_georeferenced(array) and _step(array, "y") > 0
    return values[::-1] if flipped else values


def _scale(speed: NDArray[Any]) -> Normalize:
    """Choose the colours' range: logarithmic where the speeds span decades."""
    known = speed[np.isfinite(speed)]
    if known.size == 0:
        return Normalize(0, 1)
    median, top = (float(value) for value in np.percentile(known, [50, 99.5]))
    if top <= 0:
        return Normalize(0, 1)
    if top > _LOG_FROM_RATIO * median > 0:
        return LogNorm(max(median / 2, top / 1000), top)
    return Normalize(0, top)


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
    spacing = side * abs(_step(velocity["v"], "x"))
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
    georeferenced = _is_georeferenced(velocity["v"])
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


def _draw_scale_bar(axes: Axes, frame: _Frame) -> None:
    width = abs(frame.right - frame.left)
    length = _round_length(width / 5)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    bar = AnchoredSizeBar(
        axes.transData,
        length,
        label,
        loc="lower left",
        pad=0.4,
        size_vertical=abs(frame.top - frame.bottom) / 150,
        frameon=True,
    )
    bar.patch.set(alpha=0.75, linewidth=0)
    axes.add_artist(bar)


def _round_length(length: float) -> float:
    """Round down to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length)


def _draw_north(axes: Axes, array: xr.DataArray, frame: _Frame) -> None:
    east, north = _north(array, (frame.left + frame.right) / 2, (frame.bottom + frame.top) / 2)
    tail = (0.95 - 0.04 * east, 0.9 - 0.04 * north)
    axes.annotate(
        "N",
        xy=(0.95 + 0.04 * east, 0.9 + 0.04 * north),
        xytext=tail,
        xycoords="axes fraction",
        ha="center",
        va="center",
        fontweight="bold",
        arrowprops={"arrowstyle": "-|>", "facecolor": "black", "linewidth": 1.5},
        bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
    )


def _north(array: xr.DataArray, x: float, y: float) -> tuple[float, float]:
    """Find the direction of geographic north in the map's coordinates."""
    crs = CRS.from_wkt(array["spatial_ref"].attrs["crs_wkt"])
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    step = 1e-3 if latitude < 89 else -1e-3
    ahead = to_degrees.transform(longitude, latitude + step, direction="INVERSE")
    east, north = (ahead[0] - x) / step, (ahead[1] - y) / step
    length = math.hypot(east, north)
    return east / length, north / length


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
