"""Velocity time series from overlapping pairs: the inversion of a whole cube."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.correction.velocity import speed_error
from ogive.model import ATTRIBUTES, DAYS_PER_YEAR, DateError, InputError

from .irls import Options, invert_range
from .network import Closure, Network, build_network
from .propagation import Result, empty_result

__all__ = ["drop_duplicate_pairs", "invert"]

Acceleration = Literal["zero", "smoothed"]
Reweighting = Literal["robust", "charrier2022"]

_STATUS = (
    "converged", "iteration_limit_reached", "no_usable_observation",
    "no_redundancy_so_not_reweighted", "singular_system",
)  # fmt: skip
_PIXEL_OUTPUTS = (
    "iterations", "status", "observations_used", "observations_valid", "observations_unusable",
    "subnetworks", "error_scale_x", "error_scale_y", "image_error_x", "image_error_y",
)  # fmt: skip
_PIXEL_TYPES = ("i2", "u1", "i4", "i4", "i4", "i4", "f4", "f4", "f4", "f4")


@dataclass(frozen=True, slots=True)
class _Job:
    """All that is the same for every block of the cube."""

    network: Network
    options: Options
    threads: int
    weights: bool


def invert(
    cube: xr.Dataset,
    sampling: str | np.timedelta64 | pd.Timedelta = "36D",
    regularisation: float = 100.0,
    closure: Closure = "combined",
    *,
    weights: str = "error",
    acceleration: Acceleration = "zero",
    smoothing_days: float = 90.0,
    reweighting: Reweighting = "robust",
    tukey_c: float = 4.685,
    tolerance_m: float = 1e-3,
    max_iterations: int = 50,
    image_error_m: float | Literal["estimated"] = "estimated",
    keep_weights: bool = False,
    threads: int | None = None,
) -> xr.Dataset:
    """Invert a cube of pairs into a regular series of velocities with their errors.

    Many pairs of short and long baselines say the same thing several times over. The leap-frog
    displacements that explain all of them best, in the sense of a robust weighted least-squares
    fit with a weak preference for steady flow, are found pixel by pixel (Charrier et al. 2022,
    doi 10.1109/TGRS.2021.3128289). A cube of Dask arrays gives a lazy result, computed block by
    block.

    Parameters
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year with ``acquisition_date_img1`` and ``_img2`` along
        ``mid_date``, as `ogive.open_cube` and `ogive.stack` give it; NaN where a pair has no value.
    sampling
        Length of the series' periods, such as ``"36D"``.
    regularisation
        λ, the weight of ‖ΓX‖², where Γ takes the differences of successive velocities in m/day. It
        compares with observations of unit weight, one of typical error. The best λ is the square of
        that error (m) over that of how velocities differ from date to date (m/day): with 100, by a
        tenth of the error a day. The paper's 1, for hundreds of pairs per pixel, hardly smooths.
        With 0 a system that the observations do not determine gets its solution of minimum norm,
        and periods that no observation covers stay NaN.
    closure
        ``"combined"``: unknowns between regular dates, the observations combined until they fit
        (the paper's improved closure), which needs dates that often fall on the series' own.
        ``"dates"``: unknowns between all acquisition dates, so that every observation is used as it
        is, whatever the sensor; the regular series is read off the cumulative displacement.
    weights
        ``"error"``: first weights from the cube's ``vx_error, vy_error`` (per pair or per point);
        ``"uniform"``; or the name of a quality variable, whose inverse is taken for the error.
    acceleration
        What the regularisation takes for granted: no acceleration (``"zero"``), or
        (``"smoothed"``) that of a first solution smoothed by a Gaussian of ``smoothing_days``.
    smoothing_days
        Standard deviation of that Gaussian, in days.
    reweighting
        ``"robust"``: one biweight for both components, residuals scaled by their median absolute
        deviation, first weights kept. ``"charrier2022"``: equations 3 and 4 as printed, each
        component by itself and scaled by its standard deviation, which gross outliers inflate.
    tukey_c
        Tuning constant of Tukey's biweight.
    tolerance_m
        The iteration ends when the displacements change by less than this in the mean, in metres.
    max_iterations
        Upper limit of solutions per pixel; ``status`` tells where it was reached.
    image_error_m
        Standard error of position (m, of each component) that all pairs of one image share: what
        its geolocation, its orthorectification and its light add to each of them. By default it is
        ``"estimated"``, pixel by pixel, from what residuals lack of the declared errors and from
        the scatter of positions about smooth motion; 0 takes the pairs for independent, as the
        paper does (and ``reweighting="charrier2022"``, unless a number is given). It widens the
        errors and changes nothing else.
    keep_weights
        Add the final weight of every observation, ``weight`` (mid_date, y, x).
    threads
        Threads for a cube in memory (all cores by default). They never change the result. Lazy
        cubes run one thread per block under Dask's scheduler.

    Returns
    -------
    xarray.Dataset
        Along ``time`` (the middles of the periods, whose ends ``time_bounds`` holds): ``dx, dy``
        (m) and ``dx_error, dy_error``; ``vx, vy, v`` (meter/year) and their errors;
        ``observations``, the number of rows (pairs, or combinations of pairs) that overlap the
        period with a weight above 0, where 0 means that a value rests on the regularisation alone
        (its error then includes the pixel's own variability in time). Per pixel:
        ``iterations``, ``status`` (CF flag), ``observations_valid`` and ``_used``,
        ``observations_unusable`` (those whose error is not a positive number), ``subnetworks``
        (groups of dates that no observation links), ``error_scale_x, error_scale_y``, by which the
        cube's errors would have to be multiplied to agree with the residuals, and
        ``image_error_x, image_error_y`` (m), the standard errors that pairs of one image share.

    Raises
    ------
    InputError
        If a variable, unit or option does not fit, or if pairs occur twice.
    DateError
        If the cube has no time axis or no dates, or if a pair's dates are equal or reversed.

    Examples
    --------
    >>> import ogive
    >>> days = np.datetime64("2020-01-01", "ns") + np.arange(0, 61, 12).astype("timedelta64[D]")
    >>> i, j = np.triu_indices(6, 1)
    >>> cube = xr.Dataset(
    ...     {name: (("mid_date", "y", "x"), np.full((15, 1, 1), speed, "f4"))
    ...      for name, speed in (("vx", 100.0), ("vy", 0.0))},
    ...     {"acquisition_date_img1": ("mid_date", days[i]),
    ...      "acquisition_date_img2": ("mid_date", days[j])})
    >>> series = invert(cube, "12D", weights="uniform")
    >>> series.vx.values.ravel().round(3)
    array([100., 100., 100., 100., 100.], dtype=float32)
    """
    _check_options(regularisation, acceleration, smoothing_days, reweighting, tukey_c)
    if not tolerance_m > 0 or max_iterations < 1:
        raise InputError("tolerance_m must be positive and max_iterations at least 1")
    known = isinstance(image_error_m, int | float) and 0 <= image_error_m < np.inf
    if image_error_m != "estimated" and not known:
        raise InputError(
            f'image_error_m is {image_error_m!r}: give metres, 0 or more, or "estimated"'
        )
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}: give at least 1")
    dates = _dates(cube)
    _check_cube(cube)
    network = build_network(*dates, sampling_days=_days(sampling), closure=closure)
    job = _Job(
        network=network,
        options=Options(
            regularisation=float(regularisation),
            tukey_c=float(tukey_c),
            tolerance_m=float(tolerance_m),
            max_iterations=int(max_iterations),
            literal=reweighting == "charrier2022",
            smoothing_days=float(smoothing_days) if acceleration == "smoothed" else 0.0,
            declared=weights == "error",
            image_error_m=_image_error_m(image_error_m, reweighting),
        ),
        threads=threads or os.cpu_count() or 1,
        weights=keep_weights,
    )
    sigma_x, sigma_y = _errors(cube, weights, network)
    blocks = _map_blocks(cube["vx"], cube["vy"], sigma_x, sigma_y, job)
    series = _describe(cube, blocks, network, keep_weights)
    series.attrs |= {
        "inversion_sampling_days": _days(sampling),
        "inversion_regularisation": float(regularisation),
        "inversion_closure": closure,
        "inversion_weights": weights,
        "inversion_acceleration": acceleration,
        "inversion_reweighting": reweighting,
        "inversion_tukey_c": float(tukey_c),
        "inversion_tolerance_m": float(tolerance_m),
        "inversion_image_error_m": image_error_m,
    }
    return series


def drop_duplicate_pairs(cube: xr.Dataset) -> xr.Dataset:
    """Keep each pair of a cube once: the first of those with the same times and satellites.

    Examples
    --------
    >>> import xarray as xr
    >>> first = np.array(["2020-01-01", "2020-01-01"], "datetime64[ns]")
    >>> cube = xr.Dataset(
    ...     coords={"acquisition_date_img1": ("mid_date", first),
    ...             "acquisition_date_img2": ("mid_date", first + np.timedelta64(9, "D"))})
    >>> drop_duplicate_pairs(cube).sizes["mid_date"]
    1
    """
    _dates(cube)
    return cube.isel(mid_date=np.flatnonzero(~_repeated(cube)))


def _check_options(
    regularisation: float,
    acceleration: str,
    smoothing_days: float,
    reweighting: str,
    tukey_c: float,
) -> None:
    if not (np.isfinite(regularisation) and regularisation >= 0):
        raise InputError(f"regularisation is {regularisation}: give a number of 0 or more")
    if acceleration not in ("zero", "smoothed"):
        raise InputError(f'acceleration {acceleration!r} is unknown: use "zero" or "smoothed"')
    if acceleration == "smoothed" and regularisation == 0:
        raise InputError("without regularisation an expected acceleration has no effect: give one")
    if acceleration == "smoothed" and not smoothing_days > 0:
        raise InputError(f"smoothing_days is {smoothing_days}: give a positive number")
    if reweighting not in ("robust", "charrier2022"):
        raise InputError(f'reweighting {reweighting!r} is unknown: use "robust" or "charrier2022"')
    if not tukey_c > 0:
        raise InputError(f"tukey_c is {tukey_c}: give a positive number, usually 4.685")


def _image_error_m(image_error_m: float | str, reweighting: str) -> float:
    """Metres as the kernels take them, below 0 for an estimate."""
    if isinstance(image_error_m, str):
        return 0.0 if reweighting == "charrier2022" else -1.0
    return float(image_error_m)


def _days(sampling: str | np.timedelta64 | pd.Timedelta) -> float:
    try:
        return float(pd.Timedelta(sampling) / pd.Timedelta(days=1))
    except ValueError as error:
        raise InputError(f"sampling {sampling!r} is no length of time: use '36D', say") from error


def _dates(cube: xr.Dataset) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    if "mid_date" not in cube.dims:
        raise DateError(
            "the cube has no time axis 'mid_date' (its dimensions are "
            f"{', '.join(map(str, cube.dims))}): read it by ogive.open_cube, or stack single maps "
            "by ogive.stack"
        )
    dates = []
    for name in ("acquisition_date_img1", "acquisition_date_img2"):
        if name not in cube.variables:
            raise DateError(f"the cube has no '{name}': every observation needs both its dates")
        values = np.asarray(cube[name].values)
        if not np.issubdtype(values.dtype, np.datetime64) or cube[name].dims != ("mid_date",):
            raise DateError(f"'{name}' must hold one date per 'mid_date', not {values.dtype}")
        dates.append(values.astype("datetime64[ns]"))
    return dates[0], dates[1]


def _check_cube(cube: xr.Dataset) -> None:
    for name in ("vx", "vy"):
        if name not in cube:
            raise InputError(f"the cube has no variable '{name}': read it by ogive.open_cube")
        if set(cube[name].dims) != {"mid_date", *_pixel_dims(cube)}:
            raise InputError(f"'{name}' must have the dimensions mid_date, y, x")
        units = cube[name].attrs.get("units", "meter/year")
        if units not in ("meter/year", "m/yr", "m/y", "meter/year (365.25 days)"):
            raise InputError(
                f"'{name}' is in {units!r} but must be in meter/year: read the cube by "
                "ogive.open_cube, which converts units"
            )
    repeated = _repeated(cube)
    if repeated.any():
        k = int(np.flatnonzero(repeated)[0])
        raise InputError(
            f"{np.count_nonzero(repeated)} pairs occur twice (the first is number {k}: "
            f"{cube['acquisition_date_img1'].values[k]} to "
            f"{cube['acquisition_date_img2'].values[k]}), which would count them as independent: "
            "keep one of each by ogive.drop_duplicate_pairs"
        )


def _repeated(cube: xr.Dataset) -> NDArray[np.bool_]:
    """Pairs whose times, satellites and sensors have occurred before."""
    names = ["acquisition_date_img1", "acquisition_date_img2"]
    for name in ("mission", "satellite", "sensor", "granule_url"):
        names += [n for n in (f"{name}_img1", f"{name}_img2", name) if n in cube.variables]
    table = pd.DataFrame({name: np.asarray(cube[name].values) for name in names})
    return np.asarray(table.duplicated().values, dtype=bool)


def _pixel_dims(cube: xr.Dataset) -> tuple[str, ...]:
    return tuple(str(dim) for dim in cube["vx"].dims if dim != "mid_date")


def _errors(cube: xr.Dataset, weights: str, network: Network) -> tuple[xr.DataArray, xr.DataArray]:
    """Errors of the velocities (or what stands for them), per pair or per point."""
    span = xr.DataArray(network.plan.span_years, dims="mid_date")
    if weights == "uniform":
        uniform = (1.0 / span).astype("f4")  # equal errors of the displacements
        return uniform, uniform
    if weights == "error":
        missing = [name for name in ("vx_error", "vy_error") if name not in cube]
        if missing:
            raise InputError(
                f"the cube has no {' and no '.join(missing)}: pass weights='uniform', or the name "
                "of a quality variable"
            )
        errors = [cube["vx_error"].astype("f4"), cube["vy_error"].astype("f4")]
    elif weights in cube:
        quality = cube[weights].astype("f8")
        # A quality of 0 is no observation: NaN keeps it out, and it is counted as unusable.
        error = (1.0 / (quality.where(quality > 0) * span)).astype("f4")
        errors = [error, error]
    else:
        raise InputError(
            f"weights={weights!r} is neither 'error' nor 'uniform' nor a variable of the cube"
        )
    for error in errors:
        if error.dims not in (("mid_date",), cube["vx"].dims):
            raise InputError(
                f"the errors must have one value per pair or the dimensions of vx, not {error.dims}"
            )
    return errors[0].drop_vars(list(errors[0].coords)), errors[1].drop_vars(list(errors[1].coords))


def _map_blocks(
    vx: xr.DataArray, vy: xr.DataArray, sigma_x: xr.DataArray, sigma_y: xr.DataArray, job: _Job
) -> list[xr.DataArray]:
    """Run `_invert_block` over the blocks of a lazy cube, or over the whole of one in memory."""
    periods = job.network.edges_days.size - 1
    core = ["mid_date"]
    sizes = {"time": periods}
    outputs: list[list[str]] = [["time"]] * 5 + [[]] * len(_PIXEL_OUTPUTS)
    types = ["f4"] * 4 + ["i4", *_PIXEL_TYPES]
    if job.weights:
        outputs = [*outputs, core]
        types = [*types, "f4"]
        sizes["mid_date"] = vx.sizes["mid_date"]
    lazy = vx.chunks is not None
    if lazy:
        vx, vy = (field.chunk({"mid_date": -1}) for field in (vx, vy))
        sigma_x, sigma_y = (
            field.chunk({"mid_date": -1}) if field.chunks is not None else field
            for field in (sigma_x, sigma_y)
        )
    bare = [field.drop_vars(list(field.coords)) for field in (vx, vy)]
    return list(
        xr.apply_ufunc(
            _invert_block,
            *bare,
            sigma_x,
            sigma_y,
            input_core_dims=[core] * 4,
            output_core_dims=outputs,
            kwargs={"job": job, "threads": 1 if lazy else job.threads},
            dask="parallelized",
            output_dtypes=types,
            dask_gufunc_kwargs={"output_sizes": sizes},
        )
    )


def _invert_block(
    vx: NDArray[Any],
    vy: NDArray[Any],
    sigma_x: NDArray[Any],
    sigma_y: NDArray[Any],
    *,
    job: _Job,
    threads: int,
) -> tuple[NDArray[Any], ...]:
    """Invert one block; observations run along the last axis, as apply_ufunc puts them."""
    shape, n = vx.shape[:-1], vx.shape[-1]
    velocity = _pixels_first(vx, vy, n)
    sigma = _pixels_first(sigma_x, sigma_y, n)
    pixels = velocity.shape[0]
    periods = job.network.edges_days.size - 1
    result = empty_result(pixels, periods, n, weights=job.weights)
    _run(job, velocity, sigma, result, threads)
    years = np.diff(job.network.edges_days) / DAYS_PER_YEAR
    series: list[NDArray[Any]] = [
        (block[:, c] / years).astype("f4")
        for block in (result.displacement, result.error)
        for c in range(2)
    ]
    last = [result.weight] if job.weights else []
    pixel: list[NDArray[Any]] = [
        result.observations, result.iterations, result.status, result.used, result.valid,
        result.unusable, result.subnetworks, result.scale[:, 0], result.scale[:, 1],
        result.image[:, 0], result.image[:, 1],
    ]  # fmt: skip
    return tuple(field.reshape(*shape, *field.shape[1:]) for field in (*series, *pixel, *last))


def _pixels_first(x: NDArray[Any], y: NDArray[Any], n: int) -> NDArray[np.float32]:
    """(pixels, 2, observations) float32, contiguous along the observations."""
    x, y = np.broadcast_arrays(x, y)
    pixels = x.size // n
    both = np.empty((pixels, 2, n), np.float32)
    both[:, 0] = x.reshape(pixels, n)
    both[:, 1] = y.reshape(pixels, n)
    return both


def _run(
    job: _Job,
    velocity: NDArray[np.float32],
    sigma: NDArray[np.float32],
    result: Result,
    threads: int,
) -> None:
    pixels = velocity.shape[0]
    plan, options = job.network.plan, job.options
    if threads == 1 or pixels < 2 * threads:
        invert_range(plan, options, velocity, sigma, 0, pixels, result)
        return
    # Several ranges per thread, since pixels with many observations take longer.
    edges = np.linspace(0, pixels, min(8 * threads, pixels) + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        futures = [
            pool.submit(invert_range, plan, options, velocity, sigma, int(a), int(b), result)
            for a, b in pairwise(edges)
        ]
        for future in futures:
            future.result()


def _describe(
    cube: xr.Dataset, blocks: list[xr.DataArray], network: Network, weights: bool
) -> xr.Dataset:
    """Name the results, add what follows from them, the dates and CF attributes."""
    vx, vy, vx_error, vy_error, observations = blocks[:5]
    years = xr.DataArray(np.diff(network.edges_days) / DAYS_PER_YEAR, dims="time")
    speed = (vx**2 + vy**2) ** 0.5
    error_of_speed = xr.apply_ufunc(
        speed_error,
        vx,
        vy,
        vx_error**2,
        vy_error**2,
        0.0,
        dask="parallelized",
        output_dtypes=["f8"],
    )
    fields = {
        "dx": vx * years, "dy": vy * years, "dx_error": vx_error * years,
        "dy_error": vy_error * years, "vx": vx, "vy": vy, "v": speed, "vx_error": vx_error,
        "vy_error": vy_error, "v_error": error_of_speed, "observations": observations,
    }  # fmt: skip
    dims = _pixel_dims(cube)
    fields = {
        name: field.astype("i4" if name == "observations" else "f4").transpose("time", *dims)
        for name, field in fields.items()
    }
    fields |= dict(zip(_PIXEL_OUTPUTS, blocks[5 : 5 + len(_PIXEL_OUTPUTS)], strict=True))
    if weights:
        fields["weight"] = blocks[-1].transpose("mid_date", *dims)
    edges = network.edges
    series = xr.Dataset(fields, attrs=dict(cube.attrs))
    for name in (*dims, *_grid_mappings(cube)):
        if name in cube.variables:
            series = series.assign_coords({name: cube[name].variable})
    if weights:
        dates = [name for name in cube.variables if cube[name].dims == ("mid_date",)]
        series = series.assign_coords({name: cube[name].variable for name in dates})
    series = series.assign_coords(
        time=("time", edges[:-1] + (edges[1:] - edges[:-1]) / 2),
        time_bounds=(("time", "nv"), np.stack([edges[:-1], edges[1:]], axis=1)),
    )
    _annotate(series, cube)
    return series


def _grid_mappings(cube: xr.Dataset) -> list[str]:
    """Names of the variables that hold the cube's CRS."""
    named = {
        str(where["grid_mapping"])
        for variable in cube.variables.values()
        for where in (variable.attrs, variable.encoding)
        if "grid_mapping" in where
    }
    return [name for name in {*named, "spatial_ref", "mapping"} if name in cube.variables]


def _annotate(series: xr.Dataset, cube: xr.Dataset) -> None:
    mappings = _grid_mappings(cube)
    texts: dict[str, dict[str, Any]] = {
        "dx": {"long_name": "displacement along +x over the period", "units": "m"},
        "dy": {"long_name": "displacement along +y over the period", "units": "m"},
        "dx_error": {"long_name": "standard error of dx", "units": "m"},
        "dy_error": {"long_name": "standard error of dy", "units": "m"},
        "observations": {
            "long_name": "observations that overlap the period with a weight above 0",
            "comment": "0: the value rests on the regularisation alone",
            "units": "1",
        },
        "iterations": {"long_name": "weighted least-squares solutions", "units": "1"},
        "status": {
            "long_name": "how the inversion of the pixel ended",
            "flag_values": np.arange(len(_STATUS), dtype=np.uint8),
            "flag_meanings": " ".join(_STATUS),
        },
        "observations_used": {
            "long_name": "observations, or combinations, whose final weight is above 0",
            "units": "1",
        },
        "observations_valid": {"long_name": "observations with a value and an error", "units": "1"},
        "observations_unusable": {
            "long_name": "observations with a value whose error is not a positive number",
            "units": "1",
        },
        "subnetworks": {"long_name": "groups of dates that no observation links", "units": "1"},
        "error_scale_x": {"long_name": "actual over declared error of vx", "units": "1"},
        "error_scale_y": {"long_name": "actual over declared error of vy", "units": "1"},
        "image_error_x": {"long_name": "error along x that pairs of one image share", "units": "m"},
        "image_error_y": {"long_name": "error along y that pairs of one image share", "units": "m"},
        "weight": {"long_name": "final biweight of the observation", "units": "1"},
    }
    for name in series.data_vars:
        variable = series[name]
        variable.attrs = dict(texts.get(str(name), ATTRIBUTES.get(str(name), {})))
        if mappings:
            variable.attrs["grid_mapping"] = mappings[0]
    series["time"].attrs = {"standard_name": "time", "axis": "T", "bounds": "time_bounds"}
    series["time_bounds"].attrs = {"long_name": "beginning and end of the period"}
