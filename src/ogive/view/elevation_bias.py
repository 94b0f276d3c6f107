"""Figures of the elevation bias: its map with histogram, and the network of images and orbits."""

from __future__ import annotations

from typing import Any

import matplotlib.dates as mdates
import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ogive.correction.orthorectification.views import pair_images, sensitivity
from ogive.model import InputError

from .map_parts import Frame, draw_north, draw_scale_bar, frame_of, upright

__all__ = ["plot_baselines", "plot_elevation_bias", "plot_misregistration"]


def plot_elevation_bias(
    result: xr.Dataset,
    *,
    background: xr.DataArray | None = None,
    ice: xr.DataArray | None = None,
    limit_m: float | None = None,
    variable: str = "elevation_bias",
) -> Figure:
    """Draw the elevation bias as a map, with histograms on and off the ice, and its error.

    Parameters
    ----------
    result
        Of `ogive.elevation_bias` and its kin; with ``variable="elevation_change"`` of
        `ogive.elevation_change`.
    background
        A hillshade or image on the same grid, drawn in grey beneath.
    ice
        True on glaciers, on the same grid: their values have a histogram of their own.
    limit_m
        Of the colours; by default the 98th percentile of the absolute values.
    variable
        What to draw.

    Raises
    ------
    InputError
        If there is no value to draw.
    """
    if variable not in result:
        raise InputError(f"there is no '{variable}' to draw, but {', '.join(map(str, result))}")
    values = result[variable].values.astype(np.float64)
    known = np.isfinite(values)
    if not known.any():
        raise InputError(f"no pixel has a value of {variable}: the geometry did not allow it")
    limit = limit_m or float(np.percentile(np.abs(values[known]), 98)) or 1.0
    rows, columns = values.shape
    tall = float(np.clip(4.6 * rows / columns, 2.4, 7.5))
    figure = Figure(figsize=(10.0, tall + 1.1), layout="compressed")
    axes, beside = figure.subplots(1, 2, width_ratios=[2.1, 1.0])
    if background is not None:
        _draw_grey(axes, background)
    drawn = _draw_metres(axes, result[variable], limit, veiled=background is not None)
    axes.set(xlabel="x (km)", ylabel="y (km)")
    _draw_place(axes, result[variable])
    told = "Surface minus elevation model (m)" if variable == "elevation_bias" else "Change (m)"
    figure.colorbar(drawn, ax=axes, label=told, extend="both", shrink=0.85, pad=0.02)
    _histogram(beside, values, known, ice, limit, told)
    error = result.get(f"{variable}_error")
    title = f"{known.sum():,} pixels, median {np.median(values[known]):+.1f} m"
    if error is not None:
        title += f", median error {float(error.median()):.1f} m"
    axes.set_title(title, loc="left", fontsize=10)
    for one in (axes, beside):
        one.spines[["top", "right"]].set_visible(False)
    return figure


def _extent(data: xr.DataArray) -> Frame:
    """Edges in kilometres."""
    return Frame(*(edge / 1000 for edge in frame_of(data)))


def _draw_grey(axes: Axes, background: xr.DataArray) -> None:
    axes.imshow(upright(background), extent=_extent(background), cmap="gray")


def _draw_metres(axes: Axes, field: xr.DataArray, limit: float, *, veiled: bool) -> AxesImage:
    drawn = axes.imshow(
        upright(field), extent=_extent(field), cmap=cm.vik, vmin=-limit, vmax=limit,
        alpha=0.75 if veiled else 1.0, interpolation="nearest",
    )  # fmt: skip
    axes.set_aspect("equal")
    return drawn


def _draw_place(axes: Axes, field: xr.DataArray) -> None:
    draw_scale_bar(axes, field, metres_per_unit=1000)
    draw_north(axes, field)


def _histogram(
    axes: Any, values: Any, known: Any, ice: xr.DataArray | None, limit: float, told: str
) -> None:
    edges = np.linspace(-1.5 * limit, 1.5 * limit, 41)
    groups = {"all pixels": known}
    if ice is not None:
        glacier = ice.values.astype(bool)
        groups = {"off the ice": known & ~glacier, "on the ice": known & glacier}
    for k, (name, where) in enumerate(groups.items()):
        if not where.any():
            continue
        colour = cm.batlow(0.15 + 0.5 * k)
        clipped = np.clip(values[where], edges[0], edges[-1])
        median = float(np.median(values[where]))
        axes.hist(
            clipped, edges, density=True, color=colour, alpha=0.65,
            label=f"{name}: median {median:+.1f} m",
        )  # fmt: skip
        axes.axvline(median, ymax=0.8, color=colour, lw=1.4)
    axes.axvline(0.0, ymax=0.8, color="0.4", lw=0.8, ls=":")
    axes.set(xlabel=told, ylabel="Share of pixels per metre", xlim=(edges[0], edges[-1]))
    # Above the bars, so that none is hidden.
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    axes.legend(frameon=False, loc="upper left", fontsize=9)


