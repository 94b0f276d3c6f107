"""Sub-pixel peaks as ampcor finds them: windows oversampled by two, then the surface.

Kept for comparison with networks that were made that way (AlpGlacier): windows are oversampled by
two in the Fourier domain, so that their products do not alias; the correlation round the peak,
then known at every half pixel, is oversampled sixteen times more and its highest value taken. It
resolves 1/32 of a pixel and costs a hundred times a Gauss-Newton step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .kernels import Float32Array

__all__ = ["oversampled_peaks"]

SURFACE_HALF_PX = 8
"""The surface holds so many half pixels along each side."""
SURFACE_FACTOR = 16
CHUNK = 512


def _oversample(stack: Float32Array, factor: int) -> Float32Array:
    """Fourier interpolation of the last two axes."""
    rows, columns = stack.shape[-2:]
    spectrum = fft.fftshift(fft.fft2(stack), axes=(-2, -1))
    padded = np.zeros((*stack.shape[:-2], factor * rows, factor * columns), spectrum.dtype)
    top, left = factor * rows // 2 - rows // 2, factor * columns // 2 - columns // 2
    padded[..., top : top + rows, left : left + columns] = spectrum
    out = fft.ifft2(fft.ifftshift(padded, axes=(-2, -1))).real * factor**2
    return np.asarray(out, np.float32)


def oversampled_peaks(
    earlier: Float32Array,
    later: Float32Array,
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    u: NDArray[np.int64],
    v: NDArray[np.int64],
    *,
    window_px: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Displacements of many windows round their integer peaks.

    Parameters
    ----------
    earlier, later
        ``(channel, y, x)`` stacks.
    y, x, u, v
        First row and column of each window, and its integer displacement.
    window_px
        Size of the windows.

    Returns
    -------
    u, v
        Displacements with their fractions; NaN where the patch leaves the image.
    """
    size = window_px
    out_u = np.full(u.shape, np.nan)
    out_v = np.full(v.shape, np.nan)
    height, width = later.shape[1:]
    half = SURFACE_HALF_PX
    pad = half // 4
    top, left = y + v - pad, x + u - pad
    inside = (top >= 0) & (left >= 0)
    inside &= (top + size + 2 * pad <= height) & (left + size + 2 * pad <= width)
    chosen = np.flatnonzero(inside)
    for begin in range(0, chosen.size, CHUNK):
        some = chosen[begin : begin + CHUNK]
        windows = np.stack([earlier[:, y[i] : y[i] + size, x[i] : x[i] + size] for i in some])
        side = size + 2 * pad
        patches = np.stack(
            [later[:, top[i] : top[i] + side, left[i] : left[i] + side] for i in some]
        )
        fine = _oversample(windows - windows.mean(axis=(2, 3), keepdims=True), 2)
        fine -= fine.mean(axis=(2, 3), keepdims=True)
        fine /= np.sqrt((fine**2).sum(axis=(1, 2, 3), keepdims=True)) + 1e-30
        around = _oversample(patches - patches.mean(axis=(2, 3), keepdims=True), 2)
        surface = np.empty((some.size, half, half))
        for i in range(half):
            for j in range(half):
                part = around[:, :, i : i + 2 * size, j : j + 2 * size]
                part = part - part.mean(axis=(2, 3), keepdims=True)
                norm = np.sqrt((part**2).sum(axis=(1, 2, 3))) + 1e-30
                surface[:, i, j] = (fine * part).sum(axis=(1, 2, 3)) / norm
        dense = _oversample(surface.astype(np.float32), SURFACE_FACTOR)
        best = dense.reshape(some.size, -1).argmax(axis=1)
        row, column = np.divmod(best, dense.shape[-1])
        out_v[some] = v[some] + row / (2.0 * SURFACE_FACTOR) - pad
        out_u[some] = u[some] + column / (2.0 * SURFACE_FACTOR) - pad
    return out_u, out_v
