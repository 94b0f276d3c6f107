"""Scores of features on simulated pairs: how many points are right, and how right they are."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from learned_cases import Case
from numpy.typing import NDArray
from scipy import fft, ndimage

import ogive
from ogive.correction.robust import nmad
from ogive.matching.search import Search

if TYPE_CHECKING:
    from ogive.similarity.features import LearnedFeature

__all__ = [
    "BEST_WINDOWS",
    "Method",
    "Remembered",
    "at_best",
    "at_equal_settings",
    "bias_curve",
    "check_full_search",
    "judge",
    "matched",
    "moved_by",
    "scores",
    "seconds_per_million_points",
    "stable_spread",
]

WINDOW_PX, STEP_PX, RADIUS_PX = 16, 8, 16
BEST_WINDOWS = (16, 24, 32, 48)
RIGHT_PX = 1.0
PRECISION = 0.95
IMPOSED_PX = tuple(k / 8 for k in range(8))

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Feature = str | Callable[..., NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Method:
    """Features under a name, and options of `ogive.match` that belong to them."""

    name: str
    features: Feature
    options: Mapping[str, Any]


class Remembered:
    """Learned features that keep their last stacks: several windows do not pay for them again.

    In all else as the features themselves, so that they lead the search, have their confidence and
    fall back as they do.

    Parameters
    ----------
    feature
        The features.
    most
        How many stacks are kept.
    """

    def __init__(self, feature: LearnedFeature, most: int = 4) -> None:
        self._feature = feature
        self._most = most
        self._kept: dict[bytes, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feature, name)

    def __call__(
        self, image: NDArray[np.float32], valid: Bools | None = None, /, *, threads: int = 1
    ) -> NDArray[np.float32]:
        """Give the stack of an image."""
        digest = hashlib.sha1(np.ascontiguousarray(image).tobytes())
        digest.update(b"" if valid is None else valid.tobytes())
        key = digest.digest()
        if key not in self._kept:
            while len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self._feature(image, valid, threads=threads)
        return self._kept[key]


def matched(earlier: Array, later: Array, method: Method, **options: Any) -> xr.Dataset:
    """Match a pair on one thread; every peak is kept, so that misses are counted and not cut."""
    settings = {
        "window": WINDOW_PX, "step": STEP_PX, "min_significance": 0.0, "threads": 1,
        **method.options, **options,
    }  # fmt: skip
    return ogive.match(earlier, later, features=method.features, **settings)


def check_full_search() -> None:
    """Make sure that a point without a match costs its neighbours nothing.

    Every other column of the later image is another surface; the rest did not move.

    Raises
    ------
    RuntimeError
        If fewer points are found than stand still.
    """
    rng = np.random.default_rng(0)
    earlier, other = rng.standard_normal((2, 96, 192)).astype(np.float32)
    later = earlier.copy()
    changed = np.zeros(192 // 16, bool)
    changed[1::2] = True
    later[:, np.repeat(changed, 16)] = other[:, np.repeat(changed, 16)]
    search = Search(radius_px=3, strategy="full")
    method = Method("intensity", "intensity", {"subpixel": "none", "smoothing": 0.0})
    found = matched(earlier, later, method, step=16, search=search)
    # At the image's edge the search is cut off, and so are peaks.
    still = np.hypot(found.dx, found.dy).values[1:-1, 2::2] < 0.5
    if not still.all():
        raise RuntimeError(
            f"the full search lost {int((~still).sum())} of {still.size} points beside points "
            "without a match: its figures would be too low"
            " (see `interpolate` in ogive.matching.measure: nothing times NaN is NaN)"
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """Points of one pair: distance from the truth (infinite where nothing was found), and kinds."""

    error_x: Array
    error_y: Array
    certainty: Array
    ice: Bools
    margin: Bools
    stable: Bools
    vanished: Bools

    @property
    def error(self) -> Array:
        """Length of the error."""
        return np.hypot(self.error_x, self.error_y)


def certainty(found: xr.Dataset) -> Array:
    """What tells good points from bad ones: of two features at once correlations do not."""
    return np.asarray((found.confidence if "source" in found else found.correlation).values, float)


def judge(case: Case, found: xr.Dataset) -> Judged:
    """Compare a match with the truth at the windows' centres."""
    rows, columns = np.meshgrid(found.y.values, found.x.values, indexing="ij")

    def at(plane: NDArray[Any]) -> Array:
        # Even windows have their centre between pixels.
        return ndimage.map_coordinates(plane.astype(float), [rows, columns], order=1)

    def all_of(mask: Bools) -> Bools:
        return np.asarray(at(mask) > 0.99)

    dx, dy = found.dx.values.astype(float), found.dy.values.astype(float)
    nothing = np.isnan(dx)
    error_x = np.where(nothing, np.inf, dx - at(case.dx_px))
    error_y = np.where(nothing, np.inf, dy - at(case.dy_px))
    matchable = all_of(case.matchable)
    ice = all_of(case.ice) & matchable
    return Judged(
        error_x=error_x,
        error_y=error_y,
        certainty=np.where(nothing, -1.0, certainty(found)),
        ice=ice,
        margin=ice & (at(case.margin) > 0.5),
        stable=all_of(case.stable) & matchable,
        vanished=at(case.matchable) < 0.01,
    )


def pooled(parts: Sequence[Judged], kind: str, plane: str) -> Array:
    """A plane at all points of a kind, over several pairs."""
    return np.concatenate([getattr(part, plane)[getattr(part, kind)] for part in parts])


