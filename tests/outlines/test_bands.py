"""Bands are told by names, and their values must be what the names say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import InputError
from ogive.outlines.bands import (
    BANDS,
    TRACKS,
    band_named,
    bands_in_order,
    check_values,
    modalities_of,
    normalised,
)

EVERYWHERE = np.ones((4, 4), bool)


def stack(value: float) -> np.ndarray:
    return np.full((1, 4, 4), value, np.float32)


@given(st.lists(st.sampled_from(list(BANDS)), min_size=1, unique=True))
def test_the_order_of_bands_is_never_that_in_which_they_are_named(names: list[str]):
    assert bands_in_order(names) == bands_in_order(sorted(names))
    assert sorted(bands_in_order(names)) == sorted(names)


def test_the_published_tracks():
    counts = {name: {m: len(b) for m, b in modalities_of(t).items()} for name, t in TRACKS.items()}
    assert counts == {
        "optical+dem": {"optical": 6, "dem": 2},
        "optical+dem+thermal": {"optical": 6, "dem": 2, "thermal": 1},
        "optical+dem+insar": {"optical": 6, "dem": 2, "co_pol_sar": 2, "in_sar": 2},
    }


def test_ranges_become_0_to_1():
    for name, band in BANDS.items():
        low, high = (normalised(stack(each), [name]) for each in (band.minimum, band.maximum))
        np.testing.assert_allclose([low.max(), high.min()], [0, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["B5", "pan", "", "B1"])
def test_bands_that_are_not_known(name: str):
    with pytest.raises(InputError, match="Landsat numbers differ"):
        band_named(name)


def test_bands_that_are_named_twice_or_not_at_all():
    with pytest.raises(InputError, match="nir was named twice"):
        modalities_of(["B8", "nir"])
    with pytest.raises(InputError, match="at least one"):
        modalities_of([])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("red", 2500.0, "0.0001 for Sentinel-2"),
        ("red", 35.0, "no reflectance"),  # percent
        ("nir", 3e-5, "scaled twice"),
        ("slope", 120.0, "degrees"),
        ("elevation", -32767.0, "nodata declared"),
        ("thermal", 12.0, "kelvin"),
        ("co_pol_ascending", -14.0, "not decibel"),
        ("coherence_ascending", 1.4, "0 to 1"),
    ],
)
def test_values_that_cannot_be(name: str, value: float, told: str):
    with pytest.raises(InputError, match=told):
        check_values(stack(value), [name], EVERYWHERE, "scene.tif")


@pytest.mark.parametrize(
    ("name", "value"),
    [("red", 0.05), ("red", 2.2), ("nir", 0.02), ("slope", 0.0), ("elevation", -60.0),
     ("elevation", 8800.0), ("thermal", 265.0), ("cross_pol_ascending", -2.0),
     ("coherence_descending", 0.0)],
)  # fmt: skip
def test_values_that_can_be(name: str, value: float):
    check_values(stack(value), [name], EVERYWHERE, "scene.tif")


def test_dark_bands_beside_a_bright_one_are_no_wrong_scale():
    water = np.concatenate([stack(0.08), stack(0.004)])
    check_values(water, ["blue", "nir"], EVERYWHERE, "lake.tif")


def test_what_is_not_valid_is_not_looked_at():
    check_values(stack(65535.0), ["red"], ~EVERYWHERE, "scene.tif")
