"""Many scenes on one grid, read when they are computed: odc-stac with ogive's own reading.

odc-stac lays out the blocks of time and space, joins the tiles of one pass and makes the Dask
graph; each block is then read as `ogive.scenes.read_window` reads it, through the same cache, with
the same retries and the same errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pystac
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.model import GridError, InputError, Scene

from .cache import Cache
from .errors import NoOverlapError
from .outline import geographic_outline
from .signing import Signer, sign_known_hosts
from .source import Source, source_of
from .transport import Retries
from .window import read_pixels

__all__ = ["load"]

_BAND = "image"


def load(
    scenes: Sequence[Scene],
    band: str,
    grid: GeoBox,
    *,
    chunk_px: int = 1024,
    join_tiles: bool = True,
    cache: Cache | str | Path | None = None,
    signer: Signer = sign_known_hosts,
    retries: Retries | None = None,
) -> xr.DataArray:
    """Lay a band of many scenes on one grid, without reading anything yet.

    Parameters
    ----------
    scenes
        In any order.
    band
        As in `ogive.scenes.read_window`; of quality bands, all scenes must have the same.
    grid
        The pixels that are wanted. What shares them is taken as it is, all else is interpolated.
    chunk_px
        Side of the squares that are read at once, when Dask computes them.
    join_tiles
        Make one image of the tiles that a satellite saw in one pass; where they overlap, the first
        by name counts.
    cache, signer, retries
        As in `ogive.scenes.read_window`.

    Returns
    -------
    xarray.DataArray
        Dims ``(time, y, x)``, float32 and NaN where a scene has no measurement; codes of quality
        bands are uint16, and their nodata value where there is none. Computing it raises what
        `ogive.scenes.read_window` raises, but that a scene beside a square leaves it empty.

    Raises
    ------
    InputError
        If there are no scenes, or one has no such band.
    GridError
        If the grid has no coordinate reference system.

    Examples
    --------
    >>> images = load(scenes, "nir", grid, cache="cache")  # doctest: +SKIP
    >>> images.isel(time=0).compute()  # doctest: +SKIP
    """
    if not scenes:
        raise InputError("there are no scenes to lay on a grid: search first")
    if grid.crs is None:
        raise GridError("scenes are laid on a grid with a coordinate reference system")
    if chunk_px < 1:
        raise InputError(f"squares of {chunk_px} pixels cannot be read: give at least 1")
    ordered = sorted(scenes, key=lambda scene: (scene.time, scene.id))
    sources = {
        f"/{number}": source_of(scene, band, cache=cache, signer=signer, retries=retries)
        for number, scene in enumerate(ordered)
    }
    codes = {(source.is_quality, source.fill) for source in sources.values() if source.is_quality}
    if codes and (len(codes) > 1 or not all(source.is_quality for source in sources.values())):
        raise InputError(f"the scenes have different quality bands called {band}")
    fill = next(iter(sources.values())).fill
    passes: dict[Any, int] = {}  # counted, for odc-stac puts groups in the order of their keys
    image_of = [
        passes.setdefault(_pass(scene) if join_tiles else number, len(passes))
        for number, scene in enumerate(ordered)
    ]
    images: xr.Dataset = odc.stac.load(
        [_item(scene, name, grid) for scene, name in zip(ordered, sources, strict=True)],
        bands=[_BAND],
        geobox=grid,
        groupby=lambda item, parsed, number: image_of[number],
        dtype="uint16" if codes else "float32",
        nodata=fill,
        chunks={"x": chunk_px, "y": chunk_px},
        driver=_Driver(sources),
    )
    stack = images[_BAND]
    stack.name = band
    stack.attrs.pop("nodata", None)
    return stack.assign_attrs({"nodata": int(fill)} if codes else {})


def _pass(scene: Scene) -> Any:
    """What the images of one pass have in common."""
    return (
        scene.mission,
        scene.satellite,
        scene.relative_orbit,
        scene.path,
        scene.processing_level,
        scene.time.date(),
    )


def _item(scene: Scene, name: str, grid: GeoBox) -> pystac.Item:
    """Tell odc-stac when and where; which file it is, only the driver knows."""
    outline = shapely.from_wkt(scene.footprint) if scene.footprint else geographic_outline(grid)
    item = pystac.Item(
        id=name,
        geometry=shapely.geometry.mapping(outline),
        bbox=list(outline.bounds),
        datetime=scene.time,
        properties={},
    )
    item.add_asset(_BAND, pystac.Asset(name, media_type="image/tiff", roles=["data"]))
    return item


@dataclass(frozen=True)
class _Driver:
    """odc-loader's protocol of a driver, by `read_pixels`."""

    sources: Mapping[str, Source]
    md_parser: None = field(default=None, init=False)
    dask_reader: None = field(default=None, init=False)
    aux_reader: None = field(default=None, init=False)

    def new_load(self, geobox: GeoBox, *, chunks: dict[str, int] | None = None) -> None:
        """Nothing is shared by the blocks of a load."""

    def finalise_load(self, load_state: None) -> None:
        """Nothing is to be given back."""

    def capture_env(self) -> dict[str, Any]:
        """No environment changes how a scene is read."""
        return {}

    def restore_env(self, env: dict[str, Any], load_state: None) -> AbstractContextManager[None]:
        """No environment to be restored."""
        return nullcontext()

    def open(self, src: Any, ctx: None) -> _Reader:
        """Give the reader of one band."""
        return _Reader(self.sources[src.uri])


@dataclass(frozen=True)
class _Reader:
    source: Source

    def read(
        self,
        cfg: Any,
        dst_geobox: GeoBox,
        *,
        dst: NDArray[Any] | None = None,
        selection: Any = None,
    ) -> tuple[tuple[slice, slice], NDArray[Any]]:
        """Read the part of a block that the band has."""
        try:
            pixels = read_pixels(self.source, dst_geobox)
        except NoOverlapError:
            nothing = slice(0, 0)
            return (nothing, nothing), np.empty((0, 0), np.float32)
        if dst is not None:
            dst[:] = pixels
            return (slice(None), slice(None)), dst
        return (slice(None), slice(None)), pixels
