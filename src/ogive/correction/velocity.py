"""From displacement to velocity in meter/year, with the errors carried along.

**The error of a speed.** With the velocity's error covariance Σ, the linear formula
``σ_v² = vᵀ Σ v / v²`` takes the error along the flow. Near zero speed there is no flow to be along:
the formula divides zero by zero, and a speed, which cannot be negative, is biased upwards (Rice's
distribution; for ice at rest the measured speed averages sqrt(π/2) = 1.25 times the component's
error). The error therefore passes from the root of the trace of Σ, which is the root-mean-square
speed that ice at rest seems to have, to the linear one, half and half where the speed is twice the
mean component's error::

    σ_v² = k vᵀ Σ v / v² + (1 - k) tr Σ,    k = v² / (v² + 2 tr Σ)

so that ``v ± 1.96 v_error`` covers the true speed in about 95 % of cases at every speed. The bias
itself is not taken off: average components, not speeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import xarray as xr

from ogive.correction.grid import require
from ogive.model import (
    ATTRIBUTES,
    DAYS_PER_YEAR,
    DateError,
    GridError,
    InputError,
    baseline_days,
)

__all__ = ["speed_error", "to_velocity"]

Array = npt.NDArray[np.float64]

_QUALITIES = (
    "flag",
    "correlation",
    "peak_ratio",
    "snr",
    "prediction_distance",
    "forward_backward_distance",
    "closure_residual",
    "valid_fraction",
    "confidence",
    "source",
)
_METRES = {"m", "meter", "metre", "meters", "metres"}
_PIXELS = {"px", "pixel", "pixels"}
_SCALED = (
    "stable_shift",
    "stable_shift_error",
    "stable_shift_stationary",
    "stable_shift_slow",
    "error_stationary",
    "nmad_stationary",
    "error_slow",
)
_UNSCALED = (
    "stable_shift_flag",
    "stable_shift_flag_description",
    "stable_count_stationary",
    "stable_count_slow",
    "error_stationary_description",
    "error_slow_description",
)
_BEST_ERROR = {0: "error_modeled", 1: "error_stationary", 2: "error_slow"}


def to_velocity(
    displacement: xr.Dataset,
    earlier_time: datetime | None = None,
    later_time: datetime | None = None,
    *,
    days: float | None = None,
    pixel_size_m: float | None = None,
) -> xr.Dataset:
    """Velocity in meter/year, and its errors, of a displacement between two times.

    The error covariance of a point is that of its match plus that of the calibration's shift
    (`ogive.correction.calibrate`), where there was one.

    Parameters
    ----------
    displacement
        ``dx, dy, dx_var, dy_var, dxdy_cov`` (y, x), in meters, or in pixels with ``pixel_size_m``.
    earlier_time, later_time
        Acquisition times of the two images; the difference is taken exactly, to the microsecond.
    days
        Time between the images, where the times themselves are not known.
    pixel_size_m
        Meters per unit of the displacement, for grids without a map projection. Components keep
        the directions of the coordinates: along +y is down for an array's rows.

    Returns
    -------
    xarray.Dataset
        ``vx, vy, v, vx_error, vy_error, v_error`` (meter/year), ``vxvy_cov`` (meter2/year2), the
        flag and the qualities. Attributes of ``vx`` and ``vy`` carry ITS_LIVE's names: ``error``
        (the best estimate that there is), ``error_stationary``, ``error_slow``, ``error_modeled``
        (median of the propagated errors), ``stable_shift`` and its companions, in meter/year.
        Scalar coordinates ``date_dt`` (days) and, with the times, ``mid_date`` and
        ``acquisition_date_img1``, ``acquisition_date_img2``: layers are ready to be stacked.

    Raises
    ------
    DateError
        No time, or times that are equal or reversed.
    GridError
        Coordinates that are not meters, or of unknown unit without ``pixel_size_m``.
    InputError
        A variable is missing.

    Examples
    --------
    >>> one = xr.DataArray(np.full((2, 2), 1.0), dims=("y", "x"))
    >>> moved = xr.Dataset(dict(dx=one, dy=0 * one, dx_var=one, dy_var=one, dxdy_cov=0 * one))
    >>> velocity = to_velocity(moved, days=36.525, pixel_size_m=10.0)
    >>> float(velocity.vx[0, 0]), float(velocity.vx_error[0, 0])
    (100.0, 100.0)
    """
    require(displacement, "dx", "dy", "dx_var", "dy_var", "dxdy_cov")
    when = _times(earlier_time, later_time, days)
    factor = _metres_per_unit(displacement, pixel_size_m) * DAYS_PER_YEAR / when["date_dt"]
    vx, vy = (factor * displacement[n].values.astype(np.float64) for n in ("dx", "dy"))
    measured = np.isfinite(vx) & np.isfinite(vy)
    var_x, var_y, cov = (
        np.where(measured, factor**2 * _total(displacement, name), np.nan)
        for name in ("dx_var", "dy_var", "dxdy_cov")
    )
    values = {
        "vx": vx,
        "vy": vy,
        "v": np.hypot(vx, vy),
        "vx_error": np.sqrt(var_x),
        "vy_error": np.sqrt(var_y),
        "v_error": speed_error(vx, vy, var_x, var_y, cov),
        "vxvy_cov": cov,
    }
    velocity = displacement[[name for name in _QUALITIES if name in displacement]].copy()
    for name, data in values.items():
        velocity[name] = (("y", "x"), data.astype(np.float32), dict(ATTRIBUTES[name]))
    for component, source in (("vx", "dx"), ("vy", "dy")):
        modelled = _median(values[f"{component}_error"])
        attributes = _error_attributes(displacement[source].attrs, factor, modelled)
        velocity[component].attrs |= attributes
    velocity = velocity.assign_coords(_time_coordinates(when))
    velocity.attrs |= {"days_per_year": DAYS_PER_YEAR}
    return velocity


def speed_error(
    vx: npt.ArrayLike,
    vy: npt.ArrayLike,
    var_x: npt.ArrayLike,
    var_y: npt.ArrayLike,
    cov: npt.ArrayLike,
) -> Array:
    """Return the standard error of the magnitude of a vector, usable down to zero (see the module).

    Parameters
    ----------
    vx, vy
        Components.
    var_x, var_y, cov
        Their error covariance.

    Returns
    -------
    numpy.ndarray
        In the components' unit.

    Examples
    --------
    >>> float(speed_error(1000.0, 0.0, 4.0, 9.0, 0.0).round(2)), float(speed_error(0, 0, 2, 2, 0))
    (2.0, 2.0)
    """
    vx, vy, var_x, var_y, cov = (
        np.asarray(values, np.float64) for values in (vx, vy, var_x, var_y, cov)
    )
    squared = vx**2 + vy**2
    trace = var_x + var_y
    along = vx**2 * var_x + vy**2 * var_y + 2.0 * vx * vy * cov
    # k vᵀΣv/v² = vᵀΣv / (v² + 2 tr Σ): nothing is divided by the speed.
    denominator = squared + 2.0 * trace
    with np.errstate(invalid="ignore"):
        variance = (along + 2.0 * trace * trace) / np.where(denominator > 0, denominator, 1.0)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)), np.float64)


def _total(displacement: xr.Dataset, name: str) -> Array:
    total = displacement[name].values.astype(np.float64)
    shift = f"shift_{name}"
    if shift in displacement:
        total = total + displacement[shift].values.astype(np.float64)
    return np.asarray(total, np.float64)


# ---- time ----------------------------------------------------------------------------------------


def _times(earlier: datetime | None, later: datetime | None, days: float | None) -> dict[str, Any]:
    if (earlier is None) != (later is None):
        raise DateError("one of the two acquisition times is missing: pass both, or days")
    if earlier is None or later is None:
        if days is None:
            raise DateError("a velocity needs a time: pass earlier_time and later_time, or days")
        if not (np.isfinite(days) and days > 0):
            raise DateError(f"days={days}: a positive number of days is needed")
        return {"date_dt": float(days)}
    if days is not None:
        raise DateError("days was given besides the two times: pass one or the other")
    between = baseline_days(earlier, later)
    return {
        "date_dt": between,
        "mid_date": np.datetime64(earlier + (later - earlier) / 2, "ns"),
        "acquisition_date_img1": np.datetime64(earlier, "ns"),
        "acquisition_date_img2": np.datetime64(later, "ns"),
    }


def _time_coordinates(when: Mapping[str, Any]) -> dict[str, xr.Variable]:
    long_names = {
        "date_dt": "time separation between the two acquisitions, in days",
        "mid_date": "middle between the two acquisitions",
        "acquisition_date_img1": "acquisition time of the earlier image",
        "acquisition_date_img2": "acquisition time of the later image",
    }
    return {
        name: xr.Variable((), value, {"long_name": long_names[name]})
        for name, value in when.items()
    }


# ---- units ---------------------------------------------------------------------------------------


def _metres_per_unit(displacement: xr.Dataset, pixel_size_m: float | None) -> float:
    unit = _unit(displacement)
    if pixel_size_m is not None:
        if not (np.isfinite(pixel_size_m) and pixel_size_m > 0):
            raise InputError(f"pixel_size_m={pixel_size_m}: a positive number is needed")
        if unit is not None:
            raise GridError(
                f"pixel_size_m was given, but the coordinates are in {unit}, not in pixels"
            )
        return pixel_size_m
    if unit is None:
        raise GridError(
            "the coordinates have no map projection and no unit: pass pixel_size_m, the meters "
            "per pixel"
        )
    if unit.lower() not in _METRES:
        raise GridError(
            f"the coordinates are in {unit}: reproject the images to a grid in meters, such as UTM"
        )
    return 1.0


def _unit(displacement: xr.Dataset) -> str | None:
    """Return the unit of the coordinates; nothing when it is the pixel or unknown."""
    wkt = next(
        (
            displacement[name].attrs[key]
            for name in ("spatial_ref", "mapping", "crs")
            if name in displacement.variables
            for key in ("crs_wkt", "spatial_ref")
            if key in displacement[name].attrs
        ),
        None,
    )
    if wkt is not None:
        try:
            axes = pyproj.CRS.from_wkt(wkt).axis_info
        except pyproj.exceptions.CRSError as error:
            raise GridError(f"the coordinate reference system cannot be read: {error}") from error
        return axes[0].unit_name if axes else None
    units = {
        str(displacement[name].attrs["units"])
        for name in ("x", "y", "dx", "dy")
        if name in displacement.variables and displacement[name].attrs.get("units")
    }
    units = {unit for unit in units if unit.lower() not in _PIXELS}
    if len(units) > 1:
        raise GridError(f"the coordinates and components have several units: {sorted(units)}")
    return units.pop() if units else None


# ---- attributes ----------------------------------------------------------------------------------


def _median(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _error_attributes(
    calibrated: Mapping[str, Any], factor: float, modelled: float
) -> dict[str, Any]:
    flag = int(calibrated.get("stable_shift_flag", 0))
    nothing = float("nan")
    attributes: dict[str, Any] = {
        name: factor * float(calibrated[name]) if name in calibrated else nothing
        for name in _SCALED
    }
    attributes |= {name: calibrated[name] for name in _UNSCALED if name in calibrated}
    attributes |= {
        "stable_shift_flag": flag,
        "error_modeled": modelled,
        "error_modeled_description": "median of the errors propagated from match and calibration",
    }
    if flag == 0:
        attributes |= {"stable_shift": 0.0, "stable_count_stationary": 0, "stable_count_slow": 0}
    attributes["error"] = attributes[_BEST_ERROR[flag]]
    attributes["error_description"] = (
        f"best estimate of the error of the field: {_BEST_ERROR[flag]}"
    )
    return attributes
