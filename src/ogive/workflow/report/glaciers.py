"""Section: the glaciers and the stable ground that the run file names, as masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.georeference import georeferenced
from ogive.scenes.polygons import burned, read_polygons
from ogive.view.document import Section, Table, picture
from ogive.view.map_parts import draw_north, draw_scale_bar
from ogive.workflow.runfile_settings import RunFile
from ogive.workflow.steps.ground import ground_of
from ogive.workflow.steps.region import outline_of, zone_grid

__all__ = ["Classes", "classes_of", "glaciers_section"]

MAP_PX = 800
"""Pixels of the map along its longer side: areas are counted in them."""
ICE, STRIP, STABLE, BEYOND = range(4)
"""Classes of ground."""
_COLOURS = ("#7fb8d4", "#a89f91", "#e8dfcd", "#ffffff")


@dataclass(frozen=True, slots=True)
class Classes:
    """The ground of the rectangle round a region in one map projection.

    Parameters
    ----------
    grid
        Its pixels.
    classes
        uint8, of the shape of the grid: `ICE`, `STRIP`, `STABLE` or `BEYOND`.
    outlines
        How many glaciers lie on it.
    """

    grid: GeoBox
    classes: NDArray[np.uint8]
    outlines: int

    def share(self, which: int) -> float:
        """Share of a class of the whole."""
        return float((self.classes == which).mean())

    def area_km2(self, which: int) -> float:
        """Area of a class."""
        pixel_km2 = abs(self.grid.resolution.x * self.grid.resolution.y) / 1e6
        return float((self.classes == which).sum() * pixel_km2)


def classes_of(settings: RunFile, crs: str) -> Classes:
    """Tell ice, stable ground and the rest apart, by the masks that calibrated the pairs.

    Parameters
    ----------
    settings
        The run file, which names outlines of glaciers, or of stable ground, or both.
    crs
        A map projection of the region.

    Raises
    ------
    InputError
        If outlines cannot be read.
    GridError
        If matching is limited to glaciers, and none lies near.
    """
    bounds = zone_grid(outline_of(settings), crs, settings.match.spacing_m).boundingbox
    side_m = max(bounds.span_x, bounds.span_y) / MAP_PX
    grid = GeoBox.from_bbox(bounds.bbox, crs, resolution=side_m, tight=True)
    ground = ground_of(settings, grid)
    classes = np.full(grid.shape, STRIP, np.uint8)
    if ground.wanted is not None:
        classes[~ground.wanted] = BEYOND
    if ground.stable is not None:
        classes[ground.stable] = STABLE
    count = 0
    if settings.region.glaciers is not None:
        outlines = read_polygons(settings.region.glaciers).to_crs(crs)
        classes[burned(outlines, grid)] = ICE
        count = len(outlines.cx[bounds.left : bounds.right, bounds.bottom : bounds.top])
    return Classes(grid, classes, count)


def glaciers_section(settings: RunFile, zones: Mapping[str, str]) -> Section | None:
    """Tell what was taken for ice and what for stable ground, where the run file says it.

    Parameters
    ----------
    settings
        The run file.
    zones
        Map projections by the names of their maps.
    """
    region = settings.region
    if not zones or (region.glaciers is None and region.stable is None):
        return None
    found = {zone: classes_of(settings, crs) for zone, crs in zones.items()}
    kinds = _kinds(settings)
    pictures = [
        picture(
            _map(classes, kinds),
            f"Ground by the masks, {zone}: glaciers, what lies about their edges, stable ground.",
        )
        for zone, classes in found.items()
    ]
    rows = [
        (zone, name, f"{classes.area_km2(kind):,.1f}", f"{100 * classes.share(kind):.1f}")
        for zone, classes in found.items()
        for kind, name in kinds.items()
    ]
    table = Table(("projection", "ground", "km²", "%"), rows, "Of the rectangle round the region")
    return Section("Glaciers and stable ground", _text(settings, found), (table,), tuple(pictures))


def _kinds(settings: RunFile) -> dict[int, str]:
    """Name the classes that may occur."""
    region = settings.region
    kinds = {ICE: "glacier"} if region.glaciers is not None else {}
    kinds[STRIP] = "neither" if region.stable else f"edge, within {region.edge_m:g} m"
    kinds[STABLE] = "stable"
    if region.beside_m is not None:
        kinds[BEYOND] = "not matched"
    return kinds


def _text(settings: RunFile, found: Mapping[str, Classes]) -> tuple[str, ...]:
    region = settings.region
    text = []
    if region.glaciers is not None:
        counts = ", ".join(
            f"{classes.outlines:,} outlines in {zone}, {100 * classes.share(ICE):.1f} % of the "
            "rectangle round the region"
            for zone, classes in found.items()
        )
        text.append(f"Glaciers are those of {region.glaciers.name}: {counts}.")
    if region.stable is not None:
        text.append(f"Stable ground was drawn: {region.stable.name}.")
    else:
        text.append(
            f"Ground that is more than {region.edge_m:g} m beside them counts as stable, and "
            "calibrates the pairs wherever a whole window lies on it."
        )
    if region.beside_m is not None:
        text.append(f"Ground more than {region.beside_m:g} m beside glaciers is not matched.")
    return tuple(text)


def _map(ground: Classes, kinds: Mapping[int, str]) -> Figure:
    bounds = ground.grid.boundingbox
    ratio = bounds.span_y / bounds.span_x
    width = min(6.5, 5.0 / ratio)
    figure = Figure(figsize=(width, width * ratio + 0.3), layout="constrained")
    axes = figure.subplots()
    extent = tuple(edge / 1000 for edge in (bounds.left, bounds.right, bounds.bottom, bounds.top))
    axes.imshow(
        ground.classes, extent=extent, cmap=ListedColormap(_COLOURS), vmin=ICE, vmax=BEYOND,
        interpolation="nearest",
    )  # fmt: skip
    axes.set(xlabel="x (km)", ylabel="y (km)", aspect="equal")
    placed = georeferenced(ground.classes, ground.grid)
    draw_scale_bar(axes, placed, metres_per_unit=1000)
    draw_north(axes, placed)
    axes.ticklabel_format(useOffset=False)
    patches = [
        Patch(facecolor=_COLOURS[kind], edgecolor="0.6", label=name) for kind, name in kinds.items()
    ]
    figure.legend(handles=patches, loc="outside upper left", ncols=len(patches), frameon=False)
    return figure
