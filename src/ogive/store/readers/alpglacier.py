"""The cubes of Millan, Mouginot and colleagues (AlpGlacier): dimensions z, y, x, one z per pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DAYS_PER_YEAR, DateError
from ogive.store.cube import canonical, converted, crs_of

from .place import Found, Request

__all__ = ["read", "recognises"]

_NAMES = {"error_vx": "vx_error", "error_vy": "vy_error"}
_JULIAN = np.datetime64("1858-11-17", "ns")


def recognises(found: Found) -> bool:
    """Whether a place holds such a cube."""
    dataset = found.dataset
    return dataset is not None and {"vx", "vy", "date1", "date2"} <= set(dataset.variables)


def read(request: Request) -> xr.Dataset:
    """Rename to ITS_LIVE's names and convert units; errors stay per pair or per point."""
    cube = request.dataset
    pair_dim = next(str(d) for d in cube["vx"].dims if d not in ("y", "x"))
    names = {old: new for old, new in _NAMES.items() if old in cube}
    cube = cube.rename({pair_dim: "mid_date", **names})
    cube = cube.drop_vars("mid_date", errors="ignore")
    for old, new in (("date1", "acquisition_date_img1"), ("date2", "acquisition_date_img2")):
        cube[new] = ("mid_date", _dates(cube[old]))
    if "sensor" in cube:
        for image in ("img1", "img2"):
            cube[f"sensor_{image}"] = ("mid_date", np.asarray(cube["sensor"].values).astype(str))
    cube = cube.drop_vars([n for n in ("date1", "date2", "sensor") if n in cube.variables])
    year = request.days_per_year or float(cube.attrs.get("days_per_year", DAYS_PER_YEAR))
    cube = converted(
        cube, units=request.units, days_per_year=year, names=("vx", "vy", "vx_error", "vy_error")
    )
    return canonical(cube, request.crs or crs_of(request.dataset))


def _dates(variable: xr.DataArray) -> NDArray[np.datetime64]:
    """Read dates that are decoded, written as YYYYMMDD, or modified Julian days."""
    values = np.asarray(variable.values)
    if values.dtype.kind == "M":
        return values.astype("datetime64[ns]")
    said = " ".join(str(value) for value in variable.attrs.values()).lower()
    if values.dtype.kind in "fiu" and "julian" in said:
        nanoseconds = np.round(values.astype(np.float64) * 86_400e9).astype("timedelta64[ns]")
        julian: NDArray[np.datetime64] = _JULIAN + nanoseconds
        return julian
    text = pd.Series(values.ravel())
    if values.dtype.kind in "fiu":
        text = text.astype("int64").astype(str)
    else:
        text = text.map(lambda t: t.decode() if isinstance(t, bytes) else str(t))
    try:
        form = "%Y%m%d" if text.str.fullmatch(r"\d{8}").all() else "ISO8601"
        return np.asarray(pd.to_datetime(text, format=form).values, "datetime64[ns]")
    except ValueError as error:
        raise DateError(
            f"the dates in '{variable.name}' are not understood (the first is {values.flat[0]!r}): "
            "give them CF units, such as 'days since 1858-11-17'"
        ) from error