def plot_misregistration(
    made: xr.Dataset,
    *,
    measured: xr.DataArray | None = None,
    background: xr.DataArray | None = None,
    limit_m: float | None = None,
) -> Figure:
    """Draw what a shift of the elevation model along and across the track would look like.

    A measured bias that looks like one of them is no elevation change (Altena & Kääb 2017,
    figure 11).

    Parameters
    ----------
    made
        ``along`` and ``across`` of `ogive.correction.orthorectification.misregistration_bias`.
    measured
        An elevation bias to be drawn beside them, in the same colours.
    background
        A hillshade on the same grid, drawn in grey beneath.
    limit_m
        Of the colours; by default the 98th percentile of the absolute values of both.

    Raises
    ------
    InputError
        If one of the two is missing, or has no value.
    """
    missing = [name for name in ("along", "across") if name not in made]
    if missing:
        raise InputError(f"there is no {' and no '.join(missing)}: make it by misregistration_bias")
    layers = {made[name].attrs.get("long_name", name): made[name] for name in ("along", "across")}
    if measured is not None:
        layers["measured bias"] = measured
    values = np.concatenate([np.abs(made[name].values).ravel() for name in ("along", "across")])
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise InputError("the simulated bias has no value: is the elevation model known?")
    limit = limit_m or float(np.percentile(values, 98)) or 1.0
    rows, columns = made["along"].shape
    width = 4.4 * len(layers)
    figure = Figure(
        figsize=(width, float(np.clip(4.0 * rows / columns, 2.0, 7.0)) + 0.9), layout="constrained"
    )
    all_axes = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, (name, layer) in zip(all_axes, layers.items(), strict=True):
        if background is not None:
            _draw_grey(axes, background)
        drawn = _draw_metres(axes, layer, limit, veiled=background is not None)
        axes.set_title(name[:1].upper() + name[1:], loc="left", fontsize=10)
        axes.set_xlabel("x (km)")
    all_axes[0].set_ylabel("y (km)")
    _draw_place(all_axes[0], made["along"])
    figure.colorbar(
        drawn, ax=all_axes, label="Surface minus elevation model (m)", extend="both", shrink=0.85
    )
    return figure


def plot_baselines(cube: xr.Dataset, views: xr.Dataset) -> Figure:
    """Draw images in time and in the angle from which they look, and the pairs between them.

    Parameters
    ----------
    cube
        With the dates of its pairs.
    views
        Of `ogive.stack_views`; of views per pixel the middle one is drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Level lines are pairs of one orbit, free of offsets; inclined ones tell the elevation bias.
    """
    first, last = pair_images(cube, views)
    lines = sensitivity(views)
    if "y" in lines.dims:
        middle = {name: lines.sizes[name] // 2 for name in ("y", "x")}
        lines = lines.isel(middle)
    x, y = lines["offset_x"].values.astype(float), lines["offset_y"].values.astype(float)
    along = _main_direction(x, y)
    # Of the views, not of the offsets: the side on which the satellite stands.
    place = -(x * along[0] + y * along[1])
    angle = np.rad2deg(np.arctan(place))
    days = mdates.date2num(views["time"].values)  # type: ignore[no-untyped-call]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.add_subplot()
    across = np.hypot(x[last] - x[first], y[last] - y[first]) >= 0.01
    for kind, colour, name, order in (
        (~across, "0.75", "pairs of one orbit", 1),
        (across, cm.batlow(0.75), "pairs across orbits", 2),
    ):
        if kind.any():
            segments = [
                [(days[p], angle[p]), (days[q], angle[q])]
                for p, q in zip(first[kind], last[kind], strict=True)
            ]
            width = 0.9 if kind.sum() < 150 else 0.35
            axes.add_collection(
                LineCollection(segments, colors=[colour], linewidths=width, zorder=order)
            )
            axes.plot([], [], color=colour, label=f"{kind.sum()} {name}")
    _draw_images(axes, views, days, angle)
    margin = 0.02 * max(days.max() - days.min(), 1.0)
    axes.set_xlim(days.min() - margin, days.max() + margin)
    reach = max(np.abs(angle).max() * 1.15, 1.0)
    axes.set_ylim(-reach, reach)
    axes.axhline(0.0, color="0.5", lw=0.7, ls=":")
    azimuth = np.rad2deg(np.arctan2(along[0], along[1])) % 360
    axes.set_ylabel(f"View angle towards {azimuth:.0f}° of the map (°)")
    locator = mdates.AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(_dates(locator, days.max() - days.min()))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def _dates(locator: mdates.AutoDateLocator, days: float) -> mdates.ConciseDateFormatter:
    """Name the year beside the axis; the last tick's month only where all ticks are of one."""
    beside = "%Y" if days > 45 else "%Y-%b"
    return mdates.ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, offset_formats=["", "%Y", beside, "%Y-%b-%d", "%Y-%b-%d", "%Y-%b-%d %H:%M"]
    )


def _main_direction(x: Any, y: Any) -> Any:
    """Unit vector along which the views spread most, towards the east."""
    centred = np.stack([x - x.mean(), y - y.mean()])
    if np.hypot(*centred).max() < 1e-4:
        centred = np.stack([x, y])
    vector = np.linalg.svd(centred)[0][:, 0]
    return vector if vector[0] >= 0 else -vector


def _draw_images(axes: Any, views: xr.Dataset, days: Any, angle: Any) -> None:
    missions = views["mission"].values if "mission" in views.coords else np.full(days.size, "")
    orbits = views["orbit"].values if "orbit" in views.coords else np.full(days.size, -1)
    groups = sorted({(str(m), int(o)) for m, o in zip(missions, orbits, strict=True)})
    for k, (mission, orbit) in enumerate(groups):
        where = (missions == mission) & (orbits == orbit)
        word = {"sentinel-2": "Sentinel-2, orbit", "landsat": "Landsat, path"}.get(mission, "orbit")
        name = f"{word} {orbit}" if orbit >= 0 else mission or "images"
        axes.scatter(
            days[where], angle[where], s=26, zorder=3, edgecolor="white", linewidth=0.6,
            color=cm.batlow(0.05 + 0.55 * k / max(len(groups) - 1, 1)),
            marker="o" if mission != "landsat" else "s", label=f"{name} ({where.sum()})",
        )  # fmt: skip
