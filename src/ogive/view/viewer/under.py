"""What lies under a map: a hillshade or a scene, and the outlines of the ice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.model import GridError, InputError
from ogive.scenes.read import read_on_grid, valid_mask
from ogive.store.shapes import read_shapes
from ogive.view.quicklook import hillshade

from .product import Product

__all__ = ["grey_background", "is_elevation", "outline_paths"]

_LONGEST_SIDE_PX = 1000


def is_elevation(path: Path) -> bool:
    """Whether a raster is an elevation model: its numbers are no image's.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with rasterio.open(path) as file:
            return str(file.dtypes[0]).startswith("float") or file.dtypes[0] == "int16"
    except rasterio.errors.RasterioIOError as error:
        raise InputError(f"{path} cannot be read as a raster: {error}") from error


def grey_background(path: Path, product: Product, *, shaded: bool) -> NDArray[np.uint8]:
    """Read a raster over a product's grid as greys from 1 to 255, 0 where there is nothing.

    Parameters
    ----------
    path
        A scene, or an elevation model.
    product
        Whose grid is covered, in finer steps where the raster has them.
    shaded
        Draw the raster as a lit surface.

    Returns
    -------
    numpy.ndarray
        Rows from the north.

    Raises
    ------
    GridError
        If the product has no coordinate reference system, or the raster lies elsewhere.
    """
    box = product.data["vx"].odc.geobox if "vx" in product.data else product.data.odc.geobox
    if not isinstance(box, GeoBox) or box.crs is None:
        raise GridError(f"{product.name} has no projection: {path.name} cannot lie under it")
    finer = _LONGEST_SIDE_PX / max(box.shape)
    box = box.zoom_to((max(round(box.shape.y * finer), 1), max(round(box.shape.x * finer), 1)))
    image = read_on_grid(path, box, "bilinear")
    values = image.astype(np.float32).where(xr.DataArray(valid_mask(image), dims=("y", "x")))
    if shaded:
        values = hillshade(values)
    pixels = values.values if float(image["y"][0]) > float(image["y"][-1]) else values.values[::-1]
    known = np.isfinite(pixels)
    if not known.any():
        raise GridError(f"{path.name} does not cover {product.name}")
    dark, bright = np.percentile(pixels[known], [1, 99])
    share = np.clip((pixels - dark) / max(bright - dark, 1e-9), 0, 1)
    return np.where(known, 1 + 254 * np.nan_to_num(share), 0).astype(np.uint8)


def outline_paths(path: Path, product: Product) -> list[NDArray[np.float64]]:
    """Read polygons as lines in a product's coordinates, each an array (n, 2).

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    shapes = read_shapes(path)
    if product.crs is None or shapes.crs is None:
        return []
    lines = shapes.to_crs(product.crs).geometry.boundary.explode()
    return [shapely.get_coordinates(line) for line in lines if line is not None]
