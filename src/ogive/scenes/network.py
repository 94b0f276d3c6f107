"""Which scenes make pairs: the network that the velocities of a region hang on.

Pairs of one orbit see the ground from the same side, so that errors of the elevation model cancel;
pairs across orbits do not, and tell of those errors (`ogive.correction.orthorectification`). What
is chosen here is counted and drawn before anything is downloaded: see `ogive.scenes.estimate`.

The core works on arrays and yields indices, so that a million pairs take seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from ogive.model import InputError, Pair, Scene

__all__ = [
    "PairIndices",
    "Triplet",
    "TripletIndices",
    "pair_indices",
    "pairs",
    "triplet_indices",
    "triplets",
]

SameOrbit = bool | Literal["never"]
Indices = NDArray[np.int64]

REPEAT_TOLERANCE_DAYS = 1 / 24
"""Limits of the baseline are widened by this.

Passes of one orbit repeat after whole days to within seconds, so that a pair of 5 days may be
4.9999 days long; different passes over one place are the better part of a day apart.
"""

_log = logging.getLogger(__name__)


class PairIndices(NamedTuple):
    """Positions of the earlier and the later scenes of pairs, in the sequence that was given."""

    earlier: Indices
    later: Indices


class TripletIndices(NamedTuple):
    """Positions of the scenes of triplets, in the sequence that was given."""

    first: Indices
    middle: Indices
    last: Indices


@dataclass(frozen=True, slots=True)
class Triplet:
    """Three scenes of one place in the order of time, any two of which are a pair."""

    first: Scene
    middle: Scene
    last: Scene


def pairs(
    scenes: Iterable[Scene],
    *,
    min_days: float = 5,
    max_days: float = 400,
    same_orbit: SameOrbit = True,
    nearest: int | None = None,
    redundancy: int | None = None,
) -> list[Pair]:
    """Choose the pairs of scenes that shall be matched.

    Parameters
    ----------
    scenes
        As `ogive.scenes.search`, `from_items` or `local` give them, in any order.
    min_days, max_days
        Shortest and longest temporal baseline; an hour beyond them still counts.
    same_orbit
        ``True``: only scenes of one relative orbit, or of one path and row. ``False``: any scenes
        of one mission and processing level that see the same place. ``"never"``: only scenes of
        different orbits. Scenes whose orbit is not known count as of one orbit.
    nearest
        Pair each scene with so many of the scenes that follow it within the limits, no more.
    redundancy
        Take the shortest pairs by which each step of time, from one scene to the next, is spanned
        so many times (where so many pairs span it at all), no more.

    Returns
    -------
    list of Pair
        Ordered by the earlier scene's time, then by the later one's.

    Raises
    ------
    InputError
        If the limits leave nothing, a number is below 1, or `nearest` and `redundancy` are both
        given.

    Examples
    --------
    >>> from datetime import datetime
    >>> looks = [
    ...     Scene(f"{day}", datetime(2020, 7, day), mission="sentinel-2", relative_orbit=orbit)
    ...     for day, orbit in [(1, 65), (4, 108), (6, 65), (11, 65), (14, 108)]
    ... ]
    >>> [(pair.earlier.id, pair.later.id) for pair in pairs(looks)]
    [('1', '6'), ('1', '11'), ('4', '14'), ('6', '11')]
    >>> [(pair.earlier.id, pair.later.id) for pair in pairs(looks, nearest=1)]
    [('1', '6'), ('4', '14'), ('6', '11')]
    """
    known = tuple(scenes)
    chosen = pair_indices(
        known,
        min_days=min_days,
        max_days=max_days,
        same_orbit=same_orbit,
        nearest=nearest,
        redundancy=redundancy,
    )
    return [
        Pair(known[i], known[j])
        for i, j in zip(chosen.earlier.tolist(), chosen.later.tolist(), strict=True)
    ]


def pair_indices(
    scenes: Sequence[Scene],
    *,
    min_days: float = 5,
    max_days: float = 400,
    same_orbit: SameOrbit = True,
    nearest: int | None = None,
    redundancy: int | None = None,
) -> PairIndices:
    """Choose pairs as `pairs` does, as positions in `scenes` instead of as objects.

    Parameters, order and errors are those of `pairs`.
    """
    _check(min_days, max_days, same_orbit, nearest, redundancy)
    table = _Table.of(scenes, same_orbit)
    candidates = _within(table, min_days, max_days)
    if same_orbit is not True:
        candidates = _without_other_frames(table, candidates)
        candidates = _seeing_each_other(scenes, table, candidates)
    if same_orbit == "never":
        candidates = _kept(
            candidates, table.orbit[candidates.earlier] != table.orbit[candidates.later]
        )
    if nearest is not None:
        candidates = _kept(candidates, _rank(candidates.earlier) < nearest)
    if redundancy is not None:
        candidates = _kept(candidates, _needed(table, candidates, redundancy))
    chosen = PairIndices(table.position[candidates.earlier], table.position[candidates.later])
    time = table.time[np.argsort(table.position)]
    order = np.lexsort((chosen.later, chosen.earlier, time[chosen.later], time[chosen.earlier]))
    return PairIndices(chosen.earlier[order], chosen.later[order])


def triplets(
    scenes: Iterable[Scene],
    *,
    min_days: float = 5,
    max_days: float = 400,
    same_orbit: SameOrbit = True,
) -> list[Triplet]:
    """Give each pair of scenes the one between them that lies nearest to the middle of the time.

    Any two scenes of a triplet are a pair of `pairs` under the same limits. Triplets are matched
    together by `ogive.match_triplet`, and their three displacements must close.

    Parameters, order and errors are those of `pairs`.

    Examples
    --------
    >>> from datetime import datetime
    >>> looks = [Scene(f"{day}", datetime(2020, 7, day)) for day in (1, 6, 11, 21)]
    >>> [(t.first.id, t.middle.id, t.last.id) for t in triplets(looks)]
    [('1', '6', '11'), ('1', '11', '21'), ('6', '11', '21')]
    """
    known = tuple(scenes)
    chosen = triplet_indices(known, min_days=min_days, max_days=max_days, same_orbit=same_orbit)
    return [
        Triplet(known[i], known[j], known[k])
        for i, j, k in zip(
            chosen.first.tolist(), chosen.middle.tolist(), chosen.last.tolist(), strict=True
        )
    ]


def triplet_indices(
    scenes: Sequence[Scene],
    *,
    min_days: float = 5,
    max_days: float = 400,
    same_orbit: SameOrbit = True,
) -> TripletIndices:
    """Choose triplets as `triplets` does, as positions in `scenes`."""
    outer = pair_indices(scenes, min_days=min_days, max_days=max_days, same_orbit=same_orbit)
    if not outer.earlier.size:
        return TripletIndices(outer.earlier, outer.earlier, outer.later)
    time = _microseconds(scenes)
    after, before = _neighbours(outer.earlier, outer.later), _neighbours(outer.later, outer.earlier)
    found = []
    for i, k in zip(outer.earlier.tolist(), outer.later.tolist(), strict=True):
        between = np.intersect1d(after[i], before[k], assume_unique=True)
        if between.size:
            off_middle = np.abs(2 * time[between] - time[i] - time[k])
            found.append((i, int(between[np.argmin(off_middle)]), k))
    first, middle, last = np.array(found, np.int64).reshape(-1, 3).T
    return TripletIndices(first, middle, last)


def _neighbours(of: Indices, others: Indices) -> dict[int, Indices]:
    """Group the partners of each scene."""
    order = np.argsort(of, kind="stable")
    keys, starts = np.unique(of[order], return_index=True)
    return dict(zip(keys.tolist(), np.split(others[order], starts[1:]), strict=True))


def _check(
    min_days: float,
    max_days: float,
    same_orbit: SameOrbit,
    nearest: int | None,
    redundancy: int | None,
) -> None:
    if not 0 <= min_days <= max_days < np.inf:
        raise InputError(
            f"no pair can be at least {min_days:g} and at most {max_days:g} days long: give "
            "0 <= min_days <= max_days"
        )
    if same_orbit not in (True, False, "never"):
        raise InputError(f"same_orbit is {same_orbit!r}: give True, False or 'never'")
    for name, number in (("nearest", nearest), ("redundancy", redundancy)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}: give at least 1, or leave it out")
    if nearest is not None and redundancy is not None:
        raise InputError("pairs are thinned by nearest or by redundancy: give one of the two")


class _Table(NamedTuple):
    """Scenes as columns, sorted by group and by time within it; only groups make pairs."""

    position: Indices
    time: Indices
    group: Indices
    orbit: Indices
    path: Indices

    @classmethod
    def of(cls, scenes: Sequence[Scene], same_orbit: SameOrbit) -> _Table:
        time = _microseconds(scenes)
        key = _orbit_and_place if same_orbit is True else _place
        group = _numbered(key(scene) for scene in scenes)
        order = np.lexsort((np.arange(time.size), time, group))
        orbit = _numbered(_orbit_and_place(scene) for scene in scenes)
        path = np.array([-1 if scene.path is None else scene.path for scene in scenes], np.int64)
        return cls(order, time[order], group[order], orbit[order], path[order])


def _microseconds(scenes: Sequence[Scene]) -> Indices:
    times = np.array([np.datetime64(scene.time, "us") for scene in scenes], "datetime64[us]")
    return times.astype(np.int64)


def _orbit_and_place(scene: Scene) -> Hashable:
    return *_place(scene), scene.relative_orbit, scene.path, scene.row


def _place(scene: Scene) -> tuple[str, str, str]:
    """Sentinel-2's tiles are places; Landsat's frames overlap, and footprints tell which.

    Images of level 1 and 2 of one pass are one image, orthorectified alike but for their haze: they
    make no pairs with each other.
    """
    return scene.mission, scene.processing_level[:2], scene.tile


def _numbered(keys: Iterable[Hashable]) -> Indices:
    """Give equal keys equal numbers."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _within(table: _Table, min_days: float, max_days: float) -> PairIndices:
    """Rows of all pairs of one group within the limits, the earlier ones in order."""
    day = 86_400_000_000
    shortest = max(round((min_days - REPEAT_TOLERANCE_DAYS) * day), 1)
    longest = round((max_days + REPEAT_TOLERANCE_DAYS) * day)
    start, stop = np.empty_like(table.time), np.empty_like(table.time)
    _, starts = np.unique(table.group, return_index=True)
    for rows in np.split(np.arange(table.time.size), starts[1:]):
        if rows.size:
            time = table.time[rows]
            start[rows] = rows[0] + np.searchsorted(time, time + shortest, "left")
            stop[rows] = rows[0] + np.searchsorted(time, time + longest, "right")
    count = stop - start
    earlier = np.repeat(np.arange(count.size), count)
    return PairIndices(earlier, start[earlier] + _rank(earlier))


