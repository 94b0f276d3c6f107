"""One line of figures for a velocity map, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from ogive.correction.robust import nmad
from ogive.evaluation.motion import closure, stable_ground_statistics
from ogive.model import DAYS_PER_YEAR, InputError

__all__ = ["ClosureScore", "MapScore", "closure_of_pairs", "score_map"]

SAME_DATE_DAYS = 0.5
"""Acquisitions closer than this are one image's."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MapScore:
    """What a velocity map shows of its own quality; NaN where something was not given.

    Parameters
    ----------
    measured
        Share of all points that have a velocity.
    measured_ice
        The same of the points on ice.
    stable_count
        Stable points with a velocity.
    stable_median_x, stable_median_y
        What stable ground seems to move, meter/year.
    stable_nmad_x, stable_nmad_y
        Robust spread there, meter/year.
    stable_rmse
        Root of the mean square of both components there, meter/year; outliers count in full.
    stable_within_95
        Share of stable points whose declared 95 % interval of vx holds 0, and of vy, together.
    """

    measured: float
    measured_ice: float
    stable_count: int
    stable_median_x: float
    stable_median_y: float
    stable_nmad_x: float
    stable_nmad_y: float
    stable_rmse: float
    stable_within_95: float


def score_map(
    velocity: xr.Dataset, *, stable: Bools | None = None, ice: Bools | None = None
) -> MapScore:
    """Score one velocity map by itself.

    Parameters
    ----------
    velocity
        ``vx, vy`` (y, x) in meter/year; ``vx_error, vy_error`` where they are declared.
    stable, ice
        True on ground that does not move, and on ice, on the map's grid.

    Raises
    ------
    InputError
        If a mask has another shape than the map.

    Examples
    --------
    >>> vx = xr.DataArray(np.array([[1.0, 2.0, np.nan]]), dims=("y", "x"))
    >>> still = np.array([[True, True, True]])
    >>> score_map(xr.Dataset({"vx": vx, "vy": 0 * vx}), stable=still).stable_median_x
    1.5
    """
    vx, vy = (velocity[name].values.astype(np.float64) for name in ("vx", "vy"))
    known = np.isfinite(vx) & np.isfinite(vy)
    for name, mask in (("stable", stable), ("ice", ice)):
        if mask is not None and mask.shape != known.shape:
            raise InputError(f"the mask {name} is {mask.shape}, the map {known.shape}")
    nothing = float("nan")
    on_ice = float(known[ice].mean()) if ice is not None and ice.any() else nothing
    used = known & stable if stable is not None else np.zeros_like(known)
    if stable is None or not used.any():
        return MapScore(float(known.mean()), on_ice, 0, *(6 * (nothing,)))
    placed = velocity[["vx", "vy"]].assign_coords(
        x=np.arange(vx.shape[1], dtype=float), y=np.arange(vx.shape[0], dtype=float)
    )
    ground = stable_ground_statistics(placed, stable)
    return MapScore(
        measured=float(known.mean()),
        measured_ice=on_ice,
        stable_count=ground.count,
        stable_median_x=ground.x.median,
        stable_median_y=ground.y.median,
        stable_nmad_x=ground.x.nmad,
        stable_nmad_y=ground.y.nmad,
        stable_rmse=float(np.sqrt(np.mean([vx[used] ** 2, vy[used] ** 2]))),
        stable_within_95=_within(velocity, used),
    )


def _within(velocity: xr.Dataset, used: Bools) -> float:
    """Share of declared 95 % intervals that hold the rest that is true on stable ground."""
    shares = []
    for name in ("vx", "vy"):
        if f"{name}_error" not in velocity:
            return float("nan")
        error = np.broadcast_to(velocity[f"{name}_error"].values, used.shape)[used]
        shares.append(np.abs(velocity[name].values[used]) <= 1.96 * error)
    return float(np.mean(shares))


@dataclass(frozen=True, slots=True)
class ClosureScore:
    """How well displacements between three dates add up.

    Parameters
    ----------
    triplets
        Number of triplets of pairs that were closed.
    points
        Points with a residual, over all of them.
    median_x_m, median_y_m
        Medians of the residual, in metres.
    nmad_m
        Robust spread of both components of it, in metres: of independent pairs that err by σ each,
        the root of three times σ.
    """

    triplets: int
    points: int
    median_x_m: float
    median_y_m: float
    nmad_m: float


def closure_of_pairs(cube: xr.Dataset, *, most: int = 50) -> ClosureScore:
    """Close the triplets of a cube: a displacement is the sum of those of two parts of its time.

    Parameters
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year with ``acquisition_date_img1`` and ``_img2``.
    most
        Triplets to close at most, spread evenly over those there are.

    Examples
    --------
    >>> day = np.datetime64("2020-01-01", "ns") + np.array([0, 10, 20]).astype("timedelta64[D]")
    >>> still = np.zeros((3, 2, 2))
    >>> cube = xr.Dataset(
    ...     {"vx": (("mid_date", "y", "x"), still), "vy": (("mid_date", "y", "x"), still)},
    ...     {"acquisition_date_img1": ("mid_date", day[[0, 1, 0]]), "x": [0.0, 1.0],
    ...      "acquisition_date_img2": ("mid_date", day[[1, 2, 2]]), "y": [1.0, 0.0]})
    >>> closure_of_pairs(cube).triplets
    1
    """
    found = list(_triplets(cube))
    if len(found) > most:
        chosen = np.unique(np.linspace(0, len(found) - 1, most).round().astype(int))
        found = [found[k] for k in chosen]
    residuals = [_residual(cube, *triplet) for triplet in found]
    x, y = (
        np.concatenate([part[k] for part in residuals]) if residuals else np.empty(0)
        for k in range(2)
    )
    if x.size == 0:
        return ClosureScore(len(found), 0, *(3 * (float("nan"),)))
    return ClosureScore(
        triplets=len(found),
        points=int(x.size),
        median_x_m=float(np.median(x)),
        median_y_m=float(np.median(y)),
        nmad_m=nmad(np.concatenate([x, y])),
    )


def _triplets(cube: xr.Dataset) -> Iterator[tuple[int, int, int]]:
    """Find pairs (1, 2), (2, 3) and (1, 3) of three images."""
    first, last = (
        (cube[f"acquisition_date_img{k}"].values.astype("datetime64[ns]").astype(np.int64))
        / 86_400e9
        for k in (1, 2)
    )
    starts = np.round(first / SAME_DATE_DAYS).astype(np.int64)
    ends = np.round(last / SAME_DATE_DAYS).astype(np.int64)
    from_date: dict[int, list[int]] = {}
    between: dict[tuple[int, int], int] = {}
    for k, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        from_date.setdefault(start, []).append(k)
        between[start, end] = k
    for k, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        for second in from_date.get(end, ()):
            whole = between.get((start, int(ends[second])))
            if whole is not None:
                yield k, second, whole


def _residual(
    cube: xr.Dataset, first: int, second: int, whole: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rest = closure(*(_displacement(cube, k) for k in (first, second, whole)))
    x, y = (rest[name].values.astype(np.float64) for name in ("dx", "dy"))
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _displacement(cube: xr.Dataset, k: int) -> xr.Dataset:
    pair = cube[["vx", "vy"]].isel(mid_date=k, drop=True).transpose("y", "x")
    start, end = (cube[f"acquisition_date_img{i}"].values[k] for i in (1, 2))
    years = (end - start) / np.timedelta64(1, "D") / DAYS_PER_YEAR
    moved: xr.Dataset = (pair.astype(np.float64) * years).rename(vx="dx", vy="dy").load()
    return moved
