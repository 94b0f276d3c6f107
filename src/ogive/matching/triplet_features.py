"""Stacks of several looks: what feature functions make of them, or the looks' own filter.

What a filter or a smoothing should be follows from spectra of windows that are aligned; a sparse
joint search with high-passed images aligns them beforehand.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..model import Flag, InputError
from .errors import best_smoothing_px
from .evidence import chance_snr
from .features import FEATURES, Feature, filled_and_centred, highpass, smoothed
from .field import Points
from .joint import JointSearch, Stack, search_points
from .kernels import BoolArray, Float32Array, dilate, spline_coefficients, summed_area
from .looks import Looks
from .match import _prior_on_points
from .spectra import PairSpectra, apply_filter, filter_taps, measure_spectra
from .triplet_functions import LookFeatures

__all__ = ["end_spectra", "stacks_of"]

logger = logging.getLogger("ogive.matching")

FLAT = 1e-10
"""A window is flat when its variance is below this share of the image's own."""
MASK_MARGIN_PX = 1
SPARSE_POINTS = 1600
"""Points of the sparse search: spectra of some hundred aligned windows tell all there is."""
ERROR_WINDOWS = 200
FILTER_WINDOWS = 800

Moves = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def stacks_of(
    looks: Looks,
    features: LookFeatures,
    prior: xr.Dataset | None,
    points: Points,
    search: JointSearch,
    *,
    smoothing_px: float | None,
    threads: int,
) -> tuple[list[Stack], str]:
    """Features of all looks, ready to be searched at these points, and what they are called.

    Parameters
    ----------
    looks, prior
        As for `ogive.match_triplet`.
    features
        From `ogive.matching.triplet_functions.look_features`.
    points, search
        Where and how they will be searched.
    smoothing_px
        Of fixed features; ``None`` for as much as the noise asks for.
    threads
        How many threads to use.

    Raises
    ------
    InputError
        A feature function that gives another shape, or not as many channels for each look.
    """
    name = features.name
    if features.given:
        made = list(looks.images)
    elif not features.functions:
        made, name = _adaptive(looks, prior, search, threads)
    else:
        made = _made(looks, features.functions, threads)
        if smoothing_px is None and name in FEATURES:
            spectra = _sparse_spectra(looks, made, prior, search, ERROR_WINDOWS, threads)
            if spectra is not None:
                smoothing_px = best_smoothing_px(
                    spectra.frequency, spectra.power, spectra.coherence
                )
        if smoothing_px:
            made = [smoothed(stack, smoothing_px, threads=threads) for stack in made]
            name = f"{name}, smoothed by {smoothing_px:g} px"
    margin_px = 0 if features.given else MASK_MARGIN_PX
    moves = _moves(looks, prior, points)
    return _ready(looks, made, moves, points.window_px, threads, margin_px=margin_px), name


def end_spectra(
    first: Stack,
    last: Stack,
    points: Points,
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    found: BoolArray,
    *,
    most_windows: int = ERROR_WINDOWS,
    threads: int = 1,
) -> PairSpectra | None:
    """Spectra of the first and the last look, from windows that known displacements align.

    Parameters
    ----------
    u, v, found
        ``(row, column)`` of points: displacements in pixels, and which are known.
    """
    x, y = np.meshgrid(points.centre_x, points.centre_y)
    return measure_spectra(
        first.features, last.features, x[found], y[found], u[found], v[found],
        usable=(first.gaps, last.gaps) if first.gaps.size else None,
        most_windows=most_windows, threads=threads,
    )  # fmt: skip


def _made(looks: Looks, functions: Sequence[Feature], threads: int) -> list[Float32Array]:
    """What the feature functions make of their looks."""
    made = []
    for function, image, valid in zip(functions, looks.images, looks.valid, strict=True):
        stack = function(image, valid, threads=threads)
        made.append(_checked(stack, looks.shape))
    channels = sorted({stack.shape[0] for stack in made})
    if len(channels) > 1:
        raise InputError(
            f"the features have {' and '.join(map(str, channels))} channels: as many are needed "
            "for each image"
        )
    return made


