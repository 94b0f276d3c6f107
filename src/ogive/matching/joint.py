"""Points searched on several images together, and the displacements between them refined.

Everything is in pixels, x to the right and y down, and flat over points.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..model import Flag
from .evidence import Joint, Path, join
from .field import Points
from .frequency import frequency_surfaces, spectral_stack
from .kernels import BoolArray, Float32Array, inverse_norms
from .legs import Refined, refine_points
from .prediction import neighbours_agree, predict
from .spatial import KernelMasks, spatial_surfaces
from .triplet_shared import own_evidence

__all__ = ["JointSearch", "Leg", "Stack", "refine_legs", "search_points"]

CHUNK_POINTS = 128
"""Points that are searched at once: few enough for their transforms to stay in the cache."""

Places = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
Surfaces = tuple[Float32Array, list[tuple[Float32Array, Float32Array]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Stack:
    """Features of one image, as the kernels take them.

    Parameters
    ----------
    features, spline
        ``(channel, y, x)`` and its spline coefficients.
    valid, gaps
        Where the features may be used, and the summed-area table of where not; ``None`` and an
        empty table when no image has gaps.
    least
        A window with a smaller sum of squares is flat.
    move_y, move_x
        Whole pixels by which the prior moves the windows of each point.
    """

    features: Float32Array
    spline: Float32Array
    valid: BoolArray | None
    gaps: NDArray[np.int32]
    least: float
    move_y: NDArray[np.int64]
    move_x: NDArray[np.int64]


@dataclass(frozen=True)
class JointSearch:
    """How points are searched: by which correlator, in what windows, how far."""

    correlator: Literal["frequency", "spatial"]
    window_px: int
    radius_px: int
    least_valid: float


@dataclass(frozen=True)
class Leg:
    """The two steps by way of one middle image."""

    before: Refined
    after: Refined


def _pair_masks(one: Stack, other: Stack) -> KernelMasks:
    if one.valid is None or other.valid is None:
        nothing = np.zeros((0, 0), np.uint8)
        return nothing, nothing, one.gaps, other.gaps
    return one.valid.view(np.uint8), other.valid.view(np.uint8), one.gaps, other.gaps


def search_points(
    stacks: list[Stack], points: Points, search: JointSearch, threads: int
) -> tuple[Joint, NDArray[np.uint8]]:
    """Find the joint peak of each point, row by row.

    Points are searched in chunks that do not depend on the number of threads, and so neither does
    the result.

    Returns
    -------
    Joint
        Displacements from the windows' own place in the first image.
    flag
        ``MEASURED`` where the windows of the first and the last image can be correlated.
    """
    y, x = (values.ravel() for values in np.meshgrid(points.y, points.x, indexing="ij"))
    make = _by_transform if search.correlator == "frequency" else _in_space
    surfaces = make(stacks, search, threads)

    def one(start: int) -> tuple[Joint, NDArray[np.uint8]]:
        chunk = slice(start, start + CHUNK_POINTS)
        places = [(y[chunk] + s.move_y[chunk], x[chunk] + s.move_x[chunk]) for s in stacks]
        direct, legs, flag = surfaces(places)
        own = [own_evidence(direct, *leg) for leg in legs]
        return join(direct, legs, own=own), flag

    starts = range(0, y.size, CHUNK_POINTS)
    if threads == 1:
        parts = [one(start) for start in starts]
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(one, starts))
    flag = np.concatenate([flag for _, flag in parts])
    return _in_the_image(_concatenated([joint for joint, _ in parts]), stacks), flag


def _by_transform(
    stacks: list[Stack], search: JointSearch, threads: int
) -> Callable[[Places], Surfaces]:
    """Surfaces in the frequency domain: one transform of each window serves all its pairs."""
    radius = search.radius_px

    def surfaces(places: Places) -> Surfaces:
        first, *middles, last = (
            spectral_stack(
                stack.features, stack.valid, *place, search.window_px, least=stack.least,
                least_valid=search.least_valid,
            )
            for stack, place in zip(stacks, places, strict=True)
        )  # fmt: skip
        legs = [
            (
                frequency_surfaces(first, m, radius=radius),
                frequency_surfaces(m, last, radius=radius),
            )
            for m in middles
        ]
        flag = np.where(first.flag == Flag.MEASURED, last.flag, first.flag)
        return frequency_surfaces(first, last, radius=radius), legs, flag

    return surfaces


def _in_space(
    stacks: list[Stack], search: JointSearch, threads: int
) -> Callable[[Places], Surfaces]:
    """Surfaces by the spatial correlator."""
    size = search.window_px
    norms = [inverse_norms(s.features, size, size, least=s.least, threads=threads) for s in stacks]
    last = len(stacks) - 1

    def surfaces(places: Places) -> Surfaces:
        def pair(one: int, other: int) -> tuple[Float32Array, NDArray[np.uint8]]:
            return spatial_surfaces(
                stacks[one].features, stacks[other].features,
                _pair_masks(stacks[one], stacks[other]), norms[other], places[one], places[other],
                size=size, radius=search.radius_px, least=stacks[one].least,
                least_valid=search.least_valid,
            )  # fmt: skip

        direct, flag = pair(0, last)
        return direct, [(pair(0, m)[0], pair(m, last)[0]) for m in range(1, last)], flag

    return surfaces


def _concatenated(parts: list[Joint]) -> Joint:
    """One result from those of the chunks."""

    def all_of(name: str, path: int | None = None) -> Float32Array:
        owners = parts if path is None else [part.paths[path] for part in parts]
        return np.concatenate([getattr(owner, name) for owner in owners])

    paths = (
        Path(u=all_of("u", m), v=all_of("v", m), support=all_of("support", m))
        for m in range(len(parts[0].paths))
    )
    return Joint(
        u=all_of("u"), v=all_of("v"), u_var=all_of("u_var"), v_var=all_of("v_var"),
        uv_cov=all_of("uv_cov"), correlation=all_of("correlation"), snr=all_of("snr"),
        peak_ratio=all_of("peak_ratio"), paths=tuple(paths),
    )  # fmt: skip


def _in_the_image(joint: Joint, stacks: list[Stack]) -> Joint:
    """Add the windows' own moves to displacements from the middle of the search."""

    def moved(stack: Stack) -> tuple[Float32Array, Float32Array]:
        by_x, by_y = stack.move_x - stacks[0].move_x, stack.move_y - stacks[0].move_y
        return by_x.astype(np.float32), by_y.astype(np.float32)

    paths = []
    for path, stack in zip(joint.paths, stacks[1:-1], strict=True):
        by_x, by_y = moved(stack)
        paths.append(replace(path, u=path.u + by_x, v=path.v + by_y))
    by_x, by_y = moved(stacks[-1])
    return replace(joint, u=joint.u + by_x, v=joint.v + by_y, paths=tuple(paths))


