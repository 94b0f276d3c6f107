"""Periods of constant velocity, and how long each pair spends in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DAYS_PER_YEAR, DateError, InputError

__all__ = ["overlap_years", "period_edges"]

F8 = NDArray[np.float64]


def period_edges(cube: xr.Dataset, periods: str | Sequence[Any] | None) -> NDArray[np.datetime64]:
    """Dates between which the velocity is constant; the first and last one of the pairs for none.

    Raises
    ------
    InputError, DateError
        If the periods are no length of time, or do not cover the pairs.
    """
    first = cube["acquisition_date_img1"].values.astype("datetime64[ns]").min()
    last = cube["acquisition_date_img2"].values.astype("datetime64[ns]").max()
    if periods is None:
        return np.array([first, last])
    if isinstance(periods, str):
        try:
            length = np.timedelta64(pd.Timedelta(periods).value, "ns")
        except ValueError as error:
            raise InputError(f"periods={periods!r} is no length of time: use '90D'") from error
        if not length > np.timedelta64(0, "ns"):
            raise InputError(f"periods={periods!r} is not a positive length of time")
        count = int(np.ceil((last - first) / length))
        return np.asarray(first + np.arange(count + 1) * length)
    edges = np.array(periods, "datetime64[ns]")
    if edges.ndim != 1 or edges.size < 2 or np.any(np.diff(edges) <= np.timedelta64(0, "ns")):
        raise DateError("periods must be at least two dates, in order")
    if edges[0] > first or edges[-1] < last:
        raise DateError(
            f"the periods run from {str(edges[0])[:10]} to {str(edges[-1])[:10]}, the pairs from "
            f"{str(first)[:10]} to {str(last)[:10]}: lengthen the periods, or leave pairs out"
        )
    return edges


def overlap_years(cube: xr.Dataset, edges: NDArray[np.datetime64]) -> F8:
    """Years that each pair spends in each period: (pairs, periods)."""
    first = cube["acquisition_date_img1"].values.astype("datetime64[ns]")[:, None]
    last = cube["acquisition_date_img2"].values.astype("datetime64[ns]")[:, None]
    shared = np.minimum(last, edges[None, 1:]) - np.maximum(first, edges[None, :-1])
    years = shared / np.timedelta64(1, "ns") / (DAYS_PER_YEAR * 86_400e9)
    return np.ascontiguousarray(np.maximum(years, 0.0), np.float64)
