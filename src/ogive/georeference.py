"""Where arrays lie: xarray objects given their grid or their coordinate reference system.

What the CF conventions cannot say of a projection, such as the turned grid of Switzerland, stands
in ``crs_wkt`` beside what they can, and readers take it from there: nothing is lost, and so nothing
is warned of.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import odc.geo.xr
import xarray as xr

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from pyproj import CRS

__all__ = ["cf_attributes", "georeferenced", "with_crs"]

Placeless = TypeVar("Placeless", xr.DataArray, xr.Dataset)


def georeferenced(values: Any, geobox: GeoBox) -> xr.DataArray:
    """Give an array ``(y, x)`` the coordinates of its grid, and no other attribute.

    Examples
    --------
    >>> import numpy as np
    >>> from odc.geo.geobox import GeoBox
    >>> grid = GeoBox.from_bbox((2.6e6, 1.1e6, 2.601e6, 1.101e6), "EPSG:2056", shape=2)
    >>> georeferenced(np.zeros((2, 2)), grid).x.values
    array([2600250., 2600750.])
    """
    with _what_cf_cannot_say():
        array: xr.DataArray = odc.geo.xr.wrap_xr(values, geobox)
    array.attrs.clear()  # odc-geo guesses a nodata value from the dtype
    return array


def with_crs(placeless: Placeless, crs: Any) -> Placeless:
    """Give what has coordinates their coordinate reference system, as ``spatial_ref``.

    Examples
    --------
    >>> here = xr.Dataset(coords={"y": [1.1e6, 1.2e6], "x": [2.6e6, 2.7e6]})
    >>> with_crs(here, "EPSG:2056").odc.crs.epsg
    2056
    """
    with _what_cf_cannot_say():
        placed: Placeless = odc.geo.xr.assign_crs(placeless, crs)
    return placed


def cf_attributes(crs: CRS) -> dict[str, Any]:
    """Tell a coordinate reference system as CF does, with ``crs_wkt``, which says all of it.

    Examples
    --------
    >>> from pyproj import CRS
    >>> cf_attributes(CRS("EPSG:32632"))["grid_mapping_name"]
    'transverse_mercator'
    """
    with _what_cf_cannot_say():
        return dict(crs.to_cf())


@contextmanager
def _what_cf_cannot_say() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* lost in conversion to CF", UserWarning)
        yield
