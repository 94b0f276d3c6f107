"""The grid mapping of ITS_LIVE: one scalar variable that says where a grid lies.

It serves four kinds of reader at once: CF's parameters, the WKT that GDAL and rioxarray take, the
EPSG code that ITS_LIVE's own tools take, and a PROJ string.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from ogive.georeference import cf_attributes
from ogive.model import GridError

__all__ = ["centre_longitude_latitude", "grid_mapping"]


def grid_mapping(geobox: GeoBox) -> xr.DataArray:
    """Describe a grid by the variable that ITS_LIVE calls ``mapping``.

    Its attribute ``GeoTransform`` is ITS_LIVE's: origin at the *centre* of the first pixel, not at
    its corner as GDAL means it. GDAL, rioxarray and odc-geo place the grid by ``x`` and ``y``.

    Parameters
    ----------
    geobox
        A grid with a coordinate reference system.

    Returns
    -------
    xarray.DataArray
        A scalar of no meaning; what counts are its attributes.

    Raises
    ------
    GridError
        If the grid has no coordinate reference system.
    """
    crs = _crs(geobox)
    attributes: dict[str, Any] = {k: v for k, v in cf_attributes(crs).items() if k != "crs_wkt"}
    polar = attributes.get("grid_mapping_name") == "polar_stereographic"
    if polar and "standard_parallel" in attributes:
        # CF wants the pole named; ITS_LIVE names the standard parallel after PROJ's WKT. Grids with
        # a scale at the pole in its place tell the pole themselves.
        parallel = attributes["standard_parallel"]
        attributes["latitude_of_projection_origin"] = float(np.copysign(90.0, parallel))
        attributes["latitude_of_origin"] = parallel
    attributes["spatial_ref"] = _wkt_of_gdal(crs)
    attributes["crs_wkt"] = crs.to_wkt()
    attributes["proj4text"] = _proj4(crs)
    code = crs.to_epsg()
    if code is not None:
        attributes["spatial_epsg"] = np.int64(code)
    place = geobox.transform
    centre = (place.c + place.a / 2, place.a, 0.0, place.f + place.e / 2, 0.0, place.e)
    attributes["GeoTransform"] = " ".join(repr(float(number)) for number in centre)
    return xr.DataArray(np.int8(0), attrs=attributes)


def centre_longitude_latitude(geobox: GeoBox) -> dict[str, float]:
    """Give the place of a grid's centre in degrees, to ITS_LIVE's two decimals."""
    bounds = geobox.boundingbox
    transformer = Transformer.from_crs(_crs(geobox), "EPSG:4326", always_xy=True)
    longitude, latitude = transformer.transform(
        (bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2
    )
    return {"latitude": round(latitude, 2), "longitude": round(longitude, 2)}


def _crs(geobox: GeoBox) -> CRS:
    if geobox.crs is None:
        raise GridError("a grid without a coordinate reference system has no grid mapping")
    return CRS.from_wkt(geobox.crs.to_wkt())


def _wkt_of_gdal(crs: CRS) -> str:
    """Write GDAL's own dialect, with the codes of every part, as ITS_LIVE has it."""
    code = crs.to_epsg()
    named = rasterio.CRS.from_wkt(crs.to_wkt()) if code is None else rasterio.CRS.from_epsg(code)
    return str(named.to_wkt(version="WKT1_GDAL"))


def _proj4(crs: CRS) -> str:
    with warnings.catch_warnings():
        # It warns that a PROJ string says less than WKT; WKT is beside it.
        warnings.simplefilter("ignore", UserWarning)
        return str(crs.to_proj4()).removesuffix(" +type=crs")
