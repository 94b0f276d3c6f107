"""``ogive report``: a region on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet, Verbose
from .session import log_beside, running

__all__ = ["report"]


def report(
    project: Annotated[
        Path, typer.Argument(help="The run file, or the region's folder.", metavar="PROJECT")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page; otherwise PROJECT.html.", metavar="FILE"),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="Place whose series is shown, as LON,LAT; may be repeated.", metavar="LON,LAT"
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write what was asked and done, maps, series, errors and costs as one HTML file."""
    target = out or project.parent / f"{project.stem}.html"
    with running(log_beside(target), quiet=quiet, verbose=verbose):
        from ogive.workflow.report.page import make_report

        page = make_report(project, target, points=[_degrees(text) for text in point or ()])
        if not quiet:
            typer.echo(page)


def _degrees(text: str) -> tuple[float, float]:
    from ogive.model import InputError

    try:
        longitude, latitude = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{text!r} is no place: give LON,LAT in degrees, as 6.98,45.95") from error
    if not (abs(longitude) <= 180 and abs(latitude) <= 90):
        raise InputError(f"{text!r} is no place on the Earth: give longitude, then latitude")
    return longitude, latitude
