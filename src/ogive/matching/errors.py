r"""How sure a displacement is: from the match itself, with no constant fitted to truth.

Of two windows :math:`T = s + n_1`, :math:`I = s + n_2` that share a signal of spectrum :math:`S`
in a total of spectrum :math:`G`, the peak of the correlation has the variance (along one axis)

.. math::

    \sigma^2 = \frac{\langle k^2 (G^2 - S^2)\rangle}{N \langle k^2 S\rangle^2},
    \qquad k^2 = \tfrac12 (2 \pi f)^2,

over windows of :math:`N` pixels, :math:`\langle\cdot\rangle` being means over frequencies. What a
single point knows is its normal matrix :math:`A` (from the window's own gradients) and its
correlation :math:`\rho`. If noise were white and gradients free of it, the covariance would be
:math:`2 (1 - \rho) A^{-1} / N`. `noise_factor` is the ratio of the two, from the pair's spectra:
it makes up for noise that is coloured (neighbouring pixels err together) and for the part of the
gradients that is noise.

What the window's motion model cannot follow adds to this: `unresolved_deformation`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from .kernels import Float32Array

__all__ = ["best_smoothing_px", "chance_correlation", "noise_factor", "unresolved_deformation"]

GRID = 64
PURE_SIGNAL = 0.9999
SMOOTHINGS_PX = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)
K2 = 0.5 * (2.0 * np.pi) ** 2 * (fft.fftfreq(GRID)[:, None] ** 2 + fft.fftfreq(GRID)[None, :] ** 2)
"""Squared wavenumber along one axis, on the plane of frequencies."""


def _on_plane(frequency: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A radial spectrum on the plane of frequencies."""
    radius = np.hypot(fft.fftfreq(GRID)[:, None], fft.fftfreq(GRID)[None, :])
    return np.asarray(np.interp(radius, frequency, values), np.float64)


def noise_factor(
    frequency: NDArray[np.float64],
    power: NDArray[np.float64],
    coherence: NDArray[np.float64],
    correlation: float,
) -> float:
    """How many times larger the error variance is than white noise would make it.

    Parameters
    ----------
    frequency, power, coherence
        Radial spectrum of the features, and their magnitude-squared coherence.
    correlation
        Typical correlation of good points. The coherence measured over large windows is a little
        low where motion varies inside them; it is scaled so that it gives this correlation.

    Examples
    --------
    White signal and white noise of equal power (correlation 1/2): the gradients are half noise, and
    noise meets noise, so that the variance is three times what the normal matrix says.

    >>> f = np.arange(46) / 64
    >>> round(noise_factor(f, np.ones(46), np.full(46, 0.25), 0.5), 6)
    3.0
    """
    total = _on_plane(frequency, power)
    if not total.any():
        return 1.0
    signal = _signal(total, _on_plane(frequency, coherence), correlation)
    achieved = signal.mean() / total.mean()
    variance = (K2 * (total**2 - signal**2)).mean() / (K2 * signal).mean() ** 2
    white = 2.0 * (1.0 - achieved) * total.mean() / (K2 * total).mean()
    return float(variance / white)


def best_smoothing_px(
    frequency: NDArray[np.float64], power: NDArray[np.float64], coherence: NDArray[np.float64]
) -> float:
    """Gaussian smoothing of both images that makes the expected error smallest.

    A fixed filter takes noise for signal where there is little of either; how much a Gaussian
    should take back follows from the pair's spectra and the variance at the head of this module.

    Returns
    -------
    float
        Standard deviation in pixels, 0 to 1.5; 0 where smoothing gains less than 2 %.

    Examples
    --------
    >>> f = np.arange(46) / 64
    >>> red = np.exp(-((f / 0.15) ** 2))
    >>> best_smoothing_px(f, red, np.ones(46))
    0.0
    >>> best_smoothing_px(f, red + 1, (red / (red + 1)) ** 2) > 0.5
    True
    """
    total = _on_plane(frequency, power)
    if not total.any():
        return 0.0
    shared = np.clip(_on_plane(frequency, coherence), 0.0, PURE_SIGNAL)
    signal = np.sqrt(shared) * total
    expected = {}
    for sigma in SMOOTHINGS_PX:
        gain = np.exp(-2.0 * K2 * sigma**2)
        noise = (K2 * (total**2 - signal**2) * gain**2).mean()
        expected[sigma] = float(noise / (K2 * signal * gain).mean() ** 2)
    best = min(expected, key=lambda sigma: expected[sigma])
    return best if expected[best] < 0.96 * expected[0.0] else 0.0


