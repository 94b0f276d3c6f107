"""Elevation bias as the median over many image triplets.

Altena & Kääb (2017, section 5.2) solve each triplet of images for one velocity and one elevation
bias, and take the median over hundreds of triplets: noisy one by one, but no blunder, cloud or
lost feature moves their median. It needs no errors of the pairs; `elevation_bias` makes better use
of pairs whose errors are known.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import xarray as xr
from numba import njit
from numpy.typing import NDArray

from ogive.model import InputError

from .arrays import cube_displacement, offsets_on_pixels, span_years
from .views import pair_images, sensitivity

__all__ = ["triplet_elevation_bias"]

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]

_MEDIAN_OVER_MEAN = 1.2533  # standard error of a median over that of a mean, of normal errors
_NMAD = 1.4826
_SEPARABLE = 1e-4


def triplet_elevation_bias(
    cube: xr.Dataset,
    views: xr.Dataset,
    *,
    least_baseline: float = 0.01,
    fewest: int = 3,
    most: int = 5000,
    threads: int | None = None,
) -> xr.Dataset:
    """Median elevation bias and velocity over all triplets of images whose three pairs are there.

    Parameters
    ----------
    cube, views
        As of `ogive.correction.orthorectification.elevation_bias`; errors are not needed.
    least_baseline
        A triplet counts where one of its pairs has at least this difference of sensitivities.
    fewest
        Pixels with fewer usable triplets stay NaN.
    most
        Of more triplets so many are taken, evenly.
    threads
        All cores by default.

    Returns
    -------
    xarray.Dataset
        ``elevation_bias``, ``vx``, ``vy`` (medians), ``elevation_bias_error`` and ``triplets``, how
        many there were. The error is that of a median of as many independent values as there are
        images, with the triplets' robust spread: triplets share their pairs, and 286 of them are
        not 286 measurements.

    Raises
    ------
    InputError
        If no three images have all their pairs, or all images look from one orbit.
    """
    first, last = pair_images(cube, views)
    offsets = sensitivity(views)
    years = span_years(cube)
    triplets = _triplets(first, last, views.sizes["image"])
    if triplets.shape[0] == 0:
        raise InputError(
            "no three images have all three of their pairs in the cube: match more pairs, or use "
            "elevation_bias, which takes any network"
        )
    if triplets.shape[0] > most:
        triplets = triplets[np.linspace(0, triplets.shape[0] - 1, most).astype(int)]
    offset = offsets_on_pixels(offsets, cube)
    displacement = cube_displacement(cube, years)
    out = np.full((displacement.shape[0], 4), np.nan)
    count = np.zeros(displacement.shape[0], np.int32)
    workers = threads or os.cpu_count() or 1
    edges = np.linspace(0, count.size, min(8 * workers, count.size) + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        futures = [
            pool.submit(
                _median_range, displacement, offset, years, first, last, triplets,
                float(least_baseline), fewest, int(a), int(b), out, count,
            )
            for a, b in pairwise(edges)
        ]  # fmt: skip
        for future in futures:
            future.result()
    if not np.isfinite(out).any() and not _any_baseline(offset, first, last, least_baseline):
        raise InputError(
            "all images look from one orbit: the elevation bias cannot be observed from them"
        )
    return _describe(cube, out, count)


def _any_baseline(offset: F4, first: I8, last: I8, least: float) -> bool:
    length = np.hypot(
        offset[:, 0, last] - offset[:, 0, first], offset[:, 1, last] - offset[:, 1, first]
    )
    return bool((length >= least).any())


def _triplets(first: I8, last: I8, images: int) -> I8:
    """Numbers of the pairs pq, qr and pr of every triplet p < q < r in time, (triplets, 3)."""
    pair = {(int(p), int(q)): k for k, (p, q) in enumerate(zip(first, last, strict=True))}
    later: dict[int, list[int]] = {}
    for p, q in pair:
        later.setdefault(p, []).append(q)
    found = [
        (pair[p, q], pair[q, r], pair[p, r])
        for p in range(images)
        for q in sorted(later.get(p, ()))
        for r in sorted(later.get(q, ()))
        if (p, r) in pair
    ]
    return np.array(found, np.int64).reshape(-1, 3)


@njit(nogil=True, cache=True)
def _solve(
    displacement: F4, offset: F4, years: F8, first: I8, last: I8, pairs: I8, out: F8
) -> float:
    """Velocity and bias of one triplet by least squares, ``out`` = (vx, vy, ΔZ).

    Returns the longest baseline, or -1 where something is missing or not separable.
    """
    tt = tx = ty = cc = dx = dy = dc = 0.0
    widest = 0.0
    for k in pairs:
        p, q = first[k], last[k]
        x, y = np.float64(displacement[0, k]), np.float64(displacement[1, k])
        if not (np.isfinite(x) and np.isfinite(y)):
            return -1.0
        a = np.float64(offset[0, q]) - offset[0, p]
        b = np.float64(offset[1, q]) - offset[1, p]
        widest = max(widest, float(np.hypot(a, b)))
        tt += years[k] * years[k]
        tx += years[k] * a
        ty += years[k] * b
        cc += a * a + b * b
        dx += years[k] * x
        dy += years[k] * y
        dc += a * x + b * y
    # The velocity eliminated: what is left of the bias's own information.
    rest = cc - (tx * tx + ty * ty) / tt
    if not (cc > 0.0 and rest > _SEPARABLE * cc):
        return -1.0
    out[2] = (dc - (tx * dx + ty * dy) / tt) / rest
    out[0] = (dx - tx * out[2]) / tt
    out[1] = (dy - ty * out[2]) / tt
    return widest


@njit(nogil=True, cache=True)
def _median_range(
    displacement: F4, offset: F4, years: F8, first: I8, last: I8, triplets: I8, least: float,
    fewest: int, begin: int, stop: int, out: F8, count: NDArray[np.int32],
) -> None:  # fmt: skip
    images = 0
    for k in range(last.size):
        images = max(images, last[k] + 1)
    values = np.empty((3, triplets.shape[0]))
    one = np.empty(3)
    seen = np.zeros(images, np.bool_)
    for pixel in range(begin, stop):
        seen[:] = False
        total = 0
        o = offset[pixel if offset.shape[0] > 1 else 0]
        for t in range(triplets.shape[0]):
            pairs = triplets[t]
            width = _solve(displacement[pixel], o, years, first, last, pairs, one)
            if width >= least:
                for c in range(3):
                    values[c, total] = one[c]
                total += 1
                for k in pairs:
                    seen[first[k]] = True
                    seen[last[k]] = True
        count[pixel] = total
        if total < fewest:
            continue
        for c in range(3):
            out[pixel, c] = np.median(values[c, :total])
        spread = _NMAD * np.median(np.abs(values[2, :total] - out[pixel, 2]))
        # Three images make one triplet; each further one adds one that is independent.
        independent = max(seen.sum() - 2, 1)
        out[pixel, 3] = _MEDIAN_OVER_MEAN * spread / independent**0.5


def _describe(cube: xr.Dataset, out: F8, count: NDArray[np.int32]) -> xr.Dataset:
    shape = (cube.sizes["y"], cube.sizes["x"])
    names = {
        "vx": ("median velocity along +x over triplets", "meter/year"),
        "vy": ("median velocity along +y over triplets", "meter/year"),
        "elevation_bias": ("surface minus the elevation model of the orthorectification", "m"),
        "elevation_bias_error": ("standard error of elevation_bias", "m"),
    }
    variables = {
        name: (
            ("y", "x"),
            out[:, k].reshape(shape).astype(np.float32),
            {"long_name": told, "units": units},
        )
        for k, (name, (told, units)) in enumerate(names.items())
    }
    result = xr.Dataset(
        variables,
        coords={name: cube[name] for name in ("y", "x", "spatial_ref") if name in cube.coords},
    )
    result["triplets"] = (("y", "x"), count.reshape(shape), {"long_name": "number of triplets"})
    return result
