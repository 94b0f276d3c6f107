"""The layers of a cube: read from the velocities of pairs, laid on a tile, written in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from odc.geo.geobox import GeoBox

from ogive.georeference import with_crs
from ogive.model import InputError
from ogive.store.atomic import atomic_dir
from ogive.store.cube import stack, write_cube
from ogive.store.geocube import Tile
from ogive.workflow.catalogue import Published

__all__ = ["MAPS", "TileOfZone", "write_layers"]

MAPS = ("vx", "vy", "vx_error", "vy_error")
_CHUNK_SIDE = 50
_TEXT_LETTERS = 96
_TEXTS = (
    "mission_img1", "mission_img2", "satellite_img1", "satellite_img2", "sensor_img1",
    "sensor_img2", "granule_url",
)  # fmt: skip
_NUMBERS = (
    "relative_orbit_img1", "relative_orbit_img2", "path_img1", "path_img2", "roi_valid_percentage",
    "vx_error_stationary", "vy_error_stationary", "vx_stable_shift", "vy_stable_shift",
    "stable_shift_flag",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TileOfZone:
    """A tile of the region in one map projection, and the velocities that lie on it.

    Parameters
    ----------
    name
        Of the projection and the place, such as ``EPSG32632_x344000_y5078000``.
    tile
        Its pixels in the zone's grid.
    grid
        Its own grid.
    layers
        Velocities of pairs, in the order of the cube.
    """

    name: str
    tile: Tile
    grid: GeoBox
    layers: tuple[Published, ...]


def write_layers(tile: TileOfZone, path: Path, folder: Path, *, batch: int) -> None:
    """Write a cube by batches of layers, so that memory holds one of them.

    Parameters
    ----------
    tile
        Whose layers.
    path
        Of the cube, which appears whole.
    folder
        Of the region, to which the layers' paths are relative.
    batch
        Layers of a batch.

    Raises
    ------
    InputError
        If a velocity cannot be read, or none has a value on the tile.
    OutputError
        If the cube cannot be written.
    """
    with atomic_dir(path) as written:
        store = written / "store.zarr"
        for part in _batches(_layers(tile, folder), batch):
            cube = _uniform(stack(part, grid=tile.grid))
            if store.is_dir():
                _append(cube, store)
            else:
                depth = min(batch, len(tile.layers))
                write_cube(cube.chunk(mid_date=depth, y=_CHUNK_SIDE, x=_CHUNK_SIDE), store)
        if not store.is_dir():
            raise InputError(f"no velocity has a value on the tile {tile.name}")
        for item in store.iterdir():
            item.rename(written / item.name)
        store.rmdir()


def _append(cube: xr.Dataset, store: Path) -> None:
    """Add layers to a cube that is being written."""
    cube = cube.reset_coords([name for name in cube.coords if name not in ("mid_date", "y", "x")])
    along = [name for name, field in cube.variables.items() if "mid_date" in field.dims]
    more = cube[along].drop_vars(["y", "x"])
    # Appending writes the attributes of what is appended over those of the store.
    more.attrs = zarr.open_group(store, mode="r").attrs.asdict()
    more.to_zarr(store, append_dim="mid_date", zarr_format=2, consolidated=True)


def _uniform(cube: xr.Dataset) -> xr.Dataset:
    """Give each batch of layers the same columns, of the same types."""
    columns = dict.fromkeys(_TEXTS, ("", f"<U{_TEXT_LETTERS}"))
    told: dict[str, Any] = columns | dict.fromkeys(_NUMBERS, (np.nan, "float64"))
    count = cube.sizes["mid_date"]
    for name, (missing, kind) in told.items():
        values = cube[name].values if name in cube.variables else np.full(count, missing)
        cube = cube.assign_coords({name: ("mid_date", values.astype(kind))})
    return cube


def _batches(layers: Iterator[xr.Dataset], size: int) -> Iterator[list[xr.Dataset]]:
    while part := list(islice(layers, size)):
        yield part


def _layers(tile: TileOfZone, folder: Path) -> Iterator[xr.Dataset]:
    """Read the layers of a tile one by one, one of each pair of passes, those that have a value."""
    passes: dict[str, list[Published]] = {}
    for published in tile.layers:
        passes.setdefault(published.figures["passes"], []).append(published)
    for group in passes.values():
        read = [_layer(folder / published.path, tile.grid) for published in group]
        known = [layer for layer in read if layer is not None]
        if known:
            yield known[0] if len(known) == 1 else _joined(known, tile.grid)


def _layer(path: Path, grid: GeoBox) -> xr.Dataset | None:
    """Read what lies on a tile of the velocity of a pair; ``None`` where it has no value there."""
    try:
        with xr.open_dataset(
            path, engine="netcdf4", decode_coords="all", decode_timedelta=False
        ) as file:
            crs = file["mapping"].attrs["crs_wkt"]
            part = file[[*MAPS, "img_pair_info"]].drop_vars("mapping")
            part = part.isel(_within(part, grid)).load()
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path} is no velocity that can be read: {error}") from error
    if not np.isfinite(part["vx"].values).any():
        return None
    for variable in part.variables.values():
        variable.encoding = {}
        variable.attrs.pop("grid_mapping", None)
    placed = with_crs(_on_cells(part, grid), crs)
    return placed.assign_coords(granule_url=path.name)


def _within(part: xr.Dataset, grid: GeoBox) -> dict[str, slice]:
    """Find the rows and columns that lie on a tile, and one beyond for the interpolation."""
    bounds = grid.boundingbox
    chosen = {}
    for axis, low, high in (("x", bounds.left, bounds.right), ("y", bounds.bottom, bounds.top)):
        centres = part[axis].values
        margin = abs(centres[1] - centres[0])
        inside = np.flatnonzero((centres > low - margin) & (centres < high + margin))
        chosen[axis] = slice(max(int(inside[0]) - 1, 0), int(inside[-1]) + 2)
    return chosen


def _on_cells(part: xr.Dataset, grid: GeoBox) -> xr.Dataset:
    """Place points on the nearest cells, from which the images' pixels kept them by less than one.

    Only where they are as far apart as the cells; otherwise they are interpolated.
    """
    moved = {}
    for axis, resolution in (("x", grid.resolution.x), ("y", grid.resolution.y)):
        centres = part[axis].values
        if not np.allclose(np.diff(centres), resolution):
            return part
        first = grid.coordinates[axis].values[0]
        moved[axis] = first + np.rint((centres - first) / resolution) * resolution
    return part.assign_coords(moved)


def _joined(layers: Sequence[xr.Dataset], grid: GeoBox) -> xr.Dataset:
    """Join what one pair of passes shows on several tiles: of each cell, the first that has it."""
    cube = stack(layers, grid=grid)
    first = np.isfinite(cube["vx"].values).argmax(axis=0)[None]
    joined = layers[0][["img_pair_info"]].drop_vars(["y", "x", "spatial_ref"], errors="ignore")
    for name in MAPS:
        values = np.take_along_axis(cube[name].values, first, axis=0)[0]
        joined[name] = (("y", "x"), values, layers[0][name].attrs)
    joined = joined.assign_coords({axis: grid.coordinates[axis].values for axis in ("y", "x")})
    placed = with_crs(joined, grid.crs)
    return placed.assign_coords(granule_url=layers[0]["granule_url"].values[()])
