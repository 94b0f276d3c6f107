"""What maps have in common: their frame, north, the scale bar, the ground beneath, colours."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.colors import LightSource, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from ogive.scenes.read import valid_mask
from ogive.store.layer_colours import colour_range, layer_colours

__all__ = [
    "LARGEST_SIDE_PX",
    "Frame",
    "crs_of",
    "draw_bar",
    "draw_ground",
    "draw_layer",
    "draw_north",
    "draw_place",
    "draw_scale_bar",
    "frame_of",
    "hillshade",
    "is_georeferenced",
    "layer_norm",
    "map_size",
    "step_of",
    "thinned",
    "upright",
]

LARGEST_SIDE_PX = 1600
_NORTH_HALF_PT = 15.0
_NORTH_INSET_PT = 24.0


class Frame(NamedTuple):
    """Edges of a map, in its own coordinates."""

    left: float
    right: float
    bottom: float
    top: float


# ---- where a map lies ----------------------------------------------------------------------------


def is_georeferenced(array: xr.DataArray | xr.Dataset) -> bool:
    """Whether an array says where it lies."""
    return "spatial_ref" in array.coords


def crs_of(array: xr.DataArray) -> CRS | None:
    """Coordinate reference system of an array that says where it lies."""
    return CRS.from_wkt(array["spatial_ref"].attrs["crs_wkt"]) if is_georeferenced(array) else None


def step_of(array: xr.DataArray, axis: str) -> float:
    """Distance between two points along an axis, negative where the coordinate falls."""
    values = array[axis].values
    return float(values[-1] - values[0]) / (len(values) - 1) if len(values) > 1 else 1.0


def frame_of(array: xr.DataArray) -> Frame:
    """Edges of the outermost pixels; rows of an array without a place run downwards."""
    edges = []
    for axis in ("x", "y"):
        values, half = array[axis].values, abs(step_of(array, axis)) / 2
        edges += [float(values.min()) - half, float(values.max()) + half]
    if not is_georeferenced(array) and step_of(array, "y") > 0:
        edges[2], edges[3] = edges[3], edges[2]
    return Frame(*edges)


def upright(array: xr.DataArray) -> NDArray[Any]:
    """Put the first row on top, as the frame has it."""
    values: NDArray[Any] = array.values
    flipped = is_georeferenced(array) and step_of(array, "y") > 0
    return values[::-1] if flipped else values


def thinned(array: xr.DataArray) -> xr.DataArray:
    """Take every n-th point of what is larger than the picture."""
    every = max(1, math.ceil(max(array.shape) / LARGEST_SIDE_PX))
    return array[::every, ::every]


def map_size(array: xr.DataArray, *, width: float = 4.2) -> tuple[float, float]:
    """Width and height of a map in inches, in its own shape within reason."""
    frame = frame_of(array)
    ratio = abs((frame.top - frame.bottom) / (frame.right - frame.left))
    return width, width * min(max(ratio, 0.4), 1.8)


# ---- what is drawn -------------------------------------------------------------------------------


def layer_norm(values: NDArray[Any], layer: str) -> Normalize:
    """Scale a layer's colours as `ogive.store.layer_colours.colour_range` has it.

    Examples
    --------
    >>> layer_norm(np.array([-50.0, 50.0]), "vx").vmin
    -50.0
    """
    low, high, logarithmic = colour_range(values, layer_colours(layer).kind)
    return LogNorm(low, high) if logarithmic else Normalize(low, high)


def draw_layer(
    axes: Axes, field: xr.DataArray, layer: str, *, norm: Normalize | None = None, **options: Any
) -> AxesImage:
    """Draw a map in the colours of its layer; where it is unknown, what lies beneath is seen.

    Parameters
    ----------
    axes
        Where; its limits become the map's.
    field
        On ``(y, x)``.
    layer
        The key, such as ``"v"``.
    norm
        By default that of `layer_norm`.
    options
        For ``imshow``.
    """
    shown = upright(thinned(field))
    frame = frame_of(field)
    drawn = axes.imshow(
        shown,
        extent=frame,
        cmap=getattr(cm, layer_colours(layer).name),
        norm=norm or layer_norm(shown, layer),
        interpolation="nearest",
        **options,
    )
    axes.set(xlim=(frame.left, frame.right), ylim=(frame.bottom, frame.top), aspect="equal")
    return drawn


def draw_ground(axes: Axes, background: xr.DataArray) -> None:
    """Draw an image or a hillshade in grey, from its 1st to its 99th percentile."""
    image = thinned(background)
    pixels = np.where(valid_mask(image), image.values, np.nan).astype(np.float32)
    if not np.isfinite(pixels).any():
        return
    dark, bright = np.nanpercentile(pixels, [1, 99])
    axes.imshow(
        upright(image.copy(data=pixels)),
        extent=frame_of(background),
        cmap="gray",
        vmin=dark,
        vmax=bright,
        interpolation="antialiased",
    )


def draw_bar(figure: Figure, axes: Axes, drawn: Any, label: str, **options: Any) -> None:
    """Draw the bar of colours; on a logarithmic one numbers are written out."""
    bar = figure.colorbar(drawn, ax=axes, **options)
    bar.set_label(label)
    if isinstance(drawn.norm, LogNorm):
        axis = bar.ax.xaxis if bar.orientation == "horizontal" else bar.ax.yaxis
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter("")


def draw_place(axes: Axes, array: xr.DataArray) -> None:
    """Draw the scale bar and north in place of coordinates; pixels keep their numbers.

    Parameters
    ----------
    axes
        In the coordinates of `array`.
    array
        Of the map.
    """
    if not is_georeferenced(array):
        axes.set(xlabel="x (pixel)", ylabel="y (pixel)")
        return
    axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    draw_scale_bar(axes, array)
    draw_north(axes, array)


def draw_scale_bar(axes: Axes, array: xr.DataArray, *, metres_per_unit: float = 1.0) -> None:
    """Draw a bar of a round length, the largest below a fifth of the map's width.

    Parameters
    ----------
    axes
        Where.
    array
        Of the map, in metres; pixels and degrees have no scale, and nothing is drawn.
    metres_per_unit
        Of the coordinates of `axes`: 1000 where they are kilometres.
    """
    crs = crs_of(array)
    if crs is None or crs.is_geographic:
        return
    frame = frame_of(array)
    length = _round_length(abs(frame.right - frame.left) / 5)
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    bar = AnchoredSizeBar(
        axes.transData,
        length / metres_per_unit,
        label,
        loc="lower left",
        pad=0.4,
        size_vertical=abs(frame.top - frame.bottom) / 150 / metres_per_unit,
        frameon=True,
    )
    bar.patch.set(alpha=0.75, linewidth=0)
    axes.add_artist(bar)


def draw_north(axes: Axes, array: xr.DataArray) -> None:
    """Draw an arrow towards geographic north, as it is at the centre of a map with a place."""
    crs, frame = crs_of(array), frame_of(array)
    if crs is None:
        return
    east, north = _north(crs, (frame.left + frame.right) / 2, (frame.bottom + frame.top) / 2)
    # In points from the corner: shares of the axes would bend the arrow on a map that is no square.
    tip, tail = (
        axes.transAxes
        + ScaledTranslation(
            (side * east - _NORTH_INSET_PT) / 72,
            (side * north - _NORTH_INSET_PT) / 72,
            axes.get_figure(root=True).dpi_scale_trans,  # type: ignore[union-attr]
        )
        for side in (_NORTH_HALF_PT, -_NORTH_HALF_PT)
    )
    axes.annotate(
        "N",
        xy=(1.0, 1.0),
        xytext=(1.0, 1.0),
        xycoords=tip,
        textcoords=tail,
        ha="center",
        va="center",
        fontweight="bold",
        arrowprops={
            "arrowstyle": "-|>",
            "facecolor": "black",
            "linewidth": 1.5,
            "path_effects": [withStroke(linewidth=3.5, foreground="white")],
        },
        bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
    )


def hillshade(
    elevation: xr.DataArray, *, azimuth_deg: float = 315.0, altitude_deg: float = 45.0
) -> xr.DataArray:
    """Shade an elevation model by a lamp, as a background for maps.

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
    step_x, step_y = step_of(elevation, "x"), -step_of(elevation, "y")
    light = LightSource(azdeg=azimuth_deg, altdeg=altitude_deg)
    shade = light.hillshade(elevation.values.astype(float), dx=step_x, dy=step_y)
    return elevation.copy(data=np.where(np.isfinite(elevation.values), shade, np.nan))


def _round_length(length: float) -> float:
    """Round down to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length)


def _north(crs: CRS, x: float, y: float) -> tuple[float, float]:
    """Find the direction of geographic north in the map's coordinates."""
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    step = 1e-3 if latitude < 89 else -1e-3
    ahead = to_degrees.transform(longitude, latitude + step, direction="INVERSE")
    east, north = (ahead[0] - x) / step, (ahead[1] - y) / step
    length = math.hypot(east, north)
    return east / length, north / length
