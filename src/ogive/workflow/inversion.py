"""From a cube of image pairs to a regular time series, with what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import odc.geo.xr  # noqa: F401  (gives cubes their .odc accessor)
import xarray as xr
from dask.callbacks import Callback

from ogive.model import GridError, InputError, OutputError
from ogive.scenes.read import rasterize_polygons
from ogive.series.coherence import stable_rmse, vector_coherence
from ogive.series.elevation import invert_with_elevation_bias
from ogive.series.invert import invert
from ogive.store.atomic import atomic_path
from ogive.store.cube import write_cube
from ogive.store.readers import open_cube
from ogive.view.series import plot_point
from ogive.workflow.across_orbits import Across, join_orbits
from ogive.workflow.blocks import by_blocks
from ogive.workflow.views import cube_views, views_on_grid

__all__ = ["Point", "SeriesSummary", "make_series"]

_JOINT_OPTIONS = {"speed_change_m_yr", "significance", "scale", "least_baseline", "threads"}


@dataclass(frozen=True, slots=True)
class Point:
    """A place on the grid, in its coordinates."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """What was made, in figures.

    Parameters
    ----------
    series
        The file or store of the series.
    figures
        Of the chosen points.
    pairs, periods
        How many image pairs the series rests on, and how many periods it has.
    first, last
        Days in the middle of the first and the last period.
    stable_rmse_m_yr, vector_coherence
        Of the observations and of the series, by name; empty where no stable ground was given.
    """

    series: Path
    figures: tuple[Path, ...]
    pairs: int
    periods: int
    first: str
    last: str
    stable_rmse_m_yr: Mapping[str, float] = field(default_factory=dict)
    vector_coherence: Mapping[str, float] = field(default_factory=dict)


def make_series(
    cube: str | Path,
    out: str | Path,
    *,
    sampling: str | float = "36D",
    stable: str | Path | None = None,
    points: Sequence[Point] = (),
    across_orbits: Across = "keep",
    angles: Sequence[str | Path] = (),
    image_error_m: float = 0.0,
    dem: str | Path | None = None,
    units: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> SeriesSummary:
    """Invert a cube and write its series (`ogive invert CUBE -o SERIES`).

    Parameters
    ----------
    cube
        Whatever `ogive.open_cube` opens.
    out
        ``*.zarr`` or ``*.nc``.
    sampling
        Length of the periods: days, or text as pandas takes it (``"36D"``).
    stable
        Polygons of ground that does not move: adds the RMSE there, and the vector coherence on all
        other ground, of the observations and of the series.
    points
        Places whose observations and series are drawn beside the product.
    across_orbits
        What is done with pairs across orbits: ``"keep"`` them as they are, ``"drop"``,
        ``"project"`` or ``"correct"`` them (`ogive.workflow.across_orbits.join_orbits`), or
        ``"joint"``: one elevation bias per pixel is estimated beside the series
        (`ogive.series.elevation.invert_with_elevation_bias`, whose product this is then).
    angles, image_error_m, dem
        As of `ogive.workflow.elevation_bias.make_elevation_bias`, where orbits are told apart.
    units
        Of the cube's velocities, where it does not say.
    overwrite
        Replace what is there.
    progress
        Called with the number of blocks done and of all, while the series is computed.
    **options
        As in `ogive.invert`; ``"joint"`` takes those of `invert_with_elevation_bias`.

    Returns
    -------
    SeriesSummary

    Raises
    ------
    InputError, GridError, DateError
        If the cube, the polygons or a point cannot be used.
    OutputError
        If the product cannot be written, or is there already.
    """
    target = Path(out)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there already and was kept: pass --overwrite to replace it")
    opened = open_cube(cube, units=units)
    ground = None if stable is None else _ground(opened, stable)
    for point in points:
        _check_inside(opened, point)
    length = f"{sampling:g}D" if isinstance(sampling, int | float) else str(sampling)
    if length.replace(".", "", 1).isdigit():
        length += "D"
    if across_orbits == "joint":
        series = _joint(opened, length, angles, image_error_m, dem, progress, options)
        write_cube(series, target)
    else:
        opened = join_orbits(
            opened, across_orbits, angles=angles, image_error_m=image_error_m, dem=dem
        )
        series = invert(opened, length, keep_weights=bool(points), **options)
        series.attrs["pairs_across_orbits"] = across_orbits
        with nullcontext() if progress is None else _Blocks(progress):
            write_cube(series, target)
    written = _open_series(target)
    figures = tuple(
        _draw(opened, written, point, target.parent / f"{target.stem}_{number}.png")
        for number, point in enumerate(points, start=1)
    )
    times = [str(time)[:10] for time in series["time"].values[[0, -1]]]
    return SeriesSummary(
        target,
        figures,
        opened.sizes["mid_date"],
        series.sizes["time"],
        times[0],
        times[1],
        *({}, {}) if ground is None else _worth(opened, written, ground),
    )


def _joint(
    cube: xr.Dataset,
    length: str,
    angles: Sequence[str | Path],
    image_error_m: float,
    dem: str | Path | None,
    progress: Callable[[int, int], None] | None,
    options: dict[str, Any],
) -> xr.Dataset:
    """Series and elevation bias together."""
    strange = sorted(set(options) - _JOINT_OPTIONS)
    if strange:
        raise InputError(
            f"{', '.join(strange)} has no meaning where an elevation bias is estimated beside the "
            f"series: leave it out; there are {', '.join(sorted(_JOINT_OPTIONS))}"
        )
    views, found = cube_views(cube, angles)
    whole = views_on_grid(views, found, cube, dem)

    def estimate(part: xr.Dataset, of_part: xr.Dataset) -> xr.Dataset:
        return invert_with_elevation_bias(
            part, of_part, length, image_error_m=image_error_m, **options
        )

    series = by_blocks(cube, whole, estimate, progress)
    series.attrs["pairs_across_orbits"] = "joint"
    return series


def _open_series(path: Path) -> xr.Dataset:
    engine = "zarr" if path.suffix == ".zarr" else "netcdf4"
    series: xr.Dataset = xr.open_dataset(path, engine=engine, decode_coords="all", chunks={})
    return series


def _ground(cube: xr.Dataset, polygons: str | Path) -> xr.DataArray:
    geobox = cube["vx"].odc.geobox
    if geobox is None or geobox.crs is None:
        raise GridError(
            "the cube has no coordinate reference system: polygons cannot be laid on it"
        )
    return xr.DataArray(
        rasterize_polygons(polygons, geobox),
        dims=("y", "x"),
        coords={"y": cube["y"], "x": cube["x"]},
    )


def _check_inside(cube: xr.Dataset, point: Point) -> None:
    for axis, value in (("x", point.x), ("y", point.y)):
        low, high = float(cube[axis].min()), float(cube[axis].max())
        half = (high - low) / max(cube.sizes[axis] - 1, 1) / 2
        if not low - half <= value <= high + half:
            raise InputError(f"the point's {axis} = {value:g} lies outside {low:g} to {high:g}")


def _worth(
    cube: xr.Dataset, series: xr.Dataset, stable: xr.DataArray
) -> tuple[dict[str, float], dict[str, float]]:
    """RMSE on stable ground and median vector coherence elsewhere."""
    both = {"observations": cube, "series": series}
    rmse = {name: stable_rmse(one, stable) for name, one in both.items()}
    moving = ~stable
    coherence = {
        name: float(vector_coherence(one).where(moving).compute().median())
        for name, one in both.items()
    }
    return rmse, coherence


def _draw(cube: xr.Dataset, series: xr.Dataset, point: Point, path: Path) -> Path:
    from matplotlib import pyplot as plt

    figure = plot_point(cube, series, x=point.x, y=point.y)
    with atomic_path(path) as staging:
        figure.savefig(staging, dpi=150, format="png")
    plt.close(figure)
    return path


class _Blocks(Callback):
    """Tell how many blocks of the inversion are done."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress
        self._done = 0

    def _start_state(self, dsk: Any, state: Mapping[str, Any]) -> None:
        self._done = 0
        self._all = sum(len(state[name]) for name in ("ready", "waiting"))

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        self._done += 1
        self._progress(self._done, max(self._all, self._done))
