"""Figures of the pairs with a velocity, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ogive.workflow.catalogue import Published

__all__ = ["Measured", "measured_pairs"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of all pairs with a velocity: columns, which for a million pairs are 40 MB.

    Parameters
    ----------
    mid_date
        datetime64[s], rising.
    days
        Time between the two images.
    measured_share
        Share of the points that have a velocity.
    nmad_x_m_yr, nmad_y_m_yr
        Spread on stable ground; NaN where a pair was not calibrated.
    """

    mid_date: NDArray[np.datetime64]
    days: NDArray[np.float64]
    measured_share: NDArray[np.float64]
    nmad_x_m_yr: NDArray[np.float64]
    nmad_y_m_yr: NDArray[np.float64]

    def __len__(self) -> int:
        return self.days.size


def measured_pairs(velocities: Sequence[Published]) -> Measured:
    """Put the figures of velocities into columns, in the order given."""

    def column(name: str, missing: Any = np.nan) -> list[Any]:
        return [one.figures.get(name, missing) for one in velocities]

    return Measured(
        np.array(column("mid_date", "NaT"), "datetime64[s]"),
        *(
            np.array(column(name), np.float64)
            for name in ("days", "measured_share", "nmad_x_m_yr", "nmad_y_m_yr")
        ),
    )
