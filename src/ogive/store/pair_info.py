"""What a velocity file says of its two images: ITS_LIVE's ``img_pair_info``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from ogive.model import DateError, InputError, Pair, Scene

__all__ = ["pair_from_information", "pair_information", "satellites"]

NOT_KNOWN = "N/A"
_DATE = "%Y%m%dT%H:%M:%S.%f"
_MISSIONS = {"landsat": "L", "sentinel-2": "S"}
_SATELLITES = {"L": "Landsat {}", "S": "Sentinel-{}"}


def pair_information(pair: Pair) -> dict[str, Any]:
    """Describe a pair by the attributes of ITS_LIVE's ``img_pair_info``.

    What a scene does not tell is ``"N/A"`` or NaN. Landsat's path, row and collection and
    Sentinel-2's tile and relative orbit are given for scenes of those missions only.

    Parameters
    ----------
    pair
        The two scenes.

    Returns
    -------
    dict
        Attribute names, such as ``acquisition_date_img1``, and their values.

    Examples
    --------
    >>> pair = Pair(Scene("a", datetime(2016, 7, 18)), Scene("b", datetime(2016, 8, 3)))
    >>> information = pair_information(pair)
    >>> information["acquisition_date_img1"], information["date_dt"]
    ('20160718T00:00:00.000000', 16.0)
    """
    information: dict[str, Any] = {"standard_name": "image_pair_information"}
    first, second = _scene_information(pair.earlier), _scene_information(pair.later)
    for name in dict.fromkeys([*first, *second]):
        for image, values in (("img1", first), ("img2", second)):
            if name in values:
                information[f"{name}_{image}"] = values[name]
    information["date_center"] = pair.mid_date.strftime(_DATE)
    information["date_dt"] = pair.days
    return information


def pair_from_information(information: Mapping[str, Any]) -> Pair:
    """Read the two scenes back from the attributes of ``img_pair_info``.

    Raises
    ------
    InputError
        If an acquisition date is missing or unreadable.
    """
    return Pair(_scene(information, "img1"), _scene(information, "img2"))


def satellites(pair: Pair) -> str:
    """Name the satellites of a pair as ITS_LIVE does.

    Examples
    --------
    >>> scene = Scene("a", datetime(2016, 7, 18), mission="landsat", satellite="8")
    >>> satellites(Pair(scene, Scene("b", datetime(2016, 8, 3), "sentinel-2", "2A")))
    'Landsat 8, Sentinel-2A'
    """
    names = []
    for scene in (pair.earlier, pair.later):
        mission = _MISSIONS.get(scene.mission, scene.mission)
        names.append(_SATELLITES.get(mission, "{}").format(scene.satellite).strip() or NOT_KNOWN)
    return ", ".join(dict.fromkeys(names))


def _scene_information(scene: Scene) -> dict[str, Any]:
    told = scene.properties
    information: dict[str, Any] = {
        "id": scene.id,
        "acquisition_date": scene.time.strftime(_DATE),
        "correction_level": scene.processing_level or NOT_KNOWN,
        "mission": _MISSIONS.get(scene.mission, scene.mission) or NOT_KNOWN,
        "processing_date": str(told.get("processing_date") or NOT_KNOWN),
        "satellite": scene.satellite or NOT_KNOWN,
        "sensor": scene.sensor or NOT_KNOWN,
        "time_standard": "UTC",
    }
    if scene.mission == "landsat":
        information |= {
            "collection_category": str(told.get("collection_category") or NOT_KNOWN),
            "collection_number": _number(told.get("collection_number")),
            "path": _number(scene.path),
            "row": _number(scene.row),
        }
    if scene.mission == "sentinel-2":
        information |= {
            "tile": scene.tile or NOT_KNOWN,
            "relative_orbit": _number(scene.relative_orbit),
        }
    return information


def _number(value: float | None) -> float:
    """Give ITS_LIVE's floating-point whole numbers, NaN where there is none."""
    return np.nan if value is None else float(value)


def _scene(information: Mapping[str, Any], image: str) -> Scene:
    def text(name: str) -> str:
        value = str(information.get(f"{name}_{image}", ""))
        return "" if value == NOT_KNOWN else value

    def whole(name: str) -> int | None:
        value = information.get(f"{name}_{image}")
        return None if value is None or not np.isfinite(float(value)) else int(value)

    missions = {letter: mission for mission, letter in _MISSIONS.items()}
    properties = {
        "collection_category": text("collection_category"),
        "collection_number": whole("collection_number"),
        "processing_date": text("processing_date"),
    }
    return Scene(
        id=text("id"),
        time=_acquisition(text("acquisition_date"), image),
        mission=missions.get(text("mission"), text("mission")),
        satellite=text("satellite"),
        sensor=text("sensor"),
        relative_orbit=whole("relative_orbit"),
        path=whole("path"),
        row=whole("row"),
        tile=text("tile"),
        processing_level=text("correction_level"),
        properties={name: value for name, value in properties.items() if value not in ("", None)},
    )


def _acquisition(text: str, image: str) -> datetime:
    if not text:
        raise InputError(f"img_pair_info has no acquisition_date_{image}")
    for form in (_DATE, "%Y%m%dT%H:%M:%S", "%Y%m%d"):
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    raise DateError(f"acquisition_date_{image} of img_pair_info is no date: {text!r}")
