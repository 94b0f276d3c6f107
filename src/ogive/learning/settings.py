"""A training's settings: one commented YAML file, with unknown keys refused.

Settings are pydantic models whose fields carry descriptions; these become the comments of the
template and of the resolved file that lies beside a trained model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ogive.model import InputError

__all__ = ["Settings", "differences", "read_settings", "settings_yaml"]

_INDENT = "  "
_SHOWN = 5
_HERE = "{here}"


class Settings(BaseModel):
    """Settings that cannot change, and that know all their keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=Settings)


def read_settings(path: str | Path, kind: type[Kind]) -> Kind:
    """Read settings from a YAML file.

    Parameters
    ----------
    path
        The file. ``{here}`` in a text stands for its folder, as it is seen from where ogive runs.
    kind
        The model that it must fit.

    Raises
    ------
    InputError
        If there is no such file, it is no YAML, or it does not fit: what is wrong is told by key.
    """
    path = Path(path)
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(told, dict):
        raise InputError(f"{path} holds no settings: it must be a YAML mapping of keys and values")
    try:
        return kind.model_validate(_placed(told, os.path.relpath(path.parent)))
    except ValidationError as error:
        raise InputError(f"{path}: {_problems(error)}") from error


def _placed(told: Any, here: str) -> Any:
    """Put the folder of a file into its texts."""
    if isinstance(told, str):
        return told.replace(_HERE, here)
    if isinstance(told, dict):
        return {key: _placed(each, here) for key, each in told.items()}
    return [_placed(each, here) for each in told] if isinstance(told, list) else told


def differences(one: Settings, other: Settings) -> list[str]:
    """Name the keys whose values differ, with dots between levels.

    Examples
    --------
    >>> class Tea(Settings):
    ...     minutes: float = 3.0
    >>> differences(Tea(), Tea(minutes=4))
    ['minutes']
    """
    return _differing(one.model_dump(mode="json"), other.model_dump(mode="json"), "")


def _differing(one: Mapping[str, Any], other: Mapping[str, Any], above: str) -> list[str]:
    found: list[str] = []
    for key in sorted(one.keys() | other.keys()):
        mine, yours = one.get(key), other.get(key)
        if isinstance(mine, Mapping) and isinstance(yours, Mapping):
            found += _differing(mine, yours, f"{above}{key}.")
        elif mine != yours:
            found.append(f"{above}{key}")
    return found


def settings_yaml(settings: Settings) -> str:
    """Write settings as YAML, with the descriptions of their fields as comments.

    Examples
    --------
    >>> from pydantic import Field
    >>> class Tea(Settings):
    ...     minutes: float = Field(default=3.0, description="How long it draws.")
    >>> print(settings_yaml(Tea()), end="")
    # How long it draws.
    minutes: 3.0
    """
    return "".join(line + "\n" for line in _lines(settings))


def _lines(settings: Settings) -> list[str]:
    lines: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        lines += [f"# {line}" for line in (field.description or "").splitlines()]
        if isinstance(value, Settings):
            lines += [f"{name}:", *(_INDENT + line for line in _lines(value))]
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            lines.append(f"{name}:")
            lines += [line for item in value for line in _item(item)]
        else:
            lines.append(f"{name}: {_flow(value)}")
    return lines


def _item(settings: Settings) -> list[str]:
    """Lines of one entry of a list; the dash stands before its first key."""
    lines = _lines(settings)
    first = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    return [_INDENT + ("- " if index == first else "  ") + line for index, line in enumerate(lines)]


def _flow(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, float) and plain == int(plain) and abs(plain) < 1e6:
        return str(plain)
    text = yaml.safe_dump(
        plain, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: Any) -> Any:
    """Turn what settings may hold into what YAML can say."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Settings):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return value


def _problems(error: ValidationError) -> str:
    """Tell what does not fit, by key, the first few."""
    told = []
    for problem in error.errors()[:_SHOWN]:
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            told.append(f"there is no setting {key!r}")
        elif problem["type"] == "missing":
            told.append(f"{key!r} is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            told.append(f"{key!r}: {message}" if key else message)
    more = len(error.errors()) - _SHOWN
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "")
