"""All that the pages of one server share: what has been opened, and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ogive.model import InputError
from ogive.store.points import read_points

from . import maps
from .opening import open_product
from .point import (
    PointData,
    annual_at,
    contains,
    observations_at,
    series_at,
    stations_near,
)
from .product import Kind, Product, extent, layer_map
from .project import Project
from .under import grey_background, is_elevation, outline_paths

__all__ = ["Workspace"]


@dataclass
class Workspace:
    """A project, and the products of it that have been opened.

    Parameters
    ----------
    project
        What there is.
    background
        A scene or elevation model to lie under the maps.
    outlines
        Polygons of the ice; those of the project by default.
    points
        A file of stakes or GNSS, as `ogive.read_points` reads it.
    points_crs
        Where its positions lie, if it does not say.
    units
        Of velocities, where files do not say.
    """

    project: Project
    background: Path | None = None
    outlines: Path | None = None
    points: Path | None = None
    points_crs: str | None = None
    units: str | None = None
    _opened: dict[str, Product] = field(default_factory=dict)
    _stations: dict[str, pd.DataFrame] = field(default_factory=dict)
    _grounds: dict[tuple[str, str], NDArray[np.uint8]] = field(default_factory=dict)
    _lines: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outlines = self.outlines or self.project.outlines

    def product(self, name: str) -> Product:
        """Open a product of the project, once.

        Raises
        ------
        InputError
            If the project has none of that name, or it cannot be read.
        """
        if name not in self.project.products:
            raise InputError(f"{self.project.name} has no product {name!r}")
        if name not in self._opened:
            path = self.project.products[name].path
            self._opened[name] = open_product(path, name=name, units=self.units)
        return self._opened[name]

    def check(self) -> None:
        """Open what will be shown first, and all that was named.

        Raises
        ------
        InputError, GridError
            If something cannot be read, or lies elsewhere.
        """
        names = list(self.project.products)
        first = self.product(names[0])
        for name in names[1:]:
            if self.project.products[name].kind is None:
                self.product(name)
        layer_map(first, next(iter(first.layers)), 0)
        if self.background is not None:
            self.ground(self.background.name, first)
        self.outline_paths(first)
        self._stations_of(first)

    # ---- beside a product ------------------------------------------------------------------------

    def _candidates(self, shown: str, kind: Kind) -> Iterator[Product]:
        """Products of a kind, that which is shown first, then the nearest."""
        if self.product(shown).kind == kind:
            yield self.product(shown)
        for name in self.project.beside(shown, kind):
            if name != shown:
                yield self.product(name)

    def _at(self, shown: str, kind: Kind, x: float, y: float) -> Product | None:
        """Find the product of a kind that covers a place of what is shown."""
        crs = self.product(shown).data.odc.crs
        for product in self._candidates(shown, kind):
            if product.data.odc.crs == crs and contains(product, x, y):
                return product
        return None

    def point(self, number: int, x: float, y: float, *, shown: str) -> PointData:
        """Collect what is known of a place.

        Raises
        ------
        InputError
            If the place lies outside of what is shown.
        """
        home = self.product(shown)
        if not contains(home, x, y):
            raise InputError(f"x = {x:.0f}, y = {y:.0f} lies outside of {home.name}")
        cube, series = (self._at(shown, kind, x, y) for kind in ("cube", "series"))
        annual = self._at(shown, "annual", x, y)
        observations = (
            observations_at(cube, x, y, series) if cube is not None
            else _single(home, x, y)
        )  # fmt: skip
        periods = series_at(series, x, y) if series is not None else pd.DataFrame()
        years = annual_at(annual, x, y) if annual is not None else pd.DataFrame()
        near = stations_near(self._stations_of(home), home, x, y)
        return PointData(number, x, y, observations, periods, years, near)

    def in_time(self, shown: str) -> Product:
        """Find what a section is cut from: the series, or else the cube.

        Raises
        ------
        InputError
            If there is neither.
        """
        edges = extent(self.product(shown))
        centre = (edges.left + edges.right) / 2, (edges.bottom + edges.top) / 2
        kinds: tuple[Kind, Kind] = ("series", "cube")
        if self.product(shown).kind == "cube":
            kinds = ("cube", "series")
        for kind in kinds:
            found = self._at(shown, kind, *centre)
            if found is not None:
                return found
        raise InputError(f"{shown} has no series and no cube beside it: a section needs one")

    def cube(self, shown: str) -> Product:
        """Find the cube that is shown, or that what is shown was made from.

        Raises
        ------
        InputError
            If there is none.
        """
        edges = extent(self.product(shown))
        centre = (edges.left + edges.right) / 2, (edges.bottom + edges.top) / 2
        found = self._at(shown, "cube", *centre)
        if found is None:
            raise InputError(f"{shown} has no cube beside it, so that its pairs are not known")
        return found

    def _stations_of(self, product: Product) -> pd.DataFrame | None:
        if self.points is None or product.crs is None:
            return None
        if product.crs not in self._stations:
            self._stations[product.crs] = read_points(
                self.points, crs=self.points_crs, to_crs=product.crs
            )
        return self._stations[product.crs]

    # ---- under and over a map --------------------------------------------------------------------

    def grounds(self) -> list[str]:
        """Name what can lie under the maps, that which was asked for first."""
        names = [f"hillshade of {name}" for name in self.project.elevation]
        names += list(self.project.scenes)
        return ([self.background.name] if self.background else []) + names

    def ground(self, name: str, product: Product) -> Any:
        """Draw what lies under a product.

        Raises
        ------
        InputError
            If there is nothing of that name, or it lies elsewhere.
        """
        key = name, product.name
        if key not in self._grounds:
            path, shaded = self._ground_file(name)
            self._grounds[key] = grey_background(path, product, shaded=shaded)
        return maps.ground(self._grounds[key], extent(product))

    def _ground_file(self, name: str) -> tuple[Path, bool]:
        if self.background is not None and name == self.background.name:
            return self.background, is_elevation(self.background)
        plain = name.removeprefix("hillshade of ")
        if name != plain and plain in self.project.elevation:
            return self.project.elevation[plain], True
        if name in self.project.scenes:
            return self.project.scenes[name], False
        raise InputError(f"there is no ground {name!r}")

    def outline_paths(self, product: Product) -> list[NDArray[np.float64]]:
        """Give the outlines in a product's coordinates."""
        if self.outlines is None:
            return []
        if product.name not in self._lines:
            self._lines[product.name] = outline_paths(self.outlines, product)
        return self._lines[product.name]


def _single(product: Product, x: float, y: float) -> pd.DataFrame:
    """Take a single map for the one observation of a place."""
    dates = product.frames[0].split(" to ")
    if product.kind != "velocity" or len(dates) != 2:
        return pd.DataFrame()
    point = product.data[["vx", "vy"]].sel(x=x, y=y, method="nearest")
    vx, vy = float(point["vx"]), float(point["vy"])
    if not np.isfinite(vx + vy):
        return pd.DataFrame()
    error = np.nan
    if "v_error" in product.data:
        error = float(product.data["v_error"].sel(x=x, y=y, method="nearest"))
    start, end = pd.to_datetime(dates)
    return pd.DataFrame(
        {
            "start": [start], "end": [end], "v": [np.hypot(vx, vy)], "vx": [vx], "vy": [vy],
            "v_error": [error], "sensor": ["pair"], "baseline_days": [(end - start).days],
        }
    )  # fmt: skip
