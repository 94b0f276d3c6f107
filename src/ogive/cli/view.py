"""``ogive view``: velocities in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet, Units, Verbose
from .session import log_beside, running

__all__ = ["view"]


def view(
    path: Annotated[
        Path,
        typer.Argument(
            help="Folder of a run, cube, series, annual maps or velocity file.", metavar="PATH"
        ),
    ],
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="A cube's series, a series' cube, ...; may be repeated.", metavar="PATH"),
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(help="Scene, or elevation model for a hillshade.", metavar="FILE"),
    ] = None,
    outlines: Annotated[
        Path | None, typer.Option(help="Polygons of the ice.", metavar="FILE")
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Stakes or GNSS to draw beside series.", metavar="FILE")
    ] = None,
    points_crs: Annotated[
        str | None, typer.Option(help="Where their positions lie, if the file does not say.")
    ] = None,
    units: Units = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this computer; 0 takes a free one.")
    ] = 0,
    host: Annotated[
        str | None,
        typer.Option(help="Name or address of this computer, to let others in the network look."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look at velocities in the browser: maps, series at a click, sections, the network of pairs.

    Press Ctrl+C to end.
    """
    with running(log_beside(Path("ogive-view")), quiet=quiet, verbose=verbose):
        from ogive.view.viewer import view as show

        show(
            path,
            beside=beside or (),
            background=background,
            outlines=outlines,
            points=points,
            points_crs=points_crs,
            units=units,
            port=port,
            host=host,
            open_browser=browser,
            # The address is the only way in, so that even --quiet tells it.
            ready=typer.echo,
        )
