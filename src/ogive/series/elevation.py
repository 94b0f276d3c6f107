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
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from ogive.correction.orthorectification.arrays import (
    cube_displacement,
    offsets_on_pixels,
    span_years,
)
from ogive.correction.orthorectification.attributes import ELEVATION_BIAS_ATTRIBUTES
from ogive.correction.orthorectification.estimate import Scale
from ogive.correction.orthorectification.flags import (
    epipolar_angle_deg,
    geometry_attributes,
    geometry_flags,
)
from ogive.correction.orthorectification.views import pair_images, sensitivity
from ogive.correction.velocity import speed_error
from ogive.model import ATTRIBUTES, DAYS_PER_YEAR, InputError

from .elevation_kernel import Choices, Plan, Series, empty_series, solve_series
from .elevation_plan import make_plan, series_edges

__all__ = ["invert_with_elevation_bias"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

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
        Along ``time``: ``vx, vy, v`` with their errors, ``vxvy_cov`` and covariances with the bias,
        and ``observations``, how many pairs overlap the period. Per pixel ``elevation_bias`` (m,
        surface minus model) with ``elevation_bias_error``, ``speed_change`` (m/yr in a year),
        ``unit_variance``, ``redundancy``, ``pairs_used``, ``pairs_rejected``, ``baseline``,
        ``epipolar_angle`` and the CF flags ``geometry``.
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
    edges = series_edges(cube, sampling)
    plan, order = make_plan(first, last, views["time"].values.astype("datetime64[ns]"), edges)
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
    series = _describe(cube, result, edges, scale)
    nominal = "geometry" in views and bool(np.any(views["geometry"].values == "nominal"))
    _add_geometry(series, result, least_baseline, nominal)
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
    freedom = _redundancy(series)
    table = stats.t.ppf(0.975, np.arange(1, freedom.max(initial=1) + 1)) / stats.norm.ppf(0.975)
    known = freedom > 0
    factor = np.ones(series.used.size)
    factor[known] = np.sqrt(series.scale[known]) * table[freedom[known] - 1]
    return factor


def _redundancy(series: Series) -> NDArray[np.int32]:
    """Two displacements a pair, less the two velocities that a walk leaves free, and the bias."""
    return np.maximum(2 * series.used - 2 - np.isfinite(series.bias), 0).astype(np.int32)


def _describe(
    cube: xr.Dataset,
    series: Series,
    edges: NDArray[np.datetime64],
    scale: Scale,
) -> xr.Dataset:
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    factor = _factor(series, scale)
    years = np.diff(edges) / np.timedelta64(1, "ns") / (DAYS_PER_YEAR * 86_400e9)
    velocity = series.displacement / years
    error = factor[:, None, None] * np.sqrt(series.variance) / years
    covariance = factor[:, None] ** 2 * series.covariance / years**2
    with_bias = factor[:, None, None] ** 2 * series.bias_covariance / years

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
        "vxvy_cov": maps(covariance),
        "v_error": maps(speed_error(vx, vy, error[:, 0] ** 2, error[:, 1] ** 2, covariance)),
        "elevation_bias": maps(series.bias),
        "elevation_bias_error": maps(factor * np.sqrt(series.bias_variance)),
        "elevation_bias_vx_cov": maps(with_bias[:, 0]),
        "elevation_bias_vy_cov": maps(with_bias[:, 1]),
        "speed_change": maps(np.sqrt(series.walk * (series.scale if scale != "declared" else 1))),
        "unit_variance": maps(series.scale),
        "baseline": maps(series.baseline),
        "redundancy": maps(_redundancy(series)),
        "observations": maps(series.observed),
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
    return dataset


def _add_geometry(
    dataset: xr.Dataset, series: Series, least_baseline: float, nominal: bool
) -> None:
    """Add the angle between mean flow and epipolar line, and say where the geometry is poor."""
    # Of all periods together, however long each of them is: where the ice went.
    known = np.isfinite(series.displacement).all(axis=2)
    went = np.where(known, series.displacement.sum(axis=2), np.nan)
    angle = epipolar_angle_deg(went[:, 0], went[:, 1], series.line)
    flags = geometry_flags(series, angle, least_baseline, nominal=nominal)
    shape = dataset["pairs_used"].shape
    dataset["epipolar_angle"] = (("y", "x"), angle.reshape(shape), _ATTRIBUTES["epipolar_angle"])
    dataset["geometry"] = (("y", "x"), flags.reshape(shape), geometry_attributes())


_ATTRIBUTES = ELEVATION_BIAS_ATTRIBUTES | {
    "speed_change": {
        "long_name": "most likely change of a velocity component in a year",
        "units": "meter/year",
    },
    "observations": {"long_name": "number of pairs that overlap the period", "units": "1"},
}
