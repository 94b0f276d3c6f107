"""Data snooping: pairs that fail the w-test are left out, and may be taken back; compiled."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .system import Network, Scratch, Settings, freedom, residual, solve

__all__ = ["snoop"]

F4 = NDArray[np.float32]
B1 = NDArray[np.bool_]

# Median of chi-squared with two degrees of freedom.
_MEDIAN = 1.3863
_FEWEST_FOR_SCALE = 8
_LEAST_SCALE = 0.04
_READMISSIONS = 12


@njit(nogil=True, cache=True)
def _spread(settings: Settings, active: B1, s: Scratch) -> float:
    """Square of the scale by which the residuals exceed what the errors say, robustly."""
    count = 0
    for i in range(active.size):
        if active[i] and s.statistic[i] > 0.0:
            s.sorted_statistic[count] = s.statistic[i]
            count += 1
    if not settings.scaled or count < _FEWEST_FOR_SCALE:
        return 1.0
    return float(max(np.median(s.sorted_statistic[:count]) / _MEDIAN, _LEAST_SCALE))


@njit(nogil=True, cache=True)
def _reject(limit: float, active: B1, freedom: int, s: Scratch) -> bool:
    """Reject the worst pairs; those that fail half as badly go with the worst one."""
    worst = 0.0
    for i in range(active.size):
        if active[i]:
            worst = max(worst, s.statistic[i])
    if worst <= limit:
        return False
    spare = freedom // 2
    changed = False
    for i in range(active.size):
        if active[i] and spare > 1 and s.statistic[i] > limit and s.statistic[i] >= 0.5 * worst:
            active[i] = False
            spare -= 1
            changed = True
    return changed


@njit(nogil=True, cache=True)
def _readmit(
    network: Network, limit: float, displacement: F4, variance: F4, offset: F4, valid: B1,
    active: B1, images: int, use_bias: bool, s: Scratch,
) -> bool:  # fmt: skip
    """Take back what the solution without it foretells after all."""
    changed = False
    for i in range(active.size):
        if valid[i] and not active[i]:
            statistic = residual(
                network, displacement, variance, offset, images, i, use_bias, True, s
            )
            if 0.0 < statistic <= limit:
                active[i] = True
                changed = True
    return changed


@njit(nogil=True, cache=True)
def snoop(
    network: Network, settings: Settings, displacement: F4, variance: F4, offset: F4, valid: B1,
    active: B1, images: int, use_bias: bool, s: Scratch,
) -> float:  # fmt: skip
    """Solve with data snooping; returns the separability of ΔZ.

    Blunders inflate every residual, and with them any scale that is taken from residuals. So pairs
    are first tested against their declared errors; those that remain tell the scale, and what it
    forgives is taken back. Last of all a scale below 1 has its say.
    """
    share = solve(network, settings, displacement, variance, offset, active, images, use_bias, s)
    if settings.critical <= 0.0:
        return share
    for _ in range(active.size):
        if not _reject(settings.critical, active, freedom(active, images, s), s):
            break
        share = solve(
            network, settings, displacement, variance, offset, active, images, use_bias, s
        )
    for _ in range(_READMISSIONS):
        limit = settings.critical * max(_spread(settings, active, s), 1.0)
        if not _readmit(
            network, limit, displacement, variance, offset, valid, active, images, use_bias, s
        ):
            break
        share = solve(
            network, settings, displacement, variance, offset, active, images, use_bias, s
        )
    for _ in range(active.size):
        limit = settings.critical * _spread(settings, active, s)
        if not _reject(limit, active, freedom(active, images, s), s):
            break
        share = solve(
            network, settings, displacement, variance, offset, active, images, use_bias, s
        )
    return share
