"""`ogive.elevation_bias`: velocity and elevation bias of every pixel, by least squares."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from ogive.correction.velocity import speed_error
from ogive.model import ATTRIBUTES, DAYS_PER_YEAR, InputError

from .arrays import (
    cube_displacement,
    cube_variance,
    offsets_on_pixels,
    span_years,
)
from .attributes import ELEVATION_BIAS_ATTRIBUTES
from .flags import (
    epipolar_angle_deg,
    geometry_attributes,
    geometry_flags,
)
from .kernel import Network, Result, Settings, empty_result, solve_range
from .periods import overlap_years, period_edges
from .views import pair_images, sensitivity

__all__ = ["Scale", "elevation_bias"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
Scale = Literal["residuals", "declared"]


def elevation_bias(
    cube: xr.Dataset,
    views: xr.Dataset,
    *,
    periods: str | Sequence[Any] | None = None,
    image_error_m: float = 0.0,
    significance: float | None = 0.001,
    scale: Scale = "residuals",
    least_baseline: float = 0.01,
    keep_rejected: bool = False,
    threads: int | None = None,
) -> xr.Dataset:
    """Velocity and elevation bias of every pixel, from pairs of several orbits together.

    Weighted least squares with the pairs' own errors (eqs. 11-14 of Altena & Kääb 2017), and data
    snooping: the pair with the largest w-test statistic (Baarda; both components at once, chi
    squared with two degrees of freedom) is left out until none exceeds its critical value, and
    taken back where the solution foretells it after all.

    Parameters
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year with ``vx_error, vy_error`` (per pair or per
        point, and ``vxvy_cov`` where it is known) and both acquisition dates, as `ogive.stack` and
        `ogive.open_cube` give it.
    views
        View geometry of every image, along ``image``: of
        `ogive.correction.orthorectification.views.stack_views`.
    periods
        The velocity is constant (``None``), or constant within periods of this length (``"90D"``)
        or between these dates.
    image_error_m
        Standard error of an image's own displacement, in metres, which all its pairs share: what
        co-registration leaves, and noise of the image itself. It counts in addition to the pairs'.
    significance
        Of the w-test: a good pair is rejected with this probability. ``None`` rejects nothing.
    scale
        ``"residuals"``: errors (and the test) are scaled by what the residuals say, and widened by
        Student's t for the redundancy of the pixel, so that 1.96 of them hold 95 %.
        ``"declared"``: the cube's errors are believed.
    least_baseline
        Difference of two images' sensitivities, in metres per metre, from which on they count as
        two lines of sight. Passes of one orbit differ by some thousandths.
    keep_rejected
        Add ``rejected`` (mid_date, y, x), which pairs were left out.
    threads
        All cores by default; they never change the result.

    Returns
    -------
    xarray.Dataset
        On (y, x), velocities along ``period`` too where there are periods: ``vx, vy, v`` with their
        errors and ``vxvy_cov``; ``elevation_bias`` (m, surface minus model) with
        ``elevation_bias_error`` and its covariances with vx and vy; ``unit_variance`` (mean square
        of the weighted residuals: 1 where the declared errors are right), ``redundancy``,
        ``pairs_used``, ``pairs_rejected``; ``baseline`` (longest difference of sensitivities),
        ``separability`` (the share of ΔZ's information that no velocity explains),
        ``epipolar_angle`` (degrees between flow and epipolar line) and the CF flags ``geometry``.

    Raises
    ------
    InputError
        If a variable, unit or option does not fit, or an image has no view geometry.
    DateError
        If dates are missing, or periods do not cover the pairs.
    GridError
        If the views are on another grid.

    Examples
    --------
    >>> import ogive
    >>> from ogive.correction.orthorectification.views import stack_views
    >>> days = np.datetime64("2020-07-01", "ns") + np.arange(4) * np.timedelta64(10, "D")
    >>> i, j = np.triu_indices(4, 1)
    >>> across = np.array([0.15, -0.15, 0.15, -0.15])  # from the east, from the west, ...
    >>> views = stack_views([xr.Dataset({"sight_x": s, "sight_y": 0.0}) for s in across], days)
    >>> years = (days[j] - days[i]) / np.timedelta64(1, "D") / 365.25
    >>> seen = 100.0 + (across[i] - across[j]) * 20.0 / years  # 100 m/yr, 20 m above the model
    >>> shape, error = ("mid_date", "y", "x"), ("mid_date", 1.0 / years)
    >>> cube = xr.Dataset(
    ...     {"vx": (shape, seen[:, None, None]), "vy": (shape, np.zeros((6, 1, 1))),
    ...      "vx_error": error, "vy_error": error},
    ...     {"acquisition_date_img1": ("mid_date", days[i]),
    ...      "acquisition_date_img2": ("mid_date", days[j])})
    >>> cube.vx.attrs["units"] = cube.vy.attrs["units"] = "meter/year"
    >>> result = elevation_bias(cube, views)
    >>> round(float(result.elevation_bias[0, 0]), 3), round(float(result.vx[0, 0]), 3)
    (20.0, 100.0)
    """
    _check_options(image_error_m, significance, scale, least_baseline, threads)
    offsets = sensitivity(views)
    first, last = pair_images(cube, views)
    years = span_years(cube)
    variance = cube_variance(cube, years)
    edges = period_edges(cube, periods)
    network = Network(first, last, overlap_years(cube, edges))
    image_variance = np.full(views.sizes["image"], max(image_error_m, 0.0) ** 2)
    critical = 0.0 if significance is None else float(stats.chi2.ppf(1 - significance, 2))
    settings = Settings(image_variance, critical, float(least_baseline), scale == "residuals")
    displacement = cube_displacement(cube, years)
    offset = offsets_on_pixels(offsets, cube)
    result = empty_result(displacement.shape[0], edges.size - 1, first.size)
    _run(network, settings, displacement, variance, offset, result, threads)
    nominal = "geometry" in views and bool(np.any(views["geometry"].values == "nominal"))
    dataset = _describe(cube, result, edges, periods is None, scale)
    _add_geometry(dataset, result, least_baseline, nominal)
    if keep_rejected:
        shape = (cube.sizes["y"], cube.sizes["x"], first.size)
        rejected = np.moveaxis(result.dropped.reshape(shape), -1, 0)
        dataset["rejected"] = (("mid_date", "y", "x"), rejected)
    dataset.attrs |= {
        "elevation_bias_image_error_m": float(image_error_m),
        "elevation_bias_significance": np.nan if significance is None else float(significance),
        "elevation_bias_scale": scale,
        "elevation_bias_first_date": str(cube["acquisition_date_img1"].values.min())[:19],
        "elevation_bias_last_date": str(cube["acquisition_date_img2"].values.max())[:19],
    }
    return dataset


def _check_options(
    image_error_m: float,
    significance: float | None,
    scale: str,
    least_baseline: float,
    threads: int | None,
) -> None:
    if not (np.isfinite(image_error_m) and image_error_m >= 0):
        raise InputError(f"image_error_m is {image_error_m}: give 0 or a number of metres")
    if significance is not None and not 0 < significance < 1:
        raise InputError(f"significance is {significance}: give a probability, such as 0.001")
    if scale not in ("residuals", "declared"):
        raise InputError(f'scale {scale!r} is unknown: use "residuals" or "declared"')
    if not least_baseline > 0:
        raise InputError(f"least_baseline is {least_baseline}: give a positive number")
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}: give at least 1")


def _run(
    network: Network,
    settings: Settings,
    displacement: F4,
    variance: F4,
    offset: F4,
    result: Result,
    threads: int | None,
) -> None:
    pixels, workers = displacement.shape[0], threads or os.cpu_count() or 1
    edges = np.linspace(0, pixels, min(8 * workers, pixels) + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        futures = [
            pool.submit(
                solve_range, network, settings, displacement, variance, offset, int(a), int(b),
                result,
            )
            for a, b in pairwise(edges)
        ]  # fmt: skip
        for future in futures:
            future.result()


def _error_factor(result: Result, scale: Scale) -> F8:
    """By what the formal errors are multiplied, (pixels,): σ0, and Student's t for its own error.

    Without redundancy, or with declared errors to be believed, 1.
    """
    factor = np.ones(result.unit_variance.size)
    if scale == "declared":
        return factor
    freedom = result.redundancy
    known = (freedom > 0) & np.isfinite(result.unit_variance)
    table = stats.t.ppf(0.975, np.arange(1, freedom.max(initial=1) + 1)) / stats.norm.ppf(0.975)
    factor[known] = np.sqrt(result.unit_variance[known]) * table[freedom[known] - 1]
    return factor


def _describe(
    cube: xr.Dataset,
    result: Result,
    edges: NDArray[np.datetime64],
    constant: bool,
    scale: Scale,
) -> xr.Dataset:
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    factor = _error_factor(result, scale)
    along = ("y", "x") if constant else ("period", "y", "x")

    def maps(values: NDArray[np.floating[Any]]) -> tuple[tuple[str, ...], F4]:
        if values.ndim == 1:
            return ("y", "x"), values.reshape(rows, columns).astype(np.float32)
        layers = np.moveaxis(values.reshape(rows, columns, -1), -1, 0).astype(np.float32)
        return along, layers[0] if constant else layers

    vx, vy = result.velocity[:, 0], result.velocity[:, 1]
    error_x, error_y = (factor[:, None] * np.sqrt(result.velocity_variance[:, c]) for c in (0, 1))
    covariance = factor[:, None] ** 2 * result.velocity_covariance
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "vx": maps(vx),
        "vy": maps(vy),
        "v": maps(np.hypot(vx, vy)),
        "vx_error": maps(error_x),
        "vy_error": maps(error_y),
        "vxvy_cov": maps(covariance),
        "v_error": maps(speed_error(vx, vy, error_x**2, error_y**2, covariance)),
        "elevation_bias": maps(result.bias),
        "elevation_bias_error": maps(factor * np.sqrt(result.bias_variance)),
        "elevation_bias_vx_cov": maps(factor[:, None] ** 2 * result.bias_velocity_covariance[:, 0]),
        "elevation_bias_vy_cov": maps(factor[:, None] ** 2 * result.bias_velocity_covariance[:, 1]),
        "unit_variance": maps(result.unit_variance),
        "baseline": maps(result.baseline),
        "separability": maps(result.separability),
    }
    for name in ("redundancy", "used", "rejected"):
        key = name if name == "redundancy" else f"pairs_{name}"
        values[key] = (("y", "x"), getattr(result, name).reshape(rows, columns))
    dataset = xr.Dataset(
        {name: (*value, _ATTRIBUTES.get(name, dict(ATTRIBUTES.get(name, {})))) for name, value in
         values.items()},
        coords={name: cube[name] for name in ("y", "x", "spatial_ref") if name in cube.coords},
        attrs={"days_per_year": DAYS_PER_YEAR},
    )  # fmt: skip
    if not constant:
        middle = edges[:-1] + (edges[1:] - edges[:-1]) / 2
        dataset = dataset.assign_coords(
            period=("period", middle),
            period_bounds=(("period", "nv"), np.stack([edges[:-1], edges[1:]], axis=1)),
        )
        dataset["period"].attrs = {"bounds": "period_bounds", "long_name": "middle of the period"}
    if "grid_mapping" in cube["vx"].encoding:
        for variable in dataset.data_vars.values():
            variable.encoding["grid_mapping"] = cube["vx"].encoding["grid_mapping"]
    return dataset


_ATTRIBUTES = ELEVATION_BIAS_ATTRIBUTES | {
    "separability": {
        "long_name": "share of the elevation bias's information that no velocity explains",
        "units": "1",
    },
}


def _add_geometry(
    dataset: xr.Dataset, result: Result, least_baseline: float, nominal: bool
) -> None:
    """Add the angle between flow and epipolar line, and say where the geometry is poor."""
    # Periods without a pair have no velocity, and take no part in the mean.
    known = np.isfinite(result.velocity)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, result.velocity, 0.0).sum(axis=2) / known.sum(axis=2)
    angle = epipolar_angle_deg(mean[:, 0], mean[:, 1], result.line)
    flags = geometry_flags(result, angle, least_baseline, nominal=nominal)
    shape = dataset["redundancy"].shape
    attributes = _ATTRIBUTES["epipolar_angle"]
    dataset["epipolar_angle"] = (("y", "x"), angle.reshape(shape), attributes)
    dataset["geometry"] = (("y", "x"), flags.reshape(shape), geometry_attributes())
    solved = result.used > 0
    if solved.any() and bool(((flags & 2) > 0)[solved].all()):
        dataset.attrs["comment"] = (
            "all images look from one orbit: the elevation bias cannot be observed, and velocities "
            "are free of it"
        )
