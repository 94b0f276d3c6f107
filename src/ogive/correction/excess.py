"""What errs on stable ground beyond the match itself: jitter, relief, shadows that moved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["excess_variance"]

_MEDIAN_OF_CHI_SQUARE = 0.4549
"""Median of a squared standard normal number."""

Floats = npt.NDArray[np.float64]


def excess_variance(residual: Floats, variance: Floats) -> float:
    r"""Variance that has to be added to declared ones so that they explain what is seen.

    The match declares how well two windows fit; it cannot know that the whole image bends by a
    tenth of a pixel with the satellite's attitude, or that light and shade moved over the ground.
    Still ground shows it. The excess :math:`s^2` solves

    .. math:: \operatorname{median} \frac{r_i^2}{\sigma_i^2 + s^2} = 0.4549,

    the median of a squared standard normal number; zero when the declared variances suffice.

    Parameters
    ----------
    residual, variance
        Residual displacements on stable ground and their declared error variances.

    Returns
    -------
    float
        In squared units of the residual.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> seen = 0.05 * rng.standard_normal(20_000)
    >>> bool(abs(excess_variance(seen, np.full(20_000, 0.04**2)) ** 0.5 - 0.03) < 0.002)
    True
    """
    squared = residual**2
    if squared.size == 0 or np.median(squared / variance) <= _MEDIAN_OF_CHI_SQUARE:
        return 0.0
    low, high = 0.0, float(np.median(squared)) / _MEDIAN_OF_CHI_SQUARE
    for _ in range(60):
        middle = 0.5 * (low + high)
        if np.median(squared / (variance + middle)) > _MEDIAN_OF_CHI_SQUARE:
            low = middle
        else:
            high = middle
    return high
