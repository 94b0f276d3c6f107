r"""Displacements between real images that contradict nothing: the labels of self-sample training.

Nobody knows how the ice of a real pair moved, but a match can be asked to agree with what it must
agree with:

- *the way back*: the later image is matched with the earlier one, every point on its own over the
  whole search, without a hint of the forward match or of neighbours, and the two displacements must
  cancel to less than ``tolerance_px`` (0.3 px; after Shen et al. 2022);
- *the way round*, of three dates: along :math:`d_{pq}`, :math:`d_{qr}` and :math:`d_{rp}` one must
  be back where one started. This is the sum of three measurements, each as uncertain as the pair's,
  so its limit is :math:`\sqrt 3` times the pair's (0.52 px). Of several third dates one must
  confirm the match: a cloud in one of them says nothing of it;
- *neighbours*: of the 24 points on a grid half a window apart, more than eight must agree. The
  eight nearest share half of the window's pixels, and may be wrong for the same reason; a ninth one
  shares none. (Two points agree when their displacements differ by less than :math:`\sqrt 2`
  times the tolerance plus what the steepest strain makes of their distance.)

Between four neighbouring points that are kept and agree, the displacement is interpolated; nothing
is extrapolated. What is wrong everywhere in the same way passes all three tests: a common shadow
edge, or a bias of the features themselves. That is why training on these labels must be harder
than the match that made them (see `self_sample`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ogive.correction.neighbourhood import agreeing_neighbours, square
from ogive.matching.kernels import Float32Array
from ogive.matching.match import Masks, match
from ogive.matching.search import Search
from ogive.model import Flag, InputError

from .image_series import DatedImage, ImageSeries
from .labelled_pair import LabelledPair

__all__ = ["Kept", "Matching", "consistent_pairs"]

Floats = NDArray[np.float64]

STEEPEST_STRAIN = 0.05
"""Pixels over pixels: the margin of a fast glacier, 3 px over 60; what is steeper is no label."""
NEAREST = 8
ROUND_PX = 2
"""Neighbours are looked for so many half-windows away: the outer ones share no pixel."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How real pairs are matched to make labels.

    Parameters
    ----------
    features
        A name of `ogive.match`, or a function such as a trained network's
        (`ogive.similarity.features`).
    window_px
        Side of the windows, even: wider than those that are trained on, so that the label knows
        more than the pupil sees.
    step_px
        Distance of the points; a whole part of half a window.
    search_px
        The largest displacement along each axis.
    tolerance_px
        How far forward and backward may disagree.

    Raises
    ------
    InputError
        If a number is impossible.
    """

    features: str | Callable[..., Float32Array] = "adaptive"
    window_px: int = 32
    step_px: int = 8
    search_px: int = 32
    tolerance_px: float = 0.3

    def __post_init__(self) -> None:
        if self.window_px < 8 or self.window_px % 2:
            raise InputError(f"window_px is {self.window_px}: an even number from 8 is needed")
        if self.step_px < 1 or (self.window_px // 2) % self.step_px:
            raise InputError(
                f"step_px is {self.step_px}: half of window_px ({self.window_px // 2}) must be a "
                "multiple of it"
            )
        if self.search_px < 1 or not 0 < self.tolerance_px <= 2:
            raise InputError(
                f"search_px is {self.search_px} and tolerance_px {self.tolerance_px}: at least 1, "
                "and above 0 up to 2 are needed"
            )

    @property
    def closure_px(self) -> float:
        """How far three displacements may miss their beginning."""
        return float(np.sqrt(3)) * self.tolerance_px

    def agreement_px(self, distance_px: float) -> float:
        """How far two points may differ that are so far apart."""
        return float(np.sqrt(2)) * self.tolerance_px + STEEPEST_STRAIN * distance_px


@dataclass(frozen=True, slots=True)
class Kept:
    """How many points of a pair passed each test, one after the other.

    Attributes
    ----------
    place
        Of the pair.
    days
        Between the images.
    points
        That were asked.
    measured
        With a match at all.
    consistent
        There and back.
    closed
        Of these, confirmed by a third date; all, where there is none.
    agreeing
        Of these, with their neighbours: they are kept.
    labelled_pixels
        Between kept points.
    """

    place: str
    days: float
    points: int
    measured: int
    consistent: int
    closed: int
    agreeing: int
    labelled_pixels: int


@dataclass(frozen=True, slots=True)
class _Leg:
    """Displacements from one image to another on points, NaN where there is none."""

    u: Floats
    v: Floats
    first_px: float
    step_px: int

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Displacement at places between the points; NaN beside a point without one."""
        place = np.stack([(y - self.first_px) / self.step_px, (x - self.first_px) / self.step_px])
        place = np.where(np.isfinite(place), place, -9.0)
        u, v = (
            ndimage.map_coordinates(plane, place, order=1, mode="constant", cval=np.nan)
            for plane in (self.u, self.v)
        )
        return u, v

    @property
    def places(self) -> tuple[Floats, Floats]:
        """Columns and rows of the points."""
        rows, columns = (self.first_px + self.step_px * np.arange(n) for n in self.u.shape)
        x, y = np.meshgrid(columns, rows)
        return x, y

    def missed_by(self, *onward: _Leg) -> Floats:
        """How far one misses the start that goes along this leg and then along others."""
        x, y = self.places
        x, y = x + self.u, y + self.v
        for leg in onward:
            u, v = leg.at(x, y)
            x, y = x + u, y + v
        start_x, start_y = self.places
        return np.asarray(np.hypot(x - start_x, y - start_y))


