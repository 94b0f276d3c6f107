"""A region that is being worked on: its run file, its folder, its catalogue, its grids."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from sqlalchemy import Engine

from ogive.scenes.cache import Cache
from ogive.scenes.region import region_outline
from ogive.scenes.signing import SasSigner, Signer, sign_known_hosts
from ogive.workflow.catalogue import open_catalogue
from ogive.workflow.fingerprint import file_fingerprint
from ogive.workflow.runfile import read_run_file
from ogive.workflow.runfile_settings import RunFile

__all__ = [
    "Region",
    "cache_of",
    "content",
    "folder_of",
    "open_region",
    "outline_of",
    "signer_of",
    "zone_grid",
]

CATALOGUE = "catalogue.sqlite"
CACHE = "cache"


@dataclass(frozen=True)
class Region:
    """A region, with the connection to its catalogue.

    Parameters
    ----------
    settings
        Its run file, resolved.
    engine
        Of its catalogue.
    """

    settings: RunFile
    engine: Engine

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return folder_of(self.settings)

    @cached_property
    def outline(self) -> shapely.Geometry:
        """The region in longitude and latitude."""
        return outline_of(self.settings)


@contextmanager
def open_region(path: str | Path) -> Iterator[Region]:
    """Open the region of a run file, and its catalogue.

    Raises
    ------
    InputError
        If the run file does not fit.
    CatalogueError
        If the catalogue cannot be used.
    OutputError
        If the folder cannot be made.
    """
    settings = read_run_file(path)
    folder = folder_of(settings)
    make_folder(folder)
    engine = open_catalogue(catalogue_address(settings), region=settings.name)
    try:
        yield Region(settings, engine)
    finally:
        engine.dispose()


def make_folder(folder: Path) -> None:
    """Make a folder, or say why it cannot be."""
    from ogive.model import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from error


def catalogue_address(settings: RunFile) -> str:
    """Where the catalogue is: as the run file says, or in the folder."""
    return settings.run.catalogue or str(folder_of(settings) / CATALOGUE)


def folder_of(settings: RunFile) -> Path:
    """The region's folder, which a run file that was read always has."""
    assert settings.run.folder is not None
    return settings.run.folder


def cache_of(settings: RunFile) -> Cache:
    """Where images are kept, so that nothing is downloaded twice."""
    return Cache(folder_of(settings) / CACHE, max_bytes=int(settings.run.cache_gb * 1e9))


def signer_of(settings: RunFile) -> Signer:
    """What signs the addresses of images."""
    tokens = settings.search.tokens
    return sign_known_hosts if tokens is None else SasSigner(endpoint=tokens, host="")


def outline_of(settings: RunFile) -> shapely.Geometry:
    """Draw the region in longitude and latitude."""
    told = settings.region
    region: Any = told.bbox if told.bbox is not None else told.file
    return region_outline(region, buffer_m=told.buffer_m)


def content(path: Path | None) -> str:
    """Name what a file holds, read again only where it has changed; ``""`` for no file."""
    if path is None:
        return ""
    try:
        told = path.stat()
    except OSError:
        return file_fingerprint(path)  # says what is wrong
    return _content(path, told.st_mtime_ns, told.st_size)


@lru_cache(maxsize=64)
def _content(path: Path, changed: int, size: int) -> str:
    return file_fingerprint(path)


def zone_grid(outline: shapely.Geometry, crs: str, spacing_m: float) -> GeoBox:
    """Lay the grid of a region's velocities in one map projection.

    Its cells count from the projection's origin, so that it does not depend on which scenes there
    are, and grids of neighbouring regions share it.

    Parameters
    ----------
    outline
        The region in longitude and latitude.
    crs
        The projection.
    spacing_m
        Side of a cell.

    Examples
    --------
    >>> grid = zone_grid(shapely.box(6.9, 45.9, 7.0, 46.0), "EPSG:32632", 80.0)
    >>> grid.shape, grid.affine.c % 80, grid.affine.f % 80
    (Shape2d(x=102, y=142), 0.0, 0.0)
    """
    projected = Geometry(outline, "EPSG:4326").to_crs(crs, resolution=0.05)
    left, bottom, right, top = projected.boundingbox.bbox
    left, bottom = (math.floor(edge / spacing_m) * spacing_m for edge in (left, bottom))
    right, top = (math.ceil(edge / spacing_m) * spacing_m for edge in (right, top))
    return GeoBox.from_bbox((left, bottom, right, top), crs, resolution=spacing_m)
