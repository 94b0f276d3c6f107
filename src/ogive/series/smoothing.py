"""A last 3 x 3 filter over a map: what one pixel shows and none of its neighbours is smoothed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

__all__ = ["HALO", "SMOOTHINGS", "smoothed"]

Array = NDArray[np.floating]

HALO = 1
SMOOTHINGS = ("gaussian", "median", "none")

# Binomial, the discrete Gaussian of variance 1/2 pixel squared along each axis.
_WEIGHTS = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]).ravel() / 16.0


def smoothed(field: Array, how: str) -> NDArray[np.float32]:
    """Smooth a map where it has a value, over those of the 3 x 3 pixels that have one.

    Gaps are neither filled nor counted.

    Parameters
    ----------
    field
        (..., y, x), NaN for gaps.
    how
        ``"gaussian"``, ``"median"`` or ``"none"``.

    Raises
    ------
    InputError
        For another name.

    Examples
    --------
    >>> spike = np.zeros((3, 3))
    >>> spike[1, 1] = 16.0
    >>> float(smoothed(spike, "gaussian")[1, 1]), float(smoothed(spike, "median")[1, 1])
    (4.0, 0.0)
    """
    if how not in SMOOTHINGS:
        raise InputError(f"smoothing {how!r} is unknown: use {', '.join(SMOOTHINGS)}")
    if how == "none":
        return np.asarray(field, np.float32)
    layers = _neighbours(np.asarray(field, np.float64))
    known = np.isfinite(layers)
    if how == "gaussian":
        weights = known * _WEIGHTS.reshape(9, *([1] * field.ndim))
        total = np.where(known, layers, 0.0) * weights
        weight = weights.sum(axis=0)
        result = total.sum(axis=0) / np.where(weight > 0, weight, 1.0)
    else:
        layers.sort(axis=0)  # NaN come last
        count = known.sum(axis=0)[None]
        low, high = (
            np.take_along_axis(layers, np.maximum(middle, 0), axis=0)[0]
            for middle in ((count - 1) // 2, count // 2)
        )
        result = 0.5 * (low + high)
    return np.where(np.isfinite(field), result, np.nan).astype(np.float32)


def _neighbours(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """The field shifted to each of nine places, NaN beyond the edge: (9, ..., y, x)."""
    around = [(0, 0)] * (field.ndim - 2) + [(1, 1), (1, 1)]
    padded = np.pad(field, around, constant_values=np.nan)
    height, width = field.shape[-2:]
    return np.stack(
        [padded[..., j : j + height, i : i + width] for j in range(3) for i in range(3)]
    )
