"""The inversion of a cube's blocks, one after the other or in threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DAYS_PER_YEAR

from .irls import Options, invert_range
from .network import Network
from .propagation import Result, empty_result

__all__ = ["PIXEL_OUTPUTS", "Job", "map_blocks"]

PIXEL_OUTPUTS = (
    "iterations", "status", "observations_used", "observations_valid", "observations_unusable",
    "subnetworks", "error_scale_x", "error_scale_y", "image_error_x", "image_error_y",
)  # fmt: skip
_PIXEL_TYPES = ("i2", "u1", "i4", "i4", "i4", "i4", "f4", "f4", "f4", "f4")


@dataclass(frozen=True, slots=True)
class Job:
    """All that is the same for every block of the cube."""

    network: Network
    options: Options
    threads: int
    weights: bool


def map_blocks(
    vx: xr.DataArray, vy: xr.DataArray, sigma_x: xr.DataArray, sigma_y: xr.DataArray, job: Job
) -> list[xr.DataArray]:
    """Run `_invert_block` over the blocks of a lazy cube, or over the whole of one in memory."""
    periods = job.network.edges_days.size - 1
    core = ["mid_date"]
    sizes = {"time": periods}
    outputs: list[list[str]] = [["time"]] * 5 + [[]] * len(PIXEL_OUTPUTS)
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
    job: Job,
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
    job: Job,
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
