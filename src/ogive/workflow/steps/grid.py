"""The pixels that a pair is matched on: those that both scenes see of the region.

They are laid so that the centres of the windows fall on the cells of the region's grid, as nearly
as the image's own pixels let them: exactly for Sentinel-2, whose pixels count from the projection's
origin, and within half a pixel for Landsat. Images are never resampled for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from ogive.model import Asset, GridError, Scene
from ogive.scenes.bands import asset_of
from ogive.scenes.errors import NoOverlapError
from ogive.scenes.source import local_path, opened, source_of
from ogive.workflow.runfile_settings import RunFile

from .region import cache_of, outline_of, signer_of, zone_grid

__all__ = ["PairGrid", "image_grid", "matched_pixels", "pair_grid", "step_px"]

EDGE_PX = 32
"""So far the images go beyond the region, for its outermost points to be searched and filtered.

It is the same for all pairs, so that a scene is read and kept once for all of them.
"""
_GRIDS: dict[Asset, GeoBox] = {}
"""Of files afar that this process has opened: a few hundred bytes each."""


@dataclass(frozen=True, slots=True)
class PairGrid:
    """Where a pair is matched.

    Parameters
    ----------
    pixels
        Of the images.
    step_px
        Distance between points, in pixels.
    """

    pixels: GeoBox
    step_px: int


def image_grid(scene: Scene, band: str, settings: RunFile) -> GeoBox:
    """Read on which pixels a band of a scene lies.

    Raises
    ------
    SceneReadError
        If the file cannot be read.
    GridError
        If it has no map projection, or pixels that are not square.
    """
    asset = asset_of(scene, band)
    known = _GRIDS.get(asset)
    if known is None:
        known = _read_grid(scene, band, settings)
        # A file that lies here may be replaced; one from afar is kept as it was first read.
        if local_path(asset.href) is None:
            _GRIDS[asset] = known
    return known


def _read_grid(scene: Scene, band: str, settings: RunFile) -> GeoBox:
    source = source_of(
        scene, band, cache=cache_of(settings), signer=signer_of(settings), retries=None
    )
    with opened(source) as file:
        if file.crs is None or not file.crs.is_projected:
            raise GridError(f"{source.asset.href} is not on a map projection in metres")
        epsg = file.crs.to_epsg()
        crs = f"EPSG:{epsg}" if epsg else file.crs.to_wkt()
        grid = GeoBox(file.shape, file.transform, crs)
    if not math.isclose(grid.resolution.x, -grid.resolution.y):
        raise GridError(f"{source.asset.href} has pixels that are not square with north up")
    return grid


def step_px(spacing_m: float, pixel_m: float) -> int:
    """Distance between points in whole pixels, the nearest to the one on the ground.

    Examples
    --------
    >>> step_px(80.0, 10.0), step_px(80.0, 15.0), step_px(5.0, 10.0)
    (8, 5, 1)
    """
    return max(1, round(spacing_m / pixel_m))


def pair_grid(earlier: GeoBox, later: GeoBox, settings: RunFile) -> PairGrid:
    """Find the pixels that two images share with the region.

    Parameters
    ----------
    earlier, later
        Grids of the two images; the later one may be in another projection.
    settings
        The run file.

    Raises
    ------
    NoOverlapError
        If they share too little for a single window.
    """
    spacing_m, window_px = settings.match.spacing_m, settings.match.window
    crs = str(earlier.crs)
    zone = zone_grid(outline_of(settings), crs, spacing_m)
    other = later if later.crs == earlier.crs else later.to_crs(crs)
    pixel_m = float(earlier.resolution.x)
    margin_px = window_px / 2
    edge_cells = math.ceil((margin_px + EDGE_PX) * pixel_m / spacing_m)
    boxes = [box.boundingbox for box in (zone.pad(edge_cells), earlier, other)]
    left, bottom = (max(box.bbox[k] for box in boxes) for k in (0, 1))
    right, top = (min(box.bbox[k] for box in boxes) for k in (2, 3))
    step = step_px(spacing_m, pixel_m)
    lengths = spacing_m, step * pixel_m, margin_px * pixel_m
    first_x, count_x = _points(left, right, zone.affine.c, *lengths)
    first_y, count_y = _points(-top, -bottom, -zone.affine.f, *lengths)
    if count_x < 1 or count_y < 1:
        raise NoOverlapError(
            "the two scenes share too little of the region for a window of "
            f"{window_px} pixels: enlarge the region, or leave the pair out"
        )
    corner_x = _on_lattice(first_x - margin_px * pixel_m, earlier.affine.c, pixel_m)
    corner_y = -_on_lattice(first_y - margin_px * pixel_m, -earlier.affine.f, pixel_m)
    shape = (count_y - 1) * step + window_px, (count_x - 1) * step + window_px
    place = Affine(pixel_m, 0, corner_x, 0, -pixel_m, corner_y)
    return PairGrid(GeoBox(shape, place, earlier.crs), step)


def _points(
    low: float, high: float, origin: float, spacing: float, step: float, margin: float
) -> tuple[float, int]:
    """First of the points whose windows lie between two edges, on the centre of a cell; count."""
    first = origin + (math.ceil((low + margin - origin) / spacing - 0.5) + 0.5) * spacing
    # Lengths of metres and more: a millionth of a step is rounding.
    return first, math.floor((high - margin - first) / step + 1e-6) + 1


def _on_lattice(place: float, origin: float, pixel: float) -> float:
    """Move a place to the nearest edge between pixels."""
    return origin + round((place - origin) / pixel) * pixel


def matched_pixels(moved: xr.Dataset) -> GeoBox:
    """Recover the pixels that a displacement was matched on."""
    shape = int(moved.attrs["image_rows"]), int(moved.attrs["image_columns"])
    place = Affine(*(float(value) for value in moved.attrs["image_transform"]))
    return GeoBox(shape, place, moved.odc.crs)
