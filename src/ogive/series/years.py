"""The years of annual maps: hydrological, calendar, or any periods of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ogive.model import DateError, InputError

from .observations import Pairs, in_years

__all__ = ["Period", "overlaps", "season_parts", "years_of"]

PARTS = 12


class Period(NamedTuple):
    """From ``start`` to ``end`` (not included); ``name`` is what its layers are called after."""

    start: np.datetime64
    end: np.datetime64
    name: str

    @classmethod
    def of(cls, start: str, end: str, name: str = "") -> Period:
        """Make a period of two dates.

        Examples
        --------
        >>> Period.of("2018-05-01", "2018-10-01").name
        '20180501_20181001'

        Raises
        ------
        DateError
            If a date is no date, or the end is not after the start.
        """
        try:
            first, last = np.datetime64(start, "ns"), np.datetime64(end, "ns")
        except ValueError as error:
            raise DateError(f"a period from {start!r} to {end!r} has no dates") from error
        if not first < last:
            raise DateError(f"the period from {start} to {end} has no length")
        days = (str(d.astype("datetime64[D]")).replace("-", "") for d in (first, last))
        return cls(first, last, name or "_".join(days))


def years_of(
    first: np.datetime64, last: np.datetime64, year_start: str = "10-01"
) -> tuple[Period, ...]:
    """List the years of a record: those that it covers by half or more.

    Years at its ends that it touches only are left out; where it covers none by half, the year is
    given that holds most of it.

    Parameters
    ----------
    first, last
        The record: its first and its last acquisition.
    year_start
        Month and day of a year's first day: ``"10-01"`` for hydrological years of the northern
        hemisphere (named ``2015_2016``), ``"01-01"`` for calendar years (named ``2015``).

    Raises
    ------
    DateError
        If ``year_start`` is no day.

    Examples
    --------
    >>> record = np.datetime64("2015-08-30", "ns"), np.datetime64("2017-09-01", "ns")
    >>> [year.name for year in years_of(*record)]
    ['2015_2016', '2016_2017']
    """
    begin = int(str(first.astype("datetime64[Y]"))) - 1
    stop = int(str(last.astype("datetime64[Y]"))) + 1
    try:
        starts = [np.datetime64(f"{y}-{year_start}", "ns") for y in range(begin, stop + 2)]
    except ValueError as error:
        raise DateError(
            f"year_start={year_start!r} is no day that all years have: give month and day, such "
            "as '10-01'"
        ) from error
    calendar = year_start == "01-01"
    years = []
    for year, start, end in zip(range(begin, stop + 1), starts[:-1], starts[1:], strict=True):
        years.append(Period(start, end, str(year) if calendar else f"{year}_{year + 1}"))
    shares = np.array([_shared(year, first, last) for year in years])
    covered = [year for year, share in zip(years, shares, strict=True) if share >= 0.5]
    return tuple(covered) if covered else (years[int(np.argmax(shares))],)


def _shared(year: Period, first: np.datetime64, last: np.datetime64) -> float:
    common = min(year.end, last) - max(year.start, first)
    return float(common / (year.end - year.start))


def check_periods(periods: Sequence[Period]) -> None:
    """Refuse periods that cannot name layers.

    Raises
    ------
    InputError
        If there is none, or two have one name.
    """
    names = [period.name for period in periods]
    if not names or len(set(names)) < len(names):
        raise InputError(f"periods need names of their own, at least one: {names}")


def overlaps(pairs: Pairs, periods: Sequence[Period]) -> NDArray[np.float64]:
    """Share of each pair's span that lies in each period: (period, n).

    A velocity is a mean over its span, so that a pair across the border of two years tells of each
    as much as it lies in it.
    """
    shares = np.empty((len(periods), pairs.start_years.size))
    for p, period in enumerate(periods):
        start, end = in_years(np.array([period.start, period.end]))
        common = np.minimum(pairs.end_years, end) - np.maximum(pairs.start_years, start)
        shares[p] = np.maximum(common, 0.0) / pairs.span_years
    return shares


def season_parts(pairs: Pairs, periods: Sequence[Period]) -> NDArray[np.uint16]:
    """Which twelfths of a period a pair touches: one bit each, of any period, (n,)."""
    bits = np.zeros(pairs.start_years.size, np.uint16)
    for period in periods:
        start, end = in_years(np.array([period.start, period.end]))
        edges = np.linspace(start, end, PARTS + 1)
        for part in range(PARTS):
            common = np.minimum(pairs.end_years, edges[part + 1]) - np.maximum(
                pairs.start_years, edges[part]
            )
            bits |= np.where(common > 0, np.uint16(1 << part), np.uint16(0))
    return bits
