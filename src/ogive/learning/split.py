"""Which places and times are learned from, and which are kept to judge by.

Neighbouring patches of one image look alike, and so do two dates of one glacier: a network that saw
one of them in training has seen the other. So whole places go to one side, never patches, and where
it matters the sides have their own years too (Roberts et al. 2017, Ecography 40, 913-929, on
blocking in space and time).

The side of a place comes from a hash of its name and a seed: it does not depend on which other
places there are, so that what was once kept for testing stays there when data are added (unless
new data touch two places, which makes them one).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from ogive.model import InputError

__all__ = ["Period", "Side", "Source", "Split", "split_sources"]

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = get_args(Side)
SHARES: Mapping[Side, float] = MappingProxyType({"train": 0.7, "validation": 0.15, "test": 0.15})


@dataclass(frozen=True, slots=True)
class Source:
    """Something to learn from: an image, or a pair of them.

    Attributes
    ----------
    name
        Unique among the sources.
    place
        Name of the place; sources of one name are one place.
    footprint
        What it covers, all in one coordinate system; sources that touch are one place. A source
        needs a place or a footprint, and may have both.
    dates
        All dates it shows.
    """

    name: str
    place: str = ""
    footprint: BaseGeometry | None = None
    dates: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class Period:
    """A span of days, both ends included; an end that is not given is open."""

    first: date | None = None
    last: date | None = None

    def holds(self, day: date) -> bool:
        """Whether a day lies inside.

        Examples
        --------
        >>> Period(last=date(2019, 12, 31)).holds(date(2020, 1, 1))
        False
        """
        day = _day(day)
        after = self.first is None or day >= _day(self.first)
        return after and (self.last is None or day <= _day(self.last))


@dataclass(frozen=True, slots=True)
class Split:
    """Names of sources by side.

    Attributes
    ----------
    train, validation, test
        Names of sources, sorted.
    outside
        Sources of a place whose dates lie outside the period of its side: used nowhere.
    places
        The side of each place.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    outside: tuple[str, ...] = ()
    places: Mapping[str, Side] = field(default_factory=dict)

    def places_of(self, side: Side) -> tuple[str, ...]:
        """Names of the places on a side, sorted."""
        return tuple(sorted(place for place, its in self.places.items() if its == side))


def split_sources(
    sources: Iterable[Source],
    *,
    seed: int = 0,
    shares: Mapping[Side, float] = SHARES,
    sides: Mapping[str, Side] | None = None,
    periods: Mapping[Side, Period] | None = None,
) -> Split:
    """Split sources into training, validation and test by place, and by time where asked.

    Parameters
    ----------
    sources
        What there is.
    seed
        Another seed is another split.
    shares
        How much of the *places* each side gets, on average over seeds; relative to each other. A
        side of share 0 may stay empty, others may not.
    sides
        Places whose side is given, by name.
    periods
        Dates that each side may use; sources of its places with a date outside are left out, and
        named. Without, all dates.

    Returns
    -------
    Split
        The names of each side; the same for any order of the sources.

    Raises
    ------
    InputError
        If a side that should have sources has none, a source has neither place nor footprint, names
        repeat, periods overlap, or a given side is of a place that is not there.

    Examples
    --------
    >>> names = ["khumbu", "yahtse", "rhone", "aletsch", "malaspina", "kaskawulsh"]
    >>> split = split_sources([Source(name, place=name) for name in names], seed=3)
    >>> split.train, split.validation, split.test
    (('khumbu', 'malaspina'), ('kaskawulsh',), ('aletsch', 'rhone', 'yahtse'))
    """
    listed = sorted(sources, key=lambda source: source.name)
    _refuse_repeated([source.name for source in listed])
    periods = periods or {}
    _refuse_overlap(periods)
    bounds = _bounds(shares)
    of_source = dict(zip([source.name for source in listed], _places(listed), strict=True))
    places = {
        place: _side(place, names, seed, bounds, sides or {})
        for place, names in sorted(_names_by_place(listed, of_source).items())
    }
    _refuse_unknown(sides or {}, listed, places)
    chosen: dict[Side, list[str]] = {side: [] for side in SIDES}
    outside: list[str] = []
    for source in listed:
        side = places[of_source[source.name]]
        inside = _inside(source, periods.get(side))
        (chosen[side] if inside else outside).append(source.name)
    for side in SIDES:
        if shares.get(side, 0.0) > 0 and not chosen[side]:
            raise InputError(_why_empty(side, places, outside, seed))
    return Split(
        train=tuple(chosen["train"]),
        validation=tuple(chosen["validation"]),
        test=tuple(chosen["test"]),
        outside=tuple(outside),
        places=places,
    )


