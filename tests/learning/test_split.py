"""Places and times are kept apart, whatever the sources are and in whatever order they come."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from ogive.learning.split import SIDES, Period, Source, Split, split_sources
from ogive.model import InputError

DAY = date(2020, 1, 1)
OPEN = {"train": 1.0, "validation": 0.0, "test": 0.0}

days = st.integers(0, 3000).map(lambda n: DAY + timedelta(n))
squares = st.builds(
    lambda x, y, size: box(x, y, x + size, y + size),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 5),
)


@st.composite
def sources(draw: st.DrawFn) -> list[Source]:
    """Sources with a place, a footprint, or both."""
    count = draw(st.integers(1, 12))
    found = []
    for index in range(count):
        place = draw(st.sampled_from(["", "a", "b", "c", "d", "e"]))
        footprint = draw(st.none() | squares) if place else draw(squares)
        dates = tuple(draw(st.lists(days, min_size=1, max_size=2)))
        found.append(Source(f"source {index:02}", place, footprint, dates))
    return found


def side_of(split: Split) -> dict[str, str]:
    return {name: side for side in SIDES for name in getattr(split, side)}


def divided(given: list[Source], **options: object) -> Split:
    """Split, leaving aside draws that left a side empty: that is another test's matter."""
    try:
        return split_sources(given, **options)  # type: ignore[arg-type]
    except InputError as error:
        assume("no place fell to" not in str(error) and "nothing is left" not in str(error))
        raise


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(sources(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_a_place_is_on_one_side(given: list[Source], seed: int, random: object) -> None:
    split = divided(given, seed=seed)
    sides = side_of(split)
    assert sorted(sides) == sorted(source.name for source in given)
    for one, other in itertools.combinations(given, 2):
        named = bool(one.place) and one.place == other.place
        near = one.footprint and other.footprint and one.footprint.intersects(other.footprint)
        if named or near:
            assert sides[one.name] == sides[other.name]
    mixed = list(given)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert split_sources(mixed, seed=seed) == split


@given(sources(), st.integers(0, 99), st.integers(500, 2500))
def test_times_are_kept_apart_too(given: list[Source], seed: int, cut: int) -> None:
    last = DAY + timedelta(cut)
    periods = {"train": Period(last=last), "test": Period(first=last + timedelta(1))}
    shares = {"train": 0.5, "test": 0.5}
    split = divided(given, seed=seed, shares=shares, periods=periods)
    dates = {source.name: source.dates for source in given}
    assert all(day <= last for name in split.train for day in dates[name])
    assert all(day > last for name in split.test for day in dates[name])
    assert sorted([*split.train, *split.test, *split.outside]) == sorted(dates)
    for name in split.outside:
        assert name not in {*split.train, *split.test}


@given(st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=8, max_size=30), st.integers())
def test_a_place_keeps_its_side_when_others_come(names: set[str], seed: int) -> None:
    ordered = sorted(names)
    all_of_them = divided([Source(name, name) for name in ordered], seed=seed)
    fewer = divided([Source(name, name) for name in ordered[::2]], seed=seed)
    assert {name: all_of_them.places[name] for name in fewer.places} == dict(fewer.places)


def test_shares_hold_over_many_places() -> None:
    count = 4000
    split = split_sources([Source(f"place {n}", f"place {n}") for n in range(count)])
    # Binomial: the standard deviation of a share of 0.15 is 0.0056; five of them.
    assert len(split.train) / count == pytest.approx(0.7, abs=0.036)
    assert len(split.validation) / count == pytest.approx(0.15, abs=0.028)
    assert len(split.test) / count == pytest.approx(0.15, abs=0.028)


def test_another_seed_is_another_split() -> None:
    given = [Source(f"place {n}", f"place {n}") for n in range(60)]
    assert split_sources(given, seed=1) != split_sources(given, seed=2)
    assert split_sources(given, seed=1) == split_sources(given, seed=1)


def test_chains_of_touching_footprints_are_one_place() -> None:
    chain = [Source(f"tile {n}", "", box(n, 0, n + 1, 1)) for n in range(20)]
    far = [Source(f"far {n}", "", box(100 + 9 * n, 0, 101 + 9 * n, 1)) for n in range(40)]
    split = split_sources([*chain, *far])
    assert len({side_of(split)[source.name] for source in chain}) == 1
    assert split.places_of(split.places["tile 0"]).count("tile 0") == 1


def test_sides_can_be_given() -> None:
    given = [Source(f"{place} {n}", place) for place in "abcd" for n in range(2)]
    split = split_sources(given, sides={"a": "train", "b": "train", "c": "validation", "d": "test"})
    assert split.train == ("a 0", "a 1", "b 0", "b 1")
    assert split.places_of("test") == ("d",)
    with pytest.raises(InputError, match="given to 'e', but no source is from there"):
        split_sources(given, sides={"e": "test"})
    with pytest.raises(InputError, match="on side 'exam'"):
        split_sources(given, sides={"a": "exam"})  # type: ignore[dict-item]
    overlapping = [Source("a", "a", box(0, 0, 2, 2)), Source("b", "b", box(1, 1, 3, 3))]
    with pytest.raises(InputError, match="a, b overlap and are one place"):
        split_sources(overlapping, sides={"a": "train", "b": "test"})


def test_a_period_holds_both_its_ends_and_times_of_day() -> None:
    period = Period(DAY, DAY + timedelta(1))
    assert period.holds(DAY)
    assert period.holds(datetime(2020, 1, 2, 23, 59))
    assert not period.holds(datetime(2020, 1, 3))
    assert not period.holds(DAY - timedelta(1))


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ([], {}, "nothing to split"),
        ([Source("a", "a")], {}, "no place fell to (train|validation|test)"),
        ([Source("a", "a"), Source("a", "b")], {}, "several sources are named 'a'"),
        ([Source("a")], {}, "a has neither a place nor a footprint"),
        ([Source("a", "a")], {"shares": {"train": -1.0}}, "must be 0 or more"),
        ([Source("a", "a")], {"shares": {"train": float("nan")}}, "must be 0 or more"),
        ([Source("a", "a")], {"shares": {"train": 0.0}}, "not all 0"),
        ([Source("a", "a")], {"shares": {"exam": 1.0}}, "no side 'exam'"),
        ([Source("a", "a")], {"shares": OPEN, "periods": {"exam": Period()}}, "no side 'exam'"),
        (
            [Source("a", "a")],
            {"shares": OPEN, "periods": {"train": Period(first=DAY)}},
            "a has no date",
        ),
        (
            [Source("a", "a", None, (DAY,))],
            {"shares": OPEN, "periods": {"train": Period(first=DAY + timedelta(1))}},
            r"nothing is left for train: .*such as a\); widen",
        ),
        (
            [Source("a", "a", None, (DAY,))],
            {"periods": {"train": Period(last=DAY), "test": Period(first=DAY)}},
            "periods of train and test overlap",
        ),
        (
            [Source("a", "a", None, (DAY,))],
            {"periods": {"train": Period(first=DAY), "test": Period()}},
            "overlap",
        ),
        (
            [Source("a", "a", None, (DAY,))],
            {"periods": {"train": Period(DAY, DAY - timedelta(1))}},
            "ends before it begins",
        ),
    ],
)
def test_what_cannot_be_split_is_a_sentence(given: list, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        split_sources(given, **options)
