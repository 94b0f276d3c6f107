"""Step ``report``: the region's annual maps in one piece, and a page that shows them.

The page holds its pictures itself, so that it can be sent as one file; the maps lie beside it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import jinja2
import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr
from cmcrameri import cm
from matplotlib.figure import Figure

from ogive.store.annual_file import write_annual
from ogive.store.atomic import atomic_dir
from ogive.store.geocube import Tile, mosaic
from ogive.view.annual import plot_annual
from ogive.workflow.catalogue import (
    Claim,
    Planned,
    Product,
    Published,
    RegionStatus,
    plan_units,
    products_of,
    region_status,
)
from ogive.workflow.fingerprint import fingerprint
from ogive.workflow.runfile import write_run_file

from . import annual, calibrate
from .cube import tiles_with_layers
from .job import Job, product_of
from .region import Region, folder_of
from .search import WHOLE

__all__ = ["jobs", "perform", "plan"]

NAME = "report"
VERSION = 1
TOLD = ("search", "pair", "match", "calibrate", "cube", "invert", "annual")
"""The steps that the page tells of."""
_MOST_PAIRS_DRAWN = 20_000


def plan(region: Region) -> Planned:
    """Plan one page; other maps, or other counts of tasks, are another page."""
    status = region_status(region.engine, TOLD)
    counts = [[step.step, step.done, step.failed] for step in status.steps]
    errors = [[error.step, error.kind, error.count] for error in status.errors]
    maps = [made.fingerprint for made in products_of(region.engine, annual.NAME)]
    return plan_units(
        region.engine, NAME, {WHOLE: fingerprint(NAME, VERSION, counts, errors, maps)}
    )


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Give the page what the catalogue tells."""
    tiles = {tile.name: tile.tile for tile in tiles_with_layers(region)}
    maps = {made.subject: made for made in products_of(region.engine, annual.NAME)}
    inputs = {
        "status": region_status(region.engine, TOLD),
        "tiles": {name: (tiles[name], made.path) for name, made in maps.items() if name in tiles},
        "velocities": products_of(region.engine, calibrate.NAME),
    }
    return [Job(claim, claim.inputs, region.settings, inputs) for claim in claims]


def perform(job: Job) -> Product:
    """Join the maps, draw them, and publish the folder of the report.

    Raises
    ------
    InputError
        If the maps of a tile cannot be read.
    OutputError
        If the folder cannot be written.
    """
    folder = folder_of(job.settings)
    path = folder / NAME
    zones = _zones(job.inputs["tiles"])
    with atomic_dir(path) as written:
        maps = [_publish(name, tiles, folder, written) for name, tiles in zones.items()]
        write_run_file(job.settings, written / "run.yaml")
        page = _page(job, maps)
        (written / "index.html").write_text(page, encoding="utf-8")
    return product_of(job, path, folder, {"maps": len(maps)})


def _zones(tiles: Mapping[str, tuple[Tile, str]]) -> dict[str, dict[str, tuple[Tile, str]]]:
    """Group tiles by their map projection, which begins their names."""
    zones: dict[str, dict[str, tuple[Tile, str]]] = {}
    for name, own in sorted(tiles.items()):
        zones.setdefault(name.removesuffix(f"_{own[0].name}"), {})[name] = own
    return zones


def _publish(
    zone: str, tiles: Mapping[str, tuple[Tile, str]], folder: Path, written: Path
) -> dict[str, str]:
    """Write the maps of a zone, and draw them."""
    maps = joined(
        {name: (tile, annual.read_tile(folder / path)) for name, (tile, path) in tiles.items()}
    )
    write_annual(maps, written / zone)
    known = np.flatnonzero(maps["v"].notnull().any(("y", "x")).values)
    told = {
        "title": f"Annual maps, {zone}",
        "folder": zone,
        "caption": f"Tiles: {len(tiles)}; years: {', '.join(map(str, maps['year'].values))}.",
    }
    if not known.size:
        return {**told, "png": _png(Figure(figsize=(2, 1))), "caption": "No year has a velocity."}
    return {**told, "png": _png(plot_annual(maps))}


def joined(tiles: Mapping[str, tuple[Tile, xr.Dataset]]) -> xr.Dataset:
    """Join the annual maps of tiles into one: of each, its core; years that one lacks are gaps.

    Parameters
    ----------
    tiles
        Place and maps of each tile, by name.
    """
    years = sorted({str(year) for _, maps in tiles.values() for year in maps["year"].values})
    spans = {
        str(year): [maps[f"year_{end}"].values[k] for end in ("start", "end")]
        for _, maps in tiles.values()
        for k, year in enumerate(maps["year"].values)
    }
    cores = {
        name: _with_core(tile, _with_years(maps, years)) for name, (tile, maps) in tiles.items()
    }
    whole = mosaic(cores)
    for k, end in enumerate(("start", "end")):
        whole[f"year_{end}"] = ("year", np.array([spans[year][k] for year in years]))
    without = [y for y in years if not whole["v"].sel(year=y).notnull().any()]
    return whole.assign_attrs(years_without_data=" ".join(without))


def _with_years(maps: xr.Dataset, years: list[str]) -> xr.Dataset:
    if list(maps["year"].values) == years:
        return maps
    fill = {
        str(name): np.nan if field.dtype.kind == "f" else 0
        for name, field in maps.data_vars.items()
        if field.dtype.kind in "fiu"
    }
    return maps.reindex(year=years, fill_value=fill)


def _with_core(tile: Tile, maps: xr.Dataset) -> xr.Dataset:
    """Say which pixels of a tile are its own."""
    told: dict[str, float] = {}
    for axis, whole, core in (
        ("x", tile.columns, tile.core_columns),
        ("y", tile.rows, tile.core_rows),
    ):
        own = maps[axis].values[core.start - whole.start : core.stop - whole.start]
        told |= {f"core_{axis}_min": float(own.min()), f"core_{axis}_max": float(own.max())}
    return maps.assign_attrs(told)


def _page(job: Job, maps: Sequence[Mapping[str, str]]) -> str:
    status: RegionStatus = job.inputs["status"]
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        name=job.settings.name,
        start=job.settings.search.start,
        end=job.settings.search.end,
        scenes=status.scenes,
        pairs=status.pairs,
        steps=status.steps,
        errors=status.errors,
        version=version("ogive"),
        maps=maps,
        baselines=_png(_baselines(job.inputs["velocities"])),
    )


def _baselines(velocities: Sequence[Published]) -> Figure:
    """Draw the pairs: middle date, days, and how much of each was measured."""
    drawn = velocities[:: len(velocities) // _MOST_PAIRS_DRAWN + 1]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    dates = np.array([one.figures["mid_date"] for one in drawn], "datetime64[s]")
    days = [one.figures["days"] for one in drawn]
    share = [100 * one.figures["measured_share"] for one in drawn]
    points = axes.scatter(dates, days, c=share, cmap=cm.batlow_r, vmin=0, vmax=100, s=9, alpha=0.8)
    figure.colorbar(points, ax=axes, label="Measured points (%)")
    axes.set(ylabel="Days between the images", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _png(figure: Figure) -> str:
    written = io.BytesIO()
    figure.savefig(written, dpi=110, format="png")
    return base64.b64encode(written.getvalue()).decode()
