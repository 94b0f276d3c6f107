r"""What two orbits see differently: a smooth offset between them, from the displacements alone.

Orthorectification with an outdated elevation model moves each place of an image towards or away
from the track, each orbit by its own amount (Altena & Kääb 2017, Remote Sens. 9, 300). A
displacement within one orbit is free of it, one from orbit A to orbit B carries the difference
:math:`g(x)` of the two, one from B to A carries :math:`-g(x)`.

With the angles of both orbits :math:`g` is an elevation error. Without them (no georeference, no
metadata) it can still be found where the flow is steady: over images p, q, r of which p and r are
of one orbit and q of the other,

.. math::

    g(x) \approx d_{pq}(x) - \frac{t_q - t_p}{t_r - t_p}\, d_{pr}(x),

the cross-orbit displacement less the same-orbit one's share of the time. A triangle of
displacements, :math:`d_{pq} + d_{qr} - d_{pr}`, does *not* show it: what belongs to an image place
by place cancels round a triangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from ogive.correction.grid import axes, measured, require
from ogive.correction.robust import NMAD_FACTOR, biweight_fit
from ogive.model import GridError, InputError

__all__ = ["cross_orbit_difference", "cross_orbit_offset", "remove_cross_orbit_offset"]

Array = npt.NDArray[np.float64]
ROWS_AT_ONCE = 64
MEDIAN_VARIANCE = np.pi / 2
"""Variance of a median over that of a mean, for normal noise."""
MOST_DEGREE = 3


def cross_orbit_difference(cross: xr.Dataset, same: xr.Dataset, *, share: float) -> xr.Dataset:
    """Cross-orbit displacement less what the flow makes of it, by a same-orbit displacement.

    Parameters
    ----------
    cross
        Displacement from an image of orbit A to one of orbit B: ``dx, dy`` (y, x).
    same
        Displacement within orbit A from the same first image, on the same grid.
    share
        Time between the images of ``cross`` over that between the images of ``same``.

    Both must be calibrated: the shift of a whole image is no matter of orbits.

    Returns
    -------
    xarray.Dataset
        ``dx, dy`` (y, x); NaN where one of the two was not measured.

    Raises
    ------
    GridError
        The two are on different grids.
    InputError
        Components are missing, or the share is zero or not finite.

    Examples
    --------
    >>> def field(dx): return xr.Dataset({k: (("y", "x"), np.full((2, 2), v))
    ...                                   for k, v in (("dx", dx), ("dy", 0.0))})
    >>> round(float(cross_orbit_difference(field(1.3), field(2.0), share=0.5).dx[0, 0]), 6)
    0.3
    """
    if not np.isfinite(share) or share == 0:
        raise InputError(
            f"share={share}: the time from the first image to the other orbit's over the time "
            "between the two images of one orbit is needed"
        )
    for motion in (cross, same):
        require(motion, "dx", "dy")
    _same_grid(cross, same, "the cross-orbit", "the same-orbit")
    known = measured(cross) & measured(same)
    result = cross[["dx", "dy"]].copy()
    for name in ("dx", "dy"):
        difference = cross[name].values.astype(float) - share * same[name].values.astype(float)
        result[name] = (
            ("y", "x"), np.where(known, difference, np.nan),
            {"long_name": f"cross-orbit less same-orbit displacement along +{name[1]}"},
        )  # fmt: skip
    return result


def cross_orbit_offset(
    differences: Sequence[xr.Dataset],
    *,
    degree: int | None = 1,
    smoothing_points: int = 15,
    least_share: float = 0.2,
) -> xr.Dataset:
    """Smooth offset field of one orbit against another, robust to outliers and to single pairs.

    Parameters
    ----------
    differences
        From `cross_orbit_difference`, on one grid, all from orbit A to orbit B (change the sign of
        those from B to A). Several dates of orbit B make sure that it is the orbit's offset and not
        one image's.
    degree
        Of the polynomial (0 to 3) that is fitted by Tukey's biweight; it reaches everywhere, and
        follows nothing finer. ``None`` for moving medians instead, which follow the ice's thickness
        change place by place, but what single images have of their own too: only with many dates.
    smoothing_points
        Side of the square of points over which moving medians are taken, odd: several independent
        windows.
    least_share
        A median needs this share of its square's points, in all differences together.

    Returns
    -------
    xarray.Dataset
        ``dx, dy`` (y, x) in the unit of the displacements, NaN where too little is known, and
        ``dx_var, dy_var``: squared robust scatter of the differences, in the square or about the
        polynomial, over the number of differences (points of one difference err together).

    Raises
    ------
    InputError
        No differences, none with a value, an even or small square, another degree.
    GridError
        The differences are on different grids.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def noisy(): return xr.Dataset({k: (("y", "x"), v + rng.normal(0, 0.1, (20, 20)))
    ...                                 for k, v in (("dx", 0.3), ("dy", 0.0))})
    >>> offset = cross_orbit_offset([noisy(), noisy()])
    >>> round(float(offset.dx.mean()), 1), round(float(abs(offset.dy.mean())), 1)
    (0.3, 0.0)
    """
    if not differences:
        raise InputError("no differences were given: at least one cross-orbit pair is needed")
    for one in differences:
        require(one, "dx", "dy")
        _same_grid(differences[0], one, "the first difference", "another one")
    if smoothing_points < 3 or smoothing_points % 2 == 0:
        raise InputError(
            f"smoothing_points={smoothing_points}: an odd number of at least 3 is needed"
        )
    if degree is not None and not 0 <= degree <= MOST_DEGREE:
        raise InputError(f"degree={degree}: 0 to {MOST_DEGREE} is possible, or None for medians")
    if not 0 < least_share <= 1:
        raise InputError(f"least_share={least_share}: a share above 0 and up to 1 is needed")
    values = np.stack([[one[c].values.astype(float) for c in ("dx", "dy")] for one in differences])
    if not np.isfinite(values).any():
        raise InputError("none of the differences has a value: nothing is known of the offset")
    if degree is None:
        offset, variance = _medians(values, smoothing_points, least_share)
    else:
        offset, variance = _polynomial(values, *axes(differences[0]), degree)
    result = differences[0][["dx", "dy"]].copy()
    for k, name in enumerate(("dx", "dy")):
        long_name = f"offset of the other orbit against the reference along +{name[1]}"
        result[name] = (("y", "x"), offset[k].astype(np.float32), {"long_name": long_name})
        result[f"{name}_var"] = (
            ("y", "x"), variance[k].astype(np.float32),
            {"long_name": f"error variance of the offset along +{name[1]}"},
        )  # fmt: skip
    result.attrs = {"differences": len(differences)}
    return result


def remove_cross_orbit_offset(
    displacement: xr.Dataset, offset: xr.Dataset, *, direction: Literal["to", "from"]
) -> xr.Dataset:
    """Take the other orbit's offset off a cross-orbit displacement.

    Parameters
    ----------
    displacement
        ``dx, dy`` (y, x), with ``dx_var, dy_var`` where known.
    offset
        From `cross_orbit_offset`, on the same grid.
    direction
        ``"to"`` the other orbit (the offset is taken off) or ``"from"`` it (it is added).

    Returns
    -------
    xarray.Dataset
        A copy; NaN where the offset is not known, with the offset's error variance added. The
        attribute ``offset_unknown_points`` says how many measurements were lost to that.

    Raises
    ------
    GridError
        The two are on different grids.
    InputError
        Components are missing, or another direction.
    """
    if direction not in ("to", "from"):
        raise InputError(f"direction={direction!r}: 'to' or 'from' the other orbit")
    require(displacement, "dx", "dy")
    require(offset, "dx", "dy", "dx_var", "dy_var")
    _same_grid(displacement, offset, "the displacement", "the offset")
    sign = 1.0 if direction == "to" else -1.0
    before = measured(displacement)
    result = displacement.copy()
    for name in ("dx", "dy"):
        moved = displacement[name].values - sign * offset[name].values
        result[name] = (("y", "x"), moved.astype(np.float32), displacement[name].attrs)
        error = f"{name}_var"
        if error in displacement:
            total = displacement[error].values + offset[error].values
            result[error] = (("y", "x"), total.astype(np.float32), displacement[error].attrs)
    lost = int((before & ~np.isfinite(result["dx"].values)).sum())
    result.attrs = {**displacement.attrs, "offset_unknown_points": lost}
    return result


def _same_grid(one: xr.Dataset, other: xr.Dataset, name: str, other_name: str) -> None:
    for mine, theirs in zip(axes(one), axes(other), strict=True):
        step = abs(mine[-1] - mine[0]) / max(mine.size - 1, 1) or 1.0
        if mine.shape != theirs.shape or np.abs(mine - theirs).max() > 1e-3 * step:
            raise GridError(f"{name} and {other_name} are on different grids: resample one first")


def _medians(values: Array, side: int, least_share: float) -> tuple[Array, Array]:
    """Moving medians of all differences together, and the variances of the medians."""
    number, _, rows, columns = values.shape
    half = side // 2
    padded = np.pad(values, ((0, 0), (0, 0), (half, half), (half, half)), constant_values=np.nan)
    offset, variance = (np.full((2, rows, columns), np.nan) for _ in range(2))
    for c in range(2):
        for top in range(0, rows, ROWS_AT_ONCE):
            bottom = min(top + ROWS_AT_ONCE, rows)
            strip = padded[:, c, top : bottom + 2 * half]
            windows = np.lib.stride_tricks.sliding_window_view(strip, (side, side), axis=(1, 2))
            flat = np.moveaxis(windows, 0, 2).reshape(bottom - top, columns, -1)
            enough = np.isfinite(flat).sum(axis=2) >= least_share * number * side**2
            known = flat[enough]
            if not known.size:
                continue
            middle = np.nanmedian(known, axis=1)
            scatter = NMAD_FACTOR * np.nanmedian(np.abs(known - middle[:, None]), axis=1)
            offset[c, top:bottom][enough] = middle
            variance[c, top:bottom][enough] = MEDIAN_VARIANCE * scatter**2 / number
    return offset, variance


def _polynomial(values: Array, x: Array, y: Array, degree: int) -> tuple[Array, Array]:
    """A polynomial of both coordinates through all differences, and its error variance."""

    def scaled(axis: Array) -> Array:
        half = max(float(np.ptp(axis)) / 2, float(np.finfo(np.float64).tiny))
        return np.asarray((axis - axis.mean()) / half, np.float64)

    across, down = np.meshgrid(scaled(x), scaled(y))
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    basis = np.stack([across**i * down**j for i, j in powers], axis=-1)
    number = values.shape[0]
    known = np.asarray(np.isfinite(values).all(axis=1), np.bool_)
    regressors = np.concatenate([basis[one] for one in known])
    if regressors.shape[0] < 10 * len(powers):
        raise InputError(
            f"{regressors.shape[0]} values do not determine a polynomial of degree {degree} "
            f"({len(powers)} coefficients): take a lower degree or more pairs"
        )
    data = np.concatenate([values[k][:, known[k]] for k in range(number)], axis=1)
    fit = biweight_fit(regressors, data)
    offset = np.einsum("ijp,cp->cij", basis, fit.coefficients)
    scatter = NMAD_FACTOR * np.median(np.abs(fit.residuals), axis=1)
    variance = np.broadcast_to((scatter**2 / number)[:, None, None], offset.shape)
    return offset, np.array(variance)
