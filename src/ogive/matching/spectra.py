r"""What a pair says of itself: spectra, coherence, and the best filter for matching it.

For two images of one surface, each with its own noise, the displacement of greatest likelihood
maximises the correlation of both images filtered by

.. math::

    H(f) = \sqrt{\frac{\gamma^2(f)}{\left(1 - \gamma^2(f)\right) G(f)}},

with the auto-spectrum :math:`G` and the magnitude-squared coherence :math:`\gamma^2` (Hannan &
Thomson 1973, IEEE Trans. Audio Electroacoust. 21, 7-15; Knapp & Carter 1976, IEEE Trans. Acoust.
Speech Signal Process. 24, 320-327). Both are measured from the pair: a coarse match aligns some
hundreds of windows, whose cross-spectrum then keeps what the two images share and loses what they
do not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .interpolation import spline_fidelity
from .kernels import Float32Array
from .stacks import Stack

__all__ = ["PairSpectra", "apply_filter", "filter_taps", "measure_spectra", "power_spectrum"]

WINDOW_PX = 64
MOST_WINDOWS = 800
LEAST_WINDOWS = 12
LOWEST_BINS = 2
"""Bins 0 and 1 hold brightness that leaks through the window's main lobe: they carry no match."""
MOST_COHERENT = 0.995
"""Above this the ratio γ²/(1 − γ²) rests on the spectral estimate's own error."""
TILE_PX = 512


@dataclass(frozen=True)
class PairSpectra:
    """Radially averaged spectra of a pair's aligned windows.

    Parameters
    ----------
    frequency
        Cycles per pixel.
    earlier, later
        Auto-spectra, in squared pixel values.
    coherence
        Magnitude-squared coherence γ², 0 to 1.
    windows
        How many windows they rest on.
    """

    frequency: NDArray[np.float64]
    earlier: NDArray[np.float64]
    later: NDArray[np.float64]
    coherence: NDArray[np.float64]
    windows: int

    @property
    def power(self) -> NDArray[np.float64]:
        """Geometric mean of the two auto-spectra."""
        return np.sqrt(self.earlier * self.later)

    @property
    def response(self) -> NDArray[np.float64]:
        """The filter of greatest likelihood at each frequency, scaled to a maximum of one."""
        # What the sampler garbles is noise to the match, however coherent the images are.
        coherence = np.minimum(self.coherence * spline_fidelity(self.frequency), MOST_COHERENT)
        with np.errstate(divide="ignore", invalid="ignore"):
            response = np.sqrt(coherence / ((1.0 - coherence) * self.power))
        response[~np.isfinite(response)] = 0.0
        response[:LOWEST_BINS] = 0.0
        most = response.max()
        return response / most if most > 0 else response


