"""From a cube of pairs and the views of its images to velocity and elevation bias."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import odc.geo.xr  # noqa: F401  (gives cubes their .odc accessor)
import xarray as xr
from odc.geo.geobox import GeoBox

from ogive.correction.orthorectification import elevation_bias, remove_offsets, sensitivity
from ogive.correction.orthorectification_flags import GEOMETRY_FLAGS
from ogive.correction.orthorectification_triplets import triplet_elevation_bias
from ogive.correction.orthorectification_views import pair_offsets, stack_views
from ogive.correction.projection import prior_direction, project
from ogive.model import GridError, InputError, OutputError, Scene
from ogive.scenes.geometry import scene_of_angles, view_geometry
from ogive.scenes.read import read_on_grid
from ogive.series.elevation import invert_with_elevation_bias
from ogive.store.atomic import atomic_path
from ogive.store.cube import write_cube
from ogive.store.readers import open_cube
from ogive.view.elevation_bias import plot_baselines, plot_elevation_bias

__all__ = ["BiasSummary", "cube_views", "make_elevation_bias"]

Regime = Literal["constant", "periods", "series", "triplets"]
Join = Literal["estimated", "projected"]

_BLOCK_BYTES = 2e8
_PATTERNS = ("MTD_TL.xml", "*_ANG.txt", "*_MTL.txt", "*.json")
_MISSIONS = {"S": "sentinel-2", "L": "landsat"}
_log = logging.getLogger(__name__)


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
    dem: str | Path | None = None,
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
    dem
        The elevation model of the orthorectification, or one like it: its slopes bend the offsets.
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
    slopes = None if dem is None else _slopes(opened, dem)
    whole = _on_grid(views, found, opened, slopes)
    estimate = _estimator(regime, period, sampling, image_error_m)
    result = _by_blocks(opened, whole, estimate, progress)
    result.attrs |= {"regime": regime, "images": views.sizes["image"]}
    product = write_cube(result, out)
    freed = None
    if corrected is not None:
        freed = write_cube(_corrected(opened, whole, result, join), corrected)
    figures = _figures(opened, views, result, product)
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


# ---- the views of the images ---------------------------------------------------------------------


def cube_views(
    cube: xr.Dataset, angles: Sequence[str | Path] = ()
) -> tuple[xr.Dataset, list[Path | Scene]]:
    """Find the view of every image of a cube.

    Parameters
    ----------
    cube
        With the dates of its pairs, and what it tells of missions and orbits.
    angles
        Files or folders, as of `make_elevation_bias`.

    Returns
    -------
    xarray.Dataset
        Views in the middle of the grid along ``image``, in order of time.
    list
        What each image's view is made from: a file, or a Scene with its orbit.

    Raises
    ------
    InputError
        If an image has neither an angle file nor an orbit.
    """
    told = list(_told(angles))
    images = _images(cube)
    sources = [_source(image, told) for image in images]
    lost = [image for image, source in zip(images, sources, strict=True) if source is None]
    if lost:
        raise InputError(
            f"{len(lost)} of {len(images)} images have neither an angle file nor an orbit (the "
            f"first is of {lost[0].time:%Y-%m-%dT%H:%M}): pass --angles with their MTD_TL.xml, "
            "ANG.txt, MTL.txt or STAC items"
        )
    known = [source for source in sources if source is not None]
    box = _geobox(cube)
    centre = box[box.shape.y // 2 : box.shape.y // 2 + 1, box.shape.x // 2 : box.shape.x // 2 + 1]
    views = [view_geometry(source, centre).isel(y=0, x=0, drop=True) for source in known]
    stacked = stack_views(
        [_with_scene(view, image) for view, image in zip(views, images, strict=True)],
        np.array([image.time for image in images], "datetime64[ns]"),
    )
    nominal = int((stacked["geometry"] == "nominal").sum())
    if nominal:
        _log.warning("%d of %d images have the nominal geometry of their orbits only",
                     nominal, len(images))  # fmt: skip
    return stacked, known


def _with_scene(view: xr.Dataset, image: Scene) -> xr.Dataset:
    if not view.attrs.get("mission"):
        view.attrs["mission"] = image.mission
    return view


def _told(angles: Sequence[str | Path]) -> Iterable[tuple[Path, Scene]]:
    """Scenes of all angle files; of a folder all that are in it."""
    for given in angles:
        path = Path(given)
        if not path.exists():
            raise InputError(f"{path} does not exist: it should hold the view angles of scenes")
        if path.is_file():
            yield path, scene_of_angles(path)
            continue
        files = [file for pattern in _PATTERNS for file in sorted(path.rglob(pattern))]
        scenes = [file for file in files if file.suffix != ".json" or _is_item(file)]
        if not scenes:
            raise InputError(f"{path} holds no MTD_TL.xml, *_ANG.txt, *_MTL.txt or STAC item")
        for file in scenes:
            yield file, scene_of_angles(file)


def _is_item(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("type") == "Feature"


def _images(cube: xr.Dataset) -> list[Scene]:
    """Images of a cube's pairs with what it tells of them, in order of time."""
    found: dict[tuple[Any, ...], Scene] = {}
    for number in ("img1", "img2"):
        dates = cube[f"acquisition_date_{number}"].values.astype("datetime64[us]")
        columns = {
            name: cube[f"{name}_{number}"].values if f"{name}_{number}" in cube.coords else None
            for name in ("mission", "satellite", "relative_orbit", "path")
        }
        urls = cube["granule_url"].values if "granule_url" in cube.coords else None
        for k, date in enumerate(dates):
            values = {name: None if v is None else v[k] for name, v in columns.items()}
            letter = str(values["mission"] or "")
            mission = _MISSIONS.get(letter, letter)
            scene = Scene(
                id="", time=date.astype(datetime), mission=mission,
                satellite=str(values["satellite"] or ""),
                relative_orbit=_number(values["relative_orbit"]) if mission != "landsat" else None,
                path=_number(values["path"]) if mission != "sentinel-2" else None,
            )  # fmt: skip
            if urls is not None:
                scene = _with_name(scene, str(urls[k]), number)
            key = (date, mission)
            found.setdefault(key, scene)
    return [found[key] for key in sorted(found, key=lambda key: (key[0], key[1]))]


