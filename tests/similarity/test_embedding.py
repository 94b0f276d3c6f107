"""Conditions as vectors, and what they do to a network."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from ogive.model import InputError, Scene  # noqa: E402
from ogive.similarity.embedding import (  # noqa: E402
    CONDITION_LENGTH,
    CONDITIONS,
    SENSORS,
    Condition,
    Film,
    condition_columns,
    condition_of,
    encode,
)
from ogive.similarity.networks import build_network  # noqa: E402

VALUES = {
    "days_between": st.floats(0, 4000),
    "sun_azimuth_deg": st.floats(0, 360),
    "sun_elevation_deg": st.floats(0, 90),
    "day_of_year": st.floats(1, 366),
    "pixel_size_m": st.floats(0.5, 100),
    "sensor": st.sampled_from(SENSORS),
}
conditions = st.fixed_dictionaries({}, optional=VALUES)
FULL = Condition(
    days_between=16,
    sun_azimuth_deg=150,
    sun_elevation_deg=35,
    day_of_year=200,
    pixel_size_m=10,
    sensor="sentinel-2",
)


@given(conditions)
def test_a_field_is_zero_unless_known_and_has_its_bit_if_known(given_values):
    vector = encode(Condition(**given_values))
    assert vector.shape == (CONDITION_LENGTH,)
    for name in CONDITIONS:
        part = vector[condition_columns([name])]
        assert part[-1] == float(name in given_values)
        if name not in given_values:
            assert part.abs().max() == 0.0


@given(conditions)
def test_numbers_are_of_the_order_of_one(given_values):
    """So no condition drowns the others: half a metre, the extreme, is log2(0.05) / 2 = -2.2."""
    assert encode(Condition(**given_values)).abs().max() <= 2.2


def test_columns_are_shared_out_without_rest():
    columns = [column for name in CONDITIONS for column in condition_columns([name])]
    assert sorted(columns) == list(range(CONDITION_LENGTH))
    assert condition_columns(CONDITIONS) == list(range(CONDITION_LENGTH))
    assert condition_columns([]) == []


def test_the_turn_of_the_year_is_no_jump():
    """A day is 2 pi / 365.25 = 0.0172 of the circle."""
    ends = [encode(Condition(day_of_year=day)) for day in (365.25, 366.25 - 365.25)]
    assert (ends[0] - ends[1]).norm() == pytest.approx(0.0172, abs=1e-4)


def test_a_scene_tells_its_condition():
    scene = Scene(
        "S2",
        datetime(2018, 7, 19, 12),
        mission="sentinel-2",
        satellite="2A",
        sun_azimuth_deg=150.0,
        sun_elevation_deg=35.0,
    )
    assert condition_of(scene, days_between=16, pixel_size_m=10) == Condition(
        days_between=16,
        sun_azimuth_deg=150.0,
        sun_elevation_deg=35.0,
        day_of_year=200.5,
        pixel_size_m=10,
        sensor="sentinel-2",
    )
    assert condition_of(Scene("?", datetime(2018, 1, 1))).sensor is None
    old = Scene("LT5", datetime(1990, 1, 1), mission="landsat", satellite="5")
    assert condition_of(old).sensor == "landsat-tm"
    other = Scene("x", datetime(2018, 1, 1), mission="spot")
    assert condition_of(other).sensor == "other"


# ---- in a network --------------------------------------------------------------------------------


def pair_of_networks(name: str):
    """A network without conditions and one with, of equal weights."""
    torch.manual_seed(3)
    plain = build_network(name, width=4).eval()
    conditioned = build_network(name, width=4, conditions=CONDITIONS).eval()
    missing = conditioned.load_state_dict(plain.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert all(key.startswith("film.") for key in missing.missing_keys)
    assert missing.missing_keys
    image = 100 * torch.randn(2, 1, 48, 48)
    return plain, conditioned, image, torch.ones_like(image, dtype=torch.bool)


@pytest.mark.parametrize("name", ["unet", "unet-attention", "ms-aff"])
def test_without_condition_a_conditioned_network_is_the_unconditioned_one(name):
    plain, conditioned, image, valid = pair_of_networks(name)
    nothing = encode(Condition()).expand(2, -1)
    with torch.inference_mode():
        before = plain(image, valid)
        for condition in (None, nothing, encode(FULL).expand(2, -1)):
            # At the start no condition changes anything: FiLM is the identity.
            torch.testing.assert_close(conditioned(image, valid, condition), before)
        for linear in conditioned.film.maps.values():
            torch.nn.init.normal_(linear.weight)
        # Trained, absent conditions still do not.
        for condition in (None, nothing):
            torch.testing.assert_close(conditioned(image, valid, condition), before)
        lit = conditioned(image, valid, encode(FULL).expand(2, -1))
    assert (lit - before).norm(dim=1).mean() > 0.1


@pytest.mark.parametrize("layers", [("encoder1", "bottleneck"), ("decoder2",)])
def test_only_the_named_layers_are_conditioned(layers):
    network = build_network("unet", width=4, conditions=("sensor",), film_layers=layers)
    assert set(network.film.maps) == set(layers)


def test_a_network_looks_only_at_its_own_conditions():
    torch.manual_seed(1)
    network = build_network("ms-aff", width=4, conditions=("days_between",)).eval()
    for linear in network.film.maps.values():
        torch.nn.init.normal_(linear.weight)
    image = torch.randn(1, 1, 32, 32)
    valid = torch.ones_like(image, dtype=torch.bool)

    def features(**known):
        with torch.inference_mode():
            return network(image, valid, encode(Condition(**known))[None])

    torch.testing.assert_close(
        features(days_between=16), features(days_between=16, sun_azimuth_deg=90), atol=0, rtol=0
    )
    assert (features(days_between=16) - features(days_between=160)).abs().max() > 1e-3


def test_each_image_of_a_batch_has_its_own_condition():
    film = Film(("days_between",), {"one": 2})
    torch.nn.init.normal_(film.maps["one"].weight)
    vectors = torch.stack([encode(Condition()), encode(Condition(days_between=30))])
    ones = torch.ones(2, 2, 3, 3)
    modulated = film(vectors)("one", ones)
    assert (modulated[0] == 1.0).all()
    assert (modulated[1] != 1.0).any()
    assert film(vectors)("another", ones) is ones


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"sensor": "kodak"}, "sensor is 'kodak'"),
        ({"sun_elevation_deg": 91.0}, "sun_elevation_deg is 91"),
        ({"days_between": -1.0}, "days_between is -1"),
        ({"day_of_year": 0.0}, "day_of_year is 0"),
        ({"pixel_size_m": 0.0}, "pixel_size_m is 0"),
        ({"sun_azimuth_deg": float("nan")}, "sun_azimuth_deg is nan"),
    ],
)
def test_conditions_that_cannot_be_are_refused(values, sentence):
    with pytest.raises(InputError, match=sentence):
        Condition(**values)


def test_unknown_conditions_and_layers_are_refused():
    with pytest.raises(InputError, match="'weather'"):
        condition_columns(["weather"])
    with pytest.raises(InputError, match="'two'"):
        Film(("sensor",), {"one": 2}, layers=("two",))


@pytest.mark.parametrize("shape", [(CONDITION_LENGTH,), (1, CONDITION_LENGTH + 1)])
def test_vectors_of_another_length_are_refused(shape):
    with pytest.raises(InputError, match="a condition of shape"):
        Film(("sensor",), {"one": 2})(torch.zeros(shape))
