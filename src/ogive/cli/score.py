"""``ogive score``: how good velocity maps are, whoever made them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Quiet, Units, Verbose
from .session import log_beside, running

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["score"]


def score(
    products: Annotated[
        list[Path],
        typer.Argument(
            help="Velocity files, cubes, series, annual maps; ours or others'.", metavar="PATH..."
        ),
    ],
    stable: Annotated[
        Path | None, typer.Option(help="Polygons of ground that does not move.", metavar="FILE")
    ] = None,
    ice: Annotated[
        Path | None,
        typer.Option(help="Glacier outlines: the ground beside them is stable.", metavar="FILE"),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Stakes or GNSS to compare with.", metavar="FILE")
    ] = None,
    points_crs: Annotated[
        str | None, typer.Option(help="Where their positions lie, if the file does not say.")
    ] = None,
    glaft: Annotated[
        bool, typer.Option("--glaft", help="Add the metrics of Zheng et al. (2023).")
    ] = False,
    most: Annotated[
        int, typer.Option(min=1, help="Maps of a product and triplets that are scored at most.")
    ] = 50,
    each: Annotated[bool, typer.Option("--each", help="A line for each map.")] = False,
    units: Units = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help="Write the table: *.csv or *.md.", metavar="FILE"),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score velocity maps: stable ground, closure, points measured in the field, GLAFT's metrics.

    Velocities are in meter/year, closure in metres, GLAFT's figures in meter/day and per day.
    """
    with running(log_beside(Path("ogive-score")), quiet=quiet, verbose=verbose):
        from ogive.workflow.scores import score_products, write_scores

        table = score_products(
            products,
            stable=stable,
            ice=ice,
            points=points,
            points_crs=points_crs,
            glaft=glaft,
            units=units,
            most=most,
            each=each,
        )
        for path in out or ():
            write_scores(table, path)
        if not quiet:
            _show(table)


def _show(table: pd.DataFrame) -> None:
    """Show a line for each figure, a column for each product."""
    from rich.console import Console
    from rich.table import Table

    from ogive.workflow.scores import figure

    shown = Table()
    shown.add_column("")
    for name in table["product"]:
        shown.add_column(str(name), justify="right", overflow="fold")
    for column in table.columns.drop("product"):
        shown.add_row(column.replace("_", " "), *(figure(value) for value in table[column]))
    Console(highlight=False).print(shown)