def _places(sources: Sequence[Source]) -> list[str]:
    """Name the place of each source: sources that share a name or touch are one place."""
    for source in sources:
        if not source.place and source.footprint is None:
            raise InputError(f"{source.name} has neither a place nor a footprint: give it one")
    links = _same_names(sources) + _touching(sources)
    first, second = np.array(links or np.empty((0, 2)), int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), (len(sources), len(sources)))
    _, group = connected_components(graph, directed=False)
    names: dict[int, str] = {}
    for source, label in zip(sources, group, strict=True):
        name = source.place or source.name
        names[label] = min(names.get(label, name), name)
    return [names[label] for label in group]


def _same_names(sources: Sequence[Source]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    return [
        (first.setdefault(source.place, index), index)
        for index, source in enumerate(sources)
        if source.place
    ]


def _touching(sources: Sequence[Source]) -> list[tuple[int, int]]:
    placed = [index for index, source in enumerate(sources) if source.footprint is not None]
    if not placed:
        return []
    shapes = [sources[index].footprint for index in placed]
    ones, others = STRtree(shapes).query(shapes, predicate="intersects")
    return [(placed[one], placed[other]) for one, other in zip(ones, others, strict=True)]


def _names_by_place(sources: Sequence[Source], of_source: Mapping[str, str]) -> dict[str, set[str]]:
    """All names under which somebody may know a place."""
    names: dict[str, set[str]] = {}
    for source in sources:
        place = of_source[source.name]
        names.setdefault(place, set()).update({place, source.place or source.name})
    return names


def _side(
    place: str,
    names: set[str],
    seed: int,
    bounds: Mapping[Side, float],
    sides: Mapping[str, Side],
) -> Side:
    given = {sides[name] for name in names if name in sides}
    if len(given) > 1:
        raise InputError(
            f"{', '.join(sorted(names & sides.keys()))} overlap and are one place, but were put on "
            f"different sides ({', '.join(sorted(given))})"
        )
    if given:
        side = given.pop()
        if side not in SIDES:
            raise InputError(f"{place} was put on side {side!r}: sides are {', '.join(SIDES)}")
        return side
    digest = hashlib.sha256(f"{seed}:{place}".encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2.0**64
    return next((side for side, bound in bounds.items() if draw < bound), _last(bounds))


def _bounds(shares: Mapping[Side, float]) -> dict[Side, float]:
    """Upper ends of the sides' parts of [0, 1)."""
    unknown = sorted(set(shares) - set(SIDES))
    if unknown:
        raise InputError(f"there is no side {unknown[0]!r}: sides are {', '.join(SIDES)}")
    wrong = [share for share in shares.values() if not 0 <= share < float("inf")]
    total = sum(shares.values())
    if wrong or not total > 0:
        raise InputError("shares of the sides must be 0 or more, and not all 0")
    bounds: dict[Side, float] = {}
    reached = 0.0
    for side in SIDES:
        if share := shares.get(side, 0.0):
            reached += share / total
            bounds[side] = reached
    return bounds


def _last(bounds: Mapping[Side, float]) -> Side:
    return list(bounds)[-1]


def _inside(source: Source, period: Period | None) -> bool:
    if period is None:
        return True
    if not source.dates:
        raise InputError(f"{source.name} has no date, and its side has a period: give it one")
    return all(period.holds(day) for day in source.dates)


def _day(when: date) -> date:
    return when.date() if isinstance(when, datetime) else when


def _refuse_repeated(names: Sequence[str]) -> None:
    repeated = sorted({one for one, other in pairwise(names) if one == other})
    if repeated:
        raise InputError(f"several sources are named {repeated[0]!r}: names must be unique")
    if not names:
        raise InputError("there is nothing to split: no source was given")


def _refuse_overlap(periods: Mapping[Side, Period]) -> None:
    """Refuse dates that two sides would share: then time would not keep them apart."""
    for side, period in periods.items():
        if side not in SIDES:
            raise InputError(f"there is no side {side!r}: sides are {', '.join(SIDES)}")
        if period.first and period.last and _day(period.first) > _day(period.last):
            raise InputError(f"the period of {side} ends before it begins")
    listed = sorted(periods.items(), key=lambda item: _day(item[1].first or date.min))
    for (one, before), (other, after) in pairwise(listed):
        if _day(after.first or date.min) <= _day(before.last or date.max):
            raise InputError(f"the periods of {one} and {other} overlap: keep their dates apart")


def _refuse_unknown(
    sides: Mapping[str, Side], sources: Sequence[Source], places: Mapping[str, Side]
) -> None:
    known = {source.place or source.name for source in sources} | places.keys()
    if unknown := sorted(sides.keys() - known):
        raise InputError(
            f"a side is given to {unknown[0]!r}, but no source is from there; "
            f"places are {', '.join(sorted(known))}"
        )


def _why_empty(side: Side, places: Mapping[str, Side], outside: Sequence[str], seed: int) -> str:
    if side in places.values():
        return (
            f"nothing is left for {side}: all its sources have dates outside its period "
            f"(such as {outside[0]}); widen the period"
        )
    return (
        f"no place fell to {side} ({len(places)} places, seed {seed}): take another seed, name a "
        "place for it, or give that side no share"
    )