def _rank(sorted_numbers: Indices) -> Indices:
    """Count, for each entry, how many equal ones stand before it."""
    _, starts, counts = np.unique(sorted_numbers, return_index=True, return_counts=True)
    rank: Indices = np.arange(sorted_numbers.size) - np.repeat(starts, counts)
    return rank


def _kept(candidates: PairIndices, keep: NDArray[np.bool_]) -> PairIndices:
    return PairIndices(candidates.earlier[keep], candidates.later[keep])


def _without_other_frames(table: _Table, candidates: PairIndices) -> PairIndices:
    """Leave out pairs of one path but of different rows: the same pass sees the place in one."""
    path = table.path[candidates.earlier]
    one_path = (path >= 0) & (path == table.path[candidates.later])
    one_orbit = table.orbit[candidates.earlier] == table.orbit[candidates.later]
    return _kept(candidates, one_orbit | ~one_path)


def _seeing_each_other(
    scenes: Sequence[Scene], table: _Table, candidates: PairIndices
) -> PairIndices:
    """Leave out pairs of orbits whose images share no ground, where both footprints are known."""
    outlines = shapely.from_wkt([scenes[i].footprint or None for i in table.position])
    earlier, later = outlines[candidates.earlier], outlines[candidates.later]
    crossing = table.orbit[candidates.earlier] != table.orbit[candidates.later]
    apart = crossing & shapely.is_geometry(earlier) & shapely.is_geometry(later)
    apart[apart] = shapely.disjoint(earlier[apart], later[apart])
    if apart.any():
        _log.info("%d pairs across orbits share no ground and are left out", apart.sum())
    return _kept(candidates, ~apart)


def _needed(table: _Table, candidates: PairIndices, redundancy: int) -> NDArray[np.bool_]:
    """Mark the shortest pairs by which each step of time is spanned often enough."""
    length = table.time[candidates.later] - table.time[candidates.earlier]
    spanned = np.zeros(table.time.size, np.int64)
    needed = np.zeros(length.size, bool)
    earlier, later = candidates.earlier.tolist(), candidates.later.tolist()
    for number in np.argsort(length, kind="stable").tolist():
        span = spanned[earlier[number] : later[number]]
        if span.min() < redundancy:
            span += 1
            needed[number] = True
    return needed
