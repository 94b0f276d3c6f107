"""The series of a chosen point, over the observations that it was made from."""

from __future__ import annotations

from typing import Any, Literal

import matplotlib.dates as mdates
import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ogive.model import InputError

__all__ = ["plot_point"]

Component = Literal["v", "vx", "vy"]

_LABELS = {
    "v": "Speed (m/yr)",
    "vx": "Velocity along x (m/yr)",
    "vy": "Velocity along y (m/yr)",
}


def plot_point(
    cube: xr.Dataset,
    series: xr.Dataset,
    *,
    x: float,
    y: float,
    component: Component = "v",
) -> Figure:
    """Draw a point's observations as bars over their span, and its series over them.

    Each observation is a horizontal bar from its first to its second date; its colour is the final
    weight, where ``series`` has it (``ogive.invert(..., keep_weights=True)``). The series is a step
    line with a band of 95 % (1.96 standard errors); periods that no observation covers are dashed.

    Parameters
    ----------
    cube, series
        The observations and their inversion.
    x, y
        The point, in the grid's coordinates; the pixel it lies in is drawn.
    component
        ``"v"`` for the speed, ``"vx"`` or ``"vy"``.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown; save it by ``figure.savefig``.

    Raises
    ------
    InputError
        If the point lies outside of the grid, or has no observation.
    """
    if component not in _LABELS:
        raise InputError(f'component {component!r} is unknown: use "v", "vx" or "vy"')
    observed, inverted = _pixel(cube, x, y), _pixel(series, x, y)
    values = _values(observed, component)
    known = np.isfinite(values)
    if not known.any():
        raise InputError(f"there is no observation at x={x:g}, y={y:g}: choose another point")
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.add_subplot()
    _draw_observations(figure, axes, observed, inverted, values, known)
    _draw_series(axes, inverted, component)
    _limit(axes, inverted, component, values[known])
    axes.set_ylabel(_LABELS[component])
    place = f"x = {float(observed['x']):.0f} m, y = {float(observed['y']):.0f} m"
    axes.set_title(place, loc="left")
    _date_axis(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, borderaxespad=0.2)
    return figure


def _pixel(data: xr.Dataset, x: float, y: float) -> xr.Dataset:
    for name, value in (("x", x), ("y", y)):
        centres = data[name].values
        half = 0.5 * abs(float(centres[1] - centres[0])) if centres.size > 1 else np.inf
        if not centres.min() - half <= value <= centres.max() + half:
            raise InputError(
                f"{name}={value:g} is outside of the grid ({centres.min():g} to {centres.max():g})"
            )
    return data.sel(x=x, y=y, method="nearest").load()


def _values(point: xr.Dataset, component: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    vx, vy = (point[name].values.astype(np.float64) for name in ("vx", "vy"))
    return np.hypot(vx, vy) if component == "v" else {"vx": vx, "vy": vy}[component]


def _date_axis(axes: Any) -> None:
    locator = mdates.AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _days(times: Any) -> Any:
    return mdates.date2num(times)  # type: ignore[no-untyped-call]


def _draw_observations(
    figure: Figure, axes: Any, observed: xr.Dataset, inverted: xr.Dataset, values: Any, known: Any
) -> None:
    first, second = (
        _days(observed[f"acquisition_date_{image}"].values[known]) for image in ("img1", "img2")
    )
    height = values[known]
    bars = LineCollection(
        list(np.stack([np.stack([first, height], 1), np.stack([second, height], 1)], axis=1)),
        linewidths=1.4 if height.size < 300 else 0.6,
        zorder=1,
    )
    if "weight" in inverted:
        bars.set_array(inverted["weight"].values[known])
        bars.set_cmap(cm.lajolla_r)
        bars.set_clim(0.0, 1.0)
        figure.colorbar(bars, ax=axes, label="Weight", pad=0.01, aspect=30)
    else:
        bars.set_color("0.6")
    axes.add_collection(bars)
    axes.plot([], [], color="0.4", lw=1.4, label="observations")
    axes.set_xlim(first.min(), second.max())


def _draw_series(axes: Any, inverted: xr.Dataset, component: str) -> None:
    bounds = _days(inverted["time_bounds"].values)
    values = _values(inverted, component)
    error = inverted[f"{component}_error"].values
    colour = cm.batlow(0.1)
    edges = np.append(bounds[:, 0], bounds[-1, 1])
    rests = inverted["observations"].values > 0
    axes.stairs(
        values + 1.96 * error, edges, baseline=values - 1.96 * error, fill=True, color=colour,
        alpha=0.25, lw=0, label="95 % interval", zorder=2,
    )  # fmt: skip
    # A pale edge keeps the line apart from dark bars.
    edge = [withStroke(linewidth=4, foreground="white")]
    axes.stairs(np.where(rests, values, np.nan), edges, baseline=None, color=colour, lw=2,
                label="series", path_effects=edge, zorder=3)  # fmt: skip
    if np.any(~rests & np.isfinite(values)):
        axes.stairs(
            np.where(rests, np.nan, values), edges, baseline=None, color=colour, lw=1.2, ls=":",
            label="no observation", zorder=3,
        )  # fmt: skip


def _limit(axes: Any, inverted: xr.Dataset, component: str, observed: Any) -> None:
    """Show the series and most observations, not the outliers."""
    series = _values(inverted, component)
    low, high = np.nanpercentile(observed, [2, 98])
    if np.isfinite(series).any():
        low, high = min(low, np.nanmin(series)), max(high, np.nanmax(series))
    margin = 0.1 * max(high - low, 1.0)
    axes.set_ylim(0.0 if component == "v" else low - margin, high + margin)
