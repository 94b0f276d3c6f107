"""From a cube of pairs and the views of its images to velocity and elevation bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from ogive.correction.orthorectification import elevation_bias
from ogive.correction.orthorectification.datum import relative_to_stable_ground
from ogive.correction.orthorectification.flags import GEOMETRY_FLAGS
from ogive.correction.orthorectification.triplets import triplet_elevation_bias
from ogive.correction.orthorectification.views import pair_offsets
from ogive.correction.orthorectification.window import add_window_error
from ogive.model import InputError, OutputError
from ogive.scenes.read import rasterize_polygons
from ogive.series.elevation import invert_with_elevation_bias
from ogive.store.atomic import atomic_path
from ogive.store.cube import write_cube
from ogive.store.readers import open_cube
from ogive.view.elevation_bias import plot_baselines, plot_elevation_bias
from ogive.workflow.across_orbits import Join, free_of_offsets
from ogive.workflow.blocks import by_blocks
from ogive.workflow.views import cube_views, views_on_grid

__all__ = ["BiasSummary", "make_elevation_bias"]

Regime = Literal["constant", "periods", "series", "triplets"]


@dataclass(frozen=True, slots=True)
class BiasSummary:
    """What was made, in figures.

    Parameters
    ----------
    product, corrected, figures
        Files that were written.
    images, orbits, pairs, across
        How many images from how many lines of sight, pairs, and pairs across orbits.
    nominal
        Images whose angles are those of their nominal orbit.
    median_bias_m, median_error_m
        Of the pixels that have one.
    flagged
        Share of pixels with each flag of the geometry, by name.
    """

    product: Path
    corrected: Path | None
    figures: tuple[Path, ...]
    images: int
    orbits: int
    pairs: int
    across: int
    nominal: int
    median_bias_m: float
    median_error_m: float
    flagged: Mapping[str, float]


def make_elevation_bias(
    cube: str | Path,
    out: str | Path,
    *,
    angles: Sequence[str | Path] = (),
    regime: Regime = "constant",
    period: str = "90D",
    sampling: str = "36D",
    image_error_m: float = 0.0,
    window_m: float | None = None,
    dem: str | Path | None = None,
    stable: str | Path | None = None,
    ice: str | Path | None = None,
    corrected: str | Path | None = None,
    join: Join = "estimated",
    units: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BiasSummary:
    """Estimate velocity and elevation bias of a cube (`ogive elevation-bias CUBE -o FILE`).

    Parameters
    ----------
    cube
        Whatever `ogive.open_cube` opens, with pairs within and across orbits.
    out
        ``*.nc`` or ``*.zarr``; figures are written beside it.
    angles
        Files or folders with the views of the images: ``MTD_TL.xml`` (or ``.SAFE``), ``*_ANG.txt``,
        ``*_MTL.txt``, STAC items. An image without one takes the nominal geometry of the orbit that
        the cube tells, and is flagged.
    regime
        Velocity constant, constant in periods, smooth (a series), or the median over triplets.
    period, sampling
        Length of the periods of ``periods`` and of ``series``.
    image_error_m
        Standard error of an image's own displacement, which all its pairs share.
    window_m
        Side of the windows that were matched: adds to the errors of the bias what a window leaves
        open (`ogive.correction.orthorectification.window`). Without it they are those of the
        window's mean as the texture weighs it.
    dem
        The elevation model of the orthorectification, or one like it: its slopes bend the offsets.
    stable, ice
        Polygons of ground whose height has not changed, or of glaciers, beside which none has: the
        bias is made zero on it (`ogive.correction.orthorectification.datum`), and the figure tells
        ice from ground.
    corrected
        Write the cube with cross-orbit pairs freed of their offsets, for `ogive invert`.
    join
        How: by the estimated bias, or projected onto the flow of the pairs within orbits.
    units
        Of the cube's velocities, where it does not say.
    overwrite
        Replace what is there.
    progress
        Called with the number of blocks done and of all.

    Raises
    ------
    InputError, GridError, DateError
        If cube, angles or an option cannot be used.
    OutputError
        If a product cannot be written, or is there already.
    """
    _check(out, corrected, regime, join, overwrite)
    opened = open_cube(cube, units=units)
    views, found = cube_views(opened, angles)
    whole = views_on_grid(views, found, opened, dem)
    ground, glaciers = _ground(opened, stable, ice)
    estimate = _estimator(regime, period, sampling, image_error_m)
    result = by_blocks(opened, whole, estimate, progress)
    result.attrs |= {"regime": regime, "images": views.sizes["image"]}
    freed = None
    if corrected is not None:
        # With the bias as the pairs' own calibration left it, and without what windows leave open:
        # both are alike in all pairs across the orbits.
        freed = write_cube(free_of_offsets(opened, whole, join, bias=result), corrected)
    if window_m is not None:
        result = add_window_error(result, window_m)
    if ground is not None:
        result, _ = relative_to_stable_ground(result, ground, window_m=window_m)
    product = write_cube(result, out)
    figures = _figures(opened, views, result, glaciers, product)
    return _summary(result, opened, views, product, freed, figures)


def _check(
    out: str | Path, corrected: str | Path | None, regime: str, join: str, overwrite: bool
) -> None:
    if regime not in ("constant", "periods", "series", "triplets"):
        raise InputError(f'regime {regime!r} is unknown: use "constant", "periods", "series" or '
                         '"triplets"')  # fmt: skip
    if join not in ("estimated", "projected"):
        raise InputError(f'join {join!r} is unknown: use "estimated" or "projected"')
    for path in (out, corrected):
        if path is not None and Path(path).exists() and not overwrite:
            raise OutputError(
                f"{path} is there already and was kept: pass --overwrite to replace it"
            )


def _estimator(
    regime: Regime, period: str, sampling: str, image_error_m: float
) -> Callable[[xr.Dataset, xr.Dataset], xr.Dataset]:
    if regime == "triplets":
        return triplet_elevation_bias
    if regime == "series":
        return lambda cube, views: invert_with_elevation_bias(
            cube, views, sampling, image_error_m=image_error_m
        )
    periods = period if regime == "periods" else None
    return lambda cube, views: elevation_bias(
        cube, views, periods=periods, image_error_m=image_error_m
    )


def _ground(
    cube: xr.Dataset, stable: str | Path | None, ice: str | Path | None
) -> tuple[xr.DataArray | None, xr.DataArray | None]:
    """Where the ground is stable, and where it is ice, as far as told."""
    told = {
        name: None if path is None else _where(cube, path)
        for name, path in (("stable", stable), ("ice", ice))
    }
    ground, glaciers = told["stable"], told["ice"]
    if glaciers is not None:
        ground = ~glaciers if ground is None else ground & ~glaciers
    return ground, glaciers


def _where(cube: xr.Dataset, polygons: str | Path) -> xr.DataArray:
    inside = rasterize_polygons(polygons, cube["vx"].odc.geobox)
    return xr.DataArray(inside, {"y": cube["y"], "x": cube["x"]}, ("y", "x"))


def _figures(
    cube: xr.Dataset,
    views: xr.Dataset,
    result: xr.Dataset,
    ice: xr.DataArray | None,
    product: Path,
) -> tuple[Path, ...]:
    drawn = {"baselines": plot_baselines(cube, views)}
    if bool(result["elevation_bias"].notnull().any()):
        drawn["map"] = plot_elevation_bias(result, ice=ice)
    paths = []
    for name, figure in drawn.items():
        path = product.parent / f"{product.stem}_{name}.png"
        with atomic_path(path) as staging:
            figure.savefig(staging, dpi=150, format="png")
        paths.append(path)
    return tuple(paths)


def _summary(
    result: xr.Dataset,
    cube: xr.Dataset,
    views: xr.Dataset,
    product: Path,
    corrected: Path | None,
    figures: tuple[Path, ...],
) -> BiasSummary:
    line = pair_offsets(cube, views)
    length = (line["offset_x"] ** 2 + line["offset_y"] ** 2) ** 0.5
    orbits = {
        (str(mission), int(orbit))
        for mission, orbit in zip(views["mission"].values, views["orbit"].values, strict=True)
    }
    flagged = {}
    if "geometry" in result:
        for bit, name in GEOMETRY_FLAGS.items():
            flagged[name] = float(((result["geometry"] & np.uint8(bit)) > 0).mean())
    return BiasSummary(
        product=product,
        corrected=corrected,
        figures=figures,
        images=views.sizes["image"],
        orbits=len(orbits),
        pairs=cube.sizes["mid_date"],
        across=int((length >= 0.01).sum()),
        nominal=int((views["geometry"] == "nominal").sum()),
        median_bias_m=float(result["elevation_bias"].median()),
        median_error_m=float(result["elevation_bias_error"].median()),
        flagged=flagged,
    )
