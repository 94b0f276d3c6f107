r"""Correlation of equal windows in the frequency domain: orientation correlation and its kin.

For windows :math:`I_p` and :math:`I_q` at one place of two images, all displacements are scored at
once (Fitch et al. 2002; Heid & Kääb 2012, Remote Sens. Environ. 118, 339-355; Altena & Kääb 2017,
Remote Sens. 9, 300, eq. 15),

.. math::

    D_{pq} = \mathcal F^{-1}\left(\overline{\mathcal F(I_p)}\, \mathcal F(I_q)\right),

with the conjugate on the earlier window, so that the peak lies at the displacement from p to q (on
the later one, as printed there, it lies at its negative). Orientation correlation is this with
complex windows whose real and imaginary parts are the two components of the unit gradient. Its real
part is the sum over the two channels of `ogive.matching.features.orientation`, and so the formula
holds for features of any number of channels: their products are summed before the one inverse
transform. With the mean of each channel taken out and one norm over all channels, scores lie
between -1 and 1.

What sets this apart from `correlate`: the later window is as large as the earlier one and both are
taken as periodic. The cost does not depend on the search range, and a displacement of a share
:math:`s` of the window leaves :math:`1 - s` of it to be recognised: ranges beyond a third of the
window are better reached with a prior displacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import fft

from ..model import Flag
from .kernels import FASTMATH, BoolArray, Float32Array

__all__ = ["SpectralStack", "frequency_surfaces", "spectral_stack"]

MEASURED = int(Flag.MEASURED)
MASKED = int(Flag.MASKED)
FLAT = int(Flag.FLAT)
OUTSIDE = int(Flag.OUTSIDE)

Complex64Array = NDArray[np.complex64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SpectralStack:
    """Transforms of the windows of one image, and why some windows have none.

    Parameters
    ----------
    spectra
        ``(window, channel, size, size // 2 + 1)``, complex64; zero where there is no window.
    flag
        `ogive.model.Flag` of each window: ``MEASURED`` where it can be correlated.
    size
        Side of the windows in pixels.
    """

    spectra: Complex64Array
    flag: NDArray[np.uint8]
    size: int


def spectral_stack(
    stack: Float32Array,
    valid: BoolArray | None,
    y: Places,
    x: Places,
    size: int,
    *,
    least: float = 0.0,
    least_valid: float = 0.5,
) -> SpectralStack:
    """Transform windows of a feature stack, each of zero mean and norm one.

    Parameters
    ----------
    stack
        ``(channel, y, x)``, float32.
    valid
        ``(y, x)``; invalid pixels have no part in mean and norm and are zero in the window.
        ``None`` for all valid.
    y, x
        ``(window,)``: where the windows start.
    size
        Side of the windows, in pixels.
    least
        A window whose sum of squares is not above this is flat.
    least_valid
        The smallest share of valid pixels.

    Returns
    -------
    SpectralStack
    """
    windows = np.empty((y.size, stack.shape[0], size, size), np.float32)
    flag = np.empty(y.size, np.uint8)
    known = np.zeros((0, 0), np.bool_) if valid is None else valid
    _take_windows(stack, known, y, x, least, least_valid, windows, flag)
    return SpectralStack(fft.rfft2(windows, overwrite_x=True), flag, size)


def frequency_surfaces(
    earlier: SpectralStack, later: SpectralStack, *, radius: int
) -> Float32Array:
    """Score all displacements up to ``radius`` between windows of two images (eq. 15).

    Parameters
    ----------
    earlier, later
        From `spectral_stack`: as many windows, of one size and the same channels.
    radius
        The largest displacement along each axis, in pixels: less than half a window.

    Returns
    -------
    numpy.ndarray
        ``(window, 2 radius + 1, 2 radius + 1)``, float32; element ``[k, i, j]`` scores the
        displacement ``(j - radius, i - radius)`` of window k.

    Raises
    ------
    ValueError
        If the radius does not fit into half a window, or the two have unlike windows.

    Examples
    --------
    >>> scene = np.random.default_rng(0).standard_normal((1, 40, 40)).astype(np.float32)
    >>> moved = np.roll(scene, (2, -3), axis=(1, 2))
    >>> corner = np.array([4])
    >>> stacks = [spectral_stack(s, None, corner, corner, 32) for s in (scene, moved)]
    >>> surface = frequency_surfaces(*stacks, radius=6)[0]
    >>> i, j = np.unravel_index(surface.argmax(), surface.shape)
    >>> int(j) - 6, int(i) - 6
    (-3, 2)
    """
    if earlier.spectra.shape != later.spectra.shape or earlier.size != later.size:
        raise ValueError(
            f"windows of shape {earlier.spectra.shape} cannot be correlated with windows of shape "
            f"{later.spectra.shape}"
        )
    size = earlier.size
    if not 1 <= radius < size / 2:
        raise ValueError(
            f"a radius of {radius} px: windows of {size} px tell displacements of 1 to "
            f"{(size - 1) // 2} px"
        )
    number, _, rows, columns = earlier.spectra.shape
    product = np.empty((number, rows, columns), np.complex64)
    _cross_spectra(earlier.spectra, later.spectra, product)
    periodic = fft.irfft2(product, s=(size, size), overwrite_x=True)
    surfaces = np.empty((number, 2 * radius + 1, 2 * radius + 1), np.float32)
    _centre(periodic, radius, surfaces)
    return surfaces


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _take_windows(
    stack: Any, valid: Any, ys: Any, xs: Any, least: Any, share: Any, out: Any, flag: Any
) -> None:
    """Copy windows with zero mean over what is valid, norm one, and zero elsewhere."""
    channels, height, width = stack.shape
    size = out.shape[-1]
    for k in range(ys.size):
        y, x = ys[k], xs[k]
        out[k] = np.float32(0.0)
        if y < 0 or x < 0 or y + size > height or x + size > width:
            flag[k] = OUTSIDE
            continue
        number = size * size
        if valid.size:
            number = 0
            for i in range(size):
                row = valid[y + i, x : x + size]
                for j in range(size):
                    number += row[j]
            if number < share * size * size or number == 0:
                flag[k] = MASKED
                continue
        whole = number == size * size
        squares = np.float64(0.0)
        for c in range(channels):
            level = stack[c, y + size // 2, x + size // 2]
            total = np.float32(0.0)
            for i in range(size):
                row = stack[c, y + i, x : x + size]
                target = out[k, c, i]
                if whole:
                    for j in range(size):
                        target[j] = row[j] - level
                        total += target[j]
                else:
                    known = valid[y + i, x : x + size]
                    for j in range(size):
                        target[j] = np.float32(known[j]) * (row[j] - level)
                        total += target[j]
            mean = np.float32(total / number)
            part = np.float32(0.0)
            for i in range(size):
                target = out[k, c, i]
                if whole:
                    for j in range(size):
                        target[j] -= mean
                        part += target[j] * target[j]
                else:
                    known = valid[y + i, x : x + size]
                    for j in range(size):
                        target[j] -= np.float32(known[j]) * mean
                        part += target[j] * target[j]
            squares += part
        if squares <= least or squares <= 0.0:
            out[k] = np.float32(0.0)
            flag[k] = FLAT
            continue
        flag[k] = MEASURED
        scale = np.float32(1.0 / np.sqrt(squares))
        for c in range(channels):
            for i in range(size):
                target = out[k, c, i]
                for j in range(size):
                    target[j] *= scale


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _cross_spectra(earlier: Any, later: Any, out: Any) -> None:
    """Sum the channels' products, the earlier one conjugated."""
    number, channels, rows, columns = earlier.shape
    for k in range(number):
        for i in range(rows):
            target = out[k, i]
            for c in range(channels):
                a, b = earlier[k, c, i], later[k, c, i]
                if c == 0:
                    for j in range(columns):
                        target[j] = np.conj(a[j]) * b[j]
                else:
                    for j in range(columns):
                        target[j] += np.conj(a[j]) * b[j]


@njit(nogil=True, cache=True)
def _centre(periodic: Any, radius: int, out: Any) -> None:
    """Cut the displacements up to ``radius`` out of a surface whose origin is its corner."""
    number, size, _ = periodic.shape
    side = 2 * radius + 1
    for k in range(number):
        for i in range(side):
            row = periodic[k, (i - radius) % size]
            target = out[k, i]
            for j in range(radius):
                target[j] = row[size - radius + j]
            for j in range(radius + 1):
                target[radius + j] = row[j]