def _number(value: Any) -> int | None:
    return None if value is None or not np.isfinite(float(value)) else int(value)


def _with_name(scene: Scene, url: str, number: str) -> Scene:
    """Read the orbit from the name of a granule, which names both products."""
    day = f"{scene.time:%Y%m%d}"
    for part in re.split(r"_X_", url.rsplit("/", 1)[-1]):
        if day not in part:
            continue
        sentinel = re.search(rf"S2[A-D]_MSIL\w+_{day}T\d+_N\d+_R(\d{{3}})_", part)
        landsat = re.search(rf"L[COTEM]0(\d)_L\w+_(\d{{3}})\d{{3}}_{day}", part)
        if sentinel and scene.relative_orbit is None:
            return replace(scene, mission="sentinel-2", relative_orbit=int(sentinel.group(1)))
        if landsat and scene.path is None:
            return replace(scene, mission="landsat", path=int(landsat.group(2)))
    return scene


def _source(image: Scene, told: Sequence[tuple[Path, Scene]]) -> Path | Scene | None:
    """Choose the angle file of an image: of its mission, the same pass, the best kind first."""
    best: tuple[int, float, Path | Scene] | None = None
    for path, scene in told:
        if image.mission and scene.mission and image.mission != scene.mission:
            continue
        away = abs((scene.time - image.time).total_seconds())
        whole_day = image.time == datetime(image.time.year, image.time.month, image.time.day)
        if away > 2700 and not (whole_day and scene.time.date() == image.time.date()):
            continue
        exact = path.suffix == ".xml" or path.name.endswith("_ANG.txt")
        if best is None or (not exact, away) < best[:2]:
            best = not exact, away, path if exact else scene
    if best is not None:
        return best[2]
    track = image.relative_orbit if image.mission == "sentinel-2" else image.path
    return image if track is not None else None


