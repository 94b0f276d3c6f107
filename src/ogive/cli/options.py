"""Options that several commands have, each told once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Quiet", "Units", "Verbose"]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")]
Units = Annotated[
    str | None, typer.Option(help="meter/year or meter/day, where the files do not say.")
]
