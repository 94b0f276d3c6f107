"""The page: the map, what belongs to the places that are clicked, and how they follow controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import holoviews as hv
import numpy as np
import pandas as pd
import panel as pn
from numpy.typing import NDArray

from ogive.model import InputError, OgiveError

from . import maps, tables, times
from .colours import colours_of
from .controls import CLICKS, NO_GROUND, SCALES, Controls, numbers
from .exports import csv_button, png_button
from .masks import masks_of
from .point import PointData, sensors_of
from .product import Product, layer_map, meanings
from .profile import Profile, profile
from .workspace import Workspace

__all__ = ["Page"]

_MOST_POINTS = 8
_MAP_PX, _SERIES_PX = 720, 560
_POINTS, _PROFILE, _NETWORK = range(3)

hv.extension("bokeh")
pn.extension()


class Page:
    """One browser's view of a workspace.

    Parameters
    ----------
    workspace
        What can be shown.

    Attributes
    ----------
    controls : Controls
        What is chosen.
    points : list of PointData
        The places that are shown.
    corners : list of (float, float)
        Of the profile line.
    cut : Profile or None
        The section along it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.controls = Controls(workspace)
        self.points: list[PointData] = []
        self.corners: list[tuple[float, float]] = []
        self.cut: Profile | None = None
        self._view: maps.View | None = None
        self._marks = maps.Marks()
        self._offering = False
        self.message = pn.pane.Alert("", alert_type="warning", visible=False)
        self._map = pn.pane.HoloViews(None, linked_axes=False)
        self._points = pn.Column(name="points")
        self._section = pn.Column(name="profile")
        self._network = pn.Column(name="network")
        self._tabs = pn.Tabs(
            ("Points", self._points), ("Profile", self._section), ("Network", self._network)
        )
        self._watch()
        self._show_product()

    @property
    def shown(self) -> Product:
        """The product that is chosen."""
        return self.workspace.product(self.controls.product.value)

    def layout(self) -> Any:
        """Lay out everything."""
        exports = [
            pn.Column(png_button(name), csv_button(name, table))
            for name, table in (
                ("map", self.map_table),
                ("points", lambda: tables.points_table(self.points)),
                ("profile", self.profile_table),
                ("network", self.pairs),
            )
        ]
        map_column = pn.Column(self._map, name="map")
        middle = pn.Column(self.message, map_column, width=_MAP_PX)
        choices = pn.Row(self.controls.component, self.controls.colour_by)
        right = pn.Column(choices, self._tabs, min_width=_SERIES_PX)
        # Where a window is too narrow for both, the series go below the map.
        beside = pn.FlexBox(
            middle, right, pn.Row(*exports), gap="0 2rem", sizing_mode="stretch_width"
        )
        return pn.Row(self.controls.column(), beside, sizing_mode="stretch_width")

    # ---- what controls do ------------------------------------------------------------------------

    def _watch(self) -> None:
        chosen = self.controls
        redraw = (
            chosen.layer, chosen.frame, chosen.scale, chosen.mask, chosen.ground, chosen.outlines,
        )  # fmt: skip
        for control in redraw:
            control.param.watch(self._guarded(self._draw_map), "value")
        chosen.opacity.param.watch(self._guarded(self._draw_map), "value_throttled")
        for control, act in (
            (chosen.product, self._show_product),
            (chosen.arrows, self._draw_arrows),
            (chosen.component, self._draw_points),
            (chosen.colour_by, self._draw_points),
            (chosen.place, self._place_typed),
            (chosen.line, self._line_typed),
        ):
            control.param.watch(self._guarded(act), "value")
        self._tabs.param.watch(self._guarded(self._draw_network), "active")
        chosen.earlier.on_click(self._guarded(lambda: self._step(-1)))
        chosen.later.on_click(self._guarded(lambda: self._step(1)))
        chosen.forget.on_click(self._guarded(self.remove_points))
        chosen.forget_line.on_click(self._guarded(self.remove_line))

    def _guarded(self, act: Callable[[], None]) -> Callable[[Any], None]:
        def run(_: Any) -> None:
            if not self._offering:
                with self._told():
                    act()

        return run

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say on the page what cannot be done."""
        self.message.visible = False
        try:
            yield
        except OgiveError as error:
            self.message.param.update(object=str(error), visible=True)

    def _step(self, by: int) -> None:
        last = len(self.shown.frames) - 1
        self.controls.frame.value = int(np.clip(self.controls.frame.value + by, 0, last))

    # ---- the map ---------------------------------------------------------------------------------

    def _show_product(self) -> None:
        self._offering = True
        try:
            self.controls.offer(self.shown)
        finally:
            self._offering = False
        self._view = None
        self._draw_map()
        self._network.clear()
        self.points = [
            self.workspace.point(p.number, p.x, p.y, shown=self.shown.name) for p in self.points
        ]
        self._draw_points()

    def values(self) -> NDArray[np.float64]:
        """The map as it is shown, NaN where it is hidden."""
        chosen = self.controls
        field = layer_map(self.shown, chosen.layer.value, chosen.frame.value)
        hidden = masks_of(self.shown)[chosen.mask.value](self.shown, chosen.frame.value)
        values = field.values.astype(np.float64)
        return values if hidden is None else np.where(hidden, np.nan, values)

    def _draw_map(self) -> None:
        shown, chosen = self.shown, self.controls
        self._marks = maps.Marks()
        image = self._image()
        parts: list[Any] = [image, *self._marks.elements()]
        if chosen.outlines.value and self.workspace.outlines is not None:
            parts.insert(1, maps.lines(self.workspace.outline_paths(shown)))
        if chosen.ground.value != NO_GROUND:
            parts.insert(0, self.workspace.ground(chosen.ground.value, shown))
        self._streams = [hv.streams.RangeXY(source=image), hv.streams.Tap(source=image)]
        self._streams[0].add_subscriber(self._looked)
        self._streams[1].add_subscriber(self._tapped)
        layer = shown.layers[chosen.layer.value]
        title = f"{layer.title}, {shown.frames[chosen.frame.value]}"
        options = hv.opts.Overlay(**maps.map_options(shown, title, self._view))
        self._draw_arrows()
        self._mark_points()
        self._marks.show_line(self.corners)
        self._map.object = hv.Overlay(parts).collate().opts(options)

    def _image(self) -> Any:
        shown, chosen = self.shown, self.controls
        layer = shown.layers[chosen.layer.value]
        values, codes = self.values(), meanings(shown, layer.key)
        return maps.raster(
            shown,
            values,
            colours_of(
                layer.key, values, scale=SCALES[chosen.scale.value], categories=codes is not None
            ),
            title=layer.title,
            units=layer.units,
            opacity=chosen.opacity.value,
            codes=codes,
        )

    def _draw_arrows(self) -> None:
        wanted = self.controls.arrows.value and self.shown.has_flow
        ends = maps.NO_ARROWS
        if wanted:
            ends = maps.arrows(self.shown, self.controls.frame.value, self._view)
        self._marks.show_arrows(ends)

    def _looked(self, x_range: Any = None, y_range: Any = None) -> None:
        """Thin the arrows anew for the part that is looked at."""
        if x_range is not None and y_range is not None:
            self._view = maps.View(*x_range, *y_range)
            self._draw_arrows()

    def _mark_points(self) -> None:
        self._marks.show_points([(p.number, p.x, p.y) for p in self.points])

    # ---- places ----------------------------------------------------------------------------------

    def _tapped(self, x: float | None = None, y: float | None = None) -> None:
        if x is None or y is None:
            return
        act = self.add_point if self.controls.click.value == CLICKS[0] else self.extend_line
        with self._told():
            act(float(x), float(y))

    def _place_typed(self) -> None:
        if self.controls.place.value.strip():
            self.add_point(*numbers(self.controls.place.value))

    def _line_typed(self) -> None:
        if self.controls.line.value.strip():
            self.corners = [numbers(part) for part in self.controls.line.value.split(",")]
            self._draw_section()

    def add_point(self, x: float, y: float) -> None:
        """Show the series of a place below those of the others.

        Raises
        ------
        InputError
            If the place lies outside of the map, or as many are shown as can be.
        """
        if len(self.points) >= _MOST_POINTS:
            raise InputError(f"{_MOST_POINTS} points are shown: remove them to choose others")
        number = self.points[-1].number + 1 if self.points else 1
        point = self.workspace.point(number, x, y, shown=self.shown.name)
        self.points.append(point)
        self._mark_points()
        self._points.append(self._figure_of(point))
        self._tabs.active = _POINTS

    def remove_points(self) -> None:
        """Forget all points."""
        self.points = []
        self._mark_points()
        self._draw_points()

    def _draw_points(self) -> None:
        self._points.objects = [self._figure_of(point) for point in self.points]

    def _figure_of(self, point: PointData) -> Any:
        chosen = self.controls
        figure = times.point_figure(
            point, component=chosen.component.value, colour_by=chosen.colour_by.value
        )
        return pn.pane.HoloViews(figure, linked_axes=False)

    def extend_line(self, x: float, y: float) -> None:
        """Add a corner to the profile line; from the second on its section is shown.

        Raises
        ------
        InputError
            If there are no maps in time, or the line lies outside of them.
        """
        self.corners.append((x, y))
        self._draw_section()

    def remove_line(self) -> None:
        """Forget the profile line."""
        self.corners = []
        self._draw_section()

    def _draw_section(self) -> None:
        self._marks.show_line(self.corners)
        self._section.clear()
        self.cut = None
        if len(self.corners) > 1:
            self.cut = profile(self.workspace.in_time(self.shown.name), self.corners)
            figure = times.section_figure(self.cut.along, self.cut.edges, self.cut.title)
            self._section.append(pn.pane.HoloViews(figure, linked_axes=False))
            self._tabs.active = _PROFILE

    def _draw_network(self) -> None:
        if self._tabs.active == _NETWORK and not self._network.objects:
            figure = times.network_figure(self.pairs())
            self._network.append(pn.pane.HoloViews(figure, linked_axes=False))

    # ---- tables ----------------------------------------------------------------------------------

    def map_table(self) -> pd.DataFrame:
        """List the pixels of the map that is shown."""
        return tables.map_table(self.shown, self.controls.layer.value, self.values())

    def profile_table(self) -> pd.DataFrame:
        """List the speeds along the line; empty without one."""
        return pd.DataFrame() if self.cut is None else tables.profile_table(self.cut)

    def pairs(self) -> pd.DataFrame:
        """List the pairs of the cube.

        Raises
        ------
        InputError
            If there is no cube.
        """
        cube = self.workspace.cube(self.shown.name)
        return tables.pairs_of(cube, sensors_of(cube.data))
