"""Speeds along a line in time, for any product that has maps at more than one date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.model import InputError
from ogive.series.section import section

from .product import Product, pixel_size

__all__ = ["Profile", "profile"]


class Profile(NamedTuple):
    """Speeds along a line: ``v`` (time, distance), the ends of the periods, and what they are."""

    along: xr.Dataset
    edges: NDArray[np.datetime64]
    title: str


def profile(product: Product, corners: Sequence[tuple[float, float]]) -> Profile:
    """Cut a cube or a series along a line.

    The pairs of a cube are gathered by the month that their middle lies in, and the median is
    taken of each; a series has its own periods.

    Parameters
    ----------
    product
        Of the kind ``"series"`` or ``"cube"``.
    corners
        Two or more places, from the line's head on.

    Raises
    ------
    InputError
        If the product has no maps in time, or the line lies outside of it.
    """
    if product.kind not in ("series", "cube"):
        raise InputError(f"{product.name} has no maps in time: a section needs a cube or a series")
    if len(corners) < 2:
        raise InputError("a profile needs two or more places: click its corners on the map")
    near = _around(product, corners)
    along = section(near.load(), np.asarray(corners, np.float64))
    if product.kind == "series":
        bounds = product.data["time_bounds"].values
        vx, vy = (along[name].transpose("time", "distance").values for name in ("vx", "vy"))
        cut = xr.Dataset(
            {"v": (("time", "distance"), np.hypot(vx, vy))}, {"distance": along["distance"]}
        )
        return Profile(cut, np.append(bounds[:, 0], bounds[-1, 1]), "Speed along the line")
    return _by_month(along)


def _around(product: Product, corners: Sequence[tuple[float, float]]) -> xr.Dataset:
    """Take the part of the maps that the line crosses, one pixel wider on all sides."""
    points, margin = np.asarray(corners, np.float64), 1.5 * pixel_size(product)
    part = product.data[["vx", "vy"]]
    for k, axis in enumerate(("x", "y")):
        values = product.data[axis].values
        low, high = points[:, k].min() - margin, points[:, k].max() + margin
        inside = np.flatnonzero((values >= low) & (values <= high))
        if inside.size < 2:
            raise InputError(f"the line lies outside of {product.name}")
        part = part.isel({axis: slice(inside[0], inside[-1] + 1)})
    return part


def _by_month(along: xr.Dataset) -> Profile:
    months = pd.DatetimeIndex(along["mid_date"].values).to_period("M")
    all_months = pd.period_range(months.min(), months.max(), freq="M")
    vx, vy = (along[name].transpose("mid_date", "distance").values for name in ("vx", "vy"))
    speed = np.full((len(all_months), vx.shape[1]), np.nan, np.float32)
    for k, month in enumerate(all_months):
        chosen = np.flatnonzero(months == month)
        columns = np.isfinite(vx[chosen]).any(axis=0) if chosen.size else np.array([], bool)
        if columns.any():
            medians = [np.nanmedian(part[chosen][:, columns], axis=0) for part in (vx, vy)]
            speed[k, columns] = np.hypot(*medians)
    edges = np.append(all_months.start_time.values, (all_months[-1] + 1).start_time.to_datetime64())
    cut = xr.Dataset({"v": (("time", "distance"), speed)}, {"distance": along["distance"]})
    return Profile(cut, edges, "Speed along the line, median of each month's pairs")
