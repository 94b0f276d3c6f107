"""From STAC items, of whichever archive and age, to scenes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import urljoin

import pystac

from ogive.model import InputError, Scene

from . import landsat, sentinel2
from .signing import unsigned

__all__ = ["from_items", "scene_of_item"]


class Sensor(Protocol):
    """What a module of a sensor has."""

    def recognises(self, item: Mapping[str, Any], /) -> bool:
        """Whether an item is of this sensor."""

    def scene_of_item(self, item: Mapping[str, Any], /) -> Scene:
        """Read a scene from an item."""


SENSORS: tuple[Sensor, ...] = (sentinel2, landsat)
"""Modules that know a sensor's items; a new one is added here."""

Item = pystac.Item | Mapping[str, Any]


def from_items(items: Iterable[Item], *, alternate: str | None = None) -> list[Scene]:
    """Read scenes from STAC items.

    Parameters
    ----------
    items
        Of Sentinel-2 or Landsat, as `pystac.Item` or as the mapping of their JSON.
    alternate
        Take the files' other addresses of this name, where items give some: ``"s3"`` of USGS's
        items, ``"https"`` of the Copernicus Data Space's.

    Raises
    ------
    InputError
        If an item is of another mission, or lacks what a scene needs.

    Examples
    --------
    >>> item = {
    ...     "id": "S2A_32TLS_20200814_0_L2A",
    ...     "properties": {
    ...         "datetime": "2020-08-14T10:36:12Z",
    ...         "platform": "sentinel-2a",
    ...         "sentinel:product_id": "S2A_MSIL2A_20200814T103031_N0214_R108_T32TLS",
    ...     },
    ... }
    >>> scene = from_items([item])[0]
    >>> scene.relative_orbit, scene.tile, scene.processing_level
    (108, 'T32TLS', 'L2A')
    """
    return [scene_of_item(item, alternate=alternate) for item in items]


def scene_of_item(item: Item, *, alternate: str | None = None) -> Scene:
    """Read one scene; see `from_items`."""
    told = item.to_dict(transform_hrefs=False) if isinstance(item, pystac.Item) else item
    if not isinstance(told, Mapping) or not isinstance(told.get("properties"), Mapping):
        raise InputError(f"this is no STAC item, it has no properties: {str(item)[:80]!r}")
    if not told.get("id"):
        raise InputError("a STAC item has no id: it cannot be told from others")
    told = {**told, "assets": _addressed(told, alternate)}
    for sensor in SENSORS:
        if sensor.recognises(told):
            return sensor.scene_of_item(told)
    platform = told["properties"].get("platform") or "unknown"
    raise InputError(
        f"item {told['id']} is of the platform {platform}: Sentinel-2 and Landsat are read"
    )


def _addressed(item: Mapping[str, Any], alternate: str | None) -> dict[str, Any]:
    """Give each asset the address that is wanted, absolute where the item says where it lies.

    A signature that expires within the hour is taken off; who reads the file signs it anew.
    """
    links = item.get("links") or ()
    place = next((str(link["href"]) for link in links if link.get("rel") == "self"), "")
    assets = {}
    for key, asset in (item.get("assets") or {}).items():
        other = (asset.get("alternate") or {}).get(alternate) if alternate else None
        href = str((other or asset).get("href", ""))
        assets[key] = {**asset, "href": unsigned(_absolute(href, place))}
    return assets


def _absolute(href: str, place: str) -> str:
    if "://" in href or href.startswith("/") or not place or place.startswith("."):
        return href
    return urljoin(place, href)
