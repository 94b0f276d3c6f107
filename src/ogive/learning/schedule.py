"""How the learning rate changes while a training goes on: functions of the share that is done.

A function of the share, rather than of the last rate, needs no state: a training that is resumed
goes on as if it had never stopped, and a training that is limited by time has a schedule as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

__all__ = ["SCHEDULES", "constant", "cosine", "cosine_restarts", "one_cycle", "warm_up"]

_RISE, _FIRST, _LAST = 0.3, 1.0 / 25.0, 1e-4
_FLOOR = 0.01
_CYCLES = (10, 20, 40, 80)


def constant(share: float) -> float:
    """Keep the rate.

    Examples
    --------
    >>> constant(0.7)
    1.0
    """
    return 1.0


def cosine(share: float) -> float:
    """Let the rate fall to a 100th along half a cosine.

    After Loshchilov & Hutter 2017, SGDR (ICLR), without restarts.

    Examples
    --------
    >>> [round(cosine(share), 3) for share in (0.0, 0.5, 1.0)]
    [1.0, 0.505, 0.01]
    """
    return _FLOOR + (1.0 - _FLOOR) * _half_cosine(share)


def cosine_restarts(share: float) -> float:
    """Let the rate fall to a 100th along half a cosine, four times, each twice as long as before.

    After Loshchilov & Hutter 2017, SGDR (ICLR), with the cycles of 10, 20, 40 and 80 epochs of
    Maslov et al. 2025 (doi 10.1038/s41467-024-54956-x).

    Examples
    --------
    >>> [round(cosine_restarts(epoch / 150), 3) for epoch in (0, 5, 9.99, 10, 30, 70, 110, 150)]
    [1.0, 0.505, 0.01, 1.0, 1.0, 1.0, 0.505, 0.01]
    """
    epoch = min(max(share, 0.0), 1.0) * sum(_CYCLES)
    for length in _CYCLES[:-1]:
        # Rounding must not move a restart: a share is steps done by steps in all.
        if epoch < length - 1e-9:
            return cosine(epoch / length)
        epoch -= length
    return cosine(max(epoch, 0.0) / _CYCLES[-1])


def one_cycle(share: float) -> float:
    """Raise the rate from a 25th over the first 0.3 of the training, then let it fall to 1e-4.

    The learning rate of the one-cycle policy (Smith & Topin 2018, arXiv 1708.07120) with cosine
    flanks; the momentum is left as it is.

    Examples
    --------
    >>> [round(one_cycle(share), 3) for share in (0.0, 0.15, 0.3, 0.65, 1.0)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if share < _RISE:
        return 1.0 + (_FIRST - 1.0) * _half_cosine(share / _RISE)
    return _LAST + (1.0 - _LAST) * _half_cosine((share - _RISE) / (1.0 - _RISE))


def warm_up(step: int, steps: int) -> float:
    """Raise the rate linearly over the first steps, whatever the schedule.

    An optimiser that has seen a few gradients only takes wild steps at its full rate.

    Parameters
    ----------
    step
        Steps done.
    steps
        Length of the warm-up; 0 for none.

    Examples
    --------
    >>> [warm_up(step, 4) for step in (0, 1, 3, 4, 100)]
    [0.25, 0.5, 1.0, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / steps) if steps else 1.0


def _half_cosine(share: float) -> float:
    """From 1 to 0 as the share goes from 0 to 1."""
    return 0.5 * (1.0 + math.cos(math.pi * min(max(share, 0.0), 1.0)))


SCHEDULES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "constant": constant,
        "cosine": cosine,
        "cosine-restarts": cosine_restarts,
        "one-cycle": one_cycle,
    }
)
"""Factors of the learning rate by name, each a function of the share of training that is done."""
