"""Which pixels of an image hold a measurement."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["valid_mask"]


def valid_mask(image: xr.DataArray) -> NDArray[np.bool_]:
    """Tell which pixels of an image hold a measurement.

    Left out are pixels of the nodata value, pixels that are not finite, and pixels that the file's
    own mask or alpha band takes away.

    Parameters
    ----------
    image
        As `read_image` gives it; an image without any of those marks is valid everywhere.

    Examples
    --------
    >>> image = xr.DataArray(np.array([[0, 7]], np.uint16), dims=("y", "x"), attrs={"nodata": 0})
    >>> valid_mask(image)
    array([[False,  True]])
    """
    pixels = image.values
    valid = np.ones(pixels.shape, bool)
    if np.issubdtype(pixels.dtype, np.inexact):
        valid &= np.isfinite(pixels)
    nodata = image.attrs.get("nodata", image.attrs.get("_FillValue"))
    if nodata is None:
        nodata = image.encoding.get("_FillValue")
    if nodata is not None and not np.isnan(nodata):
        valid &= pixels != _in_dtype(nodata, pixels.dtype)
    if "valid" in image.coords:
        valid &= image.coords["valid"].values.astype(bool)
    return valid


def _in_dtype(nodata: float, dtype: np.dtype[Any]) -> Any:
    """Round a nodata value to the numbers a file can hold; formats store it as a double."""
    if np.issubdtype(dtype, np.inexact):
        with np.errstate(over="ignore"):
            return dtype.type(nodata)
    return nodata
