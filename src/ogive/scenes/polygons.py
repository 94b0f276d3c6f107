"""Outlines from files: glaciers of an inventory, or the region that is looked at."""

from __future__ import annotations

import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from ogive.model import GridError, InputError
from ogive.store.shapes import read_shapes

from .place import crs_name, extent_name

__all__ = ["rasterize_polygons", "read_polygons"]

_POLYGONAL = ("Polygon", "MultiPolygon")

_log = logging.getLogger(__name__)


def read_polygons(path: str | Path) -> gpd.GeoDataFrame:
    """Read outlines, and mend those that cross themselves.

    Inventories are drawn by hand, and hold rings that touch or cross themselves. Each is rebuilt
    from its own lines; how many were is logged, and told in
    ``attrs["mended"]``.

    Parameters
    ----------
    path
        Outlines in any format of GDAL (GeoPackage, shapefile, GeoJSON): those of the Randolph
        Glacier Inventory, of GLIMS, or your own. Of several layers the first with geometry is read.

    Returns
    -------
    geopandas.GeoDataFrame
        The polygons of the file with its columns, in its coordinate reference system.

    Raises
    ------
    InputError
        If the file cannot be read or holds no polygons.
    GridError
        If the file has no coordinate reference system.
    """
    if not Path(path).exists() and "://" not in str(path):
        raise InputError(f"there is no file {path}")
    outlines = read_shapes(path)
    kinds = outlines.geometry.geom_type
    polygons = outlines[kinds.isin(_POLYGONAL) & ~outlines.geometry.is_empty].copy()
    if polygons.empty:
        found = ", ".join(sorted(kinds.dropna().unique())) or "nothing"
        raise InputError(f"{path} holds no polygons (found: {found})")
    if polygons.crs is None:
        raise GridError(
            f"{path} has no coordinate reference system: add its .prj file, or write the polygons "
            "with one"
        )
    return _mended(polygons, path)


def _mended(polygons: gpd.GeoDataFrame, path: str | Path) -> gpd.GeoDataFrame:
    geometry = polygons.geometry.to_numpy()
    broken = ~shapely.is_valid(geometry)
    if broken.any():
        geometry[broken] = [_areas(mended) for mended in shapely.make_valid(geometry[broken])]
        polygons = polygons.set_geometry(gpd.GeoSeries(geometry, polygons.index, crs=polygons.crs))
        polygons = polygons[~polygons.geometry.is_empty]
        _log.warning(
            "%d of %d outlines of %s cross themselves and were mended",
            broken.sum(), geometry.size, path,
        )  # fmt: skip
    polygons.attrs["mended"] = int(broken.sum())
    return polygons


def _areas(geometry: shapely.Geometry) -> shapely.Geometry:
    """Leave out the lines and points that mending leaves of what had no area."""
    parts = shapely.get_parts(geometry)
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])


def rasterize_polygons(path: str | Path, geobox: GeoBox) -> NDArray[np.bool_]:
    """Mark the pixels whose centres lie in any polygon of a file.

    Parameters
    ----------
    path
        Outlines in any format of GDAL (GeoPackage, shapefile, GeoJSON), in any coordinate
        reference system: they are reprojected to that of the grid.
    geobox
        The grid wanted.

    Returns
    -------
    numpy.ndarray
        bool, of the shape of the grid.

    Raises
    ------
    InputError
        If the file cannot be read or holds no polygons.
    GridError
        If the file has no coordinate reference system, or no polygon covers the centre of a pixel.
    """
    if geobox.crs is None:
        raise GridError(
            f"{path} cannot be laid over images without a coordinate reference system: give the "
            "images one, or leave this out"
        )
    outlines = read_polygons(path)
    covered = burned(outlines, geobox)
    if not covered.any():
        raise GridError(
            f"no polygon of {path} covers a pixel of the grid: they lie within "
            f"{extent_name(outlines.total_bounds)} in {crs_name(outlines.crs)}, the grid within "
            f"{extent_name(geobox.boundingbox)} in {crs_name(geobox.crs)}"
        )
    return covered


def burned(outlines: gpd.GeoDataFrame, geobox: GeoBox) -> NDArray[np.bool_]:
    """Mark the pixels whose centres lie in any outline, of any reference system."""
    projected = outlines.to_crs(str(geobox.crs))
    left, bottom, right, top = geobox.boundingbox.bbox
    near = projected.geometry.cx[left:right, bottom:top]
    if not len(near):
        return np.zeros(geobox.shape, bool)
    covered: NDArray[np.bool_] = (
        rasterize(near, geobox.shape, transform=geobox.transform, dtype="uint8") > 0
    )
    return covered
