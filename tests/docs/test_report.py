"""The report and the slides are made, whole, from pages and figures that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("pypandoc", reason="the report is made by what `make docs` installs")
pytest.importorskip("typst", reason="the report is made by what `make docs` installs")

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "report"))
    import make

    return make


@pytest.fixture
def folder():
    """A folder below the documentation, since typst reads nothing beside it."""
    made = DOCS / "_build" / "test"
    made.mkdir(parents=True, exist_ok=True)
    yield made
    for path in made.iterdir():
        path.unlink()
    made.rmdir()


def test_both_are_made(report, folder):
    chapters = {"report": 7, "slides": 9}
    for pdf in report.make(folder):
        assert pdf.read_bytes().startswith(b"%PDF")
        text = pdf.with_suffix(".typ").read_text(encoding="utf-8")
        assert len(re.findall(r"^= ", text, re.MULTILINE)) >= chapters[pdf.stem]
        # What pandoc does not understand it leaves as it was.
        assert not re.search(r"<<page|\{math\}|\\frac|\[@\w|\]\(\w+\.md", text)
        for picture in re.findall(r'image\("/([^"]+)"', text):
            assert (DOCS / picture).is_file(), picture


def test_a_page_that_there_is_not_is_refused(report):
    with pytest.raises(FileNotFoundError):
        report.whole("<<page weather>>\n")


def test_pages_are_read_as_pandoc_reads_them(report):
    page = (
        "See [the method](matching.md#where) at [a site](https://example.org).\n\n"
        "```{math}\nx = \\tfrac12\n```\n\n![A](figures/a.png)\n"
    )
    assert report.markdown(page) == (
        "See the method at [a site](https://example.org).\n\n"
        "$$\nx = \\tfrac{1}{2}\n$$\n\n![A](/figures/a.png)\n"
    )
