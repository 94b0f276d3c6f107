"""Shapes from vector files, of which some hold several layers."""

from __future__ import annotations

import logging
from pathlib import Path

import geopandas as gpd
import pyogrio

from ogive.model import InputError

__all__ = ["read_shapes"]

_log = logging.getLogger(__name__)


def read_shapes(path: str | Path, *, wanted: str = "polygons") -> gpd.GeoDataFrame:
    """Read the first layer that has geometry.

    GeoPackages hold more than what they are read for: the outlines of ogive have a layer of
    glaciers, two of their band, and a table of styles. Where several layers have geometry, the log
    says which one was taken.

    Parameters
    ----------
    path
        A file in any vector format of GDAL (GeoPackage, shapefile, GeoJSON), or its address.
    wanted
        What the shapes should be, for the sentences of errors.

    Returns
    -------
    geopandas.GeoDataFrame
        As the layer has it: shapes may be missing, empty or broken, and ``crs`` may be ``None``.

    Raises
    ------
    InputError
        If the file cannot be read, or has no layer with geometry.

    Examples
    --------
    >>> glaciers = read_shapes("outlines.gpkg")  # doctest: +SKIP
    """
    try:
        names = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        if not names:
            raise InputError(f"{path} holds no layer with geometry: {wanted} are needed")
        if len(names) > 1:
            _log.info("of %s the layer %s is read, not %s", path, names[0], ", ".join(names[1:]))
        return gpd.read_file(path, layer=names[0])
    except (OSError, RuntimeError) as error:  # pyogrio's own are RuntimeErrors
        raise InputError(f"{path} is no file of {wanted} that can be read: {error}") from error