def _geobox(cube: xr.Dataset) -> GeoBox:
    box = cube["vx"].odc.geobox
    if not isinstance(box, GeoBox) or box.crs is None:
        raise GridError("the cube has no grid in a projection: view angles need one")
    return box


def _on_grid(
    views: xr.Dataset, sources: Sequence[Path | Scene], cube: xr.Dataset, slopes: xr.Dataset | None
) -> xr.Dataset:
    """Views of all images at all pixels; images of one nominal orbit share theirs."""
    box = _geobox(cube)
    made: dict[Any, xr.Dataset] = {}
    layers = []
    for source in sources:
        key: Any = source
        if isinstance(source, Scene) and source.view_azimuth_deg is None:
            key = source.mission, source.relative_orbit, source.path
        if key not in made:
            view = view_geometry(source, box)
            if slopes is not None:
                lines = sensitivity(view, slope_x=slopes["x"], slope_y=slopes["y"])
                view = view.assign(sight_x=-lines["offset_x"], sight_y=-lines["offset_y"])
            made[key] = view[["sight_x", "sight_y"]].drop_vars("spatial_ref", errors="ignore")
        layers.append(made[key])
    pixels = xr.concat(layers, "image", combine_attrs="drop")
    own = {dim: cube[dim] for dim in ("y", "x")}
    pixels = pixels.drop_vars(["y", "x"]).assign_coords(own)
    return pixels.assign_coords(
        {name: views[name] for name in ("time", "mission", "orbit", "geometry")}
    )


def _slopes(cube: xr.Dataset, dem: str | Path) -> xr.Dataset:
    """Gradient of an elevation model along +x and +y, on the cube's grid, 0 where it is unknown."""
    height = read_on_grid(dem, _geobox(cube), "average").to_numpy().astype(np.float64)
    step_y, step_x = (float(cube[axis][1] - cube[axis][0]) for axis in ("y", "x"))
    along_y, along_x = np.gradient(height, step_y, step_x)
    layers = {
        "x": (("y", "x"), np.nan_to_num(along_x)),
        "y": (("y", "x"), np.nan_to_num(along_y)),
    }
    return xr.Dataset({f"{name}": value for name, value in layers.items()})


# ---- the estimate --------------------------------------------------------------------------------


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


def _by_blocks(
    cube: xr.Dataset,
    views: xr.Dataset,
    estimate: Callable[[xr.Dataset, xr.Dataset], xr.Dataset],
    progress: Callable[[int, int], None] | None,
) -> xr.Dataset:
    """Estimate by blocks of rows, so that memory holds few of the cube's layers at a time."""
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    each = max(int(_BLOCK_BYTES / (32.0 * cube.sizes["mid_date"] * columns)), 1)
    starts = list(range(0, rows, each))
    parts = []
    for done, start in enumerate(starts):
        here = {"y": slice(start, start + each)}
        parts.append(estimate(cube.isel(here).load(), views.isel(here)))
        if progress is not None:
            progress(done + 1, len(starts))
    if len(parts) == 1:
        return parts[0]
    joined: xr.Dataset = xr.concat(
        parts, "y", data_vars="minimal", coords="minimal", compat="override",
        combine_attrs="override",
    )  # fmt: skip
    return joined


def _corrected(cube: xr.Dataset, views: xr.Dataset, result: xr.Dataset, join: Join) -> xr.Dataset:
    loaded = cube.load()
    if join == "projected":
        freed = project(loaded, prior_direction(loaded, views), pair_offsets(loaded, views))
        freed.attrs["orthorectification_offsets"] = "projected onto the flow within orbits"
        return freed
    return remove_offsets(loaded, views, result["elevation_bias"], result["elevation_bias_error"])


# ---- what is shown -------------------------------------------------------------------------------


def _figures(
    cube: xr.Dataset, views: xr.Dataset, result: xr.Dataset, product: Path
) -> tuple[Path, ...]:
    drawn = {"baselines": plot_baselines(cube, views)}
    if bool(result["elevation_bias"].notnull().any()):
        drawn["map"] = plot_elevation_bias(result)
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
