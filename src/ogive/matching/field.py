"""The displacement field of two images as arrays of pixels: the road from images to measurements.

    images ─► high-pass, halved ─► sparse search ─► neighbours agree? ─► prediction
       └────► features (the pair's own filter by default) ─► small search ─► sub-pixel ─► errors

Everything is in pixels, x to the right and y down.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..model import Flag
from .blocks import Pair, Targets, measure_points, search_points
from .confidence import Calibration, Circumstances
from .errors import chance_correlation, noise_factor, unresolved_deformation
from .features import Feature, FeaturePair
from .interpolation import InterpolationBias, bias_left, interpolation_bias
from .kernels import BoolArray, Float32Array
from .measure import RESULTS, TOLERANCE_PX
from .oversampling import oversampled_peaks
from .pair_features import (
    Aligned,
    Chosen,
    Images,
    chosen_features,
    pair_features,
    rough_stacks,
    stacks_of,
)
from .prediction import Prediction, coarse_nodes, neighbours_agree, predict
from .search import Search
from .spectra import PairSpectra
from .stacks import Stack, rows_of

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
    def targets(self) -> Targets:
        """Where windows start, and their size."""
        return Targets(self.y, self.x, self.window_px)

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
    subpixel_features
        Those of the sub-pixel place, where they are others.
    circumstances
        What the points share, for their confidence; ``None`` if the correlation is not that of the
        features at the displacement, so that there is no confidence.
    source
        Of a field joined from two (`ogive.matching.fallback`): which each point is from.
    """

    points: Points
    planes: dict[str, Float32Array]
    flag: NDArray[np.uint8]
    spectra: PairSpectra | None
    coarse_kept: float
    features: str
    notes: dict[str, float] = field(default_factory=dict)
    subpixel_features: str | None = None
    circumstances: Circumstances | None = None
    source: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class _Coarse:
    """Result of the sparse search on nodes: displacements, and which are kept."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    kept: BoolArray

    def aligned(self, points: Points) -> Aligned:
        """The nodes that are kept, as windows that show the same place."""
        x, y = np.meshgrid(points.centre_x[self.columns], points.centre_y[self.rows])
        kept = self.kept
        return Aligned(x[kept], y[kept], self.u[kept], self.v[kept])


def _search_coarsely(
    pair: Pair,
    points: Points,
    search: Search,
    prior: NDArray[np.float64] | None,
    threads: int,
    least_valid: float,
    device: str | None,
) -> _Coarse:
    """Search a sparse grid of nodes over the whole range, at half the resolution."""
    every = max(1, round(SPACING_PX / points.step_px))
    rows, columns = coarse_nodes(points.y.size, every), coarse_nodes(points.x.size, every)
    centre_y, centre_x = points.centre_y[rows], points.centre_x[columns]
    factor = 2 if min(pair.shape) >= 3 * COARSE_WINDOW_PX else 1
    if factor == 2:
        centre_y, centre_x = (centre_y - 0.5) / 2, (centre_x - 0.5) / 2
    height, width = (length // factor for length in pair.shape)
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
    found = search_points(
        pair, Targets(ys, xs, size), around=around, radius=radius, least_valid=least_valid,
        threads=threads, halved=factor == 2, device=device,
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


def _search_everywhere(
    pair: Pair,
    points: Points,
    search: Search,
    prior: NDArray[np.float64] | None,
    least_valid: float,
    threads: int,
    device: str | None,
) -> Prediction:
    """The full search of every point, as a prediction with a node at every point."""
    every_row, every_column = np.arange(points.y.size), np.arange(points.x.size)
    found = search_points(
        pair,
        points.targets,
        around=np.zeros((2, *points.shape)) if prior is None else np.nan_to_num(prior),
        radius=_radius_on_nodes(search.radius_px, points, every_row, every_column),
        least_valid=least_valid,
        threads=threads,
        device=device,
    )
    planes = np.zeros((6, *points.shape))
    planes[:2] = found[:2]
    return Prediction(
        planes, every_row.astype(float), every_column.astype(float), np.isfinite(found[0])
    )


def _backward_distance(
    pair: Pair,
    points: Points,
    forward: Float32Array,
    flag: NDArray[np.uint8],
    *,
    refined: Pair | None,
    **options: Any,
) -> Float32Array:
    """Length of the forward displacement plus the backward one where it ends."""
    every_row, every_column = np.arange(points.y.size), np.arange(points.x.size)
    measured = flag == Flag.MEASURED
    prediction = predict(
        -forward[0].astype(float), -forward[1].astype(float), measured, every_row, every_column,
        step=points.step_px, points=points.shape,
    )  # fmt: skip
    back = measure_points(
        pair.swapped(), points.targets, prediction,
        refined=None if refined is None else refined.swapped(), **options,
    ).planes  # fmt: skip
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
    features: str | Feature | FeaturePair | Chosen = "adaptive",
    window_px: int = 32,
    step_px: int = 8,
    search: Search | None = None,
    prior: NDArray[np.float64] | None = None,
    subpixel: str = "auto",
    smoothing_px: float | None = None,
    forward_backward_px: float | None = None,
    least_valid: float = 0.5,
    least_sigmas: float = CHANCE_SIGMAS,
    subpixel_features: str | Feature | FeaturePair | Chosen = "same",
    threads: int = 1,
    device: str | None = None,
    calibration: Calibration | None = None,
) -> Field:
    """Measure the displacement between two images at regular points.

    Parameters
    ----------
    earlier, later
        ``(y, x)`` images, or ``(band, y, x)`` ones (for ``"adaptive"``, stacks of features that
        are used as they are).
    valid_earlier, valid_later
        True where an image may be used; ``None`` for everywhere.
    features, window_px, step_px, search, subpixel, smoothing_px
        As for `ogive.match`.
    forward_backward_px, least_valid, subpixel_features, threads
        As for `ogive.match`.
    prior
        ``(2, rows, columns)``: prior u and v at the points, NaN where unknown.
    least_sigmas
        A peak must stand so many standard deviations of chance correlation above zero.
    device
        Of PyTorch, where the search runs; ``None`` for the compiled loops.
    calibration
        Gives each point a confidence, the plane ``"confidence"``.

    Returns
    -------
    Field
    """
    search = search or Search()
    if (valid_earlier is None) != (valid_later is None):
        everywhere = np.ones(earlier.shape[-2:], bool)
        valid_earlier = everywhere if valid_earlier is None else valid_earlier
        valid_later = everywhere if valid_later is None else valid_later
    images = Images(earlier, later, valid_earlier, valid_later)
    points = Points.of_image(images.shape, window_px, step_px)
    if subpixel == "auto":
        # A translation under the predicted deformation has the affine model's freedom from bias
        # without its noise, at half its cost: measured better at every window on both truths.
        subpixel = "translation"
    chosen = chosen_features(features, bands=earlier.ndim == 3)
    stacks: tuple[Stack, Stack] | None = None
    if chosen.given:
        stacks = images.earlier, images.later
        rough = images.as_pair(*stacks)
    elif chosen.local and chosen.functions is not None:
        # What matches where contrast does not should lead the search too.
        stacks = stacks_of(images, chosen.functions, threads)
        rough = images.as_pair(*stacks)
    else:
        rough = rough_stacks(images, threads)
    coarse = _search_coarsely(rough, points, search, prior, threads, least_valid, device)
    inside = images if chosen.given else images.with_margin(MASK_MARGIN_PX)
    aligned = coarse.aligned(points)
    # The pair's own filter begins from the images: what led the search is not needed beside it.
    high = None if stacks is not None or chosen.functions is None else rough
    del rough
    searched = pair_features(
        images, chosen, aligned, inside=inside, rough=high, stacks=stacks,
        smoothing_px=smoothing_px, threads=threads,
    )  # fmt: skip
    refined = searched
    if subpixel_features != "same":
        refined = pair_features(
            images, chosen_features(subpixel_features, bands=False), aligned, inside=inside,
            rough=high, threads=threads,
        )  # fmt: skip
    apart = None if refined is searched else refined.pair
    del high, stacks
    known = refined.known(threads=threads)
    chance, doubtful = _chance(
        known if apart is None else searched.known(threads=threads), window_px, least_sigmas
    )
    options: dict[str, Any] = {
        "fine_radius_px": search.fine_radius_px,
        "subpixel": "none" if subpixel == "fourier" else subpixel,
        "least_valid": least_valid,
        "chance": chance,
        "doubtful": doubtful,
        "threads": threads,
        "device": device,
    }
    if search.strategy == "full":
        prediction = _search_everywhere(
            searched.pair, points, search, prior, least_valid, threads, device
        )
    else:
        prediction = predict(
            coarse.u, coarse.v, coarse.kept, coarse.rows, coarse.columns, step=step_px,
            points=points.shape,
        )  # fmt: skip
    measured = measure_points(searched.pair, points.targets, prediction, refined=apart, **options)
    planes, flag = dict(zip(RESULTS, measured.planes, strict=True)), measured.flag
    if subpixel == "fourier":
        _oversample(searched.pair, points, measured.planes, flag)
    notes = _judge(planes, points, flag, known, subpixel)
    notes["chance_correlation"] = chance
    circumstances = None
    if apart is None and subpixel in ("translation", "affine"):
        circumstances = Circumstances(
            window_px, step_px, search.strategy, _reach_px(search, points, prior),
            float(coarse.kept.mean()), _chance_deviation(known, window_px),
        )  # fmt: skip
        if calibration is not None:
            planes["confidence"] = calibration.confidence(
                planes, flag == Flag.MEASURED, circumstances, threads=threads
            )
    if measured.searched is not None:
        planes["subpixel_correlation"] = planes["correlation"]
        planes["correlation"] = measured.searched
    if forward_backward_px is not None:
        distance = _backward_distance(
            searched.pair, points, measured.planes[:2], flag, refined=apart, **options
        )
        planes["forward_backward_distance"] = distance
        flag[(flag == Flag.MEASURED) & ~(distance <= forward_backward_px)] = Flag.INCONSISTENT
    for plane in ("u", "v", "u_var", "v_var", "uv_cov", "confidence"):
        if plane in planes:
            planes[plane][flag != Flag.MEASURED] = np.nan
    return Field(
        points, planes, flag, refined.spectra, float(coarse.kept.mean()), searched.name, notes,
        None if apart is None else refined.name, circumstances,
    )  # fmt: skip


def _chance(
    known: tuple[PairSpectra, NDArray[np.float64]] | None, window_px: int, least_sigmas: float
) -> tuple[float, float]:
    """Correlations under which a peak may be chance, and under which it is searched again."""
    if known is None or least_sigmas <= 0:
        return 0.0, 0.0
    chance, doubtful = (
        chance_correlation(known[0].frequency, known[1], window_px, sigmas=sigmas)
        for sigmas in (least_sigmas, max(DOUBTFUL_SIGMAS, least_sigmas))
    )
    return chance, doubtful


def _chance_deviation(
    known: tuple[PairSpectra, NDArray[np.float64]] | None, window_px: int
) -> float:
    """Standard deviation of artanh of the correlation of unrelated windows; NaN if unknown."""
    if known is None:
        return float("nan")
    one = chance_correlation(known[0].frequency, known[1], window_px, sigmas=1.0)
    return float(np.arctanh(one)) if 0.0 < one < 1.0 else float("nan")


def _reach_px(
    search: Search, points: Points, prior: NDArray[np.float64] | None
) -> float | NDArray[Any]:
    """How far each point was searched for."""
    if prior is None and np.ndim(search.radius_px) == 0:
        return float(search.radius_px)
    rows, columns = np.arange(points.y.size), np.arange(points.x.size)
    radius = _radius_on_nodes(search.radius_px, points, rows, columns)
    if prior is None or search.strategy == "full":
        return radius
    return np.where(np.isfinite(prior).all(axis=0), search.prior_radius_px, radius)


def _judge(
    planes: dict[str, Float32Array],
    points: Points,
    flag: NDArray[np.uint8],
    known: tuple[PairSpectra, NDArray[np.float64]] | None,
    subpixel: str,
) -> dict[str, float]:
    """Take the sampler's bias off and turn unit variances into error variances, in place."""
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
    return _variances(planes, points, noise)


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


def _oversample(pair: Pair, points: Points, out: Float32Array, flag: NDArray[np.uint8]) -> None:
    """Replace integer peaks by ampcor's, in place."""
    rows, columns = np.nonzero(flag == Flag.MEASURED)
    height = pair.shape[0]
    u, v = oversampled_peaks(
        rows_of(pair.earlier, 0, height), rows_of(pair.later, 0, height), points.y[rows],
        points.x[columns], np.rint(out[0, rows, columns]).astype(np.int64),
        np.rint(out[1, rows, columns]).astype(np.int64), window_px=points.window_px,
    )  # fmt: skip
    out[0, rows, columns], out[1, rows, columns] = u, v
    flag[rows[np.isnan(u)], columns[np.isnan(u)]] = Flag.OUTSIDE
