"""Glacier outlines, drawn: over the scene, with the probability and the confidence behind them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ogive.model import GridError, InputError
from ogive.scenes.read import read_image
from ogive.store.layer_colours import OUTLINE_COLOURS

from .map_parts import crs_of, draw_bar, draw_ground, draw_layer, draw_place, frame_of, map_size

__all__ = ["draw_outlines", "plot_outlines"]

_LAYERS = {"glaciers": "outline", "inner": "inner, 95 %", "outer": "outer, 95 %"}
_LINES: Mapping[str, Mapping[str, Any]] = {
    "glaciers": {"lw": 1.6},
    "inner": {"lw": 1.0, "ls": "--"},
    "outer": {"lw": 1.0, "ls": "--"},
}


def plot_outlines(outlines: str | Path, *, background: xr.DataArray | None = None) -> Figure:
    """Draw what `ogive outlines` wrote: the outlines, the probability, the confidence.

    Parameters
    ----------
    outlines
        The GeoPackage; beside it lie ``*_probability.tif`` and ``*_confidence.tif``. Outlines that
        touch are glaciers that a divide parts.
    background
        A band of the scene, or `ogive.view.map_parts.hillshade` of an elevation model, drawn in
        grey beneath the outlines; in the same coordinate reference system, on any grid.

    Returns
    -------
    matplotlib.figure.Figure
        Three maps; the inner and the outer outline are there where the weights knew them.

    Raises
    ------
    InputError
        If one of the files is missing or cannot be read.
    GridError
        If the files or the background differ in their coordinate reference system.

    Examples
    --------
    >>> figure = plot_outlines("outlines.gpkg")  # doctest: +SKIP
    """
    path = Path(outlines)
    shapes = _shapes(path)
    maps = {
        name: read_image(path.with_name(f"{path.stem}_{name}.tif"))
        for name in ("probability", "confidence")
    }
    return draw_outlines(shapes, maps, background=background)


def draw_outlines(
    shapes: Mapping[str, gpd.GeoDataFrame],
    maps: Mapping[str, xr.DataArray],
    *,
    background: xr.DataArray | None = None,
) -> Figure:
    """Draw outlines and maps that are in memory, as `plot_outlines` draws those of files.

    Parameters
    ----------
    shapes
        ``glaciers`` and, where they are known, ``inner`` and ``outer``.
    maps
        ``probability`` and ``confidence``, on one grid.
    background
        As in `plot_outlines`.

    Returns
    -------
    matplotlib.figure.Figure
        Three maps.

    Raises
    ------
    GridError
        If shapes, maps or the background differ in their coordinate reference system.
    """
    frame_map = maps["probability"]
    _check(shapes, {**maps, **({} if background is None else {"background": background})})
    width, height = map_size(frame_map)
    figure = Figure(figsize=(3 * width + 1.0, height + 1.4), layout="compressed")
    first, second, third = figure.subplots(1, 3)
    if background is not None:
        draw_ground(first, background)
    _draw_lines(first, shapes, tuple(shapes))
    frame = frame_of(frame_map)
    first.set(xlim=(frame.left, frame.right), ylim=(frame.bottom, frame.top), aspect="equal")
    area_km2 = float(shapes["glaciers"].area.sum()) / 1e6
    count = len(shapes["glaciers"])
    told = f"{count} glacier{'' if count == 1 else 's'}, {area_km2:.3g} km²"
    first.set_title(told, loc="left", fontsize=10)
    handles = [
        Line2D([], [], color=OUTLINE_COLOURS[name], label=_LAYERS[name], **_LINES[name])
        for name in shapes
    ]
    first.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=8,
        frameon=False,
    )  # fmt: skip
    known = maps["confidence"].values
    # Calibrated confidence of two classes starts at one half.
    least = 0.5 if float(np.nanmin(known, initial=1.0)) >= 0.5 else 0.0
    for axes, name, low, label, lines in (
        (second, "probability", 0.0, "probability of glacier (1)", ("glaciers",)),
        (third, "confidence", least, "confidence (1)", tuple(shapes)[1:]),
    ):
        drawn = draw_layer(axes, maps[name], name, norm=Normalize(low, 1.0))
        draw_bar(figure, axes, drawn, label, location="bottom", shrink=0.8, aspect=30)
        _draw_lines(axes, shapes, lines)
    for axes in (first, second, third):
        draw_place(axes, frame_map)
    return figure


def _shapes(path: Path) -> dict[str, gpd.GeoDataFrame]:
    """Read the layers of outlines that are there."""
    try:
        there = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
        if "glaciers" not in there:
            raise InputError(f"{path} has no layer glaciers: give what `ogive outlines` wrote")
        return {name: gpd.read_file(path, layer=name) for name in _LAYERS if name in there}
    except pyogrio.errors.DataSourceError as error:
        raise InputError(f"{path} cannot be read as outlines: {error}") from error


def _check(shapes: Mapping[str, gpd.GeoDataFrame], maps: Mapping[str, xr.DataArray]) -> None:
    wanted = shapes["glaciers"].crs
    for name, array in maps.items():
        found = crs_of(array)
        if wanted != found:
            told = [crs.name if crs is not None else "no reference" for crs in (wanted, found)]
            raise GridError(
                f"the outlines are in {told[0]} but the {name} is in {told[1]}: bring it to the "
                "grid of the outlines"
            )


def _draw_lines(axes: Axes, shapes: Mapping[str, gpd.GeoDataFrame], names: tuple[str, ...]) -> None:
    for name in names:
        if len(shapes[name]):
            told = _LINES[name]
            # A pale edge keeps lines apart from dark ground.
            edge = [withStroke(linewidth=told["lw"] + 1.2, foreground="white")]
            shapes[name].boundary.plot(
                ax=axes, color=OUTLINE_COLOURS[name], aspect=None, path_effects=edge, **told
            )
