"""Displacement series of images from several orbits, jointly with one elevation bias per pixel.

`ogive.invert` takes all pairs for motion: where the elevation model of the orthorectification is
wrong, a series of two orbits jumps to and fro between them. Here the bias is estimated beside the
series (see `ogive.series.elevation_kernel` for the model), so that images of both orbits make one
series with twice the dates. What tells the two apart is that ice changes its speed slowly and the
orbits alternate quickly; how slowly is found from each pixel's own data.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from ogive.correction.orthorectification import (
    Scale,
    cube_displacement,
    offsets_on_pixels,
    span_years,
)
from ogive.correction.orthorectification_flags import geometry_attributes
from ogive.correction.orthorectification_views import pair_images, sensitivity
from ogive.correction.velocity import speed_error
from ogive.model import ATTRIBUTES, DAYS_PER_YEAR, DateError, InputError

from .elevation_kernel import Choices, Plan, Series, empty_series, solve_series

__all__ = ["invert_with_elevation_bias"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

_SAME_DATE = np.timedelta64(12, "h")
_WALKS = np.arange(-1.0, 8.5, 1.0)
"""Decades of q, (m/yr)² a year: from 0.3 m/yr to 10 km/yr of change in a year."""

_LEAST_IMAGE_ERROR = 0.03
"""Of the pairs' median error: with less an image's error has no effect but on rounding."""


def invert_with_elevation_bias(
    cube: xr.Dataset,
    views: xr.Dataset,
    sampling: str = "36D",
    *,
    image_error_m: float = 0.0,
    speed_change_m_yr: float | None = None,
    significance: float | None = 0.001,
    scale: Scale = "residuals",
    least_baseline: float = 0.01,
    threads: int | None = None,
) -> xr.Dataset:
    """Invert pairs of several orbits into one series and one elevation bias per pixel.

    Parameters
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year with their errors and both acquisition dates.
    views
        View geometry of every image, of `ogive.stack_views`.
    sampling
        Length of the series' periods.
    image_error_m
        Standard error of an image's own displacement, which all its pairs share, in metres.
    speed_change_m_yr
        Standard deviation of the change of each velocity component in a year, where it is known;
        by default the most likely one of every pixel (it grows with the root of time).
    significance, scale, least_baseline, threads
        As of `ogive.elevation_bias`.

    Returns
    -------
    xarray.Dataset
        Along ``time``: ``vx, vy, v`` and their errors; per pixel ``elevation_bias`` (m, surface
        minus model) with ``elevation_bias_error``, ``speed_change`` (m/yr in a year),
        ``unit_variance``, ``pairs_used``, ``pairs_rejected``, ``baseline`` and ``geometry``.
        Without a second orbit the bias is NaN, and the series is delivered all the same.

    Raises
    ------
    InputError, DateError, GridError
        If the cube, the views or an option cannot be used.

    Examples
    --------
    >>> from ogive.simulation.orbits import displacement_network
    >>> made = displacement_network((1, 1), images=12, pairs=None, noise_m=0.1)
    >>> series = invert_with_elevation_bias(made.cube, made.views, "20D")
    >>> abs(float(series.elevation_bias[0, 0] - made.elevation_bias_m[0, 0])) < 3
    True
    """
    _check(image_error_m, speed_change_m_yr, significance, scale, least_baseline, threads)
    offsets = sensitivity(views)
    first, last = pair_images(cube, views)
    years = span_years(cube)
    edges = _edges(cube, sampling)
    plan, order = _plan(first, last, views["time"].values.astype("datetime64[ns]"), edges)
    sigma = _sigma(cube, years)
    critical = 0.0 if significance is None else float(stats.chi2.ppf(1 - significance, 2))
    walks = _WALKS if speed_change_m_yr is None else np.array([2 * np.log10(speed_change_m_yr)])
    least = _LEAST_IMAGE_ERROR * float(np.nanmedian(sigma))
    choices = Choices(
        image_variance=max(image_error_m, least) ** 2,
        critical=critical,
        least_baseline=float(least_baseline),
        scaled=scale == "residuals",
        walks=walks,
    )
    displacement = cube_displacement(cube, years)
    result = empty_series(displacement.shape[0], edges.size - 1)
    offset = np.ascontiguousarray(offsets_on_pixels(offsets, cube)[:, :, order])
    _run(plan, choices, displacement, sigma, offset, result, threads)
    series = _describe(cube, result, edges, scale, least_baseline)
    nominal = "geometry" in views and bool(np.any(views["geometry"].values == "nominal"))
    if nominal:
        series["geometry"] = (series["geometry"] | np.uint8(32)).assign_attrs(geometry_attributes())
    series.attrs |= {
        "inversion_sampling": sampling,
        "elevation_bias_image_error_m": float(image_error_m),
        "elevation_bias_significance": np.nan if significance is None else float(significance),
        "elevation_bias_scale": scale,
    }
    return series


def _check(
    image_error_m: float,
    speed_change_m_yr: float | None,
    significance: float | None,
    scale: str,
    least_baseline: float,
    threads: int | None,
) -> None:
    if not (np.isfinite(image_error_m) and image_error_m >= 0):
        raise InputError(f"image_error_m is {image_error_m}: give 0 or a number of metres")
    if speed_change_m_yr is not None and not speed_change_m_yr > 0:
        raise InputError(f"speed_change_m_yr is {speed_change_m_yr}: give a positive number")
    if significance is not None and not 0 < significance < 1:
        raise InputError(f"significance is {significance}: give a probability, such as 0.001")
    if scale not in ("residuals", "declared"):
        raise InputError(f'scale {scale!r} is unknown: use "residuals" or "declared"')
    if not least_baseline > 0:
        raise InputError(f"least_baseline is {least_baseline}: give a positive number")
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}: give at least 1")


def _sigma(cube: xr.Dataset, years: F8) -> F4:
    """Standard errors of the displacements, (pixels or 1, 2, pairs), m."""
    missing = [name for name in ("vx_error", "vy_error") if name not in cube]
    if missing:
        raise InputError(f"the cube has no {' and no '.join(missing)}: the inversion needs errors")
    parts = [cube["vx_error"], cube["vy_error"]]
    if any(part.dims != ("mid_date",) for part in parts):
        parts = [part.broadcast_like(cube["vx"]).transpose("y", "x", "mid_date") for part in parts]
    stacked = np.stack([np.asarray(part.values, np.float64) * years for part in parts], axis=-2)
    return np.ascontiguousarray(stacked.reshape(-1, 2, years.size), np.float32)


def _edges(cube: xr.Dataset, sampling: str) -> NDArray[np.datetime64]:
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


def _plan(
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


def _run(
    plan: Plan,
    choices: Choices,
    displacement: F4,
    sigma: F4,
    offset: F4,
    series: Series,
    threads: int | None,
) -> None:
    pixels, workers = displacement.shape[0], threads or os.cpu_count() or 1
    edges = np.unique(np.linspace(0, pixels, min(8 * workers, pixels) + 1).astype(int))
    with ThreadPoolExecutor(workers) as pool:
        futures = [
            pool.submit(
                solve_series, plan, choices, displacement, sigma, offset, int(a), int(b), series
            )
            for a, b in pairwise(edges)
        ]
        for future in futures:
            future.result()


def _factor(series: Series, scale: Scale) -> F8:
    """By what formal errors are multiplied, (pixels,): σ0, and Student's t for its own error."""
    if scale == "declared":
        return np.ones(series.used.size)
    freedom = np.maximum(2 * series.used - 2 - np.isfinite(series.bias), 0)
    table = stats.t.ppf(0.975, np.arange(1, freedom.max(initial=1) + 1)) / stats.norm.ppf(0.975)
    known = freedom > 0
    factor = np.ones(series.used.size)
    factor[known] = np.sqrt(series.scale[known]) * table[freedom[known] - 1]
    return factor


