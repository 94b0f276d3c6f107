"""How training patches are varied, as published: flips, turns, contrast, noise, occlusion.

All of it is a function of a generator, so that a sample is the same whenever it is drawn. Crops
and rescaling happen where patches are cut (`samples`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation", "augmented", "turned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is varied and by how much; the defaults are the published ones.

    Attributes
    ----------
    turn
        Whether patches are mirrored and turned by quarters.
    smallest_crop
        Side of the smallest crop that is enlarged to the patch, as a share of the patch.
    gamma
        Each band is raised to a power between 1 - gamma and 1 + gamma.
    shift, noise
        Standard deviations of one number added to each band, and of one added to each pixel.
    occlusion
        Probability that a rectangle of the patch is blanked.
    occlusion_side
        Its largest side as a share of the patch.
    """

    turn: bool = True
    smallest_crop: float = 0.8
    gamma: float = 0.2
    shift: float = 0.025
    noise: float = 0.005
    occlusion: float = 0.5
    occlusion_side: float = 0.5


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
    varied = varied + rng.normal(0.0, how.shift, bands).astype(np.float32)
    varied += how.noise * rng.standard_normal(pixels.shape, np.float32)
    if rng.random() < how.occlusion:
        size = pixels.shape[-1]
        height, width = rng.integers(1, max(int(how.occlusion_side * size), 1) + 1, 2)
        top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
        varied[:, top : top + height, left : left + width] = 0.0
    return np.ascontiguousarray(varied, np.float32), np.ascontiguousarray(labels)
