"""The tail of the match noise: points that err by several times what their neighbours do."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..model import Flag, InputError
from .grid import measured, require, without
from .neighbourhood import normalised_residual, square

__all__ = ["reject_noise_tail"]

_BEYOND = 3.0
"""Points that stand out by more than so many times the limit are no tail of the noise: they are
flow, or matches gone astray, on which the other filters have decided."""


def reject_noise_tail(
    displacement: xr.Dataset,
    *,
    limit: float = 3.8,
    least_px: float = 0.5,
    size: int = 5,
    threads: int = 1,
) -> xr.Dataset:
    """Reject points whose residual is several times the typical one of the field.

    The residual is the distance from the median of the neighbours, in units of the point's error:
    the geometric mean of its own declared error and the typical one of the field, since a declared
    error is an estimate itself. Its median over the field says what noise does; of normal errors,
    3.8 times the median is exceeded by some in a hundred thousand, but matches under strong noise
    have longer tails. Points far beyond the noise are left alone, so that narrow fast glaciers
    survive.

    Halo: ``size // 2`` points, once the field's own medians are known.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x) with ``dx_var``, ``dy_var``; attributes ``pixel_size_x``,
        ``pixel_size_y`` (1 where there are none: a displacement in pixels).
    limit
        In medians of the field.
    least_px
        A residual below this, in image pixels, is noise that the declared error tells of, whatever
        the field's own residuals are.
    size
        Odd width of the square of neighbours, in points.
    threads
        The result is the same for any number.

    Returns
    -------
    xarray.Dataset
        A copy with NaN and `Flag.OUTLIER` where a point was rejected.

    Raises
    ------
    InputError
        Without variances, or with a limit that is not positive.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> dx = 0.1 * rng.standard_normal((40, 40)); dx[20, 20] = 0.9
    >>> field = xr.Dataset(
    ...     {"dx": (("y", "x"), dx), "dy": (("y", "x"), 0.1 * rng.standard_normal((40, 40)))}
    ...     | {f"{name}_var": (("y", "x"), 0 * dx + 0.01) for name in ("dx", "dy")}
    ... )
    >>> cleaned = reject_noise_tail(field)
    >>> bool(np.isnan(cleaned.dx[20, 20])), int(np.isnan(cleaned.dx).sum()) < 3
    (True, True)
    """
    require(displacement, "dx", "dy", "dx_var", "dy_var")
    if limit <= 0:
        raise InputError(f"limit={limit}: a positive number is needed")
    valid = measured(displacement)
    pixel_size = float(
        np.hypot(*(displacement.attrs.get(f"pixel_size_{axis}", 1.0) for axis in "xy"))
    ) / np.sqrt(2.0)
    if not valid.any():
        return displacement.copy()
    squared = np.zeros(valid.shape, np.float32)
    distance = np.zeros(valid.shape, np.float32)
    offsets = square(size, centre=False)
    for name in ("dx", "dy"):
        error = np.sqrt(displacement[f"{name}_var"].values)
        typical = float(np.median(error[valid & np.isfinite(error)]))
        error = np.sqrt(error * typical).astype(np.float32)
        values = np.where(valid, displacement[name].values, np.nan).astype(np.float32)
        residual = normalised_residual(values, error, offsets, 5, threads, spread_weight=0.0)
        squared += residual**2
        distance += (residual * error) ** 2
    length = np.sqrt(squared)
    known = np.isfinite(length)
    if not known.any():
        return displacement.copy()
    most = limit * float(np.median(length[known]))
    rejected = known & (length > most) & (length < _BEYOND * most)
    rejected &= np.sqrt(distance) > least_px * pixel_size
    return without(displacement, rejected, Flag.OUTLIER)
