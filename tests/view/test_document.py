"""A document holds all that it shows, and shows all that it was given."""

from __future__ import annotations

import base64
import re

import pytest
from matplotlib.figure import Figure

from ogive.view.document import Section, Table, document, picture


@pytest.fixture
def drawn():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [1, 0])
    return picture(figure, "A slope.", [("its data", "slope.csv")])


def test_pictures_are_inside(drawn):
    page = document("Slopes", "One of them.", [Section("Steep", pictures=(drawn,))])
    (png,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(png).startswith(b"\x89PNG")
    assert 'alt="A slope."' in page
    assert '<a href="slope.csv">its data</a>' in page
    assert "src=" not in page.replace('src="data:', "")  # nothing is fetched
    assert "<script" not in page


def test_text_is_never_markup():
    evil = "<script>alert(1)</script>"
    table = Table((evil,), [(evil,)], evil)
    section = Section(evil, (evil,), (table,), listing=evil)
    page = document(evil, evil, [section])
    assert "<script" not in page
    # Title twice, lead, contents, heading, paragraph, listing; of the table caption, head, cell.
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 10


def test_numbers_stand_right_and_words_left():
    rows = [("Aletsch", "1,234", 0.5, "-3"), ("Rhone", "7", 1, "–")]
    page = document("Glaciers", "", [Section("All", tables=(Table(("a", "b", "c", "d"), rows),))])
    cells = re.findall(r"<td( class=\"number\")?>([^<]*)</td>", page)
    assert [word for right, word in cells if not right] == ["Aletsch", "Rhone"]
    assert page.count('<th class="number">') == 3


def test_a_folded_table_is_shown_on_demand():
    table = Table(("n",), [(1,)], "Many", folded=True)
    page = document("Glaciers", "", [Section("All", tables=(table,))])
    assert "<details><summary>Many</summary>" in page


def test_sections_are_linked():
    page = document("Two", "", [Section("First"), Section("Second")])
    links = re.findall(r'<a href="#(section-\d)">', page)
    assert links == re.findall(r'<h2 id="(section-\d)">', page) == ["section-1", "section-2"]