def _radial_bins(size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bin and weight of every element of a real transform's half plane."""
    fy = fft.fftfreq(size)[:, None]
    fx = fft.rfftfreq(size)[None, :]
    bins = np.rint(np.hypot(fy, fx) * size).astype(np.int64)
    weight = np.full(bins.shape, 2.0)
    weight[:, 0] = 1.0
    weight[:, -1] = 1.0
    return bins, weight


def measure_spectra(
    earlier: Stack,
    later: Stack,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    *,
    usable: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
    most_windows: int = MOST_WINDOWS,
    most_px: int = WINDOW_PX,
    threads: int = 1,
) -> PairSpectra | None:
    """Spectra of a pair from windows aligned by known displacements.

    Parameters
    ----------
    earlier, later
        ``(channel, y, x)`` stacks; powers are summed over channels.
    x, y, u, v
        Centres of the windows in the earlier image and their displacements, in pixels.
    usable
        Summed-area tables of the invalid pixels of both images; windows that hold any are left out.
    most_windows
        An even choice of so many windows is enough.
    most_px
        Side of the windows, where the images are large enough: a power of two.
    threads
        How many threads share the transforms.

    Returns
    -------
    PairSpectra or None
        ``None`` when fewer than 12 windows lie inside both images.
    """
    channels, height, width = earlier.shape
    size = min(most_px, _window_size(height, width))
    x1 = np.rint(x - size / 2).astype(np.int64)
    y1 = np.rint(y - size / 2).astype(np.int64)
    shift_x, shift_y = np.rint(u).astype(np.int64), np.rint(v).astype(np.int64)
    x2, y2 = x1 + shift_x, y1 + shift_y
    inside = np.ones(x.shape, bool)
    for left, top in ((x1, y1), (x2, y2)):
        inside &= (left >= 0) & (top >= 0) & (left + size <= width) & (top + size <= height)
    if usable is not None:
        for table, left, top in ((usable[0], x1, y1), (usable[1], x2, y2)):
            left, top = np.clip(left, 0, width - size), np.clip(top, 0, height - size)
            gaps = (
                table[top + size, left + size]
                - table[top, left + size]
                - table[top + size, left]
                + table[top, left]
            )
            inside &= gaps == 0
    chosen = np.flatnonzero(inside)
    if chosen.size < LEAST_WINDOWS:
        return None
    chosen = chosen[:: max(1, int(np.ceil(chosen.size / most_windows)))]
    taper = np.hanning(size + 1)[:size].astype(np.float32)
    taper2 = np.outer(taper, taper)
    first = np.empty((chosen.size, channels, size, size), np.float32)
    second = np.empty_like(first)
    for k, i in enumerate(chosen):
        first[k] = earlier[:, y1[i] : y1[i] + size, x1[i] : x1[i] + size]
        second[k] = later[:, y2[i] : y2[i] + size, x2[i] : x2[i] + size]
    for stack in (first, second):
        stack -= stack.mean(axis=(2, 3), keepdims=True)
        # Windows count by their contrast: what matches best decides (measured: 4 % less scatter on
        # stable ground than with windows made equal).
        stack *= taper2
    a = fft.rfft2(first, workers=threads)
    b = fft.rfft2(second, workers=threads)
    fx = fft.rfftfreq(size).astype(np.float32)
    fy = fft.fftfreq(size).astype(np.float32)
    du = (u[chosen] - shift_x[chosen]).astype(np.float32)
    dv = (v[chosen] - shift_y[chosen]).astype(np.float32)
    b *= np.exp(2j * np.pi * du[:, None] * fx)[:, None, None, :]
    b *= np.exp(2j * np.pi * dv[:, None] * fy)[:, None, :, None]
    bins, weight = _radial_bins(size)
    number = np.bincount(bins.ravel(), weight.ravel())

    def radial(power: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(bins.ravel(), (power * weight).ravel()) / number

    cross = radial((a * np.conj(b)).real.sum(axis=(0, 1), dtype=np.float64))
    auto_a = radial((np.abs(a) ** 2).sum(axis=(0, 1), dtype=np.float64))
    auto_b = radial((np.abs(b) ** 2).sum(axis=(0, 1), dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        coherence = np.where(cross > 0, cross**2 / (auto_a * auto_b), 0.0)
    return PairSpectra(
        frequency=np.arange(number.size) / size,
        earlier=auto_a / chosen.size,
        later=auto_b / chosen.size,
        coherence=np.clip(np.nan_to_num(coherence), 0.0, 1.0),
        windows=int(chosen.size),
    )


def power_spectrum(
    earlier: Stack,
    later: Stack,
    *,
    usable: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
    threads: int = 1,
) -> PairSpectra | None:
    """Auto-spectra from windows all over both images, where nothing is known of their motion.

    The coherence is set to one half everywhere: it carries no information.
    """
    height, width = earlier.shape[1:]
    size = _window_size(height, width)
    every = max(size // 2, int(np.sqrt(height * width / MOST_WINDOWS)))
    y, x = np.meshgrid(
        np.arange(size / 2, height - size / 2 + 1, every),
        np.arange(size / 2, width - size / 2 + 1, every),
        indexing="ij",
    )
    still = np.zeros(x.size)
    found = measure_spectra(
        earlier, later, x.ravel(), y.ravel(), still, still, usable=usable, threads=threads
    )
    return None if found is None else replace(found, coherence=np.full(found.power.shape, 0.5))


def _window_size(height: int, width: int) -> int:
    """Side of the spectral windows: 64 pixels, or a power of two that fits the image thrice."""
    fitting = int(np.log2(max(min(height, width) / 3, 8)))
    return min(WINDOW_PX, int(2**fitting))


def filter_taps(frequency: NDArray[np.float64], response: NDArray[np.float64]) -> Float32Array:
    """Turn an isotropic response into a 63 x 63 kernel, tapered so that it ends softly.

    Examples
    --------
    >>> taps = filter_taps(np.arange(46) / 64, np.ones(46))
    >>> taps.shape, round(float(taps[31, 31]), 3)
    ((63, 63), 1.0)
    """
    size = WINDOW_PX
    radius = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :])
    kernel = fft.fftshift(fft.irfft2(np.interp(radius, frequency, response), s=(size, size)))
    kernel = kernel[1:, 1:]
    taper = np.hanning(size + 1)[1:-1]
    kernel *= np.outer(taper, taper)
    return np.asarray(kernel, np.float32)


def apply_filter(image: Float32Array, taps: Float32Array, *, threads: int = 1) -> Float32Array:
    """Convolve an image with a kernel, tile by tile through the Fourier transform.

    The tiles' places depend on the image alone, so the result does not depend on the number of
    threads. Edges are mirrored.

    Parameters
    ----------
    image
        ``(y, x)``, float32.
    taps
        A square kernel of odd size.
    threads
        How many threads share the tiles.
    """
    reach = taps.shape[0] // 2
    inner = TILE_PX - 2 * reach
    transfer = fft.rfft2(taps, s=(TILE_PX, TILE_PX))
    height, width = image.shape
    out = np.empty_like(image)

    def mirrored(start: int, size: int) -> NDArray[np.int64]:
        period = max(2 * (size - 1), 1)
        index = np.abs(np.arange(start - reach, start - reach + TILE_PX)) % period
        return np.where(index < size, index, period - index)

    def one(corner: tuple[int, int]) -> None:
        y, x = corner
        if (
            y >= reach
            and x >= reach
            and y - reach + TILE_PX <= height
            and x - reach + TILE_PX <= width
        ):
            tile = image[y - reach : y - reach + TILE_PX, x - reach : x - reach + TILE_PX]
        else:
            tile = image[np.ix_(mirrored(y, height), mirrored(x, width))]
        filtered = fft.irfft2(fft.rfft2(tile) * transfer, s=(TILE_PX, TILE_PX))
        rows, columns = min(inner, height - y), min(inner, width - x)
        out[y : y + rows, x : x + columns] = filtered[
            2 * reach : 2 * reach + rows, 2 * reach : 2 * reach + columns
        ]

    corners = [(y, x) for y in range(0, height, inner) for x in range(0, width, inner)]
    if threads == 1:
        for corner in corners:
            one(corner)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, corners))
    return out
