"""The view of every image of a cube: from angle files, or from the orbits that the cube tells."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (gives cubes their .odc accessor)
import xarray as xr
from odc.geo.geobox import GeoBox

from ogive.correction.orthorectification.views import sensitivity, stack_views
from ogive.model import GridError, InputError, Scene
from ogive.scenes.geometry import scene_of_angles, view_geometry
from ogive.scenes.read import read_on_grid

__all__ = ["cube_views", "pairs_across_orbits", "views_on_grid"]

_PATTERNS = ("MTD_TL.xml", "*_ANG.txt", "*_MTL.txt", "*.json")
_COARSE = 5
_MISSIONS = {"S": "sentinel-2", "L": "landsat"}
_log = logging.getLogger(__name__)


def cube_views(
    cube: xr.Dataset, angles: Sequence[str | Path] = ()
) -> tuple[xr.Dataset, list[Path | Scene]]:
    """Find the view of every image of a cube.

    Parameters
    ----------
    cube
        With the dates of its pairs, and what it tells of missions and orbits.
    angles
        Files or folders with the views of images: ``MTD_TL.xml`` (or ``.SAFE``), ``*_ANG.txt``,
        ``*_MTL.txt``, STAC items. An image without one takes the nominal geometry of the orbit that
        the cube tells.

    Returns
    -------
    xarray.Dataset
        Mean views of the grid along ``image``, in order of time.
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
    # A swath may end on the grid, even in its middle.
    coarse = box.zoom_to((min(box.shape.y, _COARSE), min(box.shape.x, _COARSE)))
    views = [
        view_geometry(source, coarse).mean(("y", "x"), skipna=True, keep_attrs=True)
        for source in known
    ]
    stacked = stack_views(
        [_with_scene(view, image) for view, image in zip(views, images, strict=True)],
        np.array([image.time for image in images], "datetime64[ns]"),
    )
    nominal = int((stacked["geometry"] == "nominal").sum())
    if nominal:
        _log.warning("%d of %d images have the nominal geometry of their orbits only",
                     nominal, len(images))  # fmt: skip
    return stacked, known


def pairs_across_orbits(cube: xr.Dataset) -> int | None:
    """Count the pairs whose images are of two orbits, paths or missions, as far as the cube tells.

    Returns
    -------
    int or None
        ``None`` where the cube does not tell the orbits of all its images.
    """
    earlier, later = ([_track(scene) for scene in scenes] for scenes in _ends(cube))
    if None in earlier or None in later:
        return None
    return sum(one != other for one, other in zip(earlier, later, strict=True))


def _track(scene: Scene) -> tuple[str, int] | None:
    number = scene.relative_orbit if scene.mission == "sentinel-2" else scene.path
    return None if number is None else (scene.mission, number)


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
    found: dict[tuple[datetime, str], Scene] = {}
    for scenes in _ends(cube):
        for scene in scenes:
            known = found.setdefault((scene.time, scene.mission), scene)
            if _track(known) is None:  # another pair may tell the orbit
                found[scene.time, scene.mission] = scene
    return [found[key] for key in sorted(found)]


def _ends(cube: xr.Dataset) -> tuple[list[Scene], list[Scene]]:
    """Earlier and later image of every pair, with what the cube tells of them."""
    urls = cube["granule_url"].values if "granule_url" in cube.coords else None
    ends: tuple[list[Scene], list[Scene]] = ([], [])
    for number, scenes in zip(("img1", "img2"), ends, strict=True):
        dates = cube[f"acquisition_date_{number}"].values.astype("datetime64[us]")
        columns = {
            name: cube[f"{name}_{number}"].values if f"{name}_{number}" in cube.coords else None
            for name in ("mission", "satellite", "relative_orbit", "path")
        }
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
            scenes.append(scene if urls is None else _with_name(scene, str(urls[k])))
    return ends


def _number(value: Any) -> int | None:
    return None if value is None or not np.isfinite(float(value)) else int(value)


def _with_name(scene: Scene, url: str) -> Scene:
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


def views_on_grid(
    views: xr.Dataset,
    sources: Sequence[Path | Scene],
    cube: xr.Dataset,
    dem: str | Path | None = None,
) -> xr.Dataset:
    """Views of all images at all pixels of a cube.

    Parameters
    ----------
    views, sources
        Of `cube_views`.
    cube
        The cube.
    dem
        The elevation model of the orthorectification, or one like it: its slopes bend the lines of
        sight (`ogive.correction.orthorectification.views.sensitivity`).

    Returns
    -------
    xarray.Dataset
        ``sight_x, sight_y`` (image, y, x) with the coordinates of ``views``.
    """
    # Images of one nominal orbit share theirs.
    box = _geobox(cube)
    slopes = None if dem is None else _slopes(cube, dem)
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
    """Gradient of an elevation model along +x and +y, on the cube's grid; 0 where it has none."""
    height = read_on_grid(dem, _geobox(cube), "average").to_numpy().astype(np.float64)
    step_y, step_x = (float(cube[axis][1] - cube[axis][0]) for axis in ("y", "x"))
    along_y, along_x = np.gradient(height, step_y, step_x)
    unknown = np.isnan(along_x + along_y)
    if unknown.all():
        raise InputError(f"{dem} has no height on the cube's grid: give a model that covers it")
    if unknown.any():
        _log.warning("%s has no slope on %.1f %% of the grid, which is taken for level",
                     dem, 100 * unknown.mean())  # fmt: skip
    layers = {"x": along_x, "y": along_y}
    return xr.Dataset(
        {name: (("y", "x"), np.where(unknown, 0.0, slope)) for name, slope in layers.items()}
    )
