"""``ogive new, run, status, retry, clean``: a whole region, from the search to annual maps."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Quiet, Verbose
from .session import INTERRUPTED, complain, log_beside, running

if TYPE_CHECKING:
    from ogive.workflow.catalogue import RegionStatus

__all__ = ["clean", "new", "retry", "run", "status"]

RunFile = Annotated[Path, typer.Argument(help="The run file.", metavar="REGION.yaml")]
Steps = Annotated[
    list[str] | None,
    typer.Option(
        "--step",
        help="search, pair, match, calibrate, cube, invert, annual or report; may be repeated.",
    ),
]


def new(
    path: RunFile,
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(help="The region in degrees.", metavar="WEST SOUTH EAST NORTH"),
    ] = None,
    start: Annotated[str, typer.Option(help="First day.", metavar="DATE")] = "2020-06-01",
    end: Annotated[str, typer.Option(help="Last day.", metavar="DATE")] = "2021-10-31",
    archive: Annotated[
        str, typer.Option(help="A name, an address, a catalogue file or a folder of images.")
    ] = "earth-search",
    glaciers: Annotated[Path | None, typer.Option(help="Glacier outlines.", metavar="FILE")] = None,
) -> None:
    """Write a run file: every key with its usual value and what it means."""
    with running(log_beside(path), quiet=False, verbose=False):
        from ogive.workflow.runfile import template, write_run_file

        region = {} if bbox is None else {"bbox": bbox}
        settings = template(
            path.stem,
            start=_day(start),
            end=_day(end),
            archive=archive,
            glaciers=glaciers,
            **region,
        )
        typer.echo(write_run_file(settings, path))


def run(
    path: RunFile,
    step: Steps = None,
    cluster: Annotated[
        str, typer.Option(help="local, threads, slurm, or a scheduler: tcp://host:8786.")
    ] = "local",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a region; stop it at any moment, and run it again.

    Several runs, here and on other machines, share the work through the catalogue.
    """
    with running(log_beside(path), quiet=quiet, verbose=verbose) as session:
        from ogive.workflow.run import run_region

        try:
            with session.bar() as advance:
                made = run_region(path, steps=step or None, cluster=cluster, progress=advance)
        except KeyboardInterrupt as error:
            complain("interrupted; what is done is kept: the same command goes on")
            raise typer.Exit(INTERRUPTED) from error
        if not quiet:
            _show(made)


def status(
    path: RunFile,
    check: Annotated[
        bool, typer.Option("--check", help="Read every product, and name those not whole.")
    ] = False,
) -> None:
    """Tell how far a region is: steps, errors by kind, pace, and time left."""
    with running(log_beside(path), quiet=False, verbose=False):
        from ogive.model import OutputError
        from ogive.workflow.run_upkeep import broken_products
        from ogive.workflow.status import read_status

        _show(read_status(path))
        broken = broken_products(path) if check else []
        for name in broken:
            typer.echo(f"not whole: {name}")
        if broken:
            raise OutputError(
                f"{len(broken)} products are missing or have changed: do them again by `ogive "
                "retry --done --step ...`, and run again"
            )


def retry(
    path: RunFile,
    step: Steps = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only errors of this kind, as status names it; may be repeated."),
    ] = None,
    done: Annotated[
        bool, typer.Option("--done", help="What is done, instead of what failed.")
    ] = False,
) -> None:
    """Let what failed be done again by the next run; `--done --step search` searches anew."""
    with running(log_beside(path), quiet=False, verbose=False):
        from ogive.workflow.run_upkeep import retry_region

        count = retry_region(path, steps=step or None, kinds=kind or None, done=done)
        typer.echo(f"{count} tasks will be done again")


def clean(
    path: RunFile,
    cache: Annotated[bool, typer.Option("--cache", help="Also the images that are kept.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, only count.")] = False,
) -> None:
    """Remove what nothing refers to: products of older parameters, and unfinished ones."""
    with running(log_beside(path), quiet=False, verbose=False):
        from ogive.workflow.run_upkeep import clean_region

        cleaned = clean_region(path, cache=cache, dry_run=dry_run)
        would = "would be " if dry_run else ""
        typer.echo(f"{cleaned.count} products, {cleaned.bytes / 1e6:.1f} MB, {would}removed")


def _day(text: str) -> date:
    from ogive.workflow.acquisition import as_time

    return as_time(text).date()


def _show(told: RegionStatus) -> None:
    from rich.console import Console

    from ogive.workflow.status import status_tables

    Console(highlight=False).print(status_tables(told))
