"""Scores of any velocity maps, ours or another producer's, in one table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.evaluation.points import compare_points
from ogive.evaluation.scorecard import closure_of_pairs, score_map
from ogive.model import GridError, InputError
from ogive.scenes.read import rasterize_polygons
from ogive.store.atomic import atomic_path
from ogive.store.points import read_points
from ogive.view.viewer.opening import open_product
from ogive.view.viewer.product import Product, layer_map
from ogive.workflow.glaft_metrics import glaft_metrics

__all__ = ["figure", "markdown", "score_products", "write_scores"]

_FORMATS = (".csv", ".md")

_log = logging.getLogger(__name__)


def score_products(
    paths: Sequence[str | Path],
    *,
    stable: str | Path | None = None,
    ice: str | Path | None = None,
    points: str | Path | None = None,
    points_crs: str | None = None,
    glaft: bool = False,
    units: str | None = None,
    most: int = 50,
    each: bool = False,
) -> pd.DataFrame:
    """Score velocity products, a line for each.

    Parameters
    ----------
    paths
        Velocity files, cubes, series and annual maps, ogive's or others'.
    stable, ice
        Polygons of ground that does not move, and of ice. Without ``stable``, the ground beside the
        ice is taken.
    points
        Stakes or GNSS, as `ogive.read_points` reads them.
    points_crs
        Where their positions lie, if the file does not say.
    glaft
        Add the published metrics of Zheng et al. (2023), in meter/day and per day.
    units
        Of the velocities, where files do not say.
    most
        Maps of a product, and triplets of a cube, that are scored at most, spread evenly; the table
        says how many of how many.
    each
        A line for each map, in place of the medians over a product's maps.

    Returns
    -------
    pandas.DataFrame
        Columns as in `ogive.evaluation.scorecard.MapScore`, and ``closure_...``, ``points_...``,
        ``glaft_...`` for what was asked for.

    Raises
    ------
    InputError
        If a product or a file cannot be read, or GLAFT's package is missing.
    GridError
        If polygons cannot be laid on a product.
    """
    if most < 1:
        raise InputError(f"most is {most}: at least one map has to be scored")
    lines: list[dict[str, Any]] = []
    for path in paths:
        product = open_product(path, name=str(path), units=units)
        measured = pd.DataFrame(
            _map_line(product, k, stable=stable, ice=ice, glaft=glaft)
            for k in _chosen(product, most)
        )
        if each:
            lines += [dict(line) for _, line in measured.iterrows()]
            continue
        line: dict[str, Any] = {"product": product.name, "maps": _told(product, len(measured))}
        medians = measured.drop(columns=["product", "maps"]).median()
        line |= {str(key): value for key, value in medians.items()}
        if product.kind == "cube":
            closed = asdict(closure_of_pairs(product.data, most=most))
            line |= {f"closure_{key}": value for key, value in closed.items()}
        if points is not None:
            line |= _points_line(product, points, points_crs)
        lines.append(line)
    return pd.DataFrame(lines)


def _chosen(product: Product, most: int) -> NDArray[np.int64]:
    """Number the maps to score; the first of a cube is no map of its own, but a median."""
    first = 1 if product.kind == "cube" else 0
    count = min(len(product.frames) - first, most)
    return np.unique(np.linspace(first, len(product.frames) - 1, count).round().astype(np.int64))


def _told(product: Product, scored: int) -> str:
    there = len(product.frames) - (product.kind == "cube")
    return str(there) if scored == there else f"{scored} of {there}"


def _map_line(
    product: Product, frame: int, *, stable: str | Path | None, ice: str | Path | None, glaft: bool
) -> dict[str, Any]:
    velocity = _map_of(product, frame)
    ground, on_ice = _masks(velocity, product.name, stable, ice)
    line: dict[str, Any] = {"product": product.name, "maps": product.frames[frame]}
    line |= asdict(score_map(velocity, stable=ground, ice=on_ice))
    if glaft:
        metrics = glaft_metrics(velocity, stable=ground, ice=on_ice)
        line |= {f"glaft_{key}": value for key, value in asdict(metrics).items()}
    return line


def _map_of(product: Product, frame: int) -> xr.Dataset:
    """Read both components of a map, and their errors where they are declared."""
    fields = {name: layer_map(product, name, frame) for name in ("vx", "vy")}
    for name in ("vx_error", "vy_error"):
        if name in product.layers:
            fields[name] = layer_map(product, name, frame)
        elif product.kind == "cube" and name in product.data:
            told = product.data[name].isel(mid_date=frame - 1)
            fields[name] = xr.full_like(fields["vx"], float(told))
    return xr.Dataset({name: field.drop_vars(_dates(field)) for name, field in fields.items()})


def _dates(field: xr.DataArray) -> list[str]:
    return [str(n) for n in field.coords if n not in ("x", "y", "spatial_ref")]


def _masks(
    velocity: xr.Dataset, name: str, stable: str | Path | None, ice: str | Path | None
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Lay polygons on a map's grid; without stable ones, what lies beside the ice is stable."""
    if stable is None and ice is None:
        return None, None
    box = velocity["vx"].odc.geobox
    if not isinstance(box, GeoBox) or box.crs is None:
        raise GridError(f"{name} has no coordinate reference system: polygons cannot be laid on it")
    on_ice = None if ice is None else rasterize_polygons(ice, box)
    if stable is not None:
        return rasterize_polygons(stable, box), on_ice
    return None if on_ice is None else ~on_ice, on_ice


