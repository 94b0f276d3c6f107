"""Sections: the annual maps of each map projection, joined of their tiles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr

from ogive.store.geocube import Tile, mosaic
from ogive.view.annual import plot_annual
from ogive.view.document import Section, picture
from ogive.workflow.steps.annual import read_tile

from .gathered import Gathered

__all__ = ["annual_maps", "joined", "maps_section"]

_REMOVED = "removed_by_"
"""What begins the names of the attributes in which filters count."""


def annual_maps(told: Gathered, folder: Path) -> dict[str, xr.Dataset]:
    """Read the annual maps of all tiles, and join those of each map projection.

    Parameters
    ----------
    told
        What there is.
    folder
        Of the region.

    Returns
    -------
    dict
        By the name of the projection, such as ``EPSG32632``.

    Raises
    ------
    InputError
        If the maps of a tile cannot be read.
    """
    zones: dict[str, dict[str, tuple[Tile, xr.Dataset]]] = {}
    for name, (tile, _, _, made) in sorted(told.tiles.items()):
        # The projection begins the tile's name.
        zone = zones.setdefault(name.removesuffix(f"_{tile.name}"), {})
        zone[name] = (tile, read_tile(folder / made.path))
    return {zone: joined(tiles) for zone, tiles in zones.items()}


def maps_section(zone: str, maps: xr.Dataset, *, folder: str | None = None) -> Section:
    """Draw the maps of a projection.

    Parameters
    ----------
    zone
        Name of the projection.
    maps
        As `joined` gives them.
    folder
        Where the files lie beside the page, if they do.
    """
    title = f"Annual maps, {zone}"
    if not bool(maps["v"].notnull().any()):
        return Section(title, ("No year has a velocity.",))
    told = f"Years: {', '.join(str(year).replace('_', '–') for year in maps['year'].values)}."
    links = [] if folder is None else [("NetCDF and GeoTIFFs", f"{folder}/annual.nc")]
    drawn = picture(plot_annual(maps), told, links)
    return Section(title, _left_out(maps), pictures=(drawn,))


def _left_out(maps: xr.Dataset) -> tuple[str, ...]:
    """Say how many observations went into the maps, and which filters took others out."""
    given = int(maps.attrs.get("observations_given", 0))
    if not given:
        return ()
    removed = {
        str(name).removeprefix(_REMOVED).replace("_", " "): 100 * int(count) / given
        for name, count in maps.attrs.items()
        if str(name).startswith(_REMOVED)
    }
    parts = [f"{name} {share:.1f} %" for name, share in removed.items() if share]
    told = f"Filters left out: {', '.join(parts)}." if parts else "No filter left any out."
    return (f"{given:,} velocities of cells, in all tiles with their edges. {told}",)


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
