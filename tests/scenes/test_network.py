"""Pairs and triplets: compared with the plain double loop, and counted for whole regions."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import InputError, Scene
from ogive.scenes import pair_indices, pairs, triplet_indices, triplets

START = datetime(2020, 1, 1)


def look(day: float, orbit: int | None = 65, tile: str = "T32TLS", **more: object) -> Scene:
    when = START + timedelta(days=day)
    name = f"{day:g}/{orbit}/{tile}"
    return Scene(name, when, "sentinel-2", relative_orbit=orbit, tile=tile, **more)  # type: ignore[arg-type]


LOOKS = st.lists(
    st.builds(
        look,
        st.integers(0, 60),
        st.sampled_from([65, 108, None]),
        st.sampled_from(["T32TLS", "T32TMS"]),
    ),
    max_size=25,
)


@given(LOOKS, st.sampled_from([True, False, "never"]), st.integers(0, 20), st.integers(20, 60))
def test_pairs_are_those_of_the_double_loop(
    looks: list[Scene], same_orbit: bool | str, shortest: int, longest: int
) -> None:
    chosen = pair_indices(looks, min_days=shortest, max_days=longest, same_orbit=same_orbit)  # type: ignore[arg-type]
    expected = set()
    for i, j in combinations(range(len(looks)), 2):
        if looks[j].time < looks[i].time:
            i, j = j, i
        days = (looks[j].time - looks[i].time).days
        same = looks[i].relative_orbit == looks[j].relative_orbit
        fits = same_orbit is False or same == (same_orbit is True)
        if looks[i].tile == looks[j].tile and max(shortest, 1) <= days <= longest and fits:
            expected.add((i, j))
    found = list(zip(chosen.earlier.tolist(), chosen.later.tolist(), strict=True))
    assert len(found) == len(expected)
    assert set(found) == expected
    times = [(looks[i].time, looks[j].time) for i, j in found]
    assert times == sorted(times)


@given(LOOKS, st.integers(1, 4))
def test_nearest_are_the_shortest_of_each_scene(looks: list[Scene], count: int) -> None:
    every, few = pairs(looks), pairs(looks, nearest=count)
    for scene in {id(pair.earlier): pair.earlier for pair in every}.values():
        all_days = sorted(pair.days for pair in every if pair.earlier is scene)
        assert sorted(p.days for p in few if p.earlier is scene) == all_days[:count]


@given(LOOKS, st.integers(1, 3))
def test_redundancy_spans_every_step_often_enough_and_no_pair_is_idle(
    looks: list[Scene], redundancy: int
) -> None:
    every, few = pairs(looks), pairs(looks, redundancy=redundancy)

    def spanning(chosen: list, moment: datetime, like: Scene) -> int:  # type: ignore[type-arg]
        return sum(
            p.earlier.time <= moment < p.later.time
            and (p.earlier.tile, p.earlier.relative_orbit) == (like.tile, like.relative_orbit)
            for p in chosen
        )

    for scene in looks:
        wanted = min(redundancy, spanning(every, scene.time, scene))
        assert spanning(few, scene.time, scene) >= wanted
    assert len(few) <= len(every)


def test_passes_that_are_seconds_short_of_their_repeat_are_pairs() -> None:
    one, other = look(0), look(5 - 3 / 86400)
    assert [round(pair.days, 3) for pair in pairs([other, one])] == [5.0]
    assert pairs([one, look(4.9)]) == []


def test_levels_of_one_image_make_no_pair() -> None:
    one = look(0, processing_level="L1C")
    assert pairs([one, look(5, processing_level="L2A")], same_orbit=False) == []
    assert len(pairs([one, look(5, processing_level="L1C")])) == 1


def test_landsat_pairs_paths_not_rows() -> None:
    def frame(day: int, path: int, row: int, west: float) -> Scene:
        outline = f"POLYGON (({west} 46, {west + 2} 46, {west + 2} 47, {west} 47, {west} 46))"
        when = START + timedelta(days=day)
        return Scene(f"{path}/{row}", when, "landsat", path=path, row=row, footprint=outline)

    scenes = [frame(0, 63, 18, 6), frame(16, 63, 18, 6), frame(16, 63, 17, 6), frame(23, 62, 18, 7),
              frame(30, 70, 18, 20)]  # fmt: skip
    assert [(p.earlier.id, p.later.id) for p in pairs(scenes)] == [("63/18", "63/18")]
    across = {(p.earlier.id, p.later.id) for p in pairs(scenes, same_orbit="never")}
    assert across == {("63/18", "62/18"), ("63/17", "62/18")}


def test_triplets_are_three_pairs_with_the_middle_in_the_middle() -> None:
    looks = [look(day) for day in (0, 5, 10, 15, 40)] + [look(7, 108)]
    known = {(p.earlier, p.later) for p in pairs(looks)}
    expected = set()
    for first, last in known:
        middles = [s for s in looks if (first, s) in known and (s, last) in known]
        if middles:
            half = first.time + (last.time - first.time) / 2
            expected.add((first, min(middles, key=lambda s: abs(s.time - half)), last))
    assert {(t.first, t.middle, t.last) for t in triplets(looks)} == expected
    assert len(expected) == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_days": 10, "max_days": 5}, "min_days <= max_days"),
        ({"min_days": -1}, "min_days"),
        ({"nearest": 0}, "nearest is 0"),
        ({"redundancy": 0}, "redundancy is 0"),
        ({"nearest": 1, "redundancy": 1}, "one of the two"),
        ({"same_orbit": "sometimes"}, "same_orbit"),
        ({"max_days": float("nan")}, "no pair"),
    ],
)
def test_impossible_networks_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        pairs([look(0), look(5)], **options)  # type: ignore[arg-type]


def test_nothing_gives_nothing() -> None:
    assert pairs([]) == []
    assert triplets([look(0)]) == []
    assert triplet_indices([]).first.size == 0


def test_ten_thousand_scenes_make_a_million_pairs_in_seconds() -> None:
    """The limit is a tenth of what is asked of pairing and storing together."""
    looks = [look(5 * k, tile=f"T{tile}") for tile in range(25) for k in range(400)]
    start = time.process_time()
    chosen = pair_indices(looks, max_days=600)
    assert chosen.earlier.size == 25 * sum(min(120, 399 - k) for k in range(400)) > 1_000_000
    assert time.process_time() - start < 6
