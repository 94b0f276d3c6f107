"""The command ``ogive``: a thin layer over the library.

Exit codes: 0 done; 1 an unexpected failure, told in a log; 2 wrong input, or a product that cannot
be written; 130 interrupted.

Only what the options need is imported here; the rest waits until a command runs. A command is a
function in a file of its own; this file puts them together.
"""

from __future__ import annotations

from typing import Annotated

import typer

from .annotate import annotate
from .elevation_bias import elevation_bias
from .outlines import outlines
from .region import clean, new, retry, run, status
from .report import report
from .score import score
from .series import annual, invert
from .simulate import simulate
from .train import train_app
from .velocity import velocity
from .view import view

__all__ = ["app", "main"]

app = typer.Typer(
    name="ogive",
    help="Measure how glaciers flow, from optical satellite images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    app()


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ogive {version('ogive')}")
        raise typer.Exit


@app.callback()
def _ogive(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version."),
    ] = False,
) -> None:
    """Measure how glaciers flow, from optical satellite images."""


app.command()(velocity)
app.command()(invert)
app.command()(annual)
app.command()(simulate)
app.command()(outlines)
app.command("elevation-bias")(elevation_bias)
app.command()(annotate)
app.command()(score)
app.command()(view)
app.command()(new)
app.command()(run)
app.command()(status)
app.command()(retry)
app.command()(clean)
app.command()(report)
app.add_typer(train_app, name="train")
