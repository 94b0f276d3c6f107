"""A training sample: two images, and how far each pixel of the earlier one moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

__all__ = ["Sample", "stacked"]


class Sample(TypedDict):
    """Two images and what is known of the motion between them; batches are stacks of it.

    A feature at ``(x, y)`` of ``earlier`` (pixel centres at whole numbers, y down) is at
    ``(x + dx, y + dy)`` of ``later``.

    Attributes
    ----------
    earlier, later
        ``(band, y, x)``, float32, in any scale.
    valid_earlier, valid_later
        ``(1, y, x)``, bool.
    displacement
        ``(2, y, x)``: dx and dy in pixels, from each pixel of ``earlier``.
    matchable
        ``(y, x)``, bool: the surface at this pixel can still be seen in ``later``.
    labelled
        ``(y, x)``, bool: displacement and matchable are known here.
    stable
        ``(y, x)``, bool: ground known not to move.
    condition_earlier, condition_later
        ``(K,)`` of `ogive.similarity.embedding.encode`.
    weight
        ``()``: how much the sample counts.
    years
        ``()``: time between the images.
    """

    earlier: Tensor
    later: Tensor
    valid_earlier: Tensor
    valid_later: Tensor
    displacement: Tensor
    matchable: Tensor
    labelled: Tensor
    stable: Tensor
    condition_earlier: Tensor
    condition_later: Tensor
    weight: Tensor
    years: NotRequired[Tensor]


def stacked(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """A batch: each entry that all samples have, stacked along a new first axis."""
    names = [name for name in samples[0] if all(name in sample for sample in samples)]
    return {name: torch.stack([sample[name] for sample in samples]) for name in names}  # type: ignore[literal-required]
