"""Velocities along east and north, whatever way a grid's axes point."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ogive.model import GridError

__all__ = ["EastNorth", "along_east_north", "to_east_north"]

F8 = NDArray[np.float64]

# A step of some ten metres on the ground.
_STEP_DEGREES = 1e-4


class EastNorth(NamedTuple):
    """Components along true east and true north."""

    east: F8
    north: F8


def along_east_north(
    vx: ArrayLike, vy: ArrayLike, *, x: ArrayLike, y: ArrayLike, crs: pyproj.CRS | str
) -> EastNorth:
    """Turn components along a grid's axes into components along east and north.

    In a polar stereographic projection +y points along one meridian only; a GNSS receiver's east
    and north are found by this rotation. Lengths are kept.

    Parameters
    ----------
    vx, vy
        Components along +x and +y.
    x, y
        Where, in the projection's coordinates.
    crs
        The projection.

    Examples
    --------
    On Greenland's west coast, 10 degrees west of the central meridian of EPSG:3413, the grid's
    +y points 10 degrees to the west of north:

    >>> import pyproj
    >>> there = pyproj.Transformer.from_crs(4326, 3413, always_xy=True).transform(-55.0, 70.0)
    >>> turned = along_east_north(0.0, 1.0, x=there[0], y=there[1], crs="EPSG:3413")
    >>> round(float(np.degrees(np.arctan2(turned.east, turned.north))), 3)
    -10.0
    """
    projection = pyproj.CRS.from_user_input(crs)
    if not projection.is_projected:
        raise GridError(f"{projection.name} is no projection: its axes are not in metres")
    transformer = pyproj.Transformer.from_crs(projection, projection.geodetic_crs, always_xy=True)
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    longitude, latitude = transformer.transform(x, y)
    north_x, north_y = _unit(transformer, longitude, latitude, 0.0, _STEP_DEGREES)
    east_x, east_y = _unit(
        transformer, longitude, latitude, _STEP_DEGREES / np.cos(np.radians(latitude)), 0.0
    )
    along_x, along_y = np.asarray(vx, np.float64), np.asarray(vy, np.float64)
    determinant = east_x * north_y - east_y * north_x
    return EastNorth(
        east=np.asarray((along_x * north_y - along_y * north_x) / determinant),
        north=np.asarray((along_y * east_x - along_x * east_y) / determinant),
    )


def _unit(
    transformer: pyproj.Transformer, longitude: F8, latitude: F8, east: F8 | float, north: float
) -> tuple[F8, F8]:
    """Find the direction on the grid of a small step on the ground, taken to both sides."""
    inverse = pyproj.enums.TransformDirection.INVERSE
    ahead = transformer.transform(longitude + east, latitude + north, direction=inverse)
    behind = transformer.transform(longitude - east, latitude - north, direction=inverse)
    dx, dy = ahead[0] - behind[0], ahead[1] - behind[1]
    length = np.hypot(dx, dy)
    return dx / length, dy / length


def to_east_north(velocities: xr.Dataset) -> xr.Dataset:
    """Add ``v_east`` and ``v_north`` to velocities on a grid.

    Parameters
    ----------
    velocities
        ``vx, vy`` with ``x, y`` and a CF grid mapping (such as ``spatial_ref``).

    Returns
    -------
    xarray.Dataset
        The same with ``v_east, v_north`` in the same units.

    Raises
    ------
    GridError
        If the grid has no projection.
    """
    wkt = next(
        (
            variable.attrs[key]
            for variable in velocities.variables.values()
            for key in ("crs_wkt", "spatial_ref")
            if key in variable.attrs
        ),
        None,
    )
    if wkt is None:
        raise GridError("the velocities have no coordinate reference system: east is unknown")
    x, y = xr.broadcast(velocities["x"], velocities["y"])
    basis = along_east_north(1.0, 0.0, x=x.values, y=y.values, crs=wkt)
    across = along_east_north(0.0, 1.0, x=x.values, y=y.values, crs=wkt)
    result = velocities.copy()
    for name, from_x, from_y in (
        ("v_east", basis.east, across.east),
        ("v_north", basis.north, across.north),
    ):
        by_x, by_y = (xr.DataArray(part, dims=x.dims) for part in (from_x, from_y))
        turned = (velocities["vx"] * by_x + velocities["vy"] * by_y).transpose(
            *velocities["vx"].dims
        )
        result[name] = turned.astype(velocities["vx"].dtype)
        result[name].attrs = {
            "long_name": f"velocity along true {name[2:]}",
            "units": velocities["vx"].attrs.get("units", "meter/year"),
        }
    return result
