"""``ogive annotate``: picking features by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet, Verbose
from .session import log_beside, running

__all__ = ["annotate"]


def annotate(
    earlier: Annotated[Path, typer.Argument(help="The earlier image.", metavar="EARLIER")],
    later: Annotated[Path, typer.Argument(help="The later image.", metavar="LATER")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The points; what is there goes on.", metavar="GPKG")
    ],
    dates: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="When the images were acquired (UTC); else from names and tags.", metavar="D1 D2"
        ),
    ] = None,
    band: Annotated[
        str | None, typer.Option(help="Band of the images, by number from 1 or name.")
    ] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Accept images without a reference; save pixels.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this computer; 0 takes a free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Pick the same features in two images by hand, in the browser.

    Every point is saved at once. Finish in the page or press Ctrl+C; the same command goes on.
    """
    with running(log_beside(out), quiet=quiet, verbose=verbose):
        from ogive.view.annotate import annotate as pick
        from ogive.workflow.acquisition import acquired_pair

        count = pick(
            earlier,
            later,
            out,
            pair=acquired_pair(earlier, later, dates),
            band=band,
            allow_no_crs=pixels,
            port=port,
            open_browser=browser,
            # The address is the only way in, so that even --quiet tells it.
            ready=typer.echo,
        )
        if not quiet:
            typer.echo(f"pairs in {out}: {count}")
