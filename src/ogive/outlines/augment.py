"""How training patches are varied, as published: flips, turns, contrast, noise, occlusion.

Beyond what was published, and off by default: light that varies from slope to slope, and patches
mixed of two. All of it is a function of a generator, so that a sample is the same whenever it is
drawn. Crops and rescaling happen where patches are cut (`samples`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation", "augmented", "mixed", "turned"]

_LARGEST_MIXED_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is varied and by how much; the defaults are the published ones.

    Attributes
    ----------
    turn
        Whether patches are mirrored and turned by quarters.
    smallest_crop, largest_crop
        Sides of the crops that become the patch, as shares of it: smaller ones are enlarged,
        larger ones reduced.
    gamma
        Each band is raised to a power between 1 - gamma and 1 + gamma.
    shift, noise
        Standard deviations of one number added to each band, and of one added to each pixel.
    light
        Standard deviation of the logarithm of what all bands are multiplied by, as sun and slope
        would; as much again for its rise from the middle to each edge. Ratios of bands stay.
    occlusion
        Probability that a rectangle of the patch is blanked.
    occlusion_side
        Its largest side as a share of the patch.
    mixing
        Probability that a rectangle of the patch, of up to half its area, is another tile's with
        its labels (CutMix; Yun et al. 2019, ICCV).
    """

    turn: bool = True
    smallest_crop: float = 0.8
    largest_crop: float = 1.0
    gamma: float = 0.2
    shift: float = 0.025
    noise: float = 0.005
    light: float = 0.0
    occlusion: float = 0.5
    occlusion_side: float = 0.5
    mixing: float = 0.0


def turned(array: NDArray[np.generic], number: int) -> NDArray[np.generic]:
    """Mirror and turn the last two axes: numbers 0 to 7 give the eight ways a square can lie.

    Examples
    --------
    >>> turned(np.array([[1, 2], [3, 4]]), 1).tolist()
    [[2, 4], [1, 3]]
    """
    array = np.rot90(array, number % 4, axes=(-2, -1))
    return array[..., ::-1] if number >= 4 else array


def augmented(
    pixels: NDArray[np.float32],
    labels: NDArray[np.uint8],
    how: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Vary a square patch.

    Parameters
    ----------
    pixels
        ``(band, y, x)``, brought to about 0 to 1.
    labels
        ``(y, x)``; they move with the pixels and do not change otherwise.
    how
        What is varied.
    rng
        Where it is drawn from.
    """
    if how.turn:
        number = int(rng.integers(8))
        pixels, labels = turned(pixels, number), turned(labels, number)  # type: ignore[assignment]
    bands = (len(pixels), 1, 1)
    power = rng.uniform(1.0 - how.gamma, 1.0 + how.gamma, bands).astype(np.float32)
    varied = np.sign(pixels) * np.abs(pixels) ** power
    if how.light:
        varied *= _light(pixels.shape[-1], how.light, rng)
    varied = varied + rng.normal(0.0, how.shift, bands).astype(np.float32)
    varied += how.noise * rng.standard_normal(pixels.shape, np.float32)
    if rng.random() < how.occlusion:
        size = pixels.shape[-1]
        height, width = rng.integers(1, max(int(how.occlusion_side * size), 1) + 1, 2)
        top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
        varied[:, top : top + height, left : left + width] = 0.0
    return np.ascontiguousarray(varied, np.float32), np.ascontiguousarray(labels)


def mixed(
    pixels: NDArray[np.float32],
    labels: NDArray[np.uint8],
    other_pixels: NDArray[np.float32],
    other_labels: NDArray[np.uint8],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Put a rectangle of another patch, with its labels, into a patch.

    Examples
    --------
    >>> ground, ice = np.zeros((1, 8, 8), np.float32), np.ones((1, 8, 8), np.float32)
    >>> labels = np.zeros((8, 8), np.uint8)
    >>> both, told = mixed(ground, labels, ice, labels + 1, np.random.default_rng(0))
    >>> bool((both[0] == told).all())
    True
    """
    size = labels.shape[-1]
    share = rng.uniform(0.0, _LARGEST_MIXED_SHARE)
    # Sides between the square's and twice or half of it.
    height = share**0.5 * 2.0 ** rng.uniform(-1.0, 1.0)
    height, width = (min(max(round(side * size), 1), size) for side in (height, share / height))
    top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    rows, columns = slice(top, top + height), slice(left, left + width)
    pixels, labels = pixels.copy(), labels.copy()
    pixels[:, rows, columns] = other_pixels[:, rows, columns]
    labels[rows, columns] = other_labels[rows, columns]
    return pixels, labels


def _light(size: int, deviation: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """What sun and slope multiply reflectance by: the exponential of a plane."""
    middle, down, across = rng.normal(0.0, deviation, 3)
    offsets = (np.arange(size) + 0.5) * 2.0 / size - 1.0
    plane = middle + down * offsets[:, None] + across * offsets
    return np.asarray(np.exp(plane), np.float32)
