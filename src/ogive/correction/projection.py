"""Displacements across orbits, projected onto the known direction of flow.

The offset that an error of the elevation model makes lies along the epipolar line of the pair, the
difference of its two lines of sight. Where the direction of flow is known and steady, the one
displacement along it that differs from the measured one by such an offset is the ice's (Altena &
Kääb 2017, section 2.3): an intersection, which needs no elevation bias, and no other pair. It is
the way to speeds that change between dates.

Equation 10 is printed with the measured vector where the assumed direction belongs, and with a sign
that is not the intersection's. Here, with n at right angles to the epipolar line and u the unit
vector of the assumed direction::

    d̂ = (n · d) / (n · u) u

so that ``d̂ - d`` lies along the line. It is ill-posed where the ice flows along the line.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ogive.model import InputError

from .orthorectification.flags import LEAST_ANGLE_DEG
from .orthorectification.views import pair_offsets

__all__ = ["PROJECTION_FLAGS", "prior_direction", "project"]

PROJECTION_FLAGS = {
    0: "projected",
    1: "kept_both_images_have_one_line_of_sight",
    2: "no_displacement",
    3: "no_prior_direction",
    4: "flow_along_the_epipolar_line",
    5: "displacement_not_significant",
}
"""Values of the variable ``projection``; displacements of 2 and more are NaN."""


def project(
    displacement: xr.Dataset,
    prior: xr.Dataset | None,
    line: xr.Dataset,
    *,
    least_angle_deg: float = LEAST_ANGLE_DEG,
    least_significance: float = 2.5,
    prior_error_deg: float = 0.0,
    least_baseline: float = 0.01,
) -> xr.Dataset:
    """Put displacements (or velocities) of pairs across orbits onto the direction of flow.

    Parameters
    ----------
    displacement
        ``dx, dy`` with ``dx_var, dy_var`` (and ``dxdy_cov``), or ``vx, vy`` with ``vx_error,
        vy_error`` (and ``vxvy_cov``): a map, or a whole cube.
    prior
        ``vx, vy`` or ``dx, dy`` that give the direction, of any length: of pairs of one orbit, by
        `prior_direction`, or of a product. Where it has errors they count.
    line
        ``offset_x, offset_y`` of the pair (or along ``mid_date``, of all pairs of a cube), of
        `ogive.correction.orthorectification.views.pair_offsets`: the epipolar line.
    least_angle_deg
        First admission rule: flow closer to the epipolar line than this is not projected.
    least_significance
        Second rule: a displacement must exceed its standard error by this factor.
    prior_error_deg
        Standard error of the prior's direction, where it has no errors of its own.
    least_baseline
        A pair whose lines of sight differ less, in metres per metre, is kept as it is.

    Returns
    -------
    xarray.Dataset
        The projected components with their propagated errors and covariance, and the CF flag
        ``projection``. Displacements that were not admitted are NaN.

    Raises
    ------
    InputError
        If the prior direction is missing, or variables or options do not fit.

    Examples
    --------
    Ice that moves 30 m towards the north; 5 m of offset along an east-west line of sight:

    >>> seen = xr.Dataset({"dx": 5.0, "dy": 30.0, "dx_var": 1.0, "dy_var": 1.0})
    >>> north = xr.Dataset({"vx": 0.0, "vy": 1.0})
    >>> freed = project(seen, north, xr.Dataset({"offset_x": 0.2, "offset_y": 0.0}))
    >>> float(freed.dx), float(freed.dy), float(freed.dy_var)
    (0.0, 30.0, 1.0)
    """
    _check(prior, line, least_angle_deg, least_significance, prior_error_deg)
    names = _names(displacement)
    d_x, d_y = displacement[names["x"]], displacement[names["y"]]
    q_xx, q_yy, q_xy = _dispersion(displacement, names)
    u_x, u_y, turn_variance = _direction(prior, prior_error_deg)
    length = (line["offset_x"] ** 2 + line["offset_y"] ** 2) ** 0.5
    across = length >= least_baseline
    safe = length.where(across, 1.0)
    n_x, n_y = -line["offset_y"] / safe, line["offset_x"] / safe
    sine = n_x * u_x + n_y * u_y
    cosine = n_y * u_x - n_x * u_y  # n against u turned by a right angle, (-u_y, u_x)
    well = abs(sine) >= np.sin(np.deg2rad(least_angle_deg))
    divisor = sine.where(well)
    way = (n_x * d_x + n_y * d_y) / divisor
    spread = (n_x**2 * q_xx + 2 * n_x * n_y * q_xy + n_y**2 * q_yy) / divisor**2
    # What a turn of the direction does: it moves the point along and across u.
    g_x = -way * u_y - u_x * way * cosine / divisor
    g_y = way * u_x - u_y * way * cosine / divisor
    projected = {
        "x": way * u_x,
        "y": way * u_y,
        "xx": u_x**2 * spread + g_x**2 * turn_variance,
        "yy": u_y**2 * spread + g_y**2 * turn_variance,
        "xy": u_x * u_y * spread + g_x * g_y * turn_variance,
    }
    raw = {"x": d_x, "y": d_y, "xx": q_xx, "yy": q_yy, "xy": q_xy}
    flag = _admitted(raw, u_x, across, well, least_significance)
    values = {key: raw[key].where(flag == 1, projected[key].where(flag == 0)) for key in projected}
    return _named(displacement, values, names, flag)


def prior_direction(
    cube: xr.Dataset, views: xr.Dataset, *, least_baseline: float = 0.01
) -> xr.Dataset:
    """Mean velocity of the pairs of one orbit, weighted by their errors: a direction of flow.

    Parameters
    ----------
    cube, views
        As of `ogive.correction.orthorectification.elevation_bias`.
    least_baseline
        Pairs whose lines of sight differ by less count as of one orbit.

    Returns
    -------
    xarray.Dataset
        ``vx, vy`` (y, x) with ``vx_error, vy_error``; NaN where no such pair has a value. Of values
        far from the others (more than three times their spread from the median) none counts.

    Raises
    ------
    InputError
        If no pair is of one orbit.
    """
    line = pair_offsets(cube, views)
    length = (line["offset_x"] ** 2 + line["offset_y"] ** 2) ** 0.5
    same = (length < least_baseline).transpose("mid_date", ...)
    if not bool(same.any()):
        raise InputError(
            "no pair of the cube is of one orbit, so that no direction of flow is known: pass "
            "prior= (vx, vy) of another product, or estimate the elevation bias"
        )
    result = {}
    kept = same & cube["vx"].notnull() & cube["vy"].notnull()
    for name in ("vx", "vy"):
        values = cube[name].where(kept)
        middle = values.median("mid_date")
        spread = 1.4826 * abs(values - middle).median("mid_date")
        # Two values and their median always agree.
        kept = kept & ~(abs(values - middle) > 3 * spread + 1e-6 * abs(middle))
    for name in ("vx", "vy"):
        weight = (1.0 / cube[f"{name}_error"] ** 2).where(kept)
        total = weight.sum("mid_date", min_count=1)
        result[name] = (cube[name] * weight).sum("mid_date", min_count=1) / total
        result[f"{name}_error"] = total**-0.5
    mean = xr.Dataset(result).drop_vars(["mid_date"], errors="ignore")
    for variable in mean.data_vars.values():
        variable.attrs = {"units": "meter/year"}
    return mean


def _check(
    prior: xr.Dataset | None,
    line: xr.Dataset,
    least_angle_deg: float,
    least_significance: float,
    prior_error_deg: float,
) -> None:
    if prior is None:
        raise InputError(
            "a displacement across orbits is projected onto the direction of flow, which is "
            "missing: pass prior= with vx and vy, such as ogive's prior_direction of the pairs of "
            "one orbit, or estimate the elevation bias instead"
        )
    missing = [name for name in ("offset_x", "offset_y") if name not in line]
    if missing:
        raise InputError(f"the epipolar line has no {' and no '.join(missing)}: use pair_offsets")
    if not 0 < least_angle_deg < 90:
        raise InputError(f"least_angle_deg is {least_angle_deg}: give an angle below 90")
    if not least_significance >= 0:
        raise InputError(f"least_significance is {least_significance}: give 0 or more")
    if not 0 <= prior_error_deg < 45:
        raise InputError(f"prior_error_deg is {prior_error_deg}: give an angle below 45")


def _names(data: xr.Dataset) -> dict[str, str]:
    """Find what the components are called: of a displacement or of a velocity."""
    for letter in ("d", "v"):
        if f"{letter}x" in data and f"{letter}y" in data:
            return {"x": f"{letter}x", "y": f"{letter}y", "letter": letter}
    raise InputError(f"there are neither dx, dy nor vx, vy in it, but {', '.join(map(str, data))}")


def _dispersion(
    data: xr.Dataset, names: dict[str, str]
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    letter = names["letter"]
    wanted = {"d": ("dx_var", "dy_var"), "v": ("vx_error", "vy_error")}[letter]
    missing = [name for name in wanted if name not in data]
    if missing:
        raise InputError(f"there is no {' and no '.join(missing)}: a projection propagates errors")
    parts = [data[name] if letter == "d" else data[name] ** 2 for name in wanted]
    covariance = {"d": "dxdy_cov", "v": "vxvy_cov"}[letter]
    both = data[covariance] if covariance in data else xr.zeros_like(parts[0])
    return parts[0], parts[1], both


def _direction(
    prior: xr.Dataset | None, error_deg: float
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Unit vector of the prior, and the variance of its direction in radians²."""
    if prior is None:  # refused before
        raise InputError("there is no prior direction")
    names = _names(prior)
    x, y = prior[names["x"]], prior[names["y"]]
    speed = (x**2 + y**2) ** 0.5
    speed = speed.where(speed > 0)
    u_x, u_y = x / speed, y / speed
    letter = names["letter"]
    of = {"d": ("dx_var", "dy_var"), "v": ("vx_error", "vy_error")}[letter]
    if any(name not in prior for name in of):
        return u_x, u_y, xr.full_like(u_x, np.deg2rad(error_deg) ** 2)
    xx, yy, xy = _dispersion(prior, names)
    across = u_y**2 * xx - 2 * u_x * u_y * xy + u_x**2 * yy
    return u_x, u_y, across / speed**2


