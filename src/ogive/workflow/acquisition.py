"""When the two images of a pair were acquired, and by what."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ogive.model import DateError, Pair, Scene
from ogive.scenes.names import scene_from_name
from ogive.scenes.read import read_tags

__all__ = ["When", "acquired_pair", "as_time"]

When = str | date | np.datetime64
"""A date or a time in UTC: ISO 8601 text (``2016-07-18``, ``2016-07-18T20:43:11``) or a value."""

_log = logging.getLogger(__name__)


def acquired_pair(earlier: Any, later: Any, dates: Sequence[When] | None = None) -> Pair:
    """Find the acquisition times of two images: as given, or from their names and tags.

    Parameters
    ----------
    earlier, later
        Paths, or arrays: of a DataArray its scalar coordinate ``time`` is asked, then its name.
    dates
        The two times, the earlier first. They are taken as they are; the rest of what the names
        tell (satellite, path and row) is kept.

    Returns
    -------
    Pair
        With ``properties["date_source"]`` of each scene, as `ogive.scenes.names` has it.

    Raises
    ------
    DateError
        No date to be found, or equal or reversed dates.

    Examples
    --------
    >>> pair = acquired_pair(np.zeros((2, 2)), np.zeros((2, 2)), ["2016-07-18", "2016-08-03"])
    >>> pair.days
    16.0
    """
    if dates is None:
        scenes = [_scene(image, name) for image, name in ((earlier, "earlier"), (later, "later"))]
    else:
        if isinstance(dates, str) or len(dates) != 2:
            raise DateError(f"two dates are needed, of the earlier and the later image: {dates!r}")
        scenes = [
            _dated(image, name, as_time(when))
            for image, name, when in zip((earlier, later), ("earlier", "later"), dates, strict=True)
        ]
    pair = Pair(*scenes)
    for scene in scenes:
        _log.info("%s: %s, from %s", scene.id, _told(scene), scene.properties["date_source"])
    _warn_of_lost_hours(pair)
    return pair


def _scene(image: Any, name: str) -> Scene:
    if isinstance(image, str | Path):
        return scene_from_name(_whole_path(image), read_tags(image))
    if isinstance(image, xr.DataArray):
        if "time" in image.coords and image.coords["time"].ndim == 0:
            time = as_time(image.coords["time"].values[()])
            properties = {"date_source": "coordinate time", "time_of_day_known": True}
            return Scene(id=str(image.name or name), time=time, properties=properties)
        if image.name is not None:
            return scene_from_name(str(image.name))
    raise DateError(f"the {name} image is an array without a date: pass the dates of both images")


def _dated(image: Any, name: str, time: datetime) -> Scene:
    """Give a scene the time that was passed, whatever its name says."""
    given = {"date_source": "the dates given", "time_of_day_known": time.time() != time.min.time()}
    try:
        scene = _scene(image, name)
    except DateError:
        identifier = Path(str(image)).stem if isinstance(image, str | Path) else None
        if isinstance(image, xr.DataArray) and image.name is not None:
            identifier = str(image.name)
        return Scene(id=identifier or name, time=time, properties=given)
    if scene.time.date() != time.date():
        _log.warning(
            "%s is dated %s by its %s, but %s was given, which is used",
            scene.id, scene.time.date(), scene.properties["date_source"], time.date(),
        )  # fmt: skip
    return replace(scene, time=time, properties={**scene.properties, **given})


def _whole_path(path: str | Path) -> str | Path:
    """Name the folders too, for a product's folder may tell what a band's name leaves out."""
    return path if "://" in str(path) else Path(path).absolute()


def as_time(when: When) -> datetime:
    """Read a date or a time as UTC without a zone, as ogive keeps times.

    Raises
    ------
    DateError
        If it is none.

    Examples
    --------
    >>> as_time("2016-07-18T22:43:11+02:00")
    datetime.datetime(2016, 7, 18, 20, 43, 11)
    """
    if isinstance(when, np.datetime64):
        when = when.astype("datetime64[us]").item()
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when.strip())
        except ValueError as error:
            raise DateError(
                f"{when!r} is no date: write it as 2016-07-18 or 2016-07-18T20:43:11"
            ) from error
    if isinstance(when, datetime):
        return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when
    if isinstance(when, date):
        return datetime(when.year, when.month, when.day)
    raise DateError(f"{when!r} is no date: pass text as 2016-07-18, or a datetime")


def _told(scene: Scene) -> str:
    known = scene.properties.get("time_of_day_known")
    return scene.time.isoformat(sep=" ") if known else scene.time.date().isoformat()


def _warn_of_lost_hours(pair: Pair) -> None:
    """Say so where only one of two times of day is known: up to a day of the baseline is open."""
    known = [scene.properties.get("time_of_day_known") for scene in (pair.earlier, pair.later)]
    if bool(known[0]) != bool(known[1]):
        _log.warning(
            "the time of day of only one image is known: the %.2f days between them, and with "
            "them the speeds, are uncertain by up to %.0f %%",
            pair.days, 100 / pair.days,
        )  # fmt: skip
