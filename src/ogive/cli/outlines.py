"""``ogive outlines``: where the glaciers are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Quiet, Verbose
from .session import log_beside, running

__all__ = ["outlines"]


def outlines(
    scene: Annotated[
        list[Path],
        typer.Argument(help="A file of several bands, or a file for each.", metavar="SCENE..."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Outlines: *.gpkg.", metavar="OUTLINES.gpkg")
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="Weights, by file or address; else those that ship.", metavar="FILE"),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            help="Names of all bands in their order; else as the files describe them.",
            metavar="blue,green,red,nir",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="What turns numbers into reflectance; else as in the training."),
    ] = None,
    offset: Annotated[
        float, typer.Option(help="Added after the scale; -0.1 for Sentinel-2 since 2022.")
    ] = 0.0,
    dem: Annotated[
        Path | None, typer.Option(help="Elevation model: divides ice into glaciers.", metavar="TIF")
    ] = None,
    inventory: Annotated[
        Path | None,
        typer.Option(help="Copy the divides of these glaciers (needs --dem).", metavar="FILE"),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Of the scene, for weights that are told one, such as ALP.")
    ] = None,
    optimise_bias: Annotated[
        bool, typer.Option("--optimise-bias", help="Find the mixture of regions that is surest.")
    ] = False,
    augment: Annotated[
        bool, typer.Option("--augment", help="Average the eight ways a patch can lie.")
    ] = False,
    dropout_passes: Annotated[
        int, typer.Option(min=0, help="Average so many passes with Monte-Carlo dropout.")
    ] = 0,
    least_area: Annotated[
        float, typer.Option(min=0, help="Smaller glaciers are left out.", metavar="KM2")
    ] = 0.01,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there.")
    ] = False,
) -> None:
    """Map the glaciers of a scene: outlines, probability, confidence, the 95 % band, a picture.

    With an elevation model, ice is divided into individual glaciers.
    """
    with running(log_beside(out), quiet=quiet, verbose=verbose) as run:
        from .train import need_learning

        need_learning("mapping outlines", "outlines")
        from ogive.workflow.outlines import OutlineOptions, make_outlines

        options = OutlineOptions(
            weights=weights,
            bands=[name.strip() for name in bands.split(",")] if bands is not None else None,
            scale=scale,
            offset=offset,
            dem=dem,
            inventory=inventory,
            region=region,
            optimise_bias=optimise_bias,
            test_time_augmentation=augment,
            dropout_passes=dropout_passes,
            least_area_km2=least_area,
            device=device,
            overwrite=overwrite,
        )
        with run.steps(1) as begin:
            begin("read the scene")
            made = make_outlines(
                scene,
                out,
                options=options,
                progress=lambda done, rows: begin(f"row {done} of {rows}", rows),
            )
        if not quiet:
            typer.echo(f"{made.glaciers} glaciers, {made.ice_km2:.3f} km2 of ice")
            if made.inner_km2 == made.inner_km2:  # the weights are calibrated
                typer.echo(
                    f"95 % band: {made.inner_km2:.3f} to {made.outer_km2:.3f} km2; "
                    f"expected IoU {made.estimated_iou:.3f}"
                )
            for path in (made.outlines, made.probability, made.confidence, made.figure):
                typer.echo(path)
