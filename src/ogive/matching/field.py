"""The displacement field of two images as arrays of pixels: the road from images to measurements.

    images ─► high-pass, halved ─► sparse search ─► neighbours agree? ─► prediction
       └────► features (the pair's own filter by default) ─► small search ─► sub-pixel ─► errors

Everything is in pixels, x to the right and y down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..model import Flag, InputError
from .errors import (
    best_smoothing_px,
    chance_correlation,
    noise_factor,
    unresolved_deformation,
)
from .features import FEATURES, fill_invalid, highpass, smoothed
from .interpolation import InterpolationBias, bias_left, interpolation_bias
from .kernels import (
    BoolArray,
    Float32Array,
    dilate,
    halve,
    inverse_norms,
    run_over_rows,
    spline_coefficients,
    summed_area,
)
from .measure import RESULTS, SUBPIXEL, TOLERANCE_PX, coarse_rows, measure_rows
from .oversampling import oversampled_peaks
from .prediction import Prediction, coarse_nodes, neighbours_agree, predict
from .search import Search
from .spectra import PairSpectra, apply_filter, filter_taps, measure_spectra, power_spectrum

__all__ = ["Field", "Points", "measure_field"]

logger = logging.getLogger("ogive.matching")

COARSE_WINDOW_PX = 16
SPACING_PX = 30
"""Distance of the coarse search's nodes, about its windows' own width."""
CHANCE_SIGMAS = 2.8
"""A peak this many standard deviations of unrelated windows' correlation is above chance: among the
25 candidates of the small search, the best of unrelated windows gets there in 2 cases of 100."""
DOUBTFUL_SIGMAS = 3.2
MASK_MARGIN_PX = 1
FLAT = 1e-10
"""A window is flat when its variance is below this share of the image's own."""
ERROR_WINDOWS = 200
"""Windows from which the spectra of a fixed feature are estimated, for its error model."""


