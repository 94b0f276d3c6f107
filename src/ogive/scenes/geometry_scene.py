"""Which scene a file of view angles, a STAC item or a mapping belongs to, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ogive.model import InputError, Scene

from .geometry_landsat import read_metadata, read_scene_angles
from .geometry_sentinel2 import read_tile_angles
from .names import scene_from_name

__all__ = ["best_file", "item_scene", "scene_of_angles"]


def scene_of_angles(path: str | Path) -> Scene:
    """Tell which scene a file of angles belongs to, with the angles that are of the whole scene.

    Parameters
    ----------
    path
        ``MTD_TL.xml``, ``*_ANG.txt``, ``*_MTL.txt``, a STAC item, or a folder with one of them.

    Raises
    ------
    InputError
        If it is none of these.
    """
    path = best_file(Path(path))
    if path.suffix == ".xml":
        tile = read_tile_angles(path)
        return Scene(
            id=path.parent.name, time=tile.time, mission="sentinel-2", satellite=tile.satellite,
            sensor="MSI", relative_orbit=tile.relative_orbit, tile=tile.tile,
        )  # fmt: skip
    if path.name.endswith("_ANG.txt"):
        coefficients = read_scene_angles(path)
        return Scene(
            id=path.name.removesuffix("_ANG.txt"), time=coefficients.time, mission="landsat",
            satellite=coefficients.satellite, path=coefficients.path_number,
        )  # fmt: skip
    if path.name.endswith("_MTL.txt"):
        return _of_mtl(path)
    try:
        item = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is neither an angle file nor a STAC item: {error}") from error
    if not isinstance(item, Mapping) or item.get("type") != "Feature":
        raise InputError(f"{path} is no STAC item: its type is {_kind(item)}")
    return item_scene(item)


def _kind(item: Any) -> str:
    return repr(item.get("type")) if isinstance(item, Mapping) else type(item).__name__


def _of_mtl(path: Path) -> Scene:
    told = read_metadata(path)
    missing = [key for key in ("WRS_PATH", "DATE_ACQUIRED", "SPACECRAFT_ID") if key not in told]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}: it is no Landsat MTL file")
    clock = str(told.get("SCENE_CENTER_TIME", "00:00:00")).strip('"').rstrip("Z")[:15]
    return Scene(
        id=path.name.removesuffix("_MTL.txt"),
        time=datetime.fromisoformat(f"{told['DATE_ACQUIRED']}T{clock}"),
        mission="landsat",
        satellite=str(told["SPACECRAFT_ID"])[-1],
        path=int(told["WRS_PATH"]),
        row=int(told["WRS_ROW"]) if "WRS_ROW" in told else None,
    )


def item_scene(item: Mapping[str, Any]) -> Scene:
    """Read a scene, its orbit and its angles from a STAC item, or from a plain mapping.

    Many catalogues give ``view:off_nadir: 0`` to all images, which is no measurement: angles count
    only where an azimuth comes with them, and where the orbit is not known or is a simulated one.

    Parameters
    ----------
    item
        A STAC item; or ``mission`` with ``relative_orbit`` or ``path``, and what else a Scene has.

    Raises
    ------
    InputError
        If the mission is not told.
    """
    if "properties" not in item:
        return _plain_scene(item)
    told: Mapping[str, Any] = item["properties"]
    mission, satellite = _mission(told, str(item.get("id", "")))
    identifier = str(item.get("id", ""))
    zenith, azimuth = _item_angles(told)
    orbit = _item_orbit(told, item) if mission == "sentinel-2" else None
    track = _whole(told.get("landsat:wrs_path")) if mission == "landsat" else None
    if (orbit or track) is not None and not told.get("ogive:simulated"):
        zenith, azimuth = None, None
    return Scene(
        id=identifier,
        time=_item_time(told, identifier),
        mission=mission,
        satellite=satellite,
        relative_orbit=orbit,
        path=track,
        view_zenith_deg=zenith,
        view_azimuth_deg=azimuth,
        properties={
            "centre": _middle(item),
            "sat:orbit_state": told.get("sat:orbit_state", "descending"),
        },
    )


def _plain_scene(item: Mapping[str, Any]) -> Scene:
    if "mission" not in item:
        raise InputError(
            "a mapping of view angles must be a STAC item, or name its mission and its "
            f"relative_orbit or path: it has {', '.join(map(str, item)) or 'nothing'}"
        )
    values = {"id": "", "time": datetime.min, **item}
    unknown = set(values) - set(Scene.__dataclass_fields__)
    if unknown:
        raise InputError(f"a scene has no {', '.join(sorted(unknown))}")
    return Scene(**values)


def _mission(told: Mapping[str, Any], identifier: str) -> tuple[str, str]:
    platform = str(told.get("platform", "")).lower().replace("_", "-")
    if "sentinel-2" in platform or identifier.startswith("S2"):
        return "sentinel-2", platform[-2:].upper() if "sentinel-2" in platform else identifier[1:3]
    if "landsat" in platform or identifier.startswith(("LC", "LE", "LT")):
        return "landsat", platform[-1:] or identifier[3:4]
    return platform, ""


def _item_angles(told: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Zenith at the ground and azimuth; ``off_nadir`` is at the satellite, and a little smaller."""
    azimuth = told.get("view:azimuth")
    zenith = told.get("view:incidence_angle")
    if azimuth is None:
        return None, None
    if zenith is None and told.get("view:off_nadir"):
        ratio = 1.0 + 0.1233 if "sentinel" in str(told.get("platform", "")).lower() else 1.1105
        sine = ratio * np.sin(np.deg2rad(float(told["view:off_nadir"])))
        zenith = float(np.rad2deg(np.arcsin(sine)))
    if zenith is None:
        return None, None
    return float(zenith), float(azimuth)


