"""A document of sections, tables and pictures: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

__all__ = ["Picture", "Section", "Table", "document", "picture"]

_TEMPLATE = Path(__file__).with_name("document.html")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head.

    Parameters
    ----------
    head
        Names of the columns.
    rows
        Cells: text stands left, numbers stand right.
    caption
        What is seen.
    folded
        Whether it is shown only on demand (and always in print).
    """

    head: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, encoded.

    Parameters
    ----------
    png
        Base64 of a PNG.
    caption
        What is seen; also what is read aloud in place of the picture.
    links
        Words and addresses of files beside the document.
    """

    png: str
    caption: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the document.

    Parameters
    ----------
    title
        Its heading.
    text
        Paragraphs.
    tables, pictures
        What is shown, pictures first.
    listing
        A text that is shown as it is, such as a file.
    """

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    listing: str = ""


def document(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Write a document as HTML that holds its pictures and its style.

    Parameters
    ----------
    title
        Of the whole.
    lead
        A paragraph that sums it up.
    sections
        Its parts, in their order; their titles make the table of contents.

    Examples
    --------
    >>> page = document("A glacier", "It flows.", [Section("Where", ("In the Alps.",))])
    >>> '<h2 id="section-1">Where</h2>' in page
    True
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["is_number"] = _is_number
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, lead=lead, sections=sections)


def picture(
    figure: Figure, caption: str, links: Sequence[tuple[str, str]] = (), *, dpi: int = 110
) -> Picture:
    """Encode a figure.

    Parameters
    ----------
    figure
        Of matplotlib.
    caption, links
        As of `Picture`.
    dpi
        Pixels per inch.
    """
    written = io.BytesIO()
    figure.savefig(written, dpi=dpi, format="png")
    return Picture(base64.b64encode(written.getvalue()).decode(), caption, tuple(links))


def _is_number(cell: Any) -> bool:
    """Whether a cell stands right: a number, or text that begins like one."""
    if isinstance(cell, str):
        return cell[:1].isdigit() or cell[:1] in "-−+" or cell in ("–", "nan")
    return True
