"""Step ``annual``: the cube of a tile into annual maps and their trend.

Its product is the tile with its edges; the step ``report`` joins the tiles into maps of the region.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr

from ogive.model import InputError, OutputError
from ogive.series.annual import annual
from ogive.store.atomic import atomic_path
from ogive.store.readers import open_cube
from ogive.store.schema import plain_attribute
from ogive.workflow.catalogue import Claim, Planned, Product, plan_units, products_of
from ogive.workflow.fingerprint import fingerprint

from . import cube
from .invert import cube_jobs
from .job import Job, product_of
from .region import Region, folder_of

__all__ = ["jobs", "perform", "plan", "read_tile"]

NAME = "annual"
VERSION = 1


def plan(region: Region) -> Planned:
    """Plan the annual maps of each cube."""
    told = fingerprint(NAME, VERSION, region.settings.annual)
    units = {
        made.subject: fingerprint(told, made.fingerprint)
        for made in products_of(region.engine, cube.NAME)
    }
    return plan_units(region.engine, NAME, units)


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Give each claim its cube."""
    return cube_jobs(region, claims)


def perform(job: Job) -> Product:
    """Make annual maps of a cube, and publish them.

    Raises
    ------
    InputError, DateError, GridError
        If the cube cannot be used.
    OutputError
        If the file cannot be written.
    """
    folder, chosen = folder_of(job.settings), job.settings.annual
    path = folder / NAME / f"{job.claim.subject}_{job.fingerprint}.nc"
    if path.is_file():
        maps = read_tile(path)
    else:
        with open_cube(folder / job.inputs["cube"]) as stack:
            maps = annual(
                stack,
                chosen.year_start,
                chosen.method,
                smoothing=chosen.smoothing,
                threads=job.settings.run.threads,
            )
        _write(maps, path)
    figures = {"years": [str(year) for year in maps["year"].values]}
    return product_of(job, path, folder, figures)


def _write(maps: xr.Dataset, path: Path) -> None:
    told = maps.copy()
    told.attrs = {str(key): plain_attribute(value, key) for key, value in maps.attrs.items()}
    for variable in told.variables.values():
        variable.encoding = {}
    encoding = {
        name: {"zlib": True, "complevel": 1} for name, v in maps.data_vars.items() if v.ndim > 1
    }
    with atomic_path(path) as written:
        try:
            told.to_netcdf(written, engine="netcdf4", encoding=encoding)
        except RuntimeError as error:  # NetCDF's library has no other word for a full disk
            raise OutputError(f"{path} cannot be written: {error}") from error


def read_tile(path: Path) -> xr.Dataset:
    """Read the annual maps of a tile.

    Raises
    ------
    InputError
        If it is no such file.
    """
    try:
        maps: xr.Dataset = xr.load_dataset(path, engine="netcdf4", decode_coords="all")
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as annual maps: {error}") from error
    maps["year"] = maps["year"].astype(np.str_)
    return maps
