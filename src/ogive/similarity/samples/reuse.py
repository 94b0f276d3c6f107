"""Samples that cost much are shown more than once, each time turned another way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ogive.model import InputError

from ..embedding import condition_columns
from .sample import Sample

__all__ = ["Reused", "mirrored"]

_SINE, _COSINE = condition_columns(["sun_azimuth_deg"])[:2]


class Reused:
    """Shows each sample several times, mirrored and transposed at random.

    Sample ``index`` is the same whenever it is asked for. Making a sample costs about as much as
    learning from it once, and windows are drawn anew each time.

    Parameters
    ----------
    sample
        Gives the sample of a number.
    times
        How often each is shown.
    kept
        How many are kept, at most; the same sample comes again after so many others.

    Raises
    ------
    InputError
        If either is less than one.

    Examples
    --------
    >>> made = []
    >>> def sample(index):
    ...     made.append(index)
    ...     zeros = torch.zeros(2, 4, 4)
    ...     vector = torch.zeros(20)
    ...     return {"displacement": zeros, "condition_earlier": vector,
    ...             "condition_later": vector}
    >>> reused = Reused(sample, times=3, kept=2)
    >>> _ = [reused.sample(index) for index in range(8)]
    >>> made
    [0, 1, 2, 3]
    """

    def __init__(self, sample: Callable[[int], Sample], *, times: int = 3, kept: int = 512) -> None:
        if times < 1 or kept < 1:
            raise InputError(f"samples shown {times} times, {kept} kept: at least 1 of both")
        self._sample = sample
        self._times, self._kept = times, kept
        self._made: dict[int, Sample] = {}

    def sample(self, index: int) -> Sample:
        """Give the sample of this number."""
        round_, place = divmod(index, self._times * self._kept)
        number = round_ * self._kept + place % self._kept
        if number not in self._made:
            if len(self._made) >= self._kept:
                self._made.pop(next(iter(self._made)))
            self._made[number] = self._sample(number)
        made = self._made[number]
        if place < self._kept:
            return made
        turn = int(np.random.default_rng((index, 8)).integers(1, 8))
        return mirrored(made, left_right=turn & 1, up_down=turn & 2, transposed=turn & 4)


def mirrored(
    sample: Sample, *, left_right: int = 0, up_down: int = 0, transposed: int = 0
) -> Sample:
    """A sample seen in a mirror; displacements and the sun's azimuth go with it.

    Parameters
    ----------
    sample
        To be mirrored; it is not changed.
    left_right, up_down, transposed
        Which mirrors are passed, in this order; zero for not.
    """
    turned: dict[str, Tensor] = dict(sample)  # type: ignore[arg-type]
    # Direction to the sun in the image: x = sin(azimuth), y = -cos(azimuth).
    mirrors: tuple[tuple[int, Callable[[Tensor], Tensor], Tensor], ...] = (
        (left_right, lambda image: torch.flip(image, (-1,)), torch.diag(torch.tensor([-1.0, 1.0]))),
        (up_down, lambda image: torch.flip(image, (-2,)), torch.diag(torch.tensor([1.0, -1.0]))),
        (transposed, lambda image: image.transpose(-1, -2), torch.eye(2).flip(0)),
    )
    for passed, mirror, matrix in mirrors:
        if not passed:
            continue
        for name, value in turned.items():
            if value.ndim >= 2:
                turned[name] = mirror(value).contiguous()
        for name in ("displacement", "slope"):
            if name in turned:
                turned[name] = torch.tensordot(matrix, turned[name], dims=1)
        for name in ("condition_earlier", "condition_later"):
            vector = turned[name].clone()
            sine, minus_cosine = matrix @ torch.stack([vector[_SINE], -vector[_COSINE]])
            vector[_SINE], vector[_COSINE] = sine, -minus_cosine
            turned[name] = vector
    return turned  # type: ignore[return-value]
