"""A scene as a plain record: what the catalogue keeps, and a fingerprint of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import numpy as np

from ogive.model import Asset, InputError, Scene

__all__ = ["fingerprint", "from_dict", "to_dict"]

_NOTES = "properties"


def to_dict(scene: Scene) -> dict[str, Any]:
    """Turn a scene into what JSON can hold; fields at their defaults are left out.

    Leaving defaults out keeps records, and with them fingerprints, when `Scene` gains a field.

    Raises
    ------
    InputError
        If a property of the scene has no form in JSON.

    Examples
    --------
    >>> to_dict(Scene("a", datetime(2020, 7, 1, 10, 30), relative_orbit=65))
    {'id': 'a', 'time': '2020-07-01T10:30:00', 'relative_orbit': 65}
    """
    default = Scene(scene.id, scene.time)
    record: dict[str, Any] = {"id": scene.id, "time": scene.time.isoformat()}
    for field in fields(Scene):
        value = getattr(scene, field.name)
        if field.name in record or value == getattr(default, field.name):
            continue
        if field.name == "assets":
            record["assets"] = {name: _asset_to_dict(asset) for name, asset in value.items()}
        else:
            record[field.name] = _plain(value, f"{field.name} of scene {scene.id}")
    return record


def from_dict(record: Mapping[str, Any]) -> Scene:
    """Make a scene of the record that `to_dict` gave.

    Raises
    ------
    InputError
        If it lacks the identifier or the time, or has a field that no scene has.

    Examples
    --------
    >>> scene = Scene("a", datetime(2020, 7, 1), assets={"B08": Asset("a.tif", "nir")})
    >>> from_dict(to_dict(scene)) == scene
    True
    """
    values = dict(record)
    known = {field.name for field in fields(Scene)}
    if unknown := set(values) - known:
        raise InputError(f"a record of a scene has no {', '.join(sorted(unknown))}")
    if missing := {"id", "time"} - set(values):
        raise InputError(f"a record of a scene lacks {' and '.join(sorted(missing))}")
    try:
        values["time"] = datetime.fromisoformat(values["time"])
        if "assets" in values:
            values["assets"] = {name: Asset(**kept) for name, kept in values["assets"].items()}
        return Scene(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the record of scene {values['id']} cannot be read: {error}") from error


def fingerprint(scene: Scene) -> str:
    """Name what decides a scene's pixels and time by 64 hexadecimal digits.

    The same scene has the same fingerprint in every process and on every machine. Properties are
    notes and do not count: a provider who adds one has not changed the image.

    Examples
    --------
    >>> one = Scene("a", datetime(2020, 7, 1))
    >>> fingerprint(one) == fingerprint(Scene("a", datetime(2020, 7, 1), properties={"note": 1}))
    True
    >>> fingerprint(one) == fingerprint(Scene("a", datetime(2020, 7, 2)))
    False
    """
    record = to_dict(scene)
    record.pop(_NOTES, None)
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _asset_to_dict(asset: Asset) -> dict[str, Any]:
    default = asdict(Asset(asset.href))
    kept = {name: value for name, value in asdict(asset).items() if value != default[name]}
    return {"href": asset.href, **kept}


def _plain(value: Any, what: str) -> Any:
    """Bring a value into the types of JSON, by which it is also compared after a round trip."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        raise InputError(f"the {what} is {value}: JSON has no such number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(kept, what) for key, kept in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(kept, what) for kept in value]
    raise InputError(f"the {what} holds a {type(value).__name__}, which JSON cannot")
