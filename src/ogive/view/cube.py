"""A stack of velocities as maps: how fast on the whole, from how many observations."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from ogive.model import InputError
from ogive.store.layer_colours import short_units

from .map_parts import draw_bar, draw_ground, draw_layer, draw_place, map_size

__all__ = ["plot_cube"]


def plot_cube(cube: xr.Dataset, *, background: xr.DataArray | None = None) -> Figure:
    """Draw a cube of pairs, or a series inverted from one: the median motion, and the counts.

    The speed is that of the medians of both components over all dates, which noise does not make
    faster. All of ``vx`` and ``vy`` is read.

    Parameters
    ----------
    cube
        ``vx, vy`` on ``(mid_date, y, x)`` or, of a series, on ``(time, y, x)``.
    background
        An image or a hillshade of the same coordinate reference system, drawn in grey where the
        motion is unknown.

    Raises
    ------
    InputError
        If there is no such dimension, or no value.
    """
    dim = next((name for name in ("mid_date", "time") if name in cube["vx"].dims), None)
    if dim is None:
        raise InputError("vx has neither the dimension mid_date nor time: this is no cube")
    moved = cube[["vx", "vy"]].load()
    count = moved["vx"].notnull().sum(dim)
    if not int(count.max()):
        raise InputError("the cube has no value to draw")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a point without any date is NaN
        middle = moved.median(dim)
    speed = (middle["vx"] ** 2 + middle["vy"] ** 2) ** 0.5
    width, height = map_size(speed, width=5.0)
    figure = Figure(figsize=(2 * width + 0.6, height + 1.4), layout="compressed")
    units = short_units(str(cube["vx"].attrs.get("units", "")))
    what = "pairs" if dim == "mid_date" else "periods"
    panels = (
        ("Speed of the median motion", "v", speed, f"speed ({units})"),
        (_span(cube, dim, what), "cnt", count.where(count > 0), f"{what} with a value"),
    )
    for axes, (title, layer, field, label) in zip(figure.subplots(1, 2), panels, strict=True):
        if background is not None:
            draw_ground(axes, background)
        drawn = draw_layer(axes, field, layer)
        draw_bar(figure, axes, drawn, label, location="bottom", shrink=0.8, aspect=30)
        axes.set_title(title, loc="left", fontsize=10)
        draw_place(axes, field)
    return figure


def _span(cube: xr.Dataset, dim: str, what: str) -> str:
    """Tell how many there are, and of which time where the cube says it."""
    dates = cube[dim].values if dim in cube.coords else np.array([])
    if not np.issubdtype(dates.dtype, np.datetime64):
        return f"{cube.sizes[dim]} {what}"
    return f"{dates.size} {what}, {str(dates.min())[:10]} to {str(dates.max())[:10]}"
