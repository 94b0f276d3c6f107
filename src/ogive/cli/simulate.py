"""``ogive simulate``: scenes of a glacier whose motion is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet, Verbose
from .session import log_beside, running

__all__ = ["simulate"]


def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to be made.", metavar="DIR")],
    start: Annotated[str, typer.Option(help="First day.", metavar="DATE")] = "2020-04-01",
    end: Annotated[str, typer.Option(help="Day after the last.", metavar="DATE")] = "2021-10-01",
    scenes: Annotated[int, typer.Option(help="How many, spread over the time.")] = 25,
    orbit: Annotated[
        list[str] | None,
        typer.Option(help="sentinel-2-west, -east, landsat-west, -east; may be repeated."),
    ] = None,
    size: Annotated[
        tuple[int, int], typer.Option(help="Pixels of 10 m.", metavar="ROWS COLUMNS")
    ] = (600, 600),
    max_speed: Annotated[float, typer.Option(help="Of nearly all of the ice, m/yr.")] = 350.0,
    clouds: Annotated[float, typer.Option(help="Mean cloud cover, 0 to 1.")] = 0.12,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    dem: Annotated[
        Path | None, typer.Option(help="A real surface for the ice to flow over.", metavar="FILE")
    ] = None,
    outlines: Annotated[
        Path | None, typer.Option(help="Outlines of its glaciers.", metavar="FILE")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Simulate a glacier and what satellites see of it: a STAC catalogue, and the truth."""
    with running(log_beside(out), quiet=quiet, verbose=verbose) as run:
        from ogive.workflow.acquisition import as_time
        from ogive.workflow.simulate import SimulationSettings, simulate_archive

        settings = SimulationSettings(
            rows=size[0],
            columns=size[1],
            start=as_time(start),
            end=as_time(end),
            scene_count=scenes,
            seed=seed,
            max_speed_m_yr=max_speed,
            mean_cloud_cover=clouds,
        )
        if orbit:
            settings = replace(settings, orbits=tuple(orbit))
        with run.steps(scenes + 1) as begin:
            begin("simulate the glacier")
            catalogue = simulate_archive(
                out,
                settings=settings,
                dem=dem,
                outlines=outlines,
                progress=lambda done, count: begin(f"scene {done} of {count}"),
            )
        if not quiet:
            typer.echo(catalogue)