def coverage_at_precision(error: Array, certainty: Array) -> tuple[float, float]:
    """Largest share of points that can be kept, best first, while 95 % of them are right.

    Returns that share and the correlation from which points are kept.
    """
    order = np.argsort(-certainty, kind="stable")
    right = np.cumsum(error[order] < RIGHT_PX) / np.arange(1, error.size + 1)
    enough = np.nonzero(right >= PRECISION)[0]
    if enough.size == 0:
        return 0.0, float("inf")
    last = int(enough[-1])
    return (last + 1) / error.size, float(certainty[order][last])


def share_of(mask: Bools) -> float:
    """Share that is True; NaN of nothing."""
    return float(mask.mean()) if mask.size else float("nan")


def median_of(values: Array) -> float:
    """Median; NaN of nothing."""
    return float(np.median(values)) if values.size else float("nan")


def scores(parts: Sequence[Judged]) -> dict[str, float]:
    """Figures of one situation over its glaciers, on ice unless their names say otherwise."""
    error, sure = pooled(parts, "ice", "error"), pooled(parts, "ice", "certainty")
    margin = pooled(parts, "margin", "error")
    right = error < RIGHT_PX
    coverage, limit = coverage_at_precision(error, sure)
    gone = pooled(parts, "vanished", "certainty")
    components = np.concatenate(
        [pooled(parts, "stable", plane) for plane in ("error_x", "error_y")]
    )
    return {
        "points": float(error.size),
        "right_share": share_of(right),
        "median_error_px": median_of(error),
        "median_error_of_right_px": median_of(error[right]),
        "coverage_at_95": coverage,
        "margin_points": float(margin.size),
        "margin_right_share": share_of(margin < RIGHT_PX),
        "margin_median_error_px": median_of(margin),
        "vanished_points": float(gone.size),
        "vanished_kept_share": share_of(gone >= limit),
        "stable_nmad_px": nmad(components[np.isfinite(components)]),
    }


# ---- below the pixel -----------------------------------------------------------------------------


def moved_by(image: Array, shift_x: float, shift_y: float) -> Array:
    """Shift an image by fractions of a pixel in the Fourier domain, its border mirrored."""
    if shift_x == shift_y == 0.0:
        return image.astype(float)
    padded = np.pad(image.astype(float), 64, mode="reflect")
    cycles_y = shift_y * fft.fftfreq(padded.shape[0])[:, None]
    cycles_x = shift_x * fft.rfftfreq(padded.shape[1])[None, :]
    phase = np.exp(-2j * np.pi * (cycles_y + cycles_x))
    return fft.irfft2(fft.rfft2(padded) * phase, s=padded.shape)[64:-64, 64:-64]


def bias_curve(case: Case, method: Method) -> dict[str, Any]:
    """Median error of right points after the later image is moved by eighths of a pixel.

    Ice moves by all fractions, so a bias that depends on them is an error wherever ice strains.
    The bias of an interpolation is odd in the fraction: its peak-to-peak tells it all.
    """
    rows = []
    for shift in IMPOSED_PX:
        later = moved_by(case.later, shift, shift).astype(np.float32)
        part = judge(case, matched(case.earlier, later, method, search=RADIUS_PX))
        seen = part.ice | part.stable
        error = np.stack([part.error_x[seen], part.error_y[seen]]) - shift
        error = error[:, np.hypot(*error) < RIGHT_PX]
        rows.append(np.median(error, axis=1))
    curve = np.array(rows)
    return {
        "imposed_px": list(IMPOSED_PX),
        "bias_x_px": curve[:, 0].tolist(),
        "bias_y_px": curve[:, 1].tolist(),
        "peak_to_peak_px": float(np.ptp(curve, axis=0).mean()),
    }


def stable_spread(found: xr.Dataset, stable: Bools, best: float) -> float:
    """NMAD on stable ground of the share of points that correlate best, mean of dx and dy."""
    measured = np.isfinite(found.dx.values)
    sure = np.where(measured, certainty(found), -1.0)
    kept = stable & measured & (sure >= np.quantile(sure[stable], 1 - best))
    return (nmad(found.dx.values[kept]) + nmad(found.dy.values[kept])) / 2


# ---- speed ---------------------------------------------------------------------------------------


def seconds_per_million_points(case: Case, method: Method) -> float:
    """CPU seconds of a match with the default search at step 4, features included."""
    spent = []
    for _ in range(2):
        start = time.process_time()
        found = matched(case.earlier, case.later, method, step=4, search=RADIUS_PX)
        spent.append((time.process_time() - start) / found.dx.size * 1e6)
    return min(spent)


def at_equal_settings(cases: Sequence[Case], method: Method) -> dict[str, float]:
    """Window 16, step 8, every point searched on its own over the whole range."""
    search = Search(radius_px=RADIUS_PX, strategy="full")
    return scores([judge(c, matched(c.earlier, c.later, method, search=search)) for c in cases])


def at_best(cases: Sequence[Case], method: Method) -> dict[str, float]:
    """The window with most right points, with the default search: neighbours help."""
    found = []
    for window in BEST_WINDOWS:
        options = {"window": window, "search": RADIUS_PX}
        parts = [judge(c, matched(c.earlier, c.later, method, **options)) for c in cases]
        found.append({"window_px": float(window), **scores(parts)})
    return max(found, key=lambda row: row["right_share"])
