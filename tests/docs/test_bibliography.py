"""The bibliography: page and BibTeX file agree, entries have two lines, no DOI is invented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
SOURCES = DOCS.parents[1] / "shared"
ENTRY = re.compile(
    r"^\*\*(?P<cite>.+?)\*\*(?P<links>.*?) `(?P<key>\w+)`\n\n(?P<body>(?:[- ] .+\n)+)", re.M
)
FIELD = re.compile(r"^  (\w+) = \{(.+)\},$", re.M)


def bib():
    """Fields of each entry of the BibTeX file, by key."""
    text = (DOCS / "references.bib").read_text(encoding="utf-8")
    parts = re.findall(r"^@\w+\{(\w+),\n(.*?)^\}$", text, re.M | re.S)
    assert len(parts) == text.count("@"), "an entry is not closed, or a key is no plain word"
    assert len({key for key, _ in parts}) == len(parts), "a key stands twice"
    return {key: dict(FIELD.findall(body)) for key, body in parts}


def page():
    """Links and body of each entry of the page, by key."""
    text = (DOCS / "bibliography.md").read_text(encoding="utf-8")
    found = {entry["key"]: entry for entry in ENTRY.finditer(text)}
    assert len(found) == len(re.findall(r"^\*\*", text, re.M)), "an entry has another layout"
    return found


def test_page_and_bib_have_the_same_keys_in_the_same_order():
    assert list(page()) == list(bib())


def test_each_entry_says_what_it_does_and_what_we_take():
    for key, entry in page().items():
        points = re.findall(r"^- (Does|We take): \S", entry["body"], re.M)
        assert points == ["Does", "We take"], key
        assert entry["body"].count("\n- ") == 1, key


def test_page_links_are_those_of_the_bib():
    for key, fields in bib().items():
        links = page()[key]["links"]
        known = [fields[name] for name in ("doi", "eprint", "url") if name in fields]
        assert bool(known) == ("](" in links), key
        assert all(f"{value})" in links for value in known), key
        assert {"author", "title", "year"} <= fields.keys(), key
        assert fields["year"] in page()[key]["cite"], key


def test_every_doi_stands_in_the_sources():
    if not (SOURCES / "references.md").is_file():
        pytest.skip("the sources of the bibliography are not beside the repository")
    texts = [SOURCES / "references.md", *(SOURCES / "papers").glob("*.txt")]
    seen = "\n".join(path.read_text(encoding="utf-8") for path in texts).lower()
    for key, fields in bib().items():
        for name in ("doi", "eprint"):
            assert fields.get(name, "").lower() in seen, f"{key}: {fields[name]}"
