"""Calibration on stable ground: what the images' misregistration adds to every displacement.

Where the ground does not move, a displacement is an error that the whole image shares: orthoimages
lie up to half a pixel beside each other, which in a ten-day pair is 180 m/yr. It is estimated there
and taken off everywhere, with its own error.

The estimator was chosen by simulation (200 fields of 100 x 100 points, three in ten of them stable,
errors of 0.1 px that are correlated over two points and of 0.03 px over ten; root-mean-square error
of the shift in px):

=================================  ======  ======  ======  ========
the stable ground holds            mean    median  Huber   biweight
=================================  ======  ======  ======  ========
errors only                        0.0103  0.0107  0.0104  0.0104
20 % false matches                 0.0737  0.0108  0.0105  0.0103
15 % creeping by 0.1-0.5 px        0.0484  0.0262  0.0340  0.0223
25 % ice moving by 0.5-5 px        0.718   0.0551  0.123   0.0143
=================================  ======  ======  ======  ========

Weights by the match covariance change little (0.0102 to 0.0101 px where it varies ten-fold),
because what is correlated over many points does not show in it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from ogive.correction.excess import excess_variance
from ogive.correction.field import Basis, Field
from ogive.correction.grid import on_grid
from ogive.correction.robust import nmad
from ogive.correction.shift import Shift, ShiftModel, check_support, constant, shift_basis
from ogive.correction.slowest import Slow, slowest
from ogive.model import InputError, StableGroundError

__all__ = ["ShiftModel", "calibrate"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_log = logging.getLogger(__name__)

_WINDOWS_OF_AREA = 10  # stable ground of fewer independent windows says little of its own scatter

_FLAG_DESCRIPTION = (
    "flag for applying velocity bias correction: 0 = no correction; 1 = correction from "
    "overlapping stable surface mask (top priority); 2 = correction from slowest share of "
    "overlapping velocities (second priority)"
)


def calibrate(
    displacement: xr.Dataset,
    stable: xr.DataArray | npt.ArrayLike | None = None,
    *,
    model: ShiftModel = "constant",
    track_azimuth_deg: float | None = None,
    stripe_intervals: int = 6,
    weighted: bool = True,
    widen_errors: bool = True,
    slowest_fraction: float | None = None,
    min_count: int = 50,
    min_area: float | None = None,
) -> xr.Dataset:
    """Take the shift that stable ground shows off the whole displacement.

    The shift is a linear model of place, fitted to the measured points of stable ground by a
    biweight that both components share, each point weighted by its match covariance. Its error
    allows for neighbours that err together (see `ogive.correction.spatial`); it is widened by
    Student's quantile where few independent points tell the scatter, so that plus and minus 1.96
    standard errors are a 95 % interval.

    Parameters
    ----------
    displacement
        As `ogive.match` gives it: ``dx``, ``dy`` (y, x), NaN where there is none; ``dx_var`` and
        ``dy_var`` weight the points when they are there.
    stable
        True where the ground is known not to move: (y, x), on the displacement's grid.
    model
        ``"constant"``; ``"plane"``: linear in x and y; ``"across_track"``: a smooth function of the
        coordinate across the satellite's track, for stripes that run *along* it (misaligned
        detectors); ``"along_track"``: of the coordinate along it, for bands that run *across* it
        (attitude jitter). The smooth functions are cubic splines with even knots.
    track_azimuth_deg
        Direction of flight, clockwise from +y towards +x (from grid north on a map); the two track
        models need it. A descending Sentinel-2 or Landsat flies at about 193 degrees.
    stripe_intervals
        Spline intervals over the measured points' extent: features down to about twice the extent
        over this number are followed.
    weighted
        False gives all stable points the same weight.
    widen_errors
        Add to ``dx_var`` and ``dy_var`` what stable ground shows beyond them
        (`ogive.correction.excess`): on real pairs the errors that the match knows of are a half to
        three quarters of those that there are. Only where stable ground was given.
    slowest_fraction
        What to do where stable ground is missing or too little: calibrate on this share of the
        points, those that lie closest together in (dx, dy), as ITS_LIVE does with its slowest 25 %
        (``stable_shift_flag`` 2; constant model only). The slowest ground may be moving ice: the
        error then knows nothing of it. By default this is refused.
    min_count
        Fewest stable points with a measurement.
    min_area
        Least area of stable ground with a measurement, in squared units of the coordinates; by
        default ten matching windows, or nothing where the windows' size is not known.

    Returns
    -------
    xarray.Dataset
        The displacement less the shift. ``shift_dx``, ``shift_dy`` hold what was taken off and
        ``shift_dx_var``, ``shift_dy_var``, ``shift_dxdy_cov`` its error covariance: numbers for the
        constant model, maps for the others. Attributes of ``dx`` and ``dy`` carry ITS_LIVE's names
        (``stable_shift``, ``stable_shift_flag``, ``stable_count_stationary``,
        ``error_stationary``, ...) in the units of the displacement, and ``stable_shift_error``,
        ``stable_area``, ``stable_effective_count``. Of a model that varies, ``stable_shift`` is the
        mean over the stable points. A second calibration adds its shift to the first one's.

    Raises
    ------
    StableGroundError
        Too little stable ground, or none under a part of the model.
    GridError
        ``stable`` is not on the displacement's grid.
    InputError
        An option that makes no sense, or a Dataset without displacement.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> field = 0.5 + 0.1 * rng.standard_normal((40, 40))
    >>> moved = xr.Dataset(
    ...     {"dx": (("y", "x"), field), "dy": (("y", "x"), -field)},
    ...     {"y": np.arange(40.0), "x": np.arange(40.0)},
    ... )
    >>> calibrated = calibrate(moved, np.ones((40, 40), dtype=bool))
    >>> round(calibrated.dx.attrs["stable_shift"], 1)
    0.5
    """
    _check_options(model, track_azimuth_deg, stripe_intervals, slowest_fraction, min_count)
    field = Field.of(displacement, weighted)
    ground = field.valid & on_grid(stable, displacement, "stable") if stable is not None else None
    least = _Least(min_count, _default_area(displacement) if min_area is None else min_area)
    slow = slowest(field, slowest_fraction) if slowest_fraction is not None else None
    try:
        ground_used, basis = _choose(
            field, ground, least, model, track_azimuth_deg, stripe_intervals
        )
        fit = field.fit(ground_used, basis)
        shift, flag = Shift.of(field, ground_used, fit, basis, ground_used), 1
    except StableGroundError as error:
        if slow is None:
            raise
        if ground is not None:
            _log.warning("%s; calibrated on the slowest %g %%", error, 100 * slow.fraction)
        if model != "constant":
            raise StableGroundError(
                f"{error}. The slowest {100 * slow.fraction:g} % can give a constant shift only: "
                f"pass model='constant' instead of {model!r}, or more stable ground"
            ) from error
        least.check(slow.points, field, "slow points")
        shift, flag = Shift.of(field, field.valid, slow.fit, constant, slow.points), 2
    result = _apply(displacement, field, shift, flag, ground, slow, model)
    return _widened(result, shift.points) if widen_errors and flag == 1 else result


def _widened(calibrated: xr.Dataset, points: Bools) -> xr.Dataset:
    """Errors made to cover what stable ground shows; the excess stands in the attributes."""
    for name in ("dx", "dy"):
        if f"{name}_var" not in calibrated:
            continue
        variance = calibrated[f"{name}_var"]
        declared = variance.values.astype(np.float64)
        known = points & np.isfinite(declared) & (declared > 0)
        excess = excess_variance(calibrated[name].values.astype(np.float64)[known], declared[known])
        attributes = {**variance.attrs, "excess_variance": excess}
        calibrated[f"{name}_var"] = (("y", "x"), (variance.values + excess), attributes)
        calibrated[name].attrs["excess_error"] = float(np.sqrt(excess))
    return calibrated


def _check_options(
    model: str,
    azimuth: float | None,
    intervals: int,
    slowest_fraction: float | None,
    min_count: int,
) -> None:
    if model not in get_args(ShiftModel):
        raise InputError(f"model={model!r}: known are {', '.join(get_args(ShiftModel))}")
    if model.endswith("_track") and (azimuth is None or not np.isfinite(azimuth)):
        raise InputError(
            f"model={model!r} needs track_azimuth_deg, the direction of flight in degrees "
            "clockwise from +y"
        )
    if intervals < 1:
        raise InputError(f"stripe_intervals={intervals}: at least one is needed")
    if slowest_fraction is not None and not 0.0 < slowest_fraction <= 1.0:
        raise InputError(f"slowest_fraction={slowest_fraction}: a share between 0 and 1 is needed")
    if min_count < 2:
        raise InputError(f"min_count={min_count}: a scatter needs at least 2 points")


@dataclass(frozen=True, slots=True)
class _Least:
    """How much ground a shift needs to rest on."""

    count: int
    area: float

    def check(self, points: Bools, field: Field, what: str) -> None:
        count = int(points.sum())
        area = count * field.cell_area
        if count < self.count or area < self.area:
            raise StableGroundError(
                f"{count} {what} with a measurement, {area:g} square units of the grid, are too "
                f"few to calibrate on: {self.count} points and {self.area:g} square units are "
                "needed (min_count, min_area)"
            )


def _default_area(displacement: xr.Dataset) -> float:
    names = ("window_px", "pixel_size_x", "pixel_size_y")
    if not all(name in displacement.attrs for name in names):
        return 0.0
    window, width, height = (float(displacement.attrs[name]) for name in names)
    return _WINDOWS_OF_AREA * window**2 * width * height


def _choose(
    field: Field,
    ground: Bools | None,
    least: _Least,
    model: ShiftModel,
    azimuth: float | None,
    intervals: int,
) -> tuple[Bools, Basis]:
    if ground is None:
        raise StableGroundError(
            "no stable ground was given: pass a mask that is True where the ground does not move, "
            "or slowest_fraction=0.25 to calibrate on the slowest quarter of the points"
        )
    least.check(ground, field, "stable points")
    basis = shift_basis(field, ground, model, azimuth, intervals)
    check_support(field, ground, basis, model)
    return ground, basis


def _apply(
    displacement: xr.Dataset,
    field: Field,
    shift: Shift,
    flag: int,
    ground: Bools | None,
    slow: Slow | None,
    model: ShiftModel,
) -> xr.Dataset:
    maps = shift.on(field.x, field.y)
    result = displacement.copy()
    for c, name in enumerate(("dx", "dy")):
        data = field.values[c] - maps[f"shift_{name}"]
        attributes = dict(displacement[name].attrs) | _component_attributes(
            c, displacement[name].attrs, data, shift, flag, ground, slow
        )
        result[name] = (("y", "x"), data.astype(np.float32), attributes)
    units = displacement["dx"].attrs.get("units")
    for name, values in maps.items():
        if name in displacement and not name.endswith(("_var", "_cov")):
            values = values + np.asarray(displacement[name].values, np.float64)
        dtype = np.float32 if values.ndim else np.float64
        dims = ("y", "x")[: values.ndim]
        result[name] = (dims, values.astype(dtype), _map_attributes(name, units))
    result.attrs |= {
        "calibration_model": model if flag == 1 else "constant",
        "stable_shift_flag": flag,
        "stable_count": int(shift.points.sum()),
        "stable_area": shift.area,
        "stable_effective_count": shift.effective_count,
        "stable_correlation_range": shift.correlation_range * float(np.sqrt(field.cell_area)),
    }
    return result


def _component_attributes(
    c: int,
    before: Mapping[str, Any],
    data: Array,
    shift: Shift,
    flag: int,
    ground: Bools | None,
    slow: Slow | None,
) -> dict[str, Any]:
    taken = float(before.get("stable_shift", 0.0))
    nothing = float("nan")
    rests_on_stable = flag == 1 and ground is not None
    return {
        "stable_shift": taken + float(shift.mean[c]),
        "stable_shift_error": float(shift.mean_error[c]),
        "stable_shift_flag": flag,
        "stable_shift_flag_description": _FLAG_DESCRIPTION,
        "stable_shift_stationary": taken + float(shift.mean[c]) if rests_on_stable else nothing,
        "stable_shift_slow": taken + float(slow.shift[c]) if slow is not None else nothing,
        "stable_count_stationary": int(ground.sum()) if ground is not None else 0,
        "stable_count_slow": int(slow.points.sum()) if slow is not None else 0,
        "error_stationary": _rms(data[ground]) if ground is not None else nothing,
        "error_stationary_description": "RMSE over stable surfaces, identified from a mask",
        "nmad_stationary": nmad(data[ground]) if ground is not None else nothing,
        "error_slow": _rms(data[slow.points]) if slow is not None else nothing,
        "error_slow_description": "RMSE over the slowest share of the retrieved velocities",
    }


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")


def _map_attributes(name: str, units: str | None) -> dict[str, str]:
    component = name.removeprefix("shift_")
    if component.endswith(("_var", "_cov")):
        return {"long_name": f"error covariance of the shift taken off ({component})"}
    attributes = {"long_name": f"shift taken off {component} by the calibration"}
    return attributes | ({"units": units} if units else {})