def _signal(
    total: NDArray[np.float64], coherence: NDArray[np.float64], correlation: float
) -> NDArray[np.float64]:
    """The signal's spectrum: explains the correlation, nowhere exceeds the total."""
    signal = np.sqrt(np.clip(coherence, 0.0, 1.0)) * total
    target = float(np.clip(correlation, 0.05, 0.999)) * total.mean()
    scale = target / max(signal.mean(), 1e-30)
    for _ in range(50):
        limited = np.minimum(scale * signal, PURE_SIGNAL * total)
        scale *= target / max(limited.mean(), 1e-30)
    return np.asarray(np.minimum(scale * signal, PURE_SIGNAL * total), np.float64)


def chance_correlation(
    frequency: NDArray[np.float64], power: NDArray[np.float64], window_px: int, *, sigmas: float
) -> float:
    r"""Correlation that two windows which have nothing to do with each other seldom reach.

    Pixels of a smooth feature are not independent: the effective number of pixels is
    :math:`n = N \langle G\rangle^2 / \langle G^2\rangle`. Fisher's transform
    :math:`\operatorname{artanh} \rho` is then normal with the standard deviation
    :math:`1 / \sqrt{n - 3}`.

    Parameters
    ----------
    frequency, power
        Radial spectrum of the features.
    window_px
        Size of the windows.
    sigmas
        How many standard deviations above zero.

    Examples
    --------
    >>> f = np.arange(46) / 64
    >>> round(chance_correlation(f, np.ones(46), 16, sigmas=2.0), 3)
    0.125
    """
    total = _on_plane(frequency, power)
    if not total.any():
        return 0.0
    effective = window_px**2 * total.mean() ** 2 / (total**2).mean()
    return float(np.tanh(sigmas / np.sqrt(max(effective - 3.0, 1.0))))


def unresolved_deformation(
    displacement: Float32Array, variance: Float32Array, *, window_px: int, step_px: int
) -> Float32Array:
    r"""Error variance from the curvature of the displacement inside a window.

    A window reports the mean of what moves in it. Where the displacement has a second derivative,
    that mean differs from the value at the centre by :math:`\tfrac{w^2}{24}\nabla^2 u` (the second
    moment of a box of side :math:`w` is :math:`w^2/12`). The derivative is a difference over half a
    window of the measured field; of its square, what noise alone would give is taken off.

    Parameters
    ----------
    displacement, variance
        One component on the grid of points and the error variance that it has so far, in pixels;
        NaN where there is none.
    window_px, step_px
        Size of the window and distance of the points.

    Returns
    -------
    numpy.ndarray
        Variance to be added; zero where a neighbour is missing.
    """
    reach = max(1, round(window_px / 2 / step_px))
    distance = reach * step_px
    bend = np.zeros(displacement.shape, np.float64)
    for axis in (0, 1):
        values = np.moveaxis(displacement.astype(np.float64), axis, 0)
        second = np.full(values.shape, np.nan)
        if values.shape[0] > 2 * reach:
            second[reach:-reach] = (
                values[2 * reach :] - 2.0 * values[reach:-reach] + values[: -2 * reach]
            ) / distance**2
        bend += np.moveaxis(second, 0, axis)
    squared = (window_px**2 / 24.0 * bend) ** 2
    ratio = squared / variance
    known = np.isfinite(ratio)
    if not known.any():
        return np.zeros(displacement.shape, np.float32)
    # A quarter of squared standard normal numbers are below 0.1015: the calm quarter of the field
    # tells what noise alone gives.
    noise = float(np.quantile(ratio[known], 0.25)) / 0.1015
    excess = np.where(known, squared - noise * variance, 0.0)
    # Averaged over neighbours, noise leaves little behind when negative values are cut.
    side = reach + 1
    share = ndimage.uniform_filter(known.astype(np.float64), side, mode="constant")
    mean = ndimage.uniform_filter(excess, side, mode="constant") / np.maximum(share, 1e-9)
    return np.where(known, np.maximum(mean, 0.0), 0.0).astype(np.float32)