def refine_legs(
    stacks: list[Stack],
    points: Points,
    joint: Joint,
    found: BoolArray,
    *,
    affine: bool,
    least_valid: float,
    threads: int,
) -> tuple[Refined, list[Leg]]:
    """Refine the displacements to the last image, to the middle ones, and from there on.

    Windows are deformed as the neighbourhood moves (where enough neighbours agree); a window of a
    middle image starts at the whole pixel to which the first step leads.

    Parameters
    ----------
    found
        ``(point,)``: which points are worth it.
    affine, least_valid, threads
        As for `refine_points`.

    Returns
    -------
    Refined
        From the first to the last image.
    list of Leg
        One for each middle image.
    """
    y, x = (values.ravel() for values in np.meshgrid(points.y, points.x, indexing="ij"))

    def refined(
        one: Stack, other: Stack, y: NDArray[np.int64], x: NDArray[np.int64],
        u: NDArray[np.float64], v: NDArray[np.float64],
    ) -> Refined:  # fmt: skip
        return refine_points(
            (one.features, one.spline), (other.features, other.spline), _pair_masks(one, other),
            (y, x), _motion(points, u, v), size=points.window_px, affine=affine,
            least=one.least, least_valid=least_valid, threads=threads,
        )  # fmt: skip

    u, v = (np.where(found, part, np.nan).astype(float) for part in (joint.u, joint.v))
    direct = refined(stacks[0], stacks[-1], y, x, u, v)
    legs = []
    for path, stack in zip(joint.paths, stacks[1:-1], strict=True):
        first_u, first_v = (
            np.where(found, part, np.nan).astype(float) for part in (path.u, path.v)
        )
        before = refined(stacks[0], stack, y, x, first_u, first_v)
        there = before.flag == Flag.MEASURED
        move_y, move_x = (
            np.rint(np.where(there, part, 0.0)).astype(np.int64) for part in (before.v, before.u)
        )
        rest_u, rest_v = (
            np.where(there, whole - part, np.nan) for whole, part in ((u, before.u), (v, before.v))
        )
        after = refined(stack, stacks[-1], y + move_y, x + move_x, rest_u, rest_v)
        legs.append(Leg(before, after))
    return direct, legs


def _motion(points: Points, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Start of Gauss-Newton: displacement, and its gradient where neighbours tell one."""
    plane_u, plane_v = u.reshape(points.shape), v.reshape(points.shape)
    kept = neighbours_agree(plane_u, plane_v, spacing_px=points.step_px)
    rows, columns = (np.arange(number) for number in points.shape)
    prediction = predict(
        plane_u, plane_v, kept, rows, columns, step=points.step_px, points=points.shape
    )
    gradient = prediction.planes[2:].reshape(4, -1)
    return np.concatenate([[u, v], gradient])
