"""Readers of cubes, ogive's own and other producers'.

A reader is a `Reader`: whether it recognises what lies at a place, and how it makes a canonical
cube of it. A new producer is one more file and one more line in `READERS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from ogive.model import InputError

from . import alpglacier, geotiff, granule, its_live, own
from .place import Reader, Request, is_remote, opened

__all__ = ["READERS", "open_cube"]

READERS: dict[str, Reader] = {
    "ogive cube": Reader(own.recognises, own.read),
    "ITS_LIVE cube": Reader(its_live.recognises, its_live.read),
    "AlpGlacier cube": Reader(alpglacier.recognises, alpglacier.read),
    "ITS_LIVE image pair": Reader(granule.recognises, granule.read),
    "folder of image pairs (NetCDF)": Reader(granule.recognises_folder, granule.read_folder),
    "folder of image pairs (GeoTIFF)": Reader(geotiff.recognises, geotiff.read),
}


def open_cube(
    path: str | Path,
    *,
    units: str | None = None,
    days_per_year: float | None = None,
    crs: str | None = None,
    chunks: Any = "auto",
) -> xr.Dataset:
    """Open a cube of velocities, whoever made it, as ogive's canonical cube.

    Known are ogive's and ITS_LIVE's cubes (Zarr 2 or 3, NetCDF; local, or ``s3://`` read
    anonymously), ITS_LIVE's image pairs, alone or as a folder, folders of GeoTIFF pairs with two
    dates in their names, and the AlpGlacier cubes (dimensions z, y, x).

    Parameters
    ----------
    path
        A file, a folder or an address.
    units
        Units of the velocities, ``"meter/year"`` or ``"meter/day"``, where the files do not say.
    days_per_year
        Length of the producer's year in days, where it is another than the reader knows.
    crs
        Coordinate reference system, where the files do not say.
    chunks
        Chunks of the lazy arrays, as xarray takes them; ``"auto"`` keeps all dates of a pixel
        together, which is what an inversion reads.

    Returns
    -------
    xarray.Dataset
        ``vx, vy`` (mid_date, y, x) and their errors in meter per year of 365.25 days, the dates,
        satellites and sensors of each pair, the grid as ``spatial_ref``. Nothing is computed yet.

    Raises
    ------
    InputError
        If there is nothing, if no reader recognises it, or if units are missing.
    GridError
        If the coordinate reference system is missing, or pairs have different ones.
    DateError
        If acquisition dates are missing.
    """
    with opened(path, chunks) as found:
        request = Request(found, units, days_per_year, crs)
        for reader in READERS.values():
            if reader.recognises(found):
                return reader.read(request)
        content = "" if found.dataset is None else f" It has {_content(found.dataset)}."
        raise InputError(
            f"{path} is of no known kind (tried: {', '.join(READERS)}).{content}"
            + ("" if is_remote(path) else " Single maps are stacked by ogive.stack.")
        )


def _content(dataset: xr.Dataset) -> str:
    dims = ", ".join(map(str, dataset.dims)) or "none"
    names = ", ".join(sorted(map(str, dataset.data_vars))[:12]) or "none"
    return f"the dimensions {dims} and the variables {names}"