def _points_line(product: Product, points: str | Path, crs: str | None) -> dict[str, Any]:
    if product.crs is None:
        raise GridError(f"{product.name} has no coordinate reference system to find points on")
    table = read_points(points, crs=crs, to_crs=product.crs)
    try:
        compared = compare_points(_in_time(product), table)
    except InputError as error:
        # The other products of the table can be compared all the same.
        _log.warning("%s: %s", product.name, error)
        return {"points_compared": 0}
    figures = {"points_compared": compared.statistics["v"].count, "points_r2": compared.r2}
    for name in ("v", "along", "across"):
        figures[f"points_bias_{name}"] = compared.statistics[name].bias
        figures[f"points_rmse_{name}"] = compared.statistics[name].rmse
    return dict(figures)


def _in_time(product: Product) -> xr.Dataset:
    """Give a product the form that points are compared with."""
    if product.kind != "annual":
        return product.data
    maps = [_map_of(product, k) for k in range(len(product.frames))]
    spans = [_span(product, k) for k in range(len(maps))]
    years = xr.concat(maps, dim="year")
    for side, edge in enumerate(("year_start", "year_end")):
        years[edge] = ("year", np.array([span[side] for span in spans], "datetime64[ns]"))
    return years


def _span(product: Product, frame: int) -> tuple[str, str]:
    """Read the days of a year off its layer's description."""
    variable = product.layers["vx"].variables[frame]
    told = str(product.data[variable].attrs.get("long_name", "")).rsplit(", ", 1)[-1]
    start, _, end = told.partition(" to ")
    if not end:
        raise InputError(f"{product.name} does not say when the year of {variable} begins and ends")
    return start, end


def write_scores(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table of scores as ``*.csv`` or, with products side by side, as ``*.md``.

    Raises
    ------
    InputError
        If the suffix is another.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise InputError(f"{path} shall be a table: name it *.csv or *.md")
    with atomic_path(path) as written:
        if path.suffix == ".csv":
            table.to_csv(written, index=False)
        else:
            written.write_text(markdown(table), encoding="utf-8")
    return path


def markdown(table: pd.DataFrame) -> str:
    """Write scores as a Markdown table: a line for each figure, a column for each product.

    Examples
    --------
    >>> print(markdown(pd.DataFrame({"product": ["a.nc"], "measured": [0.51234]})))
    | | a.nc |
    |---|---|
    | measured | 0.5123 |
    <BLANKLINE>
    """
    names = list(table["product"])
    lines = [f"| | {' | '.join(map(str, names))} |", "|---" * (len(names) + 1) + "|"]
    for column in table.columns.drop("product"):
        cells = " | ".join(figure(value) for value in table[column])
        lines.append(f"| {column.replace('_', ' ')} | {cells} |")
    return "\n".join(lines) + "\n"


def figure(value: object) -> str:
    """Write a figure with four digits, and a dash where there is none.

    Examples
    --------
    >>> figure(12.34567), figure(float("nan")), figure(1200.0), figure("25 of 80")
    ('12.35', '–', '1200', '25 of 80')
    """
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    return "–" if np.isnan(number) else f"{number:.4g}"
