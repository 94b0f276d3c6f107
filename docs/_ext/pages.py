"""Parts of pages that are made from the code, so that they cannot fall behind it.

A line such as ``<<commands>>`` in a page stands for what the function of that name gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
MARK = re.compile(r"^<<(\w+)>>$", re.MULTILINE)

ROAD = (
    "scenes", "matching", "triplets", "inversion", "orbits", "annual", "similarity", "training",
    "annotate", "outlines", "simulation", "region", "report", "viewer", "scores",
)  # fmt: skip
"""The pages of methods in the order of the data's road; further ones follow."""
OTHERS = (
    "index", "methods", "getting-started", "conventions", "choosing", "coming-from", "contributing",
    "changelog", "bibliography",
)  # fmt: skip


def methods() -> str:
    """List the pages of methods, all that there are, for a toctree."""
    there = {path.stem for path in DOCS.glob("*.md")} - set(OTHERS)
    return "\n".join([*(name for name in ROAD if name in there), *sorted(there - set(ROAD))])


def commands() -> str:
    """Tell every command with its arguments and options, as its own help does."""
    from typer import Context
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from ogive.cli import app

    command = get_command(app)
    told = get_docs_for_click(obj=command, ctx=Context(command), name="ogive")
    return told.partition("\n")[2]  # the page has a title of its own


def run_file() -> str:
    """Show a run file with the meaning of every key."""
    from datetime import date

    from ogive.learning.settings import settings_yaml
    from ogive.workflow.runfile import template

    settings = template(
        "my-region",
        start=date(2020, 6, 1),
        end=date(2021, 10, 31),
        archive="earth-search",
        glaciers=Path("outlines.gpkg"),
        bbox=(10.6, 46.7, 11.1, 46.95),
    )
    return f"```yaml\n{settings_yaml(settings).strip()}\n```"


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part for part in (methods, commands, run_file)
}


def filled(text: str) -> str:
    """Put the parts in the place of their marks.

    Raises
    ------
    KeyError
        If a page asks for a part that there is not.
    """
    return MARK.sub(lambda mark: PARTS[mark[1]](), text)


def _on_read(app: Any, name: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def setup(app: Any) -> dict[str, bool]:
    """Fill each page as it is read."""
    app.connect("source-read", _on_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
