"""Geocubes: a region's cube cut into overlapping tiles of equal size, and their seamless mosaic.

Each tile can be made, kept and filtered by itself. A result of a tile is right in its core, from
which the overlap keeps the tile's own edges away, so that the mosaic of the cores is what the whole
would give. `ogive.annual` tells its halo in ``halo_px``: five pixels with the published filters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from ogive.model import GridError, InputError

__all__ = ["Tile", "geocubes", "mosaic", "tiles_of"]


class Tile(NamedTuple):
    """A tile of a grid: its name, its pixels, and the core that is its own."""

    name: str
    rows: slice
    columns: slice
    core_rows: slice
    core_columns: slice


def tiles_of(grid: GeoBox, *, size_px: int = 250, overlap_px: int = 5) -> list[Tile]:
    """Cut a grid into tiles.

    Parameters
    ----------
    grid
        The region.
    size_px
        Side of a tile with its overlap, in pixels. (The paper's 10 km at 50 m are 200 pixels; it
        also says 250.)
    overlap_px
        Pixels by which a tile reaches beyond its core on each side.

    Returns
    -------
    list of Tile
        Row by row from the grid's first pixel. Those at the far edges may be smaller. A tile is
        named after the map coordinates of its core's south-west corner: ``x344000_y5078000``.

    Raises
    ------
    InputError
        If the overlap leaves no core.
    """
    core = size_px - 2 * overlap_px
    if overlap_px < 0 or core < 1:
        raise InputError(
            f"tiles of {size_px} pixels with an overlap of {overlap_px} on each side have no core"
        )
    height, width = grid.shape
    tiles = []
    for top, left in product(range(0, height, core), range(0, width, core)):
        core_rows = slice(top, min(top + core, height))
        core_columns = slice(left, min(left + core, width))
        bounds = grid[core_rows, core_columns].boundingbox
        tiles.append(
            Tile(
                f"x{bounds.left:.0f}_y{bounds.bottom:.0f}",
                _widened(core_rows, overlap_px, height),
                _widened(core_columns, overlap_px, width),
                core_rows,
                core_columns,
            )
        )
    return tiles


def _widened(core: slice, by: int, size: int) -> slice:
    return slice(max(core.start - by, 0), min(core.stop + by, size))


def geocubes(
    cube: xr.Dataset, *, size_px: int = 250, overlap_px: int = 5
) -> Iterator[tuple[str, xr.Dataset]]:
    """Cut a cube into geocubes.

    Parameters
    ----------
    cube
        Any dataset on a regular grid (y, x), lazy or not.
    size_px, overlap_px
        As in `tiles_of`.

    Yields
    ------
    (str, xarray.Dataset)
        Name and geocube; its attributes ``tile``, ``core_x_min``, ``core_x_max``, ``core_y_min``,
        ``core_y_max`` (centres of the core's outermost pixels) tell the mosaic what is its own.

    Raises
    ------
    GridError
        If there is no regular grid.
    """
    grid = _grid(cube, "the cube")
    for tile in tiles_of(grid, size_px=size_px, overlap_px=overlap_px):
        x, y = cube["x"].values[tile.core_columns], cube["y"].values[tile.core_rows]
        part = cube.isel(y=tile.rows, x=tile.columns)
        yield (
            tile.name,
            part.assign_attrs(
                tile=tile.name,
                core_x_min=float(x.min()),
                core_x_max=float(x.max()),
                core_y_min=float(y.min()),
                core_y_max=float(y.max()),
            ),
        )


def mosaic(tiles: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Join the maps of tiles: of each, its core.

    Parameters
    ----------
    tiles
        Maps by the names of their tiles, with the attributes that `geocubes` gave. Tiles that are
        missing leave a gap: NaN, or 0 in whole numbers.

    Returns
    -------
    xarray.Dataset
        On the grid that holds all cores. Counts (``removed_by_...``, ``observations_given``) are
        summed; other attributes are those of the first tile.

    Raises
    ------
    InputError
        If there is no tile, or the tiles hold different variables or years.
    GridError
        If two tiles lie on different grids: both are named.
    """
    if not tiles:
        raise InputError("there is no tile to join")
    names = list(tiles)
    _check_tiles(tiles)
    first = tiles[names[0]]
    cores = {name: _core(tile, name) for name, tile in tiles.items()}
    step_x, step_y = _steps(first)
    x = _axis([core["x"].values for core in cores.values()], step_x)
    y = _axis([core["y"].values for core in cores.values()], step_y)
    result = xr.Dataset(coords=_other_coordinates(first) | {"y": y, "x": x})
    for name, field in first.data_vars.items():
        if {"y", "x"} <= set(field.dims):
            result[name] = _joined(str(name), field, cores, x, y, step_x, step_y)
        else:
            result[name] = field
    result.attrs = _attributes(list(tiles.values()))
    return result


def _other_coordinates(tile: xr.Dataset) -> dict[str, xr.Variable]:
    return {str(n): c.variable for n, c in tile.coords.items() if not {"y", "x"} & set(c.dims)}


def _grid(dataset: xr.Dataset, name: str) -> GeoBox:
    grid = dataset.odc.geobox
    if not isinstance(grid, GeoBox) or grid.crs is None:
        raise GridError(f"{name} has no regular grid with a coordinate reference system")
    return grid


def _named(grid: GeoBox) -> str:
    """Name a coordinate reference system in few words."""
    crs = CRS.from_user_input(str(grid.crs))
    code = crs.to_epsg()
    return crs.name if code is None else f"EPSG:{code}"


def _steps(tile: xr.Dataset) -> tuple[float, float]:
    grid = tile.odc.geobox
    return float(grid.resolution.x), float(grid.resolution.y)


def _check_tiles(tiles: Mapping[str, xr.Dataset]) -> None:
    (first_name, first), *others = tiles.items()
    grid = _grid(first, first_name)
    for name, tile in others:
        other = _grid(tile, name)
        if other.crs != grid.crs:
            raise GridError(
                f"{first_name} is in {_named(grid)} but {name} is in {_named(other)}: their "
                "velocities point elsewhere; make both on one grid"
            )
        apart = np.array([tile[axis].values[0] - first[axis].values[0] for axis in ("x", "y")])
        steps = np.array([grid.resolution.x, grid.resolution.y])
        sizes = np.array([other.resolution.x, other.resolution.y])
        whole = apart / steps
        if not np.allclose(sizes, steps, rtol=1e-9) or np.abs(whole - np.rint(whole)).max() > 1e-3:
            raise GridError(
                f"{first_name} and {name} lie on different grids: pixels of {abs(steps[0]):g} and "
                f"{abs(sizes[0]):g} m, and corners apart by {abs(whole[0]):.2f} and "
                f"{abs(whole[1]):.2f} pixels; make both on one grid"
            )
        differ = set(map(str, tile.data_vars)) ^ set(map(str, first.data_vars))
        if differ:
            raise InputError(f"{first_name} and {name} differ in {', '.join(sorted(differ))}")
        if "year" in first.coords and list(tile["year"].values) != list(first["year"].values):
            raise InputError(f"{first_name} and {name} are of different years")


def _core(tile: xr.Dataset, name: str) -> xr.Dataset:
    missing = [f"core_{a}_{e}" for a in "xy" for e in ("min", "max")]
    missing = [key for key in missing if key not in tile.attrs]
    if missing:
        raise InputError(f"{name} does not say what is its core (no {', '.join(missing)})")
    half = 0.5 * abs(_steps(tile)[0])
    inside = {
        axis: np.flatnonzero(
            (tile[axis].values > tile.attrs[f"core_{axis}_min"] - half)
            & (tile[axis].values < tile.attrs[f"core_{axis}_max"] + half)
        )
        for axis in ("y", "x")
    }
    return tile.isel({axis: slice(k[0], k[-1] + 1) for axis, k in inside.items()})


def _axis(parts: list[NDArray[np.float64]], step: float) -> NDArray[np.float64]:
    low, high = min(p.min() for p in parts), max(p.max() for p in parts)
    count = round((high - low) / abs(step)) + 1
    start = low if step > 0 else high
    return np.asarray(start + step * np.arange(count), np.float64)


def _joined(
    name: str, field: xr.DataArray, cores: Mapping[str, xr.Dataset],
    x: NDArray[np.float64], y: NDArray[np.float64], step_x: float, step_y: float,
) -> xr.DataArray:  # fmt: skip
    dims = (*(d for d in field.dims if d not in ("y", "x")), "y", "x")
    sizes = [field.sizes[d] for d in dims[:-2]]
    gap = np.nan if field.dtype.kind == "f" else 0
    values = np.full((*sizes, y.size, x.size), gap, field.dtype)
    for core in cores.values():
        top = round((core["y"].values[0] - y[0]) / step_y)
        left = round((core["x"].values[0] - x[0]) / step_x)
        part = core[name].transpose(*dims).values
        values[..., top : top + part.shape[-2], left : left + part.shape[-1]] = part
    joined = xr.DataArray(values, dims=dims, attrs=field.attrs)
    joined.encoding = {k: v for k, v in field.encoding.items() if k == "grid_mapping"}
    return joined


def _attributes(tiles: list[xr.Dataset]) -> dict[str, object]:
    own = ("tile", "core_x_min", "core_x_max", "core_y_min", "core_y_max")
    attributes = {str(k): v for k, v in tiles[0].attrs.items() if k not in own}
    for key in attributes:
        if key.startswith("removed_by_") or key == "observations_given":
            attributes[key] = sum(int(tile.attrs[key]) for tile in tiles)
    return attributes
