"""What samples that are cut out of real images have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ogive.model import InputError

from ..embedding import CONDITION_LENGTH
from .reuse import mirrored
from .sample import Sample
from .seen_again import LEAST_CLEAR, Seen
from .simulated.fields import FieldBank, cloud_bank, sampled

__all__ = ["chance_of", "check_size", "clouds_of", "sample_of", "turned"]

SMALLEST_PX, LARGEST_PX = 32, 254
"""The banks of clouds and snow are not larger."""


@lru_cache(maxsize=2)
def clouds_of(seed: int) -> FieldBank:
    """The bank of clouds of a seed; it takes a second to make and 50 MB to keep."""
    return cloud_bank(seed)


def check_size(size_px: int) -> None:
    """Refuse sizes that samples cannot have."""
    if not SMALLEST_PX <= size_px <= LARGEST_PX:
        raise InputError(f"samples of {size_px} px: {SMALLEST_PX} to {LARGEST_PX} are possible")


def chance_of(places: Sequence[int]) -> NDArray[np.float64]:
    """How often each source is drawn: a large one more often, but it does not drown the others.

    Examples
    --------
    >>> chance_of([100, 900]).tolist()
    [0.25, 0.75]
    """
    weight = np.sqrt(np.asarray(places, np.float64))
    return np.asarray(weight / weight.sum())


def sample_of(
    seen: Seen, valid: tuple[Tensor, Tensor], displacement: Tensor, labelled: Tensor
) -> Sample:
    """Put a sample together; nothing in it is stable, and its conditions are unknown.

    Parameters
    ----------
    seen
        The two images.
    valid
        ``(y, x)`` of each: where it has data.
    displacement
        ``(2, y, x)``, finite everywhere.
    labelled
        ``(y, x)``: where it is true. Of that, matchable is what both images show.
    """
    height, width = labelled.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    visible = (valid[1] & (seen.shown[1] > LEAST_CLEAR)).float()
    arrives = sampled(visible, x + displacement[0], y + displacement[1], smooth=False) > 0.5
    unknown = torch.zeros(CONDITION_LENGTH)
    return {
        "earlier": seen.images[0],
        "later": seen.images[1],
        "valid_earlier": valid[0][None],
        "valid_later": valid[1][None],
        "displacement": displacement.contiguous(),
        "matchable": labelled & (seen.shown[0] > LEAST_CLEAR) & arrives,
        "labelled": labelled,
        "stable": torch.zeros_like(labelled),
        "condition_earlier": unknown,
        "condition_later": unknown.clone(),
        "weight": torch.tensor(1.0),
    }


def turned(rng: np.random.Generator, sample: Sample) -> Sample:
    """The sample mirrored and turned by right angles, one of eight ways."""
    turn = int(rng.integers(8))
    return mirrored(sample, left_right=turn & 1, up_down=turn & 2, transposed=turn & 4)
