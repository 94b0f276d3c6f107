"""Archives of scenes: catalogues that answer to the STAC API, and catalogue files."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pystac
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests import RequestException
from urllib3.util import Retry

from ogive.model import DateError, InputError, Scene

from .errors import UnavailableError
from .items import scene_of_item
from .region import Box, Region, boxes, region_outline, sees
from .transport import Retries

__all__ = ["ARCHIVES", "Archive", "latest_processing", "search"]

_BUSY = (408, 429, 500, 502, 503, 504)
_PAGE = 250

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Archive:
    """A STAC API, and how it names its collections.

    Parameters
    ----------
    url
        Root of the API.
    collections
        Their names by sensor: ``"sentinel-2-l1c"``, ``"sentinel-2-l2a"``, ``"landsat-l1"``,
        ``"landsat-l2"``.
    alternate
        Name of the files' other address that is the better one to read; see
        `ogive.scenes.from_items`.
    """

    url: str
    collections: Mapping[str, str] = field(default_factory=dict)
    alternate: str | None = None


ARCHIVES: Mapping[str, Archive] = MappingProxyType(
    {
        "earth-search": Archive(
            "https://earth-search.aws.element84.com/v1",
            {
                "sentinel-2-l1c": "sentinel-2-l1c",
                "sentinel-2-l2a": "sentinel-2-l2a",
                "landsat-l2": "landsat-c2-l2",
            },
        ),
        "planetary-computer": Archive(
            "https://planetarycomputer.microsoft.com/api/stac/v1",
            {
                "sentinel-2-l2a": "sentinel-2-l2a",
                "landsat-l1": "landsat-c2-l1",
                "landsat-l2": "landsat-c2-l2",
            },
        ),
        "copernicus": Archive(
            "https://stac.dataspace.copernicus.eu/v1",
            {"sentinel-2-l1c": "sentinel-2-l1c", "sentinel-2-l2a": "sentinel-2-l2a"},
        ),
        "usgs": Archive(
            "https://landsatlook.usgs.gov/stac-server",
            {"landsat-l1": "landsat-c2l1", "landsat-l2": "landsat-c2l2-sr"},
            alternate="s3",
        ),
    }
)
"""Archives by name: Earth Search, Planetary Computer, Copernicus Data Space, USGS Landsat."""


def search(
    region: Region,
    *,
    start: str | date,
    end: str | date,
    archive: str | Path = "earth-search",
    sensor: str | Sequence[str] | None = None,
    max_cloud_percent: float | None = None,
    buffer_m: float = 0.0,
    retries: Retries | None = None,
) -> list[Scene]:
    """Find the scenes that saw a region.

    Parameters
    ----------
    region
        A box ``(west, south, east, north)`` in degrees, a file of polygons (an inventory of
        glaciers, say), or polygons; see `ogive.scenes.region`.
    start, end
        First and last day, both included.
    archive
        A name of `ARCHIVES`, the address of any STAC API, or a file: a catalogue
        (``catalog.json``), a collection, one item, or a collection of items.
    sensor
        ``"sentinel-2-l2a"``, ``"landsat-l2"``, ..., or the archive's own names of collections;
        several at once; by default all that the archive has.
    max_cloud_percent
        Leave out scenes that are cloudier by their archive's estimate.
    buffer_m
        Ground beside the region that belongs to it.
    retries
        How patiently the archive is asked.

    Returns
    -------
    list of Scene
        In the order of time. Of a scene that was processed several times, only the latest.

    Raises
    ------
    InputError
        If the region, the dates, the archive or the sensor cannot be understood, or an item cannot
        be read.
    DateError
        If the end comes before the start.
    UnavailableError
        If the archive does not answer.

    Examples
    --------
    >>> scenes = search(
    ...     (6.8, 45.8, 7.2, 46.0), start="2020-06-01", end="2020-09-30", max_cloud_percent=40
    ... )  # doctest: +SKIP
    """
    most_clouds = 100.0 if max_cloud_percent is None else max_cloud_percent
    if not 0 <= most_clouds <= 100:
        raise InputError(f"max_cloud_percent is {most_clouds:g}: give 0 to 100")
    outline = region_outline(region, buffer_m=buffer_m)
    first, last = _day(start), _day(end)
    if last < first:
        raise DateError(f"the search ends on {last} before it starts on {first}: swap the two")
    sensors = [sensor] if isinstance(sensor, str) else list(sensor or ())
    path = _local(archive)
    if path is not None:
        found = _from_file(path, sensors)
    else:
        asked = _Question(boxes(outline), first, last, sensors, max_cloud_percent)
        found = _from_api(_archive(str(archive)), asked, retries or Retries())
    fitting = {
        scene.id: scene
        for scene in found
        if first <= scene.time.date() <= last
        and (scene.cloud_cover_percent or 0.0) <= most_clouds
        and sees(scene.footprint, outline)
    }
    return latest_processing(fitting.values())


def latest_processing(scenes: Iterable[Scene]) -> list[Scene]:
    """Of scenes that were processed several times keep the latest, and put them in order of time.

    Two scenes are of one acquisition if the same satellite saw the same place on the same day, and
    are of one level. Sentinel-2's are told apart by their processing baseline, Landsat's by their
    collection and by its category (``T1`` before ``T2`` before ``RT``).

    Examples
    --------
    >>> old = Scene("a", datetime(2020, 7, 1), properties={"processing_baseline": "02.09"})
    >>> new = Scene("b", datetime(2020, 7, 1), properties={"processing_baseline": "05.00"})
    >>> [scene.id for scene in latest_processing([new, old])]
    ['b']
    """
    known = list(scenes)
    latest: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for scene in known:
        key = _acquisition(scene)
        latest[key] = max(latest.get(key, ()), _processing(scene))
    kept = [scene for scene in known if _processing(scene) == latest[_acquisition(scene)]]
    if len(kept) < len(known):
        _log.info("%d scenes were processed again since and are left out", len(known) - len(kept))
    return sorted(kept, key=lambda scene: (scene.time, scene.id))


def _acquisition(scene: Scene) -> tuple[Any, ...]:
    place = scene.tile, scene.relative_orbit, scene.path, scene.row
    return scene.mission, scene.satellite, scene.processing_level, scene.time.date(), *place


def _processing(scene: Scene) -> tuple[Any, ...]:
    told = scene.properties
    category = {"T1": 2, "T2": 1}.get(str(told.get("landsat:collection_category")), 0)
    return (
        str(told.get("processing_baseline", "")),
        str(told.get("landsat:collection_number", "")),
        category,
    )


@dataclass(frozen=True, slots=True)
class _Question:
    boxes: list[Box]
    first: date
    last: date
    sensors: list[str]
    max_cloud_percent: float | None


def _day(when: str | date) -> date:
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when.strip())
        except ValueError as error:
            raise DateError(f"{when!r} is no date: write it as 2016-07-18") from error
    if isinstance(when, datetime):
        when = when.astimezone(UTC) if when.tzinfo else when
        return when.date()
    return when


def _archive(name: str) -> Archive:
    if name in ARCHIVES:
        return ARCHIVES[name]
    if name.startswith(("http://", "https://")):
        return Archive(name)
    raise InputError(
        f"{name} is no archive: take {', '.join(ARCHIVES)}, the address of a STAC API, or a "
        "catalogue file"
    )


def _local(archive: str | Path) -> Path | None:
    path = Path(archive)
    if isinstance(archive, Path) or path.suffix in {".json", ".geojson"}:
        if "://" in str(archive):
            return None
        if not path.is_file():
            raise InputError(f"there is no catalogue file {path}")
        return path
    return None


def _from_api(archive: Archive, asked: _Question, retries: Retries) -> Iterator[Scene]:
    collections = [archive.collections.get(sensor, sensor) for sensor in asked.sensors]
    collections = collections or list(archive.collections.values())
    patience = Retry(
        total=retries.attempts - 1,
        backoff_factor=retries.wait_s,
        status_forcelist=_BUSY,
        allowed_methods=None,
    )
    try:
        reader = StacApiIO(max_retries=patience, timeout=retries.timeout_s)
        client = Client.open(archive.url, stac_io=reader)
        for box in asked.boxes:
            answer = client.search(
                collections=collections or None,
                bbox=list(box),
                datetime=f"{asked.first}T00:00:00Z/{asked.last}T23:59:59Z",
                query=_cloud_query(client, asked.max_cloud_percent),
                limit=_PAGE,
            )
            for item in answer.items_as_dicts():
                yield scene_of_item(item, alternate=archive.alternate)
    except APIError as error:
        if getattr(error, "status_code", None) in (400, 404):
            raise InputError(
                f"{archive.url} does not understand the search of {', '.join(collections)}: {error}"
            ) from error
        raise UnavailableError(f"{archive.url} gave no answer: {error}") from error
    except RequestException as error:
        raise UnavailableError(f"{archive.url} gave no answer: {error}") from error


def _cloud_query(client: Client, most: float | None) -> dict[str, Any] | None:
    """Ask for clear scenes where the archive understands; what it gives is looked at anyway."""
    if most is None or not client.conforms_to("QUERY"):
        return None
    return {"eo:cloud_cover": {"lte": most}}


def _from_file(path: Path, sensors: list[str]) -> Iterator[Scene]:
    for item in _items_of_file(path):
        scene = scene_of_item(item)
        level = scene.processing_level.lower()[: 3 if scene.mission == "sentinel-2" else 2]
        names = {scene.mission, f"{scene.mission}-{level}", str(item.get("collection"))}
        if not sensors or names & set(sensors):
            yield scene


def _items_of_file(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        kind = told.get("type") if isinstance(told, Mapping) else None
        if kind in ("Catalog", "Collection"):
            catalogue = pystac.Catalog if kind == "Catalog" else pystac.Collection
            for item in catalogue.from_file(str(path.absolute())).get_items(recursive=True):
                item.make_asset_hrefs_absolute()
                yield item.to_dict(transform_hrefs=False)
        elif kind == "FeatureCollection":
            yield from (_with_place(item, path) for item in told["features"])
        elif kind == "Feature":
            yield _with_place(told, path)
        else:
            raise InputError(f"{path} is no catalogue, no collection and no item: {kind!r}")
    except (OSError, ValueError, KeyError, pystac.STACError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no catalogue that can be read: {error}") from error


def _with_place(item: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Have relative addresses mean files beside the catalogue."""
    assets = {}
    for key, asset in item.get("assets", {}).items():
        href = str(asset.get("href", ""))
        here = not ("://" in href or href.startswith("/"))
        assets[key] = {**asset, "href": str(path.absolute().parent / href) if here else href}
    return {**item, "assets": assets}
