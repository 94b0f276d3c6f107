"""How the flow changes with time: seasons, a trend over the years, a surge."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from scipy.special import erf

from ..model import DAYS_PER_YEAR, InputError

__all__ = ["EPOCH", "ModeFactors", "Rhythm", "date_of", "years_since_epoch"]

EPOCH = datetime(2000, 1, 1)
"""From here the years of the simulation are counted; whole years are (nearly) first of January."""


def years_since_epoch(date: datetime) -> float:
    """Years of 365.25 days since the first of January 2000.

    Examples
    --------
    >>> years_since_epoch(datetime(2004, 1, 1))
    4.0
    """
    return (date - EPOCH) / timedelta(days=DAYS_PER_YEAR)


def date_of(years: float) -> datetime:
    """Give the date that is so many years after the epoch."""
    return EPOCH + timedelta(days=DAYS_PER_YEAR) * years


class ModeFactors(NamedTuple):
    """Weight of each way in which the flow departs from its mean (or the weight's integral)."""

    season: float
    trend: float
    surge: float


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Changes of the flow with time; the mean flow is multiplied by one plus their sum.

    Attributes
    ----------
    seasonal_amplitude
        Half the range of the yearly cycle over the mean, at the tongue; it fades upwards.
    fastest_day
        Day of the year of the peak; 150 is late spring, when melt water reaches the bed.
    trend_per_year
        Relative change of the speed in a year.
    trend_origin
        When the trend is zero.
    surge_amplitude
        Relative speed-up at the height of a surge, where it is strongest; 0 for no surge.
    surge_peak
        When it culminates.
    surge_duration_days
        Standard deviation of its (Gaussian) course.

    Examples
    --------
    >>> rhythm = Rhythm(seasonal_amplitude=0.2, fastest_day=0, trend_per_year=0)
    >>> round(rhythm.factors(20.0).season, 3)
    0.2
    """

    seasonal_amplitude: float = 0.25
    fastest_day: float = 160.0
    trend_per_year: float = -0.03
    trend_origin: datetime = datetime(2020, 1, 1)
    surge_amplitude: float = 0.0
    surge_peak: datetime = datetime(2020, 7, 1)
    surge_duration_days: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.seasonal_amplitude < 1:
            raise InputError(
                f"seasonal_amplitude is {self.seasonal_amplitude}: from 0 to below 1, or the ice"
                " would flow uphill in the slow season"
            )
        if self.surge_amplitude < 0 or self.surge_duration_days <= 0:
            raise InputError("a surge needs an amplitude of 0 or more and a positive duration")

    def factors(self, years: float) -> ModeFactors:
        """Weights of the modes at a time, given in years since the epoch."""
        phase = 2 * np.pi * (years - self.fastest_day / DAYS_PER_YEAR)
        late = (years - years_since_epoch(self.surge_peak)) / self._surge_years
        return ModeFactors(
            float(self.seasonal_amplitude * np.cos(phase)),
            float(self.trend_per_year * (years - years_since_epoch(self.trend_origin))),
            float(self.surge_amplitude * np.exp(-(late**2) / 2)),
        )

    def integrals(self, years: float) -> ModeFactors:
        """Antiderivatives of the weights, in years."""
        phase = 2 * np.pi * (years - self.fastest_day / DAYS_PER_YEAR)
        since = years - years_since_epoch(self.trend_origin)
        late = (years - years_since_epoch(self.surge_peak)) / self._surge_years
        area = self.surge_amplitude * self._surge_years * np.sqrt(np.pi / 2)
        return ModeFactors(
            float(self.seasonal_amplitude * np.sin(phase) / (2 * np.pi)),
            float(self.trend_per_year * since**2 / 2),
            float(area * erf(late / np.sqrt(2))),
        )

    @property
    def _surge_years(self) -> float:
        return self.surge_duration_days / DAYS_PER_YEAR
