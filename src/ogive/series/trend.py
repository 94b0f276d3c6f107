"""Trends of the velocity of each pixel, and whether they are more than noise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DAYS_PER_YEAR, InputError

from .filters import in_threads
from .line import LINE_OUTPUTS, YEAR_OUTPUTS, Lines, fit_rows
from .observations import Observations, check_cube, pairs_of, sorted_velocities

__all__ = ["TREND_ATTRIBUTES", "fit_lines", "trend"]

Fit = Literal["ols", "theil_sen"]

ROWS_AT_ONCE = 4

TREND_ATTRIBUTES: Mapping[str, Mapping[str, Any]] = {
    "trend": {"long_name": "trend of the velocity along the flow", "units": "meter/year2"},
    "trend_error": {"long_name": "standard error of the trend", "units": "meter/year2"},
    "p_value": {"long_name": "two-sided p-value of the Mann-Kendall test", "units": "1"},
    "kendall_s": {"long_name": "Kendall's S of the velocity along the flow", "units": "1"},
    "shared_image_correlation": {
        "long_name": "correlation of the errors of two displacements that share an image",
        "units": "1",
    },
    "n": {"long_name": "observations in the trend", "units": "1"},
}


def trend(
    cube: xr.Dataset, *, fit: Fit = "ols", significance: float = 0.05, threads: int | None = None
) -> xr.Dataset:
    """Trend of the velocity along each pixel's flow, with its error and the Mann-Kendall test.

    The line goes through the middle dates of the pairs. Lines of both components are fitted and
    the trend is their slope along the mean velocity: that of magnitudes would be biased where the
    noise changes. The errors and the test count what pairs that share an image have in common, see
    `ogive.series.line`.

    Parameters
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year, filtered or not. A lazy cube is loaded whole:
        `ogive.annual` works block by block.
    fit
        ``"ols"``, ordinary least squares (Rabatel et al. 2023), or ``"theil_sen"``, the median
        slope (Sen 1968), some ten times slower.
    significance
        A trend is significant where the test's p-value is below it.
    threads
        By default all cores; the result is the same for any number.

    Returns
    -------
    xarray.Dataset
        On (y, x): ``trend`` and ``trend_error`` (meter/year2), ``p_value``, ``kendall_s``,
        ``trend_mask`` (1 where significant), ``shared_image_correlation``, ``n``. NaN where the
        middles of a pixel's pairs span less than a year, or there are fewer than three.

    Raises
    ------
    InputError, DateError
        If the cube is no canonical one or an option is unknown.

    Examples
    --------
    >>> days = np.datetime64("2015-01-01", "ns") + (30 * np.arange(60)).astype("timedelta64[D]")
    >>> speed = (100 - 2 * (np.arange(59) * 30 / 365.25)) / 2**0.5  # of each component
    >>> field = xr.DataArray(speed[:, None, None], dims=("mid_date", "y", "x"))
    >>> field.attrs["units"] = "meter/year"
    >>> cube = xr.Dataset({"vx": field, "vy": field},
    ...     {"acquisition_date_img1": ("mid_date", days[:-1]),
    ...      "acquisition_date_img2": ("mid_date", days[1:])})
    >>> trend(cube).trend.values.round(3)
    array([[-2.]], dtype=float32)
    """
    check_cube(cube)
    check_fit(fit)
    check_share("significance", significance)
    pairs = pairs_of(cube)
    order = np.argsort(pairs.mid_years, kind="stable")
    observations = Observations(*sorted_velocities(cube, order), pairs.take(order))
    lines = fit_lines(observations, np.empty(0), fit, cores(threads))
    fields = {
        name: (("y", "x"), lines.pixel[k], dict(TREND_ATTRIBUTES[name]))
        for k, name in enumerate(LINE_OUTPUTS)
    }
    places = {name: cube[name] for name in ("y", "x", "spatial_ref") if name in cube.coords}
    result = xr.Dataset(fields, places)
    result["trend_mask"] = (("y", "x"), significant(lines.pixel[2], significance))
    result["trend_mask"].attrs = mask_attributes(significance)
    result.attrs = {"trend_fit": fit, "significance": significance, "days_per_year": DAYS_PER_YEAR}
    return result


def significant(p_value: NDArray[np.float32], significance: float) -> NDArray[np.uint8]:
    """1 where a p-value is below the level, 0 elsewhere."""
    return (p_value < significance).astype(np.uint8)


def mask_attributes(significance: float) -> dict[str, Any]:
    """CF attributes of the mask of significant trends."""
    return {
        "long_name": f"significant trend (Mann-Kendall test, p < {significance:g})",
        "flag_values": np.array([0, 1], np.uint8),
        "flag_meanings": "not_significant significant",
    }


def check_fit(fit: str) -> None:
    """Refuse an unknown way to fit a line."""
    if fit not in ("ols", "theil_sen"):
        raise InputError(f'fit {fit!r} is unknown: use "ols" or "theil_sen"')


def check_share(name: str, value: float) -> None:
    """Refuse a probability that is none."""
    if not 0 < value < 1:
        raise InputError(f"{name}={value}: a number between 0 and 1 is needed")


def cores(threads: int | None) -> int:
    """Resolve the number of threads."""
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}: give at least 1")
    return threads or os.cpu_count() or 1


def fit_lines(
    observations: Observations, centres_years: NDArray[np.float64], fit: str, threads: int
) -> Lines:
    """Fit the lines of all pixels and evaluate them at some times (years since 2000).

    The observations are sorted by their middle dates.
    """
    pairs = observations.pairs
    shape = observations.vx.shape[1:]
    pixel = np.full((len(LINE_OUTPUTS), *shape), np.nan, np.float32)
    years = np.full((len(YEAR_OUTPUTS), centres_years.size, *shape), np.nan, np.float32)
    # Times from the middle of the record, so that sums of squares do not cancel.
    origin = float(np.mean(pairs.mid_years))

    def work(rows: range) -> None:
        fit_rows(
            observations.vx, observations.vy, pairs.mid_years - origin, pairs.span_years,
            pairs.image1, pairs.image2, centres_years - origin, fit == "theil_sen", True,
            rows.start, rows.stop, pixel, years,
        )  # fmt: skip

    for _ in in_threads(work, row_ranges(shape[0], ROWS_AT_ONCE), threads):
        pass
    return Lines(pixel, years)


def row_ranges(rows: int, at_once: int) -> list[range]:
    """Cut rows into ranges that threads share out."""
    return [range(a, min(a + at_once, rows)) for a in range(0, rows, at_once)]
