"""``ogive elevation-bias``: what a wrong elevation model does to several orbits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet, Units, Verbose
from .session import log_beside, running

__all__ = ["elevation_bias"]


def elevation_bias(
    cube: Annotated[
        Path, typer.Argument(help="A cube, or a folder of image pairs.", metavar="CUBE")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Velocity and bias: *.nc or *.zarr.", metavar="FILE")
    ],
    angles: Annotated[
        list[Path] | None,
        typer.Option(
            help="MTD_TL.xml, ANG.txt, MTL.txt, STAC items, or a folder of them; may be repeated. "
            "Images without take their orbit's nominal angles.",
            metavar="PATH",
        ),
    ] = None,
    regime: Annotated[
        str, typer.Option(help="Of the velocity: constant, periods, series or triplets.")
    ] = "constant",
    period: Annotated[str, typer.Option(help="Length of the periods.")] = "90D",
    sampling: Annotated[str, typer.Option(help="Length of the series' periods.")] = "36D",
    image_error: Annotated[
        float, typer.Option(help="Error of an image that its pairs share.", metavar="METRES")
    ] = 0.0,
    window: Annotated[
        float | None,
        typer.Option(
            help="Side of the matching windows: errors then count what a window leaves open.",
            metavar="METRES",
        ),
    ] = None,
    dem: Annotated[
        Path | None, typer.Option(help="Elevation model, whose slopes bend offsets.", metavar="TIF")
    ] = None,
    stable: Annotated[
        Path | None,
        typer.Option(help="Polygons of ground whose height has not changed: there the bias is 0."),
    ] = None,
    ice: Annotated[
        Path | None, typer.Option(help="Outlines of glaciers: all ground beside them is stable.")
    ] = None,
    corrected: Annotated[
        Path | None,
        typer.Option(help="Write the cube freed of the offsets too.", metavar="CUBE"),
    ] = None,
    join: Annotated[
        str, typer.Option(help="How pairs across orbits are freed: estimated or projected.")
    ] = "estimated",
    units: Units = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
) -> None:
    """Estimate velocity and the elevation model's bias from pairs of several orbits together."""
    with running(log_beside(out), quiet=quiet, verbose=verbose) as run:
        from ogive.workflow.elevation_bias import make_elevation_bias

        with run.steps(1) as begin:
            begin("elevation bias")
            made = make_elevation_bias(
                cube,
                out,
                angles=angles or (),
                regime=regime,  # type: ignore[arg-type]
                period=period,
                sampling=sampling,
                image_error_m=image_error,
                window_m=window,
                dem=dem,
                stable=stable,
                ice=ice,
                corrected=corrected,
                join=join,  # type: ignore[arg-type]
                units=units,
                overwrite=overwrite,
                progress=lambda done, count: begin("elevation bias, block by block", count),
            )
        if not quiet:
            typer.echo(
                f"{made.images} images of {made.orbits} orbits, {made.pairs} pairs, {made.across} "
                f"of them across orbits; {made.nominal} images with nominal angles"
            )
            if made.median_bias_m == made.median_bias_m:  # some pixel has one
                typer.echo(
                    f"elevation bias: median {made.median_bias_m:+.2f} m, median error "
                    f"{made.median_error_m:.2f} m"
                )
            for name, share in made.flagged.items():
                if share > 0:
                    typer.echo(f"{100 * share:.1f} % of pixels: {name.replace('_', ' ')}")
            for path in (made.product, made.corrected, *made.figures):
                if path is not None:
                    typer.echo(path)
