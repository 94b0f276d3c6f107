"""What a joint inversion needs to know of a network: nodes of images and dates, and periods."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DAYS_PER_YEAR, DateError, InputError

__all__ = ["Plan", "make_plan", "series_edges"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

_SAME_DATE = np.timedelta64(12, "h")


class Plan(NamedTuple):
    """The network: images of pairs, nodes of images and dates, and the periods to read off.

    Node 0 is the first date and the origin; ``reach`` is, for every other node less one, the first
    that it meets. Edge ``k`` of the output, ``marks_years[k]`` after the first date, lies
    ``fraction[k]`` of the way from date ``edge[k]`` to the next.
    """

    first: I8
    last: I8
    node_of_image: I8
    date_of_image: I8
    node_of_date: I8
    date_years: F8
    reach: I8
    marks_years: F8
    edge: I8
    fraction: F8


def series_edges(cube: xr.Dataset, sampling: str) -> NDArray[np.datetime64]:
    """Dates between which the series has one velocity each.

    Raises
    ------
    InputError, DateError
        If the sampling is no length of time, or longer than the pairs' whole span.
    """
    first = cube["acquisition_date_img1"].values.astype("datetime64[ns]").min()
    last = cube["acquisition_date_img2"].values.astype("datetime64[ns]").max()
    try:
        length = np.timedelta64(pd.Timedelta(sampling).value, "ns")
    except ValueError as error:
        raise InputError(f"sampling {sampling!r} is no length of time: use '36D', say") from error
    if not length > np.timedelta64(0, "ns"):
        raise InputError(f"sampling {sampling!r} is not a positive length of time")
    count = int((last - first) / length + 1e-9)
    if count < 1:
        span = (last - first) / np.timedelta64(1, "D")
        raise DateError(f"the pairs span {span:.1f} days, less than one period of {sampling}")
    return np.asarray(first + np.arange(count + 1) * length)


def make_plan(
    first: I8, last: I8, times: NDArray[np.datetime64], edges: NDArray[np.datetime64]
) -> tuple[Plan, I8]:
    """Order dates and images in time, and find what meets what.

    Returns the plan, whose images are numbered in time, and their numbers among the views; images
    without a pair are left out.
    """
    used = np.unique(np.concatenate([first, last]))
    order = used[np.argsort(times[used], kind="stable")]
    dates: list[list[int]] = []
    for image in order:
        if dates and times[image] - times[dates[-1][0]] < _SAME_DATE:
            dates[-1].append(int(image))
        else:
            dates.append([int(image)])
    number = {int(image): k for k, image in enumerate(order)}
    node_of_date, node_of_image = np.zeros(len(dates), np.int64), np.zeros(order.size, np.int64)
    date_of_image = np.zeros(order.size, np.int64)
    node = 0
    for k, images in enumerate(dates):
        node_of_date[k] = node
        node += 1
        for image in images:
            node_of_image[number[image]] = node
            date_of_image[number[image]] = k
            node += 1
    stamps = np.array([times[images].astype(np.int64).mean() for images in dates])
    start = stamps[0]
    years = (stamps - start) / (DAYS_PER_YEAR * 86_400e9)
    marks = (edges.astype(np.int64) - start) / (DAYS_PER_YEAR * 86_400e9)
    edge = np.clip(np.searchsorted(years, marks, side="right") - 1, 0, years.size - 2)
    fraction = np.clip((marks - years[edge]) / (years[edge + 1] - years[edge]), 0.0, 1.0)
    numbers = np.full(times.size, -1, np.int64)
    numbers[order] = np.arange(order.size)
    plan = Plan(
        first=numbers[first],
        last=numbers[last],
        node_of_image=node_of_image,
        date_of_image=date_of_image,
        node_of_date=node_of_date,
        date_years=years,
        reach=np.arange(node - 1),
        marks_years=np.ascontiguousarray(marks, np.float64),
        edge=edge.astype(np.int64),
        fraction=fraction,
    )
    return plan._replace(reach=_reach(plan, node)), order


def _reach(plan: Plan, nodes: int) -> I8:
    """First equation that each equation meets; node 0 has none."""
    least = np.arange(nodes)
    joined = [
        (plan.node_of_image[plan.first], plan.node_of_image[plan.last]),
        (plan.node_of_date[plan.date_of_image], plan.node_of_image),
        (plan.node_of_date[:-1], plan.node_of_date[1:]),
        (plan.node_of_date[:-2], plan.node_of_date[2:]),
    ]
    for a, b in joined:
        np.minimum.at(least, np.maximum(a, b), np.minimum(a, b))
    return np.maximum(least[1:] - 1, 0).astype(np.int64)
