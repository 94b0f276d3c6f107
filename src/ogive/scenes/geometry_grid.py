"""The grid on which view angles are wanted, and the dataset that holds them there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import xarray as xr
from odc.geo.geobox import GeoBox

from ogive.georeference import with_crs
from ogive.model import GridError

from .geometry_sight import Places, Sight, map_plane, places_of

__all__ = ["centres_of", "geobox_of", "view_dataset"]


def geobox_of(data: xr.DataArray | xr.Dataset) -> GeoBox:
    """Give the grid of an image or map.

    Raises
    ------
    GridError
        If it has no regular one.
    """
    geobox = data.odc.geobox
    if not isinstance(geobox, GeoBox):
        raise GridError("the map has no regular grid: view angles are wanted for pixels of one")
    return geobox


def centres_of(geobox: GeoBox) -> Places:
    """Give the pixel centres of a grid, ``(y, x)``, on the map and on the Earth."""
    rows, columns = np.mgrid[0 : geobox.shape.y, 0 : geobox.shape.x] + 0.5
    x, y = geobox.affine * (columns, rows)
    return places_of(x, y, geobox.crs)


def view_dataset(
    sight: Sight, flight: Any, geobox: GeoBox, places: Places, told: Mapping[str, Any]
) -> xr.Dataset:
    """Put lines of sight on a grid, as `ogive.scenes.geometry.view_geometry` gives them.

    Parameters
    ----------
    sight
        ``(y, x)``, NaN outside of the swath.
    flight
        Azimuth of the ground track in degrees, ``(y, x)`` or a number.
    geobox, places
        The grid and its pixel centres.
    told
        Attributes; those that are ``None`` are left out.
    """
    plane = map_plane(places)
    dims = geobox.dimensions
    degrees = {"units": "degree"}
    values: dict[str, tuple[Any, dict[str, str]]] = {
        "view_zenith": (
            sight.zenith_deg,
            {**degrees, "standard_name": "sensor_zenith_angle"},
        ),
        "view_azimuth": (
            sight.azimuth_deg,
            {**degrees, "standard_name": "sensor_azimuth_angle"},
        ),
        "flight_azimuth": (flight, {**degrees, "long_name": "direction of the ground track"}),
        "sight_x": (
            plane.x(sight),
            {"units": "1", "long_name": "way towards the satellite along x per height"},
        ),
        "sight_y": (
            plane.y(sight),
            {"units": "1", "long_name": "way towards the satellite along y per height"},
        ),
    }
    view = xr.Dataset(
        {
            name: (dims, np.asarray(value, np.float32), attributes)
            for name, (value, attributes) in values.items()
        },
        coords={dim: geobox.coordinates[dim].values for dim in dims},
        attrs={key: value for key, value in told.items() if value is not None},
    )
    return with_crs(view, geobox.crs)