@dataclass(frozen=True)
class Points:
    """Where windows start, and their size and distance, in pixels."""

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    window_px: int
    step_px: int

    @classmethod
    def of_image(cls, shape: tuple[int, int], window_px: int, step_px: int) -> Points:
        """All points whose windows lie inside an image of this shape."""
        height, width = shape
        return cls(
            np.arange(0, height - window_px + 1, step_px),
            np.arange(0, width - window_px + 1, step_px),
            window_px,
            step_px,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of points."""
        return self.y.size, self.x.size

    @property
    def centre_y(self) -> NDArray[np.float64]:
        """Rows of the window centres; half-integers for even windows."""
        return np.asarray(self.y + (self.window_px - 1) / 2, np.float64)

    @property
    def centre_x(self) -> NDArray[np.float64]:
        """Columns of the window centres; half-integers for even windows."""
        return np.asarray(self.x + (self.window_px - 1) / 2, np.float64)


@dataclass(frozen=True)
class Field:
    """Displacements on points, in pixels, with their errors and qualities.

    Parameters
    ----------
    points
        Where.
    planes
        By name (see `ogive.matching.measure.RESULTS`), each ``(y, x)`` of float32.
    flag
        `ogive.model.Flag` of each point.
    spectra
        What the pair said of itself; ``None`` where too few windows could be aligned.
    coarse_kept
        Share of the coarse search's nodes with which enough neighbours agreed.
    features
        The features used, by name.
    """

    points: Points
    planes: dict[str, Float32Array]
    flag: NDArray[np.uint8]
    spectra: PairSpectra | None
    coarse_kept: float
    features: str
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Images:
    """Two images or stacks and where they are valid (``None``: everywhere)."""

    earlier: Float32Array
    later: Float32Array
    valid_earlier: BoolArray | None
    valid_later: BoolArray | None

    @property
    def shape(self) -> tuple[int, int]:
        return self.earlier.shape[-2], self.earlier.shape[-1]


Masks = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]


def _kernel_masks(valid_earlier: BoolArray | None, valid_later: BoolArray | None) -> Masks:
    """Masks as the kernels take them: empty when all is valid."""
    if valid_earlier is None or valid_later is None:
        nothing = np.zeros((0, 0), np.uint8)
        return nothing, nothing, np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32)
    return (
        valid_earlier.astype(np.uint8),
        valid_later.astype(np.uint8),
        summed_area(~valid_earlier),
        summed_area(~valid_later),
    )


def _flat_limit(stack: Float32Array, window_px: int) -> float:
    """Sum of squares under which a window of this stack counts as flat."""
    # One pixel in 49 tells the order of magnitude, which is all that is needed.
    some = stack[:, ::7, ::7] if min(stack.shape[1:]) > 200 else stack
    variance = sum(float(np.var(channel, dtype=np.float64)) for channel in some)
    return FLAT * variance * window_px**2


def _masked_halves(
    stack: Float32Array, valid: BoolArray | None
) -> tuple[Float32Array, BoolArray | None]:
    """A stack at half the resolution; a halved pixel is valid when all its four are."""
    halves = halve(stack)
    if valid is None:
        return halves, None
    rows, columns = halves.shape[1:]
    quarters = valid[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
    return halves, np.asarray(quarters.all(axis=(1, 3)), np.bool_)


@dataclass(frozen=True)
class _Coarse:
    """Result of the sparse search on nodes: displacements, and which are kept."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    kept: BoolArray


def _search_coarsely(
    images: _Images,
    points: Points,
    search: Search,
    prior: NDArray[np.float64] | None,
    threads: int,
    least_valid: float,
) -> _Coarse:
    """Search a sparse grid of nodes over the whole range, at half the resolution."""
    every = max(1, round(SPACING_PX / points.step_px))
    rows, columns = coarse_nodes(points.y.size, every), coarse_nodes(points.x.size, every)
    centre_y, centre_x = points.centre_y[rows], points.centre_x[columns]
    first, second = images.earlier, images.later
    valid1, valid2 = images.valid_earlier, images.valid_later
    factor = 2 if min(images.shape) >= 3 * COARSE_WINDOW_PX else 1
    if factor == 2:
        first, valid1 = _masked_halves(first, valid1)
        second, valid2 = _masked_halves(second, valid2)
        centre_y, centre_x = (centre_y - 0.5) / 2, (centre_x - 0.5) / 2
    height, width = first.shape[1:]
    size = min(COARSE_WINDOW_PX, height, width)
    ys = np.clip(np.rint(centre_y - (size - 1) / 2).astype(np.int64), 0, height - size)
    xs = np.clip(np.rint(centre_x - (size - 1) / 2).astype(np.int64), 0, width - size)
    radius = _radius_on_nodes(search.radius_px, points, rows, columns)
    around = np.zeros((2, rows.size, columns.size))
    if prior is not None:
        given = prior[:, rows[:, None], columns[None, :]]
        known = np.isfinite(given).all(axis=0)
        around = np.where(known, given / factor, 0.0)
        radius = np.where(known, search.prior_radius_px, radius)
    radius = -(-radius // factor) + (1 if factor > 1 else 0)
    found = np.full((5, rows.size, columns.size), np.nan)
    run_over_rows(
        coarse_rows, rows.size, threads, first, second, _kernel_masks(valid1, valid2),
        inverse_norms(second, size, size, least=_flat_limit(second, size), threads=threads),
        ys, xs, size, around[0], around[1], radius, _flat_limit(first, size), least_valid, found,
    )  # fmt: skip
    found[:2] *= factor
    kept = neighbours_agree(found[0], found[1], spacing_px=every * points.step_px)
    return _Coarse(rows, columns, found[0], found[1], kept)


def _radius_on_nodes(
    radius_px: int | NDArray[np.int64],
    points: Points,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Search radius of each node, from a number or a map on the images' grid."""
    if np.ndim(radius_px) == 0:
        return np.full((rows.size, columns.size), radius_px, np.int64)
    y = np.rint(points.centre_y[rows]).astype(np.int64)
    x = np.rint(points.centre_x[columns]).astype(np.int64)
    return np.asarray(radius_px, np.int64)[np.ix_(y, x)]


def _adaptive_features(
    images: _Images, spectra: PairSpectra, threads: int
) -> tuple[Float32Array, Float32Array]:
    """Both images through the pair's own filter."""
    taps = filter_taps(spectra.frequency, spectra.response)
    stacks = []
    for image, valid in (
        (images.earlier, images.valid_earlier),
        (images.later, images.valid_later),
    ):
        filled = fill_invalid(image, valid, threads=threads)
        filled = filled - np.float32(filled.mean(dtype=np.float64))
        stacks.append(apply_filter(filled, taps, threads=threads)[None])
    return stacks[0], stacks[1]


def _gaps(masks: Masks) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
    """Summed-area tables of what is invalid in each image; None where all is valid."""
    return (masks[2], masks[3]) if masks[2].size else None


def _aligned_spectra(
    first: Float32Array,
    second: Float32Array,
    masks: Masks,
    points: Points,
    coarse: _Coarse,
    threads: int,
    most_windows: int,
) -> PairSpectra | None:
    """Spectra of two stacks from the windows round the coarse nodes that are kept."""
    x, y = np.meshgrid(points.centre_x[coarse.columns], points.centre_y[coarse.rows])
    usable = _gaps(masks)
    kept = coarse.kept
    # Between clouds there may be room for small windows where there is none for large ones.
    for most_px in (64, 32):
        found = measure_spectra(
            first, second, x[kept], y[kept], coarse.u[kept], coarse.v[kept], usable=usable,
            most_windows=most_windows, most_px=most_px, threads=threads,
        )  # fmt: skip
        if found is not None:
            break
    return found


@dataclass(frozen=True)
class _Stacks:
    """Features of both images with what the kernels need of them."""

    earlier: Float32Array
    later: Float32Array
    earlier_spline: Float32Array
    later_spline: Float32Array
    norms: Float32Array
    masks: Masks
    least: float

    @classmethod
    def of(
        cls, earlier: Float32Array, later: Float32Array, masks: Masks, size: int, threads: int
    ) -> _Stacks:
        least = _flat_limit(later, size)
        return cls(
            earlier,
            later,
            spline_coefficients(earlier, threads=threads),
            spline_coefficients(later, threads=threads),
            inverse_norms(later, size, size, least=least, threads=threads),
            masks,
            least,
        )

    def swapped(self, size: int, threads: int) -> _Stacks:
        """The same the other way round, for the backward match."""
        masks = (self.masks[1], self.masks[0], self.masks[3], self.masks[2])
        least = _flat_limit(self.earlier, size)
        return _Stacks(
            self.later, self.earlier, self.later_spline, self.earlier_spline,
            inverse_norms(self.earlier, size, size, least=least, threads=threads), masks, least,
        )  # fmt: skip


def _measure(
    stacks: _Stacks,
    points: Points,
    prediction: Prediction,
    *,
    fine_radius_px: int,
    subpixel: str,
    least_valid: float,
    chance: float,
    doubtful: float,
    threads: int,
) -> tuple[Float32Array, Float32Array, NDArray[np.uint8]]:
    """Measure every point round its prediction: result planes, deformation, flags."""
    out = np.empty((len(RESULTS), *points.shape), np.float32)
    deformation = np.empty((4, *(points.shape if subpixel == "affine" else (0, 0))), np.float32)
    flag = np.zeros(points.shape, np.uint8)
    run_over_rows(
        measure_rows, points.y.size, threads, stacks.earlier, stacks.later, stacks.earlier_spline,
        stacks.later_spline, stacks.masks, stacks.norms, points.y, points.x, points.window_px,
        prediction.planes, prediction.row, prediction.column, fine_radius_px, 3,
        SUBPIXEL[subpixel], stacks.least, least_valid, doubtful,
        chance, out, deformation, flag,
    )  # fmt: skip
    return out, deformation, flag


def _search_everywhere(
    stacks: _Stacks,
    points: Points,
    search: Search,
    prior: NDArray[np.float64] | None,
    least_valid: float,
    threads: int,
) -> Prediction:
    """The full search of every point, as a prediction with a node at every point."""
    every_row, every_column = np.arange(points.y.size), np.arange(points.x.size)
    radius = _radius_on_nodes(search.radius_px, points, every_row, every_column)
    around = np.zeros((2, *points.shape)) if prior is None else np.nan_to_num(prior)
    found = np.full((5, *points.shape), np.nan)
    run_over_rows(
        coarse_rows, points.y.size, threads, stacks.earlier, stacks.later, stacks.masks,
        stacks.norms, points.y, points.x, points.window_px, around[0], around[1], radius,
        stacks.least, least_valid, found,
    )  # fmt: skip
    planes = np.zeros((6, *points.shape))
    planes[:2] = found[:2]
    return Prediction(
        planes, every_row.astype(float), every_column.astype(float), np.isfinite(found[0])
    )


def _backward_distance(
    stacks: _Stacks,
    points: Points,
    forward: Float32Array,
    flag: NDArray[np.uint8],
    **options: Any,
) -> Float32Array:
    """Length of the forward displacement plus the backward one where it ends."""
    every_row, every_column = np.arange(points.y.size), np.arange(points.x.size)
    measured = flag == Flag.MEASURED
    prediction = predict(
        -forward[0].astype(float), -forward[1].astype(float), measured, every_row, every_column,
        step=points.step_px, points=points.shape,
    )  # fmt: skip
    swapped = stacks.swapped(points.window_px, options["threads"])
    back, _, _ = _measure(swapped, points, prediction, **options)
    rows, columns = np.meshgrid(every_row, every_column, indexing="ij")
    at = np.stack([rows + forward[1] / points.step_px, columns + forward[0] / points.step_px])
    at[:, ~measured] = -10.0
    back_u, back_v = (
        ndimage.map_coordinates(back[k], at, order=1, mode="constant", cval=np.nan) for k in (0, 1)
    )
    return np.asarray(np.hypot(forward[0] + back_u, forward[1] + back_v), np.float32)


def _variances(planes: dict[str, Float32Array], points: Points, noise: float) -> dict[str, float]:
    """Turn the kernels' unit variances into error variances, in place."""
    residual = 2.0 * np.maximum(1.0 - planes["correlation"], 0.0) / points.window_px**2
    residual /= np.maximum(planes["valid_fraction"], 1e-3)
    for name in ("u_var", "v_var", "uv_cov"):
        planes[name] *= (noise * residual).astype(np.float32)
    for name in ("u", "v"):
        # However well two windows fit, Gauss-Newton stops within its tolerance.
        planes[f"{name}_var"] += np.float32(TOLERANCE_PX**2)
        planes[f"{name}_var"] += unresolved_deformation(
            planes[name],
            planes[f"{name}_var"],
            window_px=points.window_px,
            step_px=points.step_px,
        )
    return {"noise_factor": noise}


def measure_field(
    earlier: Float32Array,
    later: Float32Array,
    *,
    valid_earlier: BoolArray | None = None,
    valid_later: BoolArray | None = None,
    features: str | Callable[..., Float32Array] = "adaptive",
    window_px: int = 32,
    step_px: int = 8,
    search: Search | None = None,
    prior: NDArray[np.float64] | None = None,
    subpixel: str = "auto",
    smoothing_px: float | None = None,
    forward_backward_px: float | None = None,
    least_valid: float = 0.5,
    least_sigmas: float = CHANCE_SIGMAS,
    threads: int = 1,
) -> Field:
    """Measure the displacement between two images at regular points.

    Parameters
    ----------
    earlier, later
        ``(y, x)`` images, or ``(channel, y, x)`` stacks of features that are used as they are.
    valid_earlier, valid_later
        True where an image may be used; ``None`` for everywhere.
    features, window_px, step_px, search, subpixel, smoothing_px
        As for `ogive.match`.
    forward_backward_px, least_valid, threads
        As for `ogive.match`.
    prior
        ``(2, rows, columns)``: prior u and v at the points, NaN where unknown.
    least_sigmas
        A peak must stand so many standard deviations of chance correlation above zero.

    Returns
    -------
    Field
    """
    search = search or Search()
    if (valid_earlier is None) != (valid_later is None):
        everywhere = np.ones(earlier.shape[-2:], bool)
        valid_earlier = everywhere if valid_earlier is None else valid_earlier
        valid_later = everywhere if valid_later is None else valid_later
    images = _Images(earlier, later, valid_earlier, valid_later)
    points = Points.of_image(images.shape, window_px, step_px)
    if subpixel == "auto":
        # A translation under the predicted deformation has the affine model's freedom from bias
        # without its noise, at half its cost: measured better at every window on both truths.
        subpixel = "translation"
    given = earlier.ndim == 3
    if given:
        rough = images
    else:
        rough = replace(
            images,
            earlier=highpass(earlier, valid_earlier, threads=threads),
            later=highpass(later, valid_later, threads=threads),
        )
    coarse = _search_coarsely(rough, points, search, prior, threads, least_valid)
    if valid_earlier is not None and valid_later is not None and not given:
        # A filter reaches over the edge of what is valid.
        valid_earlier = ~dilate(~valid_earlier, MASK_MARGIN_PX)
        valid_later = ~dilate(~valid_later, MASK_MARGIN_PX)
    masks = _kernel_masks(valid_earlier, valid_later)
    first, second, spectra, power, name = _features_of_pair(
        images, rough, masks, points, coarse, features, smoothing_px, threads
    )
    del rough
    stacks = _Stacks.of(first, second, masks, window_px, threads)
    if spectra is None or power is None:
        power_only = power_spectrum(first, second, usable=_gaps(masks), threads=threads)
        known = None if power_only is None else (power_only, power_only.power)
    else:
        known = spectra, power
    chance, doubtful = 0.0, 0.0
    if known is not None and least_sigmas > 0:
        frequency, level = known[0].frequency, known[1]
        chance, doubtful = (
            chance_correlation(frequency, level, window_px, sigmas=sigmas)
            for sigmas in (least_sigmas, max(DOUBTFUL_SIGMAS, least_sigmas))
        )
    options: dict[str, Any] = {
        "fine_radius_px": search.fine_radius_px,
        "subpixel": "none" if subpixel == "fourier" else subpixel,
        "least_valid": least_valid,
        "chance": chance,
        "doubtful": doubtful,
        "threads": threads,
    }
    if search.strategy == "full":
        prediction = _search_everywhere(stacks, points, search, prior, least_valid, threads)
    else:
        prediction = predict(
            coarse.u, coarse.v, coarse.kept, coarse.rows, coarse.columns, step=step_px,
            points=points.shape,
        )  # fmt: skip
    out, _, flag = _measure(stacks, points, prediction, **options)
    if subpixel == "fourier":
        _oversample(stacks, points, out, flag)
    planes = dict(zip(RESULTS, out, strict=True))
    measured = flag == Flag.MEASURED
    noise = 1.0
    if known is not None and measured.any():
        noise = noise_factor(
            known[0].frequency,
            known[1],
            known[0].coherence,
            float(np.median(planes["correlation"][measured])),
        )
    if known is not None and subpixel in ("translation", "affine"):
        bias = interpolation_bias(known[0].frequency, known[1], known[0].coherence)
        _remove_bias(planes, points, bias)
    notes = _variances(planes, points, noise)
    notes["chance_correlation"] = chance
    if forward_backward_px is not None:
        distance = _backward_distance(stacks, points, out[:2], flag, **options)
        planes["forward_backward_distance"] = distance
        flag[measured & ~(distance <= forward_backward_px)] = Flag.INCONSISTENT
    for plane in ("u", "v", "u_var", "v_var", "uv_cov"):
        planes[plane][flag != Flag.MEASURED] = np.nan
    return Field(points, planes, flag, spectra, float(coarse.kept.mean()), name, notes)


def _remove_bias(planes: dict[str, Float32Array], points: Points, bias: InterpolationBias) -> None:
    """Take the sampler's bias off both components, in place."""
    u, v = planes["u"], planes["v"]
    for name, own, other in (("u", u, v), ("v", v, u)):
        gradients = [np.zeros(own.shape), np.zeros(own.shape)]
        for axis in (0, 1):
            if own.shape[axis] > 1:
                gradients[axis] = np.nan_to_num(np.gradient(own, points.step_px, axis=axis))
        left = bias_left(gradients[1], gradients[0], points.window_px)
        planes[name] = own - bias.of(own, other, left)


def _oversample(
    stacks: _Stacks, points: Points, out: Float32Array, flag: NDArray[np.uint8]
) -> None:
    """Replace integer peaks by ampcor's, in place."""
    rows, columns = np.nonzero(flag == Flag.MEASURED)
    u, v = oversampled_peaks(
        stacks.earlier, stacks.later, points.y[rows], points.x[columns],
        np.rint(out[0, rows, columns]).astype(np.int64),
        np.rint(out[1, rows, columns]).astype(np.int64), window_px=points.window_px,
    )  # fmt: skip
    out[0, rows, columns], out[1, rows, columns] = u, v
    flag[rows[np.isnan(u)], columns[np.isnan(u)]] = Flag.OUTSIDE


def _features_of_pair(
    images: _Images,
    rough: _Images,
    masks: Masks,
    points: Points,
    coarse: _Coarse,
    features: str | Callable[..., Float32Array],
    smoothing_px: float | None,
    threads: int,
) -> tuple[Float32Array, Float32Array, PairSpectra | None, NDArray[np.float64] | None, str]:
    """Feature stacks, the pair's spectra, the features' power spectrum, and the features' name."""
    if images.earlier.ndim == 3:
        first, second, name = images.earlier, images.later, "given"
    elif features == "adaptive":
        spectra = _aligned_spectra(
            images.earlier[None], images.later[None], masks, points, coarse, threads, 800
        )
        if spectra is not None and spectra.response.any():
            first, second = _adaptive_features(images, spectra, threads)
            return first, second, spectra, spectra.power * spectra.response**2, "adaptive"
        logger.warning(
            "the pair's own filter could not be measured (too few windows match): "
            "a high-pass of 21 pixels is used instead"
        )
        first, second, name = rough.earlier, rough.later, "highpass (too few windows for adaptive)"
    else:
        function = features if callable(features) else FEATURES[features]
        name = features if isinstance(features, str) else getattr(features, "__name__", "own")
        if function is highpass:
            first, second = rough.earlier, rough.later
        else:
            first = function(images.earlier, images.valid_earlier, threads=threads)
            second = function(images.later, images.valid_later, threads=threads)
            first, second = _as_stacks(first, second, images.shape)
    spectra = _aligned_spectra(first, second, masks, points, coarse, threads, ERROR_WINDOWS)
    power = None if spectra is None else spectra.power
    if smoothing_px is None and spectra is not None and name in FEATURES:
        smoothing_px = best_smoothing_px(spectra.frequency, spectra.power, spectra.coherence)
    if smoothing_px:
        first, second = (
            smoothed(stack, smoothing_px, threads=threads) for stack in (first, second)
        )
        name = f"{name}, smoothed by {smoothing_px:g} px"
        if spectra is not None and power is not None:
            power = power * np.exp(-((2.0 * np.pi * smoothing_px * spectra.frequency) ** 2))
    return first, second, spectra, power, name


def _as_stacks(
    first: Float32Array, second: Float32Array, shape: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    """Check what a feature function gave."""
    stacks = []
    for stack in (first, second):
        stack = np.ascontiguousarray(stack, np.float32)
        if stack.ndim == 2:
            stack = stack[None]
        if stack.ndim != 3 or stack.shape[1:] != shape:
            raise InputError(
                f"the feature function gave an array of shape {stack.shape}: "
                f"(channel, {shape[0]}, {shape[1]}) is needed"
            )
        stacks.append(stack)
    return stacks[0], stacks[1]
