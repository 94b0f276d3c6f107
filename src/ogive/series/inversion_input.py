"""What the inversion takes from a cube, checked: dates of pairs, velocities, and their errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DateError, InputError

from .network import Network
from .observations import METER_PER_YEAR

__all__ = ["check_cube", "dates_of", "drop_duplicate_pairs", "errors_of", "pixel_dims"]


def drop_duplicate_pairs(cube: xr.Dataset) -> xr.Dataset:
    """Keep each pair of a cube once: the first of those with the same times and satellites.

    Examples
    --------
    >>> import xarray as xr
    >>> first = np.array(["2020-01-01", "2020-01-01"], "datetime64[ns]")
    >>> cube = xr.Dataset(
    ...     coords={"acquisition_date_img1": ("mid_date", first),
    ...             "acquisition_date_img2": ("mid_date", first + np.timedelta64(9, "D"))})
    >>> drop_duplicate_pairs(cube).sizes["mid_date"]
    1
    """
    dates_of(cube)
    return cube.isel(mid_date=np.flatnonzero(~_repeated(cube)))


def dates_of(cube: xr.Dataset) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    """Read when the earlier and the later image of each pair were acquired."""
    if "mid_date" not in cube.dims:
        raise DateError(
            "the cube has no time axis 'mid_date' (its dimensions are "
            f"{', '.join(map(str, cube.dims))}): read it by ogive.open_cube, or stack single maps "
            "by ogive.stack"
        )
    dates = []
    for name in ("acquisition_date_img1", "acquisition_date_img2"):
        if name not in cube.variables:
            raise DateError(f"the cube has no '{name}': every observation needs both its dates")
        values = np.asarray(cube[name].values)
        if not np.issubdtype(values.dtype, np.datetime64) or cube[name].dims != ("mid_date",):
            raise DateError(f"'{name}' must hold one date per 'mid_date', not {values.dtype}")
        dates.append(values.astype("datetime64[ns]"))
    return dates[0], dates[1]


def check_cube(cube: xr.Dataset) -> None:
    """Refuse velocities of other dimensions or units, and pairs that occur twice.

    What states no units is taken for meter/year, as arithmetic with a cube leaves it.
    """
    for name in ("vx", "vy"):
        if name not in cube:
            raise InputError(f"the cube has no variable '{name}': read it by ogive.open_cube")
        if set(cube[name].dims) != {"mid_date", *pixel_dims(cube)}:
            raise InputError(f"'{name}' must have the dimensions mid_date, y, x")
    for name in ("vx", "vy", "vx_error", "vy_error"):
        units = cube[name].attrs.get("units", "meter/year") if name in cube else "meter/year"
        if units not in METER_PER_YEAR:
            raise InputError(
                f"'{name}' is in {units!r} but must be in meter/year: read the cube by "
                "ogive.open_cube, which converts units"
            )
    repeated = _repeated(cube)
    if repeated.any():
        k = int(np.flatnonzero(repeated)[0])
        raise InputError(
            f"{np.count_nonzero(repeated)} pairs occur twice (the first is number {k}: "
            f"{cube['acquisition_date_img1'].values[k]} to "
            f"{cube['acquisition_date_img2'].values[k]}), which would count them as independent: "
            "keep one of each by ogive.drop_duplicate_pairs"
        )


def _repeated(cube: xr.Dataset) -> NDArray[np.bool_]:
    """Pairs whose times, satellites and sensors have occurred before."""
    names = ["acquisition_date_img1", "acquisition_date_img2"]
    for name in ("mission", "satellite", "sensor", "granule_url"):
        names += [n for n in (f"{name}_img1", f"{name}_img2", name) if n in cube.variables]
    table = pd.DataFrame({name: np.asarray(cube[name].values) for name in names})
    return np.asarray(table.duplicated().values, dtype=bool)


def pixel_dims(cube: xr.Dataset) -> tuple[str, ...]:
    """Name the dimensions besides the pairs', usually y and x."""
    return tuple(str(dim) for dim in cube["vx"].dims if dim != "mid_date")


def errors_of(
    cube: xr.Dataset, weights: str, network: Network
) -> tuple[xr.DataArray, xr.DataArray]:
    """Errors of the velocities (or what stands for them), per pair or per point."""
    span = xr.DataArray(network.plan.span_years, dims="mid_date")
    if weights == "uniform":
        uniform = (1.0 / span).astype("f4")  # equal errors of the displacements
        return uniform, uniform
    if weights == "error":
        missing = [name for name in ("vx_error", "vy_error") if name not in cube]
        if missing:
            raise InputError(
                f"the cube has no {' and no '.join(missing)}: pass weights='uniform', or the name "
                "of a quality variable"
            )
        errors = [cube["vx_error"].astype("f4"), cube["vy_error"].astype("f4")]
    elif weights in cube:
        quality = cube[weights].astype("f8")
        # A quality of 0 is no observation: NaN keeps it out, and it is counted as unusable.
        error = (1.0 / (quality.where(quality > 0) * span)).astype("f4")
        errors = [error, error]
    else:
        raise InputError(
            f"weights={weights!r} is neither 'error' nor 'uniform' nor a variable of the cube"
        )
    for error in errors:
        if error.dims not in (("mid_date",), cube["vx"].dims):
            raise InputError(
                f"the errors must have one value per pair or the dimensions of vx, not {error.dims}"
            )
    return errors[0].drop_vars(list(errors[0].coords)), errors[1].drop_vars(list(errors[1].coords))
