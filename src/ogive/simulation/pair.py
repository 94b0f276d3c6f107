"""A pair of images whose displacement is known: the smallest world a matcher can be tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..model import InputError
from .noise import Float32Array, FloatArray, filtered_noise, fractal_noise, patches

__all__ = ["SimplePair", "simple_pair"]

OVERSAMPLING = 2
BORDER_PX = 32
PSF_SIGMA_PX = 0.55
"""Gaussian point spread with a transfer of 0.22 at Nyquist, about that of Sentinel-2."""
ILLUMINATION_GAIN = 1.25
NOISE_WINDOW_PX = 16


@dataclass(frozen=True, slots=True)
class SimplePair:
    """Two images and what lies between them, all ``(y, x)`` on the grid of the earlier image.

    Attributes
    ----------
    earlier, later
        Reflectance in digital numbers, float32.
    dx_px, dy_px
        What the surface at a pixel of the earlier image has moved by until the later one, in
        pixels: to the right and **down** (towards higher row numbers). float64.
    decorrelated
        True where the surface of the earlier image is not to be found in the later one.
    stable
        True on ground that does not move.
    """

    earlier: Float32Array
    later: Float32Array
    dx_px: FloatArray
    dy_px: FloatArray
    decorrelated: NDArray[np.bool_]
    stable: NDArray[np.bool_]


def simple_pair(
    shape: tuple[int, int] = (600, 600),
    *,
    seed: int = 0,
    max_displacement_px: float = 8.0,
    decorrelated_fraction: float = 0.1,
    snr: float = 10.0,
    illumination_change: bool = True,
    profile_exponent: float = 4.0,
) -> SimplePair:
    """Simulate a glacier trunk with shear margins that moves over still ground.

    The surface is fractal noise with crevasse-like ridges, made with twice the resolution and
    without anything finer than the images can carry. The later image samples it by a quintic
    spline at the places the ice came from; then both pass the point spread and are decimated.
    So no trace of the resampling is left for a matcher to cling to.

    Parameters
    ----------
    shape
        ``(y, x)`` pixels.
    seed
        The same seed gives the same bytes.
    max_displacement_px
        Length of the displacement on the centre line, where it is largest.
    decorrelated_fraction
        Share of the image whose surface is replaced by another one.
    snr
        Power of signal over noise in the median window of 16 x 16 pixels; ``inf`` for no noise.
    illumination_change
        Whether the later image is brighter by a quarter, with a slow variation over the scene.
    profile_exponent
        Exponent n of the transverse profile ``1 - |w|**n``: 3 to 8 in nature, higher is more
        plug-like.

    Raises
    ------
    InputError
        If the image is too small for a glacier, or the motion would tear the shear margin.

    Examples
    --------
    >>> pair = simple_pair((160, 160), max_displacement_px=2)
    >>> pair.earlier.shape, bool(pair.stable.any())
    ((160, 160), True)
    """
    height, width = shape
    if min(shape) < 96:
        raise InputError(f"a glacier needs at least 96 x 96 pixels, but shape is {shape}")
    half_width_px = 0.27 * height
    if not 0 <= max_displacement_px * profile_exponent < 0.8 * half_width_px:
        raise InputError(
            f"a displacement of {max_displacement_px} px in a glacier of {2 * half_width_px:.0f} px"
            " would tear its margins: use a larger image, less motion or a lower profile_exponent"
        )
    rng = np.random.default_rng(seed)
    surface, other = (_surface(shape, rng) for _ in range(2))
    change = patches(
        (height + 2 * BORDER_PX, width + 2 * BORDER_PX),
        share=decorrelated_fraction,
        size=0.09 * min(shape),
        rng=rng,
    )

    flow = _Trunk(height, width, half_width_px, max_displacement_px, profile_exponent)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    dx_px, dy_px = flow.displacement(x, y)

    fine = np.arange((width + 2 * BORDER_PX) * OVERSAMPLING) / OVERSAMPLING - BORDER_PX
    fine_y = np.arange((height + 2 * BORDER_PX) * OVERSAMPLING) / OVERSAMPLING - BORDER_PX
    x_from, y_from = flow.origin(*np.meshgrid(fine, fine_y))
    rows, columns = (y_from + BORDER_PX) * OVERSAMPLING, (x_from + BORDER_PX) * OVERSAMPLING
    moved = ndimage.map_coordinates(surface, [rows, columns], order=5, mode="grid-wrap")
    changed = ndimage.map_coordinates(
        change, [rows / OVERSAMPLING, columns / OVERSAMPLING], order=1, mode="nearest"
    )
    moved = np.where(changed > 0, other, moved)

    earlier, later = _see(surface), _see(moved)
    noise_std = _median_window_std(earlier) / np.sqrt(snr)
    gain = 1.0
    if illumination_change:
        slow = filtered_noise(shape, lambda fx, fy: np.exp(-(150.0**2) * (fx**2 + fy**2)), rng=rng)
        gain = ILLUMINATION_GAIN
        later = later * (gain * (1 + 0.08 * slow)) - 400
    earlier = earlier + noise_std * rng.standard_normal(shape, dtype=np.float32)
    later = later + gain * noise_std * rng.standard_normal(shape, dtype=np.float32)
    inside = np.s_[BORDER_PX : BORDER_PX + height, BORDER_PX : BORDER_PX + width]
    return SimplePair(
        earlier=np.maximum(earlier, 1).astype(np.float32),
        later=np.maximum(later, 1).astype(np.float32),
        dx_px=dx_px,
        dy_px=dy_px,
        decorrelated=change[inside] > 0,
        stable=(dx_px == 0) & (dy_px == 0),
    )


@dataclass(frozen=True, slots=True)
class _Trunk:
    """A glacier that bends as it flows to the right; lengths in pixels."""

    height: int
    width: int
    half_width_px: float
    max_displacement_px: float
    profile_exponent: float

    def displacement(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Motion to the right and down of what is at (x, y) in the earlier image."""
        wavelength = 1.6 * self.width
        amplitude = 0.08 * self.height
        phase = 2 * np.pi * x / wavelength
        across = (y - self.height / 2 - amplitude * np.sin(phase)) / self.half_width_px
        slope = amplitude * 2 * np.pi / wavelength * np.cos(phase)
        profile = np.maximum(1 - np.abs(across) ** self.profile_exponent, 0)
        along = 0.85 + 0.15 * np.cos(phase)
        speed = self.max_displacement_px * profile * along / np.hypot(1, slope)
        return speed, speed * slope

    def origin(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where in the earlier image that was which is at (x, y) in the later one.

        Fixed-point iteration; it contracts because the margins' shear is below 0.8.
        """
        x_from, y_from = x, y
        for _ in range(60):
            dx, dy = self.displacement(x_from, y_from)
            x_next, y_next = x - dx, y - dy
            change = max(np.abs(x_next - x_from).max(), np.abs(y_next - y_from).max())
            x_from, y_from = x_next, y_next
            if change < 1e-6:
                break
        return x_from, y_from


def _surface(shape: tuple[int, int], rng: np.random.Generator) -> Float32Array:
    """Brightness of a surface with ``OVERSAMPLING`` samples per pixel and nothing above Nyquist."""
    height, width = ((side + 2 * BORDER_PX) * OVERSAMPLING for side in shape)
    fine = (height, width)
    angle = np.deg2rad(25)

    def ridges(fx: FloatArray, fy: FloatArray) -> FloatArray:
        across = fx * np.cos(angle) + fy * np.sin(angle)
        along = fy * np.cos(angle) - fx * np.sin(angle)
        return np.asarray(np.exp(-(((np.abs(across) - 0.055) / 0.015) ** 2) - (along / 0.01) ** 2))

    fractal = fractal_noise(
        fine, slope=2.2, longest=300.0 * OVERSAMPLING, shortest=2 * OVERSAMPLING, rng=rng
    )
    crevasses = -np.exp(1.2 * filtered_noise(fine, ridges, rng=rng))
    crevasses -= crevasses.mean()
    fields = 1 / (1 + np.exp(-patches(fine, share=0.45, size=120.0, rng=rng) / 0.15))
    speckle = rng.standard_normal(fine, dtype=np.float32)
    rough = _band_limited(crevasses * fields / 3 + 0.35 * speckle)
    rough /= rough.std()
    return np.asarray(3000 + 450 * fractal + 160 * rough, dtype=np.float32)


def _band_limited(field: Float32Array) -> Float32Array:
    """Remove what is finer than two pixels of the final image."""
    spectrum = np.fft.rfft2(field)
    frequency = OVERSAMPLING * np.hypot(
        np.fft.fftfreq(field.shape[0])[:, np.newaxis], np.fft.rfftfreq(field.shape[1])
    )
    spectrum /= 1 + np.exp(np.minimum((frequency - 0.47) / 0.01, 80))
    return np.asarray(np.fft.irfft2(spectrum, s=field.shape), dtype=np.float32)


def _see(fine: Float32Array) -> Float32Array:
    """Point spread and decimation; the border is cut off."""
    blurred = ndimage.gaussian_filter(fine, PSF_SIGMA_PX * OVERSAMPLING, mode="wrap", truncate=5)
    start = BORDER_PX * OVERSAMPLING
    return np.asarray(blurred[start:-start:OVERSAMPLING, start:-start:OVERSAMPLING])


def _median_window_std(image: Float32Array) -> float:
    """Median standard deviation of windows of `NOISE_WINDOW_PX`."""
    values = image.astype(np.float64)
    mean = ndimage.uniform_filter(values, NOISE_WINDOW_PX)
    square = ndimage.uniform_filter(values**2, NOISE_WINDOW_PX)
    return float(np.median(np.sqrt(np.maximum(square - mean**2, 0))))
