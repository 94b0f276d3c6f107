"""A product as the viewer shows it: layers that have a map for each date, on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.model import InputError

__all__ = [
    "Extent",
    "Kind",
    "Layer",
    "Product",
    "extent",
    "flow",
    "layer_map",
    "meanings",
    "pixel_size",
]

Kind = Literal["cube", "series", "annual", "velocity"]
TIME_DIMS: Mapping[str, str] = {"cube": "mid_date", "series": "time"}

SAMPLE_PAIRS = 25
"""A cube's first map is the median of so many pairs: all dates of a pixel lie in one chunk, so that
a few pairs take as long to read as one, and the median of all takes many times longer."""

_MAPS_KEPT = 16


class Extent(NamedTuple):
    """Edges of a grid, in its coordinates."""

    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, slots=True)
class Layer:
    """One quantity that can be drawn as a map.

    Parameters
    ----------
    key
        Short name, as in the file: ``"v"``, ``"vx_error"``, ``"trend"``.
    title
        What it is, in words.
    units
        As in the file; empty where it has none.
    variables
        Its variable, or one for each frame.
    """

    key: str
    title: str
    units: str
    variables: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Product:
    """What was opened.

    Parameters
    ----------
    name
        As it is told to the user: the path within the project.
    kind
        Cube of pairs, inverted series, annual maps, or a single velocity map.
    data
        The dataset, lazy where it is large.
    layers
        By their keys, the one to show first at the front.
    frames
        Labels of the pairs, periods or years; a single map has one.
    georeferenced
        False where x and y count pixels, rows downwards.
    """

    name: str
    kind: Kind
    data: xr.Dataset
    layers: Mapping[str, Layer]
    frames: tuple[str, ...]
    georeferenced: bool = True

    @property
    def has_flow(self) -> bool:
        """Whether arrows can be drawn."""
        return {"vx", "vy"} <= self.layers.keys()

    @property
    def crs(self) -> str | None:
        """The coordinate reference system as well-known text."""
        crs = self.data.odc.crs
        return None if crs is None else str(crs.to_wkt())


def layer_map(product: Product, key: str, frame: int = 0) -> xr.DataArray:
    """Read one map of a layer.

    Parameters
    ----------
    product
        What was opened.
    key
        Of one of its layers.
    frame
        Number of the pair, period or year.

    Returns
    -------
    xarray.DataArray
        ``(y, x)``, in memory.

    Raises
    ------
    InputError
        If there is no such layer or frame.
    """
    if key not in product.layers:
        raise InputError(
            f"{product.name} has no layer {key!r}: there are {', '.join(product.layers)}"
        )
    if not 0 <= frame < len(product.frames):
        raise InputError(f"{product.name} has {len(product.frames)} maps and no number {frame}")
    return _read(product, key, frame)


@lru_cache(maxsize=_MAPS_KEPT)
def _read(product: Product, key: str, frame: int) -> xr.DataArray:
    layer = product.layers[key]
    if key == "v" and ("v" not in product.data or _is_median(product, frame)):
        vx, vy = (_read(product, name, frame) for name in ("vx", "vy"))
        return vx.copy(data=np.hypot(vx.values, vy.values))
    if _is_median(product, frame):
        return _median_of_pairs(product.data[layer.variables[0]])
    return _one_map(product, layer, frame)


def _one_map(product: Product, layer: Layer, frame: int) -> xr.DataArray:
    variable = layer.variables[frame if len(layer.variables) > 1 else 0]
    field = product.data[variable]
    dim = TIME_DIMS.get(product.kind)
    if dim in field.dims:
        field = field.isel({dim: frame - (1 if product.kind == "cube" else 0)})
    if "y" not in field.dims:  # one value per pair
        field = field.broadcast_like(product.data["vx"].isel({dim: 0}, drop=True))
    return field.transpose("y", "x").load()


def _is_median(product: Product, frame: int) -> bool:
    return product.kind == "cube" and frame == 0


def _median_of_pairs(field: xr.DataArray) -> xr.DataArray:
    """Median over pairs that are spread evenly over the cube, ordered by their middle dates."""
    count = field.sizes["mid_date"]
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLE_PAIRS)).round().astype(int))
    values = np.sort(field.isel(mid_date=chosen).transpose("mid_date", "y", "x").values, axis=0)
    # Gaps are sorted last, so that the median lies in the middle of those before.
    count_known = np.isfinite(values).sum(axis=0)
    low, high = np.maximum(count_known - 1, 0) // 2, count_known // 2
    middle = [np.take_along_axis(values, k[None], axis=0)[0] for k in (low, high)]
    median = np.where(count_known > 0, (middle[0] + middle[1]) / 2, np.nan).astype(np.float32)
    return field.isel(mid_date=0, drop=True).copy(data=median)


def meanings(product: Product, key: str) -> Mapping[int, str] | None:
    """Tell what the whole numbers of a flag mean; ``None`` for layers that are no flags."""
    variable = product.layers[key].variables[0]
    attributes = product.data[variable].attrs if variable in product.data else {}
    if not {"flag_meanings", "flag_values"} <= attributes.keys():
        return None
    numbers = [int(number) for number in np.atleast_1d(attributes["flag_values"])]
    words = str(attributes["flag_meanings"]).split()
    return {n: word.replace("_", " ") for n, word in zip(numbers, words, strict=True)}


def flow(product: Product, frame: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read both components of one map.

    Raises
    ------
    InputError
        If the product has no components.
    """
    vx, vy = (layer_map(product, name, frame).values.astype(np.float64) for name in ("vx", "vy"))
    return vx, vy


def pixel_size(product: Product) -> float:
    """Side of a pixel along x, in the grid's units."""
    x = product.data["x"].values
    return abs(float(x[-1] - x[0])) / (x.size - 1) if x.size > 1 else 1.0


def extent(product: Product) -> Extent:
    """Edges of the product's outermost pixels."""
    edges = {}
    for axis in ("x", "y"):
        values = product.data[axis].values.astype(np.float64)
        half = abs(values[-1] - values[0]) / max(values.size - 1, 1) / 2 or 0.5
        edges[axis] = values.min() - half, values.max() + half
    return Extent(edges["x"][0], edges["y"][0], edges["x"][1], edges["y"][1])
