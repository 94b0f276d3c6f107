"""The parts of the map as HoloViews elements: colours, ground, arrows, outlines, marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import BoxZoomTool, FixedTicker
from numpy.typing import NDArray

from .colours import Colours
from .product import Extent, Product, extent, flow, layer_map, pixel_size

__all__ = ["Marks", "View", "arrows", "ground", "lines", "map_options", "raster"]

Array = NDArray[np.float64]

_MARK, _LINE = "#c0182b", "#ff4fd8"
_ARROWS_ACROSS = 26
_WIDTH_PX, _LEAST_WIDTH_PX, _HEIGHTS_PX = 540, 300, (300, 700)
_ENOUGH_OF_A_BLOCK = 0.3
_MOST_PIXELS = 1_500_000
"""Larger maps are resampled to the screen by datashader as they are looked at."""
_SHORTEST, _LONGEST = 0.2, 1.2
_BARB = np.deg2rad(28)

NO_ARROWS: dict[str, Array] = {name: np.empty(0) for name in ("x0", "y0", "x1", "y1")}


class View(NamedTuple):
    """The part of the map that is looked at, in its coordinates."""

    left: float
    right: float
    bottom: float
    top: float


def map_options(product: Product, title: str, view: View | None = None) -> dict[str, Any]:
    """Shape and axes of the map's figure, with pixels that are square.

    Parameters
    ----------
    product
        What is shown.
    title
        Above the map.
    view
        The part to look at; by default all, and as much beside it as fills the figure.
    """
    edges = extent(product)
    across, down = edges.right - edges.left, edges.top - edges.bottom
    height = int(np.clip(_WIDTH_PX * down / across, *_HEIGHTS_PX))
    width = min(_WIDTH_PX, max(round(height * across / down), _LEAST_WIDTH_PX))
    if view is None:
        scale = max(across / width, down / height)
        x, y = (edges.left + edges.right) / 2, (edges.bottom + edges.top) / 2
        half_x, half_y = scale * width / 2, scale * height / 2
        view = View(x - half_x, x + half_x, y - half_y, y + half_y)
    unit = "m" if product.georeferenced else "pixel"
    return {
        "frame_width": width,
        "frame_height": height,
        "xlabel": f"x ({unit})",
        "ylabel": f"y ({unit})",
        "xformatter": "%d",
        "yformatter": "%d",
        "xlim": (view.left, view.right),
        "ylim": (view.bottom, view.top),
        "invert_yaxis": not product.georeferenced,
        # Pixels stay square when a box is drawn.
        "default_tools": ["save", "pan", "wheel_zoom", BoxZoomTool(match_aspect=True), "reset"],
        "active_tools": ["wheel_zoom"],
        "toolbar": "above",
        "title": title,
    }


def raster(
    product: Product,
    values: NDArray[Any],
    colours: Colours,
    *,
    title: str,
    units: str,
    opacity: float,
    codes: Mapping[int, str] | None = None,
) -> hv.Image:
    """Draw a layer's values.

    Parameters
    ----------
    product
        Gives the grid.
    values
        ``(y, x)`` as in the product.
    colours
        Of `ogive.view.viewer.colours.colours_of`.
    title, units
        For the colour bar.
    opacity
        From 0 to 1, to let the ground show through.
    codes
        What whole numbers mean, in place of a scale.
    """
    drawn = np.where(values > 0, values, np.nan) if colours.scale == "log" else values
    image = hv.Image(
        np.asarray(northwards(product, drawn), np.float32),
        ["x", "y"],
        "value",
        bounds=extent(product),
    )
    options: dict[str, Any] = {
        "cmap": list(colours.palette),
        "clim": (colours.low, colours.high),
        "logz": colours.scale == "log",
        "alpha": opacity,
        "colorbar": True,
        "clabel": f"{title} ({units})" if units else title,
        "clipping_colors": {"NaN": "rgba(0, 0, 0, 0)"},
        "cformatter": "%g",
        "colorbar_opts": {"width": 14, "title_standoff": 8},
        "tools": ["hover"],
        "hover_tooltips": [("x", "$x{0}"), ("y", "$y{0}"), (units or "value", "@image{0.[00]}")],
    }
    if codes:
        options["colorbar_opts"] |= {
            "ticker": FixedTicker(ticks=sorted(codes)),
            "major_label_overrides": dict(codes),
        }
    if values.size > _MOST_PIXELS:
        from holoviews.operation.datashader import rasterize  # imports slowly, and is seldom needed

        return rasterize(image).opts(**options)
    return image.opts(**options)


def northwards(product: Product, values: NDArray[Any]) -> NDArray[Any]:
    """Put the row of the greatest y first, as images are drawn."""
    y = product.data["y"].values
    return values if y[0] >= y[-1] else values[::-1]


def ground(pixels: NDArray[np.uint8], edges: Extent) -> hv.Image:
    """Draw a grey background."""
    grey = pixels.astype(np.float32)
    grey[pixels == 0] = np.nan
    return hv.Image(grey, ["x", "y"], "grey", bounds=edges).opts(
        cmap="gray", clim=(0, 255), clipping_colors={"NaN": "rgba(0, 0, 0, 0)"}, colorbar=False
    )


def arrows(product: Product, frame: int, view: View | None = None) -> dict[str, Array]:
    """Lines of arrows along the flow in the part that is looked at, some 26 across.

    Each is the median of a block of points, drawn where the speed is above twice its error; its
    length goes with the root of the speed, so that slow tributaries are seen beside the trunk.

    Parameters
    ----------
    product
        What is shown.
    frame
        Number of the map.
    view
        The part that is looked at; by default all.

    Returns
    -------
    dict
        ``x0, y0, x1, y1`` of straight lines: a shaft and two barbs for each arrow.
    """
    vx, vy = flow(product, frame)
    errors = [name for name in ("v_error", "error") if name in product.layers]
    if errors:
        slow = ~(np.hypot(vx, vy) > 2 * layer_map(product, errors[0], frame).values)
        vx, vy = (np.where(slow, np.nan, component) for component in (vx, vy))
    x, y = (product.data[axis].values.astype(np.float64) for axis in ("x", "y"))
    columns = _looked_at(x, None if view is None else (view.left, view.right))
    rows = _looked_at(y, None if view is None else (view.bottom, view.top))
    side = max(1, -(-max(columns.size, rows.size) // _ARROWS_ACROSS))
    east, north = (_block_medians(part[np.ix_(rows, columns)], side) for part in (vx, vy))
    at_x, at_y = np.meshgrid(_block_means(x[columns], side), _block_means(y[rows], side))
    speed = np.hypot(east, north)
    known = speed > 0
    if not known.any():
        return NO_ARROWS
    share = np.sqrt(speed[known] / np.percentile(speed[known], 98)).clip(_SHORTEST, _LONGEST)
    length = side * pixel_size(product) * share
    return _barbed(at_x[known], at_y[known], np.arctan2(north[known], east[known]), length)


def _barbed(x: Array, y: Array, angle: Array, length: Array) -> dict[str, Array]:
    """Draw shafts through their middles, and two barbs at each tip."""
    half_x, half_y = 0.5 * length * np.cos(angle), 0.5 * length * np.sin(angle)
    tip_x, tip_y = x + half_x, y + half_y
    ends_x, ends_y = [x - half_x], [y - half_y]
    for turn in (-_BARB, _BARB):
        ends_x.append(tip_x - 0.35 * length * np.cos(angle + turn))
        ends_y.append(tip_y - 0.35 * length * np.sin(angle + turn))
    return {
        "x0": np.tile(tip_x, 3),
        "y0": np.tile(tip_y, 3),
        "x1": np.concatenate(ends_x),
        "y1": np.concatenate(ends_y),
    }


def _looked_at(axis: Array, span: tuple[float, float] | None) -> NDArray[np.intp]:
    if span is None:
        return np.arange(axis.size)
    inside = np.flatnonzero((axis >= span[0]) & (axis <= span[1]))
    return inside if inside.size else np.arange(axis.size)


def _block_medians(values: Array, side: int) -> Array:
    """Medians of square blocks of which enough is known."""
    rows, columns = (size // side for size in values.shape)
    whole = values[: rows * side, : columns * side].reshape(rows, side, columns, side)
    blocks = whole.transpose(0, 2, 1, 3).reshape(rows, columns, side * side)
    enough = np.isfinite(blocks).mean(axis=2) >= _ENOUGH_OF_A_BLOCK
    medians = np.full(enough.shape, np.nan)
    medians[enough] = np.nanmedian(blocks[enough], axis=1)
    return medians


def _block_means(axis: Array, side: int) -> Array:
    whole = axis.size // side * side
    return np.asarray(axis[:whole].reshape(-1, side).mean(axis=1))


def lines(paths: Sequence[Array]) -> hv.Path:
    """Draw outlines."""
    return hv.Path(list(paths), ["x", "y"]).opts(color="black", line_width=1.2, default_tools=[])


class Marks:
    """What moves over the map while it stays: arrows, points and a line.

    They are drawn once, and then changed in the browser alone, so that a click or a look elsewhere
    does not send the map again.
    """

    def __init__(self) -> None:
        self._sources: dict[str, Any] = {}
        self._data: dict[str, dict[str, Any]] = {}

    def elements(self) -> list[Any]:
        """Make the elements that will show them."""
        plain: dict[str, Any] = {"default_tools": []}

        def held(name: str) -> dict[str, Any]:
            return plain | {"hooks": [lambda plot, _: self._hold(name, plot.handles["source"])]}

        return [
            hv.Segments([], ["x0", "y0", "x1", "y1"]).opts(
                color="white", line_width=1.5, **held("arrows")
            ),
            hv.Curve([], "x", "y").opts(color=_LINE, line_width=3, **held("line")),
            hv.Points([], ["x", "y"]).opts(
                color=_LINE, size=12, marker="diamond", line_color="white", **held("head")
            ),
            hv.Points([], ["x", "y"]).opts(
                color=_MARK, size=20, line_color="white", line_width=2, **held("points")
            ),
            hv.Labels([], ["x", "y"], "number").opts(
                text_color="white", text_font_style="bold", text_font_size="10pt", **held("numbers")
            ),
        ]

    def _hold(self, name: str, source: Any) -> None:
        """Take the table of an element that has been drawn."""
        self._sources[name] = source
        if name in self._data:
            source.data = self._data[name]

    def _send(self, name: str, data: dict[str, Any]) -> None:
        self._data[name] = data
        source = self._sources.get(name)
        if source is not None:
            # Streams call without the document's lock, outside of which it must not be changed.
            pn.state.execute(partial(setattr, source, "data", data), schedule=True)

    def show_arrows(self, ends: dict[str, Array]) -> None:
        """Show the lines of `arrows`."""
        self._send("arrows", dict(ends))

    def show_points(self, points: Sequence[tuple[int, float, float]]) -> None:
        """Show numbered points: number, x, y."""
        x, y = [p[1] for p in points], [p[2] for p in points]
        self._send("points", {"x": x, "y": y})
        self._send("numbers", {"x": x, "y": y, "number": [str(p[0]) for p in points]})

    def show_line(self, corners: Sequence[tuple[float, float]]) -> None:
        """Show a line, and where it begins."""
        x, y = [c[0] for c in corners], [c[1] for c in corners]
        self._send("line", {"x": x, "y": y})
        self._send("head", {"x": x[:1], "y": y[:1]})