def _item_time(told: Mapping[str, Any], identifier: str) -> datetime:
    text = told.get("datetime") or told.get("start_datetime")
    if text is None:
        return scene_from_name(identifier).time
    time = datetime.fromisoformat(str(text))
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def _item_orbit(told: Mapping[str, Any], item: Mapping[str, Any]) -> int | None:
    given = _whole(told.get("sat:relative_orbit"))
    if given is not None:
        return given
    for name in (told.get("s2:product_uri"), told.get("sentinel:product_id"), item.get("id")):
        parts = [part for part in str(name).split("_") if part[:1] == "R" and part[1:].isdigit()]
        if parts:
            return int(parts[0][1:])
    return None


def _whole(value: Any) -> int | None:
    return None if value in (None, "") else int(value)


def _middle(item: Mapping[str, Any]) -> tuple[float, float] | None:
    """Longitude and latitude of the middle of the footprint, across the date line too."""
    geometry = item.get("geometry")
    if not geometry or "coordinates" not in geometry:
        return None
    from shapely.geometry import shape
    from shapely.ops import transform

    outline = shape(geometry)
    west, _, east, _ = outline.bounds
    if east - west > 180:
        outline = transform(lambda x, y: (np.where(np.asarray(x) < 0, x + 360.0, x), y), outline)
    centre = outline.centroid
    return float((centre.x + 180) % 360 - 180), float(centre.y)


def best_file(path: Path) -> Path:
    """Find the best description of the view in a folder; a file is taken as it is.

    Raises
    ------
    InputError
        If the folder holds none, or two that are equally good.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: it should hold the view angles of a scene")
    if path.is_file():
        return path
    for pattern in ("MTD_TL.xml", "*_ANG.txt", "*_MTL.txt", "*.json"):
        found = sorted(path.rglob(pattern))
        if len(found) > 1:
            raise InputError(
                f"{path} holds {len(found)} files {pattern}: name the one of the scene"
            )
        if found:
            return found[0]
    raise InputError(f"{path} holds no MTD_TL.xml, *_ANG.txt, *_MTL.txt or STAC item")
