"""``ogive invert`` and ``ogive annual``: a cube to series and annual maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Quiet, Units, Verbose
from .session import log_beside, running

if TYPE_CHECKING:
    from ogive.workflow.inversion import Point

__all__ = ["annual", "invert"]


def invert(
    cube: Annotated[
        Path, typer.Argument(help="A cube, or a folder of image pairs.", metavar="CUBE")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The series: *.nc or *.zarr.", metavar="FILE")
    ],
    sampling: Annotated[str, typer.Option(help="Length of the periods, in days.")] = "36",
    stable: Annotated[
        Path | None,
        typer.Option(help="Polygons of still ground, to say what the series is worth."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="A place to draw, in the grid's coordinates; may be repeated.", metavar="X,Y"
        ),
    ] = None,
    regularisation: Annotated[
        float | None, typer.Option(help="Weight of steady flow.", show_default="100")
    ] = None,
    closure: Annotated[
        str | None, typer.Option(help="dates or combined.", show_default="dates")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="error, uniform, or the name of a quality variable.", show_default="error"
        ),
    ] = None,
    acceleration: Annotated[
        str | None,
        typer.Option(help="What is taken for granted: zero or smoothed.", show_default="zero"),
    ] = None,
    across_orbits: Annotated[
        str,
        typer.Option(help="Pairs across orbits: keep, drop, project or correct them, or joint."),
    ] = "keep",
    angles: Annotated[
        list[Path] | None,
        typer.Option(
            help="MTD_TL.xml, ANG.txt, MTL.txt, STAC items, or a folder of them; may be repeated. "
            "Images without take their orbit's nominal angles.",
            metavar="PATH",
        ),
    ] = None,
    image_error: Annotated[
        float,
        typer.Option(
            help="For correct and joint: error of an image that its pairs share.", metavar="METRES"
        ),
    ] = 0.0,
    dem: Annotated[
        Path | None,
        typer.Option(help="Elevation model, whose slopes bend offsets of orbits.", metavar="TIF"),
    ] = None,
    units: Units = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
) -> None:
    """Invert the velocities of many image pairs into a regular time series with errors."""
    with running(log_beside(out), quiet=quiet, verbose=verbose) as run:
        from ogive.workflow.inversion import make_series

        # What is not given is the library's to choose.
        given = {
            "regularisation": regularisation,
            "closure": closure,
            "weights": weights,
            "acceleration": acceleration,
        }
        options: dict[str, Any] = {k: value for k, value in given.items() if value is not None}
        with run.steps(1) as begin:
            begin("invert")
            made = make_series(
                cube,
                out,
                sampling=sampling,
                stable=stable,
                points=[_point(text) for text in point or ()],
                units=units,
                overwrite=overwrite,
                progress=lambda done, count: begin("invert, block by block", count),
                across_orbits=across_orbits,  # type: ignore[arg-type]  # make_series checks it
                angles=angles or (),
                image_error_m=image_error,
                dem=dem,
                **options,
            )
        if not quiet:
            typer.echo(
                f"{made.pairs} pairs, {made.periods} periods from {made.first} to {made.last}"
            )
            for name, rmse in made.stable_rmse_m_yr.items():
                coherence = made.vector_coherence[name]
                typer.echo(
                    f"{name}: RMSE {rmse:.4g} m/yr on stable ground, vector coherence "
                    f"{coherence:.3f} elsewhere"
                )
            for path in (made.series, *made.figures):
                typer.echo(path)


def _point(text: str) -> Point:
    """Read a place that was given as X,Y."""
    from ogive.model import InputError
    from ogive.workflow.inversion import Point

    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{text!r} is no point: give its two coordinates as X,Y") from error
    return Point(x, y)


def annual(
    cube: Annotated[
        Path, typer.Argument(help="A cube, or a folder of image pairs.", metavar="CUBE")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to be made.", metavar="DIR")],
    year_start: Annotated[
        str, typer.Option(help="First day of a year; 01-01 for calendar years.", metavar="MM-DD")
    ] = "10-01",
    method: Annotated[str, typer.Option(help="median, mean, ols or theil-sen.")] = "ols",
    period: Annotated[
        tuple[str, str] | None,
        typer.Option(help="First and last day of one period, in place of years."),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Stakes or GNSS to compare with.", metavar="FILE")
    ] = None,
    points_crs: Annotated[
        str | None, typer.Option(help="Where their positions lie, if the file does not say.")
    ] = None,
    smoothing: Annotated[str, typer.Option(help="gaussian, median or none.")] = "gaussian",
    units: Units = None,
    threads: Annotated[int | None, typer.Option(min=1, help="All there are by default.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR's product.")] = False,
) -> None:
    """Make annual velocity maps and trends of a cube."""
    with running(log_beside(out), quiet=quiet, verbose=verbose) as run:
        from ogive.workflow.annual import make_annual

        with run.steps(1) as begin:
            begin("filter, average, write")
            made = make_annual(
                cube,
                out,
                year_start=year_start,
                method=method,  # type: ignore[arg-type]  # make_annual checks it
                period=period,
                smoothing=smoothing,  # type: ignore[arg-type]
                units=units,
                points=points,
                points_crs=points_crs,
                threads=threads,
                overwrite=overwrite,
            )
        if not quiet:
            removed = sum(made.removed.values())
            typer.echo(
                f"{made.pairs} pairs, {removed} of {made.observations} observations removed; "
                f"{len(made.years)} periods, "
                f"median speed of the last {made.median_speed_m_yr:.4g} m/yr"
            )
            if made.years_without_data:
                typer.echo(f"without data: {', '.join(made.years_without_data)}")
            for name in made.files:
                typer.echo(out / name)
