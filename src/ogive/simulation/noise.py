"""Random fields with a given spectrum: the raw material of relief, texture, cloud and haze."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["Float32Array", "FloatArray", "filtered_noise", "fractal_noise", "patches"]

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
Amplitude = Callable[[FloatArray, FloatArray], FloatArray]


def filtered_noise(
    shape: tuple[int, int], amplitude: Amplitude, *, rng: np.random.Generator
) -> Float32Array:
    """White Gaussian noise shaped in the frequency domain; zero mean, unit variance, periodic.

    Parameters
    ----------
    shape
        ``(y, x)`` samples.
    amplitude
        Amplitude response as a function of the frequencies along x and along y, in cycles per
        sample; called with broadcastable arrays.
    rng
        Where the noise comes from. The same state gives the same bytes.
    """
    frequency_y = fft.fftfreq(shape[0])[:, np.newaxis]
    frequency_x = fft.rfftfreq(shape[1])[np.newaxis, :]
    response = np.asarray(amplitude(frequency_x, frequency_y), dtype=np.float32)
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32), workers=1)
    spectrum *= response
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=shape, workers=1, overwrite_x=True)
    field /= np.sqrt(np.mean(np.square(field, dtype=np.float64)))
    return np.asarray(field, dtype=np.float32)


def fractal_noise(
    shape: tuple[int, int],
    *,
    slope: float,
    longest: float,
    shortest: float = 0.0,
    rng: np.random.Generator,
) -> Float32Array:
    """Noise whose power falls as the frequency to the power ``-slope``.

    Parameters
    ----------
    shape
        ``(y, x)`` samples.
    slope
        Exponent of the two-dimensional power spectrum; 4 for relief with a Hurst exponent of 1,
        2 to 3 for the brightness of ground.
    longest
        Wavelength in samples above which the spectrum is flat.
    shortest
        Wavelength in samples below which there is nothing (a soft edge); 0 keeps all.
    rng
        Where the noise comes from.

    Examples
    --------
    >>> field = fractal_noise((64, 64), slope=3, longest=40, rng=np.random.default_rng(1))
    >>> field.shape, round(float(field.std()), 3)
    ((64, 64), 1.0)
    """

    def amplitude(frequency_x: FloatArray, frequency_y: FloatArray) -> FloatArray:
        frequency = np.hypot(frequency_x, frequency_y)
        response = np.maximum(frequency, 1 / longest) ** (-slope / 2)
        if shortest > 0:
            response = response / (1 + np.exp((frequency * shortest - 1) / 0.05))
        return np.asarray(response)

    return filtered_noise(shape, amplitude, rng=rng)


def patches(
    shape: tuple[int, int], *, share: float, size: float, rng: np.random.Generator
) -> Float32Array:
    """Make a smooth field, positive on ``share`` of its area in blobs of about ``size`` samples.

    Its standard deviation is one, so that its value tells how deep inside a patch a place is.
    """
    field = filtered_noise(
        shape, lambda fx, fy: np.exp(-((size * fx) ** 2) - (size * fy) ** 2), rng=rng
    )
    if share <= 0:
        return np.minimum(field, 0) - np.float32(1)
    return np.asarray(field - np.quantile(field, 1 - min(share, 1.0)), dtype=np.float32)
