"""Cubic splines on regular grids: finer grids, and images sampled at displaced places."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage, sparse

from .noise import Float32Array, FloatArray

__all__ = ["displaced", "refined", "spline_layers"]


def spline_layers(layers: Float32Array) -> Float32Array:
    """Cubic B-spline coefficients of ``(layer, y, x)``, mirrored at the edges, layer last.

    Interleaved layers let one place's neighbours be read at once.
    """
    filtered = [
        ndimage.spline_filter(layer, order=3, mode="mirror", output=np.float32) for layer in layers
    ]
    return np.ascontiguousarray(np.stack(filtered, axis=-1))


def displaced(
    coefficients: Float32Array,
    shift_right: Float32Array,
    shift_down: Float32Array,
    where: NDArray[np.bool_] | None = None,
) -> Float32Array:
    """Sample layers at ``(column + shift_right, row + shift_down)`` for every pixel.

    Parameters
    ----------
    coefficients
        From `spline_layers`: ``(y, x, layer)``.
    shift_right, shift_down
        In pixels, ``(y, x)``.
    where
        Where to sample; elsewhere the result is zero. Everywhere if left out.

    Returns
    -------
    numpy.ndarray
        ``(layer, y, x)``, float32.
    """
    shape = shift_right.shape
    if where is None:
        where = np.ones(shape, bool)
    out = np.zeros((coefficients.shape[2], *shape), np.float32)
    _sample(coefficients, shift_right, shift_down, where, out)
    return out


def refined(coarse: FloatArray | Float32Array, factor: int) -> Float32Array:
    """Make a grid finer by a whole factor; cells of both cover the same area.

    A cubic spline along y, then along x, as sparse matrices: constant, linear and quadratic fields
    pass exactly, away from the edges.

    Examples
    --------
    >>> refined(np.ones((5, 5)), 3).shape
    (15, 15)
    """
    filtered = ndimage.spline_filter(np.asarray(coarse, np.float64), order=3, mode="mirror")
    weights_y = _refining(coarse.shape[0], factor)
    weights_x = _refining(coarse.shape[1], factor)
    half = (weights_y @ filtered.astype(np.float32)).astype(np.float32)
    return np.ascontiguousarray((weights_x @ np.ascontiguousarray(half.T)).T, dtype=np.float32)


def _refining(size: int, factor: int) -> Any:
    """Sparse matrix from spline coefficients to values on the finer axis."""
    places = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    first = np.floor(places).astype(int)
    f = places - first
    weights = np.stack(
        [
            (1 - f) ** 3 / 6,
            2 / 3 - f**2 * (2 - f) / 2,
            2 / 3 - (1 - f) ** 2 * (1 + f) / 2,
            f**3 / 6,
        ]
    )
    columns = first + np.arange(-1, 3)[:, np.newaxis]
    columns = np.abs(columns)
    columns = np.where(columns >= size, 2 * (size - 1) - columns, columns)
    rows = np.broadcast_to(np.arange(places.size), columns.shape)
    shape = (places.size, size)
    return sparse.csr_matrix(
        (weights.ravel().astype(np.float32), (rows.ravel(), columns.ravel())), shape=shape
    )


@njit(cache=True, nogil=True)
def _sample(coefficients: Any, right: Any, down: Any, where: Any, out: Any) -> None:
    """Evaluate the spline at displaced pixels; places outside are taken at the edge."""
    height, width, layers = coefficients.shape
    weight_x = np.empty(4, np.float32)
    weight_y = np.empty(4, np.float32)
    sums = np.empty(layers, np.float32)
    for row in range(right.shape[0]):
        for column in range(right.shape[1]):
            if not where[row, column]:
                continue
            x = min(max(column + right[row, column], 0.0), width - 1.0)
            y = min(max(row + down[row, column], 0.0), height - 1.0)
            x0, y0 = int(x), int(y)
            fx, fy = np.float32(x - x0), np.float32(y - y0)
            gx, gy = np.float32(1) - fx, np.float32(1) - fy
            weight_x[0] = gx * gx * gx / np.float32(6)
            weight_x[1] = np.float32(2 / 3) - fx * fx * (np.float32(1) + gx) / np.float32(2)
            weight_x[2] = np.float32(2 / 3) - gx * gx * (np.float32(1) + fx) / np.float32(2)
            weight_x[3] = fx * fx * fx / np.float32(6)
            weight_y[0] = gy * gy * gy / np.float32(6)
            weight_y[1] = np.float32(2 / 3) - fy * fy * (np.float32(1) + gy) / np.float32(2)
            weight_y[2] = np.float32(2 / 3) - gy * gy * (np.float32(1) + fy) / np.float32(2)
            weight_y[3] = fy * fy * fy / np.float32(6)
            sums[:] = 0
            for j in range(4):
                yj = y0 + j - 1
                yj = -yj if yj < 0 else (2 * (height - 1) - yj if yj >= height else yj)
                for i in range(4):
                    xi = x0 + i - 1
                    xi = -xi if xi < 0 else (2 * (width - 1) - xi if xi >= width else xi)
                    weight = weight_y[j] * weight_x[i]
                    for k in range(layers):
                        sums[k] += weight * coefficients[yj, xi, k]
            for k in range(layers):
                out[k, row, column] = sums[k]