def _checked(stack: Float32Array, shape: tuple[int, int]) -> Float32Array:
    """What a feature function gave, as ``(channel, y, x)`` in single precision."""
    stack = np.ascontiguousarray(stack, np.float32)
    if stack.ndim == 2:
        stack = stack[None]
    if stack.ndim != 3 or stack.shape[1:] != shape:
        raise InputError(
            f"the feature function gave an array of shape {stack.shape}: "
            f"(channel, {shape[0]}, {shape[1]}) is needed"
        )
    return stack


def _flat_limit(stack: Float32Array, window_px: int) -> float:
    """Sum of squares under which a window of this stack counts as flat."""
    variance = sum(float(np.var(channel, dtype=np.float64)) for channel in stack)
    return FLAT * variance * window_px**2


def _ready(
    looks: Looks,
    made: list[Float32Array],
    moves: Moves,
    window_px: int,
    threads: int,
    *,
    margin_px: int = MASK_MARGIN_PX,
) -> list[Stack]:
    """Stacks with what the kernels need beside them; a filter reaches over the edge of gaps."""
    gappy = any(valid is not None for valid in looks.valid)
    stacks = []
    for stack, valid, (move_y, move_x) in zip(made, looks.valid, moves, strict=True):
        known = None
        if gappy:
            known = np.ones(looks.shape, np.bool_) if valid is None else valid
            if margin_px:
                known = ~dilate(~known, margin_px)
        gaps = np.zeros((0, 0), np.int32) if known is None else summed_area(~known)
        spline = spline_coefficients(stack, threads=threads)
        least = _flat_limit(stack, window_px)
        stacks.append(Stack(stack, spline, known, gaps, least, move_y, move_x))
    return stacks


def _moves(looks: Looks, prior: xr.Dataset | None, points: Points) -> Moves:
    """Whole pixels by which the prior moves each look's windows: rows and columns."""
    expected = np.zeros((2, *points.shape))
    if prior is not None:
        there = _prior_on_points(prior, looks.shape, points.window_px, points.step_px, looks.axes)
        expected = np.where(np.isfinite(there).all(axis=0), there, 0.0)
    u, v = expected.reshape(2, -1)
    return [
        (np.rint(share * v).astype(np.int64), np.rint(share * u).astype(np.int64))
        for share in looks.shares
    ]


def _sparse_spectra(
    looks: Looks,
    made: list[Float32Array],
    prior: xr.Dataset | None,
    search: JointSearch,
    most_windows: int,
    threads: int,
    measured_on: list[Float32Array] | None = None,
) -> PairSpectra | None:
    """Spectra of the first and the last look where a sparse joint search aligns them.

    ``measured_on`` are other stacks of the same looks, on which the spectra are measured.
    """
    height, width = looks.shape
    every = max(1, int(np.sqrt(height * width / SPARSE_POINTS)))
    points = Points.of_image(looks.shape, search.window_px, every)
    stacks = _ready(looks, made, _moves(looks, prior, points), search.window_px, threads)
    joint, flag = search_points(stacks, points, search, threads)
    found = (flag == Flag.MEASURED) & (joint.snr > chance_snr(search.radius_px))
    found &= np.isfinite(joint.u)
    first, last = stacks[0], stacks[-1]
    if measured_on is not None:
        first = replace(first, features=measured_on[0])
        last = replace(last, features=measured_on[-1])
    u, v, known = (
        plane.reshape(points.shape)
        for plane in (joint.u.astype(float), joint.v.astype(float), found)
    )
    return end_spectra(first, last, points, u, v, known, most_windows=most_windows, threads=threads)


def _adaptive(
    looks: Looks, prior: xr.Dataset | None, search: JointSearch, threads: int
) -> tuple[list[Float32Array], str]:
    """All looks through the filter of greatest likelihood of the first and the last one."""
    rough = _made(looks, [highpass] * len(looks.images), threads)
    filled = [
        filled_and_centred(image, valid, threads=threads)
        for image, valid in zip(looks.images, looks.valid, strict=True)
    ]
    spectra = _sparse_spectra(
        looks, rough, prior, search, FILTER_WINDOWS, threads, [image[None] for image in filled]
    )
    if spectra is None or not spectra.response.any():
        logger.warning(
            "the images' own filter could not be measured (too few windows match): "
            "a high-pass of 21 pixels is used instead"
        )
        return rough, "highpass (too few windows for adaptive)"
    taps = filter_taps(spectra.frequency, spectra.response)
    return [apply_filter(image, taps, threads=threads)[None] for image in filled], "adaptive"
