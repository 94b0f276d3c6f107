"""Several images of one moving surface that ages: the smallest world for more than two images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..model import InputError
from .noise import Float32Array, FloatArray, patches
from .pair import BORDER_PX, OVERSAMPLING, _median_window_std, _see, _surface, _Trunk

__all__ = ["SimpleSequence", "simple_sequence"]

LEVEL = 3000.0


@dataclass(frozen=True, slots=True)
class SimpleSequence:
    """Images and what lies between the first one and each, on the grid of the first image.

    Attributes
    ----------
    images
        Reflectance in digital numbers, float32, each ``(y, x)``.
    dx_px, dy_px
        ``(image, y, x)``: what the surface at a pixel of the first image has moved by until each
        image, in pixels to the right and **down**; zero for the first one. float64.
    hidden
        ``(image, y, x)``: True where the image does not show the surface (cloud), on the image's
        own grid.
    """

    images: tuple[Float32Array, ...]
    dx_px: FloatArray
    dy_px: FloatArray
    hidden: NDArray[np.bool_]


def simple_sequence(
    shape: tuple[int, int] = (400, 400),
    *,
    times: Sequence[float] = (0.0, 0.5, 1.0),
    seed: int = 0,
    max_displacement_px: float = 5.0,
    snr: float = 10.0,
    likeness: float = 1.0,
    hidden_fraction: float = 0.0,
    profile_exponent: float = 4.0,
) -> SimpleSequence:
    """Simulate a glacier trunk at several times: the motion is steady, the surface ages.

    The surface is the one of `simple_pair`. It ages as melt, snow and opening crevasses age it: a
    little more from each image to the next, so that images far apart in time share less than
    neighbours do.

    Parameters
    ----------
    shape
        ``(y, x)`` pixels.
    times
        Of the images, rising; the motion between the first and the last one is
        ``max_displacement_px`` on the centre line.
    seed
        The same seed gives the same bytes.
    max_displacement_px
        Length of the whole displacement on the centre line, where it is largest.
    snr
        Power of signal over noise in the median window of 16 x 16 pixels; ``inf`` for no noise.
    likeness
        Correlation of the surface between the first and the last image, before noise. Between two
        images it falls exponentially with the time that lies between them.
    hidden_fraction
        Share of each image that is hidden by bright, textured cloud, somewhere else in each.
    profile_exponent
        Exponent n of the transverse profile ``1 - |w|**n``.

    Raises
    ------
    InputError
        If the times do not rise, the likeness is not above 0 and up to 1, the image is too small or
        the motion would tear the margin.

    Examples
    --------
    >>> sequence = simple_sequence((128, 128), max_displacement_px=2)
    >>> len(sequence.images), sequence.dx_px.shape
    (3, (3, 128, 128))
    """
    height, width = shape
    span = np.asarray(times, float)
    if span.size < 2 or not (np.diff(span) > 0).all():
        raise InputError(f"the times of a sequence must rise, two at least: not {list(times)}")
    if not 0.0 < likeness <= 1.0:
        raise InputError(f"likeness is a correlation above 0 and up to 1, not {likeness}")
    half_width_px = 0.27 * height
    if min(shape) < 96 or not 0 <= max_displacement_px * profile_exponent < 0.8 * half_width_px:
        raise InputError(
            f"a displacement of {max_displacement_px} px does not fit a glacier in an image of "
            f"{height} x {width} px (at least 96): use a larger image or less motion"
        )
    rng = np.random.default_rng(seed)
    shares = (span - span[0]) / (span[-1] - span[0])
    surfaces = _ageing(shape, shares, likeness, rng)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    images: list[Float32Array] = []
    moves: list[tuple[FloatArray, FloatArray]] = []
    covers: list[NDArray[np.bool_]] = []
    noise_std = 0.0
    for surface, share in zip(surfaces, shares, strict=True):
        flow = _Trunk(height, width, half_width_px, max_displacement_px * share, profile_exponent)
        moves.append(flow.displacement(x, y))
        seen = _see(_carried(surface, flow)) if share else _see(surface)
        if not images:
            noise_std = _median_window_std(seen) / np.sqrt(snr)
        cloud = patches(shape, share=hidden_fraction, size=0.09 * min(shape), rng=rng) > 0
        if hidden_fraction > 0:
            seen = np.where(cloud, _see(_surface(shape, rng)), seen)
        seen = seen + noise_std * rng.standard_normal(shape, dtype=np.float32)
        images.append(np.maximum(seen, 1).astype(np.float32))
        covers.append(cloud)
    dx_px, dy_px = (np.stack([move[k] for move in moves]) for k in (0, 1))
    return SimpleSequence(tuple(images), dx_px, dy_px, np.stack(covers))


def _ageing(
    shape: tuple[int, int], shares: FloatArray, likeness: float, rng: np.random.Generator
) -> list[Float32Array]:
    """Surfaces whose correlation falls exponentially with time (a Markov chain)."""
    surfaces = [_surface(shape, rng) - np.float32(LEVEL)]
    for step in np.diff(shares):
        kept = likeness**step
        fresh = _surface(shape, rng) - np.float32(LEVEL) if kept < 1 else np.float32(0)
        surfaces.append(kept * surfaces[-1] + np.sqrt(1 - kept**2) * fresh)
    return [np.asarray(surface + LEVEL, np.float32) for surface in surfaces]


def _carried(surface: Float32Array, flow: _Trunk) -> Float32Array:
    """The surface where the flow has taken it, by a quintic spline on the fine grid."""
    x, y = (
        np.arange((side + 2 * BORDER_PX) * OVERSAMPLING) / OVERSAMPLING - BORDER_PX
        for side in (flow.width, flow.height)
    )
    x_from, y_from = flow.origin(*np.meshgrid(x, y))
    rows, columns = (y_from + BORDER_PX) * OVERSAMPLING, (x_from + BORDER_PX) * OVERSAMPLING
    moved = ndimage.map_coordinates(surface, [rows, columns], order=5, mode="grid-wrap")
    return np.asarray(moved, np.float32)