def consistent_pairs(
    series: ImageSeries, matching: Matching | None = None, *, threads: int | None = None
) -> list[tuple[LabelledPair, Kept]]:
    """Match all pairs of a series both ways and label where nothing is contradicted.

    Parameters
    ----------
    series
        Images of one place.
    matching
        How they are matched.
    threads
        How many to use, by default all there are; the result does not depend on it.

    Returns
    -------
    list of (LabelledPair, Kept)
        One for each two images, even where nothing is left.

    Raises
    ------
    InputError
        If the images are smaller than a window, or one of them has no texture.
    """
    how = matching or Matching()
    images = series.images
    legs = {
        (p, q): _matched(images[p], images[q], how, threads, alone=p > q)
        for p, q in permutations(range(len(images)), 2)
    }
    return [_labelled(series, legs, p, q, how) for p, q in combinations(range(len(images)), 2)]


def _matched(
    first: DatedImage, second: DatedImage, how: Matching, threads: int | None, *, alone: bool
) -> _Leg:
    """Displacements from one image to another; without a prediction, each point is alone."""
    field = match(
        first.grey,
        second.grey,
        features=how.features,
        window=how.window_px,
        step=how.step_px,
        search=Search(how.search_px, strategy="full" if alone else "coarse-to-fine"),
        mask=Masks(first.valid, second.valid),
        threads=threads,
    )
    found = field.flag.values == Flag.MEASURED
    u, v = (np.where(found, field[name].values, np.nan).astype(float) for name in ("dx", "dy"))
    return _Leg(u, v, (how.window_px - 1) / 2, how.step_px)


def _labelled(
    series: ImageSeries, legs: Mapping[tuple[int, int], _Leg], p: int, q: int, how: Matching
) -> tuple[LabelledPair, Kept]:
    leg = legs[p, q]
    measured = np.isfinite(leg.u)
    missed = leg.missed_by(legs[q, p])
    consistent = missed < how.tolerance_px
    thirds = [r for r in range(len(series.images)) if r not in (p, q)]
    closed = consistent.copy()
    if thirds:
        closed &= np.any(
            [leg.missed_by(legs[q, r], legs[r, p]) < how.closure_px for r in thirds], axis=0
        )
    kept = closed & _neighbours_agree(leg, closed, how)
    earlier, later = series.images[p], series.images[q]
    quality = np.where(kept, 1.0 - (np.where(kept, missed, 0.0) / how.tolerance_px) ** 2, np.nan)
    displacement, weights = _between(leg, kept, quality, earlier.valid.shape, how)
    unknown = ~(earlier.valid & np.isfinite(displacement).all(axis=0))
    displacement[:, unknown] = np.nan
    weights[unknown] = 0.0
    days = (later.scene.time - earlier.scene.time).total_seconds() / 86400
    pair = LabelledPair(
        series.place,
        earlier,
        later,
        displacement,
        np.zeros(earlier.valid.shape, bool),
        weights,
        series.pixel_size_m,
        frozenset({series.place}),
    )
    counts = Kept(
        place=series.place,
        days=days,
        points=kept.size,
        measured=int(measured.sum()),
        consistent=int(consistent.sum()),
        closed=int(closed.sum()),
        agreeing=int(kept.sum()),
        labelled_pixels=int((~unknown).sum()),
    )
    return pair, counts


def _neighbours_agree(leg: _Leg, usable: NDArray[np.bool_], how: Matching) -> NDArray[np.bool_]:
    """Where more neighbours agree than the nearest ones that share pixels."""
    half_px = how.window_px // 2
    apart = half_px // how.step_px
    offsets = [
        offset._replace(y=apart * offset.y, x=apart * offset.x)
        for offset in square(2 * ROUND_PX + 1, centre=False)
    ]
    limits = [how.agreement_px(how.step_px * float(np.hypot(*offset))) for offset in offsets]
    u, v = (np.where(usable, plane, np.nan).astype(np.float32) for plane in (leg.u, leg.v))
    return np.asarray(agreeing_neighbours(u, v, offsets, limits).agreeing > NEAREST)


def _between(
    leg: _Leg,
    kept: NDArray[np.bool_],
    quality: Floats,
    shape: tuple[int, ...],
    how: Matching,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Displacement and quality of each pixel between four points that are kept and agree."""
    u, v = (np.where(kept, plane, np.nan) for plane in (leg.u, leg.v))
    rows, columns = (np.arange(n, dtype=float) for n in shape)
    x, y = np.meshgrid(columns, rows)
    dense = np.stack(_Leg(u, v, leg.first_px, leg.step_px).at(x, y))
    worth, _ = _Leg(quality, quality, leg.first_px, leg.step_px).at(x, y)
    limit = how.agreement_px(how.step_px)
    cells = [
        np.stack([plane[:-1, :-1], plane[1:, :-1], plane[:-1, 1:], plane[1:, 1:]])
        for plane in (u, v)
    ]
    torn = np.any([cell.max(0) - cell.min(0) > limit for cell in cells], axis=0)
    if torn.any():
        # NaN of a cell would reach into its neighbours: cells are asked one by one.
        row, column = (
            np.clip(((where - leg.first_px) // leg.step_px).astype(int), 0, n - 1)
            for where, n in zip((y, x), torn.shape, strict=True)
        )
        dense[:, torn[row, column]] = np.nan
    return dense.astype(np.float32), worth.astype(np.float32)