def _describe(
    cube: xr.Dataset,
    series: Series,
    edges: NDArray[np.datetime64],
    scale: Scale,
    least_baseline: float,
) -> xr.Dataset:
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    factor = _factor(series, scale)
    years = np.diff(edges) / np.timedelta64(1, "ns") / (DAYS_PER_YEAR * 86_400e9)
    velocity = series.displacement / years
    error = factor[:, None, None] * np.sqrt(series.variance) / years

    def maps(values: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[Any]]:
        kind = np.float32 if values.dtype.kind == "f" else values.dtype
        if values.ndim == 1:
            return ("y", "x"), values.reshape(rows, columns).astype(kind)
        layers = np.moveaxis(values.reshape(rows, columns, -1), -1, 0)
        return ("time", "y", "x"), np.ascontiguousarray(layers.astype(kind))

    vx, vy = velocity[:, 0], velocity[:, 1]
    values = {
        "vx": maps(vx),
        "vy": maps(vy),
        "v": maps(np.hypot(vx, vy)),
        "vx_error": maps(error[:, 0]),
        "vy_error": maps(error[:, 1]),
        "v_error": maps(speed_error(vx, vy, error[:, 0] ** 2, error[:, 1] ** 2, 0.0 * vx)),
        "elevation_bias": maps(series.bias),
        "elevation_bias_error": maps(factor * np.sqrt(series.bias_variance)),
        "speed_change": maps(np.sqrt(series.walk * (series.scale if scale != "declared" else 1))),
        "unit_variance": maps(series.scale),
        "baseline": maps(series.baseline),
        "pairs_used": maps(series.used),
        "pairs_rejected": maps(series.rejected),
    }
    dataset = xr.Dataset(
        {
            name: (*value, _ATTRIBUTES.get(name) or dict(ATTRIBUTES.get(name, {})))
            for name, value in values.items()
        },
        coords={name: cube[name] for name in ("y", "x", "spatial_ref") if name in cube.coords},
        attrs={"days_per_year": DAYS_PER_YEAR},
    )
    dataset = dataset.assign_coords(
        time=("time", edges[:-1] + (edges[1:] - edges[:-1]) / 2),
        time_bounds=(("time", "nv"), np.stack([edges[:-1], edges[1:]], axis=1)),
    )
    dataset["time"].attrs = {"bounds": "time_bounds", "long_name": "middle of the period"}
    none = series.used == 0
    single = ~none & (series.baseline < least_baseline)
    bits = none * 1 | single * 2 | (~none & ~single & np.isnan(series.bias)) * 4
    flags = bits.astype(np.uint8).reshape(rows, columns)
    dataset["geometry"] = (("y", "x"), flags, geometry_attributes())
    return dataset


_ATTRIBUTES: dict[str, dict[str, str]] = {
    "elevation_bias": {
        "long_name": "surface minus the elevation model of the orthorectification",
        "units": "m",
    },
    "elevation_bias_error": {"long_name": "standard error of elevation_bias", "units": "m"},
    "speed_change": {
        "long_name": "most likely change of a velocity component in a year",
        "units": "meter/year",
    },
    "unit_variance": {"long_name": "mean square of the weighted residuals", "units": "1"},
    "baseline": {"long_name": "longest offset of a pair per height", "units": "1"},
    "pairs_used": {"long_name": "number of pairs used", "units": "1"},
    "pairs_rejected": {"long_name": "number of pairs rejected by the w-test", "units": "1"},
}
