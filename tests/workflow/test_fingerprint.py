"""Equal values have equal fingerprints, different ones different, in every process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import InputError
from ogive.workflow.fingerprint import file_fingerprint, fingerprint, pair_key

leaves = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(values, values)
def test_fingerprints_are_equal_just_where_values_are(one, other):
    # Python takes True for 1; a fingerprint does not.
    if repr(one) != repr(other) and one != other:
        assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


@given(st.dictionaries(st.text(), leaves, min_size=2))
def test_the_order_of_keys_does_not_count(mapping):
    assert fingerprint(mapping) == fingerprint(dict(reversed(mapping.items())))


def test_the_parts_count_one_by_one():
    assert fingerprint("a", "b") != fingerprint("ab")
    assert fingerprint(["a"], "b") != fingerprint("a", ["b"])


def test_whole_numbers_are_one_however_they_are_written():
    assert fingerprint(3) == fingerprint(3.0)
    assert fingerprint(3.0) != fingerprint(3.5)


def test_dataclasses_dates_and_paths():
    @dataclass
    class Window:
        side_px: int

    assert fingerprint(Window(32)) == fingerprint({"side_px": 32})
    assert fingerprint(datetime(2020, 7, 1)) == fingerprint("2020-07-01T00:00:00")
    assert fingerprint(Path("a") / "b") == fingerprint("a/b")


def test_it_is_the_same_in_another_process():
    program = "from ogive.workflow.fingerprint import fingerprint as f; print(f({'a': 1.5}, ['b']))"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == fingerprint({"a": 1.5}, ["b"])


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes"])
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(InputError, match="has no fingerprint"):
        fingerprint({"key": value})


def test_nan_is_no_parameter():
    with pytest.raises(InputError, match="has no fingerprint"):
        fingerprint(float("nan"))


def test_files_count_by_what_they_hold(tmp_path):
    one, other = tmp_path / "one.gpkg", tmp_path / "other.gpkg"
    one.write_bytes(b"outlines" * 1000)
    other.write_bytes(b"outlines" * 1000)
    assert file_fingerprint(one) == file_fingerprint(other)
    other.write_bytes(b"outlines" * 999 + b"Outlines")
    assert file_fingerprint(one) != file_fingerprint(other)


def test_folders_count_by_their_files(tmp_path):
    before = tmp_path / "a"
    before.mkdir()
    (before / "x").write_bytes(b"1")
    told = file_fingerprint(before)
    (before / "x").rename(before / "y")
    assert file_fingerprint(before) != told


def test_a_missing_file_is_told():
    with pytest.raises(InputError, match=r"nowhere.gpkg cannot be read: No such file"):
        file_fingerprint("nowhere.gpkg")


@given(
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.text("0123456789abcdef", min_size=16, max_size=16),
)
def test_pairs_have_a_direction(one, other):
    assert (pair_key(one, other) == pair_key(other, one)) == (one == other)
    assert len(pair_key(one, other)) == 16
