"""Scenes as records: nothing is lost on the way, and fingerprints last."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import Asset, InputError, Scene
from ogive.scenes import fingerprint, from_dict, to_dict

TEXT = st.text(max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
SCENES = st.builds(
    Scene,
    id=TEXT,
    time=st.datetimes(datetime(1972, 1, 1), datetime(2100, 1, 1)),
    mission=TEXT,
    relative_orbit=st.none() | st.integers(1, 143),
    cloud_cover_percent=st.none() | NUMBER,
    properties=st.dictionaries(TEXT, TEXT | NUMBER | st.booleans() | st.lists(NUMBER, max_size=3)),
    footprint=TEXT,
    assets=st.dictionaries(TEXT, st.builds(Asset, TEXT, TEXT, NUMBER, NUMBER, st.none() | NUMBER)),
)


@given(SCENES)
def test_a_scene_survives_json(scene: Scene) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(scene), allow_nan=False))) == scene


@given(SCENES)
def test_a_fingerprint_is_that_of_the_record(scene: Scene) -> None:
    assert fingerprint(from_dict(to_dict(scene))) == fingerprint(scene)
    assert fingerprint(replace(scene, properties={"note": 1})) == fingerprint(scene)


def test_what_decides_the_pixels_decides_the_fingerprint() -> None:
    scene = Scene("a", datetime(2020, 7, 1), assets={"B08": Asset("a.tif", scale=1e-4)})
    others = [
        replace(scene, time=scene.time + timedelta(microseconds=1)),
        replace(scene, assets={"B08": Asset("b.tif", scale=1e-4)}),
        replace(scene, assets={"B08": Asset("a.tif", scale=1e-4, offset=-0.1)}),
        replace(scene, relative_orbit=1),
    ]
    assert len({fingerprint(one) for one in (scene, *others)}) == 5


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from datetime import datetime; from ogive.model import Asset, Scene;"
        "from ogive.scenes import fingerprint;"
        "print(fingerprint(Scene('a', datetime(2020, 7, 1), assets={'B': Asset('x', scale=0.1)})))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = fingerprint(Scene("a", datetime(2020, 7, 1), assets={"B": Asset("x", scale=0.1)}))
    assert there.stdout.strip() == here


def test_numbers_of_numpy_and_tuples_become_plain() -> None:
    scene = Scene("a", datetime(2020, 7, 1), properties={"n": np.float32(0.5), "t": (1, 2)})
    assert to_dict(scene)["properties"] == {"n": 0.5, "t": [1, 2]}


@pytest.mark.parametrize("value", [object(), float("nan"), {"a": {1, 2}}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="properties of scene a"):
        to_dict(Scene("a", datetime(2020, 7, 1), properties={"note": value}))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"id": "a"}, "lacks time"),
        ({"id": "a", "time": "yesterday"}, "cannot be read"),
        ({"id": "a", "time": "2020-07-01", "colour": "blue"}, "no colour"),
        ({"id": "a", "time": "2020-07-01", "assets": {"B": {"url": "x"}}}, "cannot be read"),
    ],
)
def test_other_records_are_refused(record: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_dict(record)
