"""Reading a displacement or velocity Dataset: its axes, its measured points, masks on its grid."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import xarray as xr

from ogive.model import Flag, GridError, InputError, flag_attributes

__all__ = ["axes", "measured", "on_grid", "require", "without"]

_log = logging.getLogger("ogive.correction.outliers")


def require(dataset: xr.Dataset, *names: str) -> None:
    """Refuse a Dataset that lacks variables, or has them on other dimensions than (y, x).

    Raises
    ------
    InputError
        Naming what is missing.
    """
    missing = [name for name in names if name not in dataset]
    if missing:
        raise InputError(
            f"the Dataset has no {', '.join(missing)}: it holds {', '.join(map(str, dataset))}"
        )
    for name in names:
        if dataset[name].dims != ("y", "x"):
            raise InputError(f"{name} has dimensions {dataset[name].dims}: ('y', 'x') are needed")


def measured(displacement: xr.Dataset, x: str = "dx", y: str = "dy") -> npt.NDArray[np.bool_]:
    """Return True where both components are finite and no flag says otherwise: (y, x)."""
    valid = np.isfinite(displacement[x].values) & np.isfinite(displacement[y].values)
    if "flag" in displacement:
        valid &= displacement["flag"].values == Flag.MEASURED
    return np.asarray(valid, dtype=np.bool_)


def without(displacement: xr.Dataset, rejected: npt.NDArray[np.bool_], flag: Flag) -> xr.Dataset:
    """Return a copy in which rejected measurements have no value, and the flag."""
    rejected = rejected & measured(displacement)
    result = displacement.copy()
    for name in ("dx", "dy"):
        variable = displacement[name]
        values = variable.values.astype(np.float32)
        values[rejected] = np.nan
        result[name] = (variable.dims, values, variable.attrs)
    if "flag" in displacement:
        flags = displacement["flag"].values.astype(np.uint8)
    else:
        flags = np.where(measured(displacement), Flag.MEASURED, Flag.MASKED).astype(np.uint8)
    flags[rejected] = flag
    result["flag"] = (("y", "x"), flags, flag_attributes())
    _log.info("%d of %d points rejected: %s", rejected.sum(), rejected.size, flag.name.lower())
    return result


def axes(dataset: xr.Dataset) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coordinates x and y of a Dataset, pixel indices where it has none."""
    found = [
        np.asarray(dataset[name].values, np.float64)
        if name in dataset.coords
        else np.arange(dataset.sizes[name], dtype=np.float64)
        for name in ("x", "y")
    ]
    return found[0], found[1]


def on_grid(
    mask: xr.DataArray | npt.ArrayLike, dataset: xr.Dataset, name: str
) -> npt.NDArray[np.bool_]:
    """Read a mask as a Boolean array on the grid of a Dataset.

    Raises
    ------
    GridError
        Another shape, or other coordinates.
    InputError
        Values that are neither Boolean nor 0 and 1.
    """
    shape = (dataset.sizes["y"], dataset.sizes["x"])
    if isinstance(mask, xr.DataArray):
        if set(mask.dims) == {"y", "x"}:
            mask = mask.transpose("y", "x")
        for axis in ("y", "x"):
            if axis in mask.coords and axis in dataset.coords:
                _same_places(mask[axis].values, dataset[axis].values, name, axis)
    values = np.asarray(mask)
    if values.shape != shape:
        raise GridError(f"{name} has the shape {values.shape}, the displacement {shape} (y, x)")
    if values.dtype == np.bool_:
        return values
    if values.dtype.kind in "iuf" and np.isin(values, (0, 1)).all():
        return values.astype(np.bool_)
    raise InputError(f"{name} must be Boolean (or 0 and 1): it is {values.dtype}")


def _same_places(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], name: str, axis: str
) -> None:
    step = abs(float(other[-1] - other[0])) / max(other.size - 1, 1) or 1.0
    if one.shape != other.shape or not np.allclose(one, other, rtol=0.0, atol=1e-3 * step):
        raise GridError(
            f"{name} is not on the displacement's grid: {axis} runs from {one[0]:g} to {one[-1]:g} "
            f"in {one.size} steps, the displacement's from {other[0]:g} to {other[-1]:g} in "
            f"{other.size}; resample it first"
        )