def _admitted(
    raw: dict[str, xr.DataArray],
    u_x: xr.DataArray,
    across: xr.DataArray,
    well: xr.DataArray,
    least_significance: float,
) -> xr.DataArray:
    """Flags of `PROJECTION_FLAGS`."""
    x, y = raw["x"], raw["y"]
    squared = x**2 + y**2
    # Error along the displacement: σ² = dᵀ Q d / d².
    along = (x**2 * raw["xx"] + 2 * x * y * raw["xy"] + y**2 * raw["yy"]) / squared
    significant = squared > least_significance**2 * along
    flag = xr.zeros_like(squared, dtype=np.uint8)
    flag = flag.where(significant, 5)
    flag = flag.where(well, 4)
    flag = flag.where(u_x.notnull(), 3)
    flag = flag.where(across, 1)
    return flag.where(squared.notnull() & raw["xx"].notnull() & raw["yy"].notnull(), 2)


def _named(
    data: xr.Dataset, values: dict[str, xr.DataArray], names: dict[str, str], flag: xr.DataArray
) -> xr.Dataset:
    letter = names["letter"]
    result = data.drop_vars([name for name in ("v", "v_error") if name in data])
    dims = _dims(data, names, values["x"])
    called = {
        "d": {"x": "dx", "y": "dy", "xx": "dx_var", "yy": "dy_var", "xy": "dxdy_cov"},
        "v": {"x": "vx", "y": "vy", "xx": "vx_error", "yy": "vy_error", "xy": "vxvy_cov"},
    }[letter]
    for key, name in called.items():
        value = values[key]
        if letter == "v" and key in ("xx", "yy"):
            value = value**0.5
        attributes = data[name].attrs if name in data else {}
        kind = data[names["x"]].dtype
        value = value.transpose(*dims).astype(kind)
        result[name] = value.assign_attrs(attributes)
    result["projection"] = flag.transpose(*dims).astype(np.uint8).assign_attrs(flag_attributes())
    return result


def _dims(data: xr.Dataset, names: dict[str, str], value: xr.DataArray) -> tuple[Any, ...]:
    own = data[names["x"]].dims
    return (*own, *(dim for dim in value.dims if dim not in own))


def flag_attributes() -> dict[str, Any]:
    """CF attributes of the flag variable ``projection``."""
    return {
        "long_name": "what was done to a displacement across orbits",
        "flag_values": np.array(list(PROJECTION_FLAGS), np.uint8),
        "flag_meanings": " ".join(PROJECTION_FLAGS.values()),
    }
