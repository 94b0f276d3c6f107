"""A card says the same in every form."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.learning.card import DataSource, ModelCard
from ogive.model import InputError

CARD = ModelCard(
    name="ogive small",
    architecture="small",
    parameters=18_432,
    data=(
        DataSource("swisstopo S2 | tiles", "CC-BY-4.0", "12 tiles,\n2015-2021"),
        DataSource("simulated", "Apache-2.0"),
    ),
    split={"train": ("khumbu", "yahtse"), "validation": ("rhône",), "test": ("perito-moreno",)},
    date="2025-06-01",
    commit="0123abc+changed",
    seed=7,
    config={"network": {"name": "small", "options": {"width": 24}}, "learning_rate": 1e-3},
    scores={"within_1px": 0.5656, "tiny": 1e-12},
    versions={"torch": "2.13.0+cpu"},
    note="Made for 10 m pixels.",
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.floats(allow_nan=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
cards = st.builds(
    ModelCard,
    name=text,
    architecture=text,
    parameters=st.integers(0, 10**9),
    data=st.lists(st.builds(DataSource, text, text, text), max_size=3).map(tuple),
    split=st.dictionaries(text, st.lists(text, max_size=3).map(tuple), max_size=3),
    date=text,
    commit=text,
    seed=st.none() | st.integers(0, 2**63),
    config=st.dictionaries(text, json_values, max_size=3),
    scores=st.dictionaries(text, numbers, max_size=3),
    versions=st.dictionaries(text, text, max_size=3),
    note=text,
)


@given(cards)
def test_both_forms_are_read_back(card: ModelCard) -> None:
    assert ModelCard.from_json(card.to_json()) == card
    assert ModelCard.from_markdown(card.to_markdown()) == card


def test_page_tells_data_licence_split_and_scores() -> None:
    page = CARD.to_markdown().split("---\n", 2)[2]
    assert "18,432 parameters" in page
    assert "| swisstopo S2 \\| tiles | CC-BY-4.0 | 12 tiles, 2015-2021 |" in page
    assert "| test | perito-moreno |" in page
    assert "| within_1px | 0.5656 |" in page
    assert "0123abc+changed" in page
    assert "seed 7" in page


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("{}", "name"),
        ("not json", "JSON"),
        (CARD.to_json().replace('"parameters": 18432', '"parameters": "many"'), "parameters"),
        (CARD.to_json().replace('"seed"', '"sead"'), "sead"),
    ],
)
def test_what_is_no_card_is_a_sentence(broken: str, said: str) -> None:
    with pytest.raises(InputError, match=f"no model card: .*{said}"):
        ModelCard.from_json(broken)


@pytest.mark.parametrize(
    "broken", ["# a page\n", "---\nname: x\n", "---\n{\n---\n", "---\nname: x\n---\n"]
)
def test_page_without_a_card_is_a_sentence(broken: str) -> None:
    with pytest.raises(InputError, match="no model card"):
        ModelCard.from_markdown(broken)


def test_a_score_that_is_not_a_number_stays_so() -> None:
    card = replace(CARD, scores={"undefined": float("nan"), "endless": float("inf")})
    for back in (ModelCard.from_json(card.to_json()), ModelCard.from_markdown(card.to_markdown())):
        assert back.scores["undefined"] != back.scores["undefined"]
        assert back.scores["endless"] == float("inf")
