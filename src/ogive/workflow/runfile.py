"""The run file: a region, a period, and how each step is done, as one commented YAML.

`template` writes it complete, `read_run_file` reads it back, and what does not fit is told by line.
Files are named relative to the run file. What decides a result is under the steps' own keys; what
only decides how fast it comes (``run``) changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ogive.learning.settings import settings_yaml
from ogive.model import InputError, OutputError
from ogive.store.atomic import atomic_path
from ogive.workflow.runfile_settings import RegionSettings, RunFile, SearchSettings

__all__ = ["read_run_file", "template", "write_run_file"]

_SHOWN = 5
_HEAD = """\
# A region for ogive: which scenes are searched, how they are paired, matched and made velocities,
# cubes, series and annual maps. Run it by `ogive run {name}`, see how far it is by
# `ogive status {name}`, stop it at any moment and run it again.
# Files are named relative to this one; null means: none, or what is usual.

"""


# ---- writing -------------------------------------------------------------------------------------


def template(
    name: str = "argentiere",
    *,
    bbox: tuple[float, float, float, float] = (6.90, 45.92, 7.03, 46.00),
    start: date = date(2020, 6, 1),
    end: date = date(2021, 10, 31),
    archive: str = "earth-search",
    glaciers: Path | None = None,
) -> RunFile:
    """Make a complete run file; by default of Glacier d'Argentière.

    Parameters
    ----------
    name
        Of the region.
    bbox
        West, south, east, north in degrees.
    start, end
        First and last day.
    archive
        Where scenes are searched.
    glaciers
        Outlines, without which nothing is calibrated.

    Raises
    ------
    InputError
        If a value does not fit.
    """
    try:
        return RunFile(
            name=name,
            region=RegionSettings(bbox=bbox, glaciers=glaciers),
            search=SearchSettings(start=start, end=end, archive=archive),
        )
    except ValidationError as error:
        raise InputError("; ".join(_told(problem) for problem in error.errors())) from error


def write_run_file(settings: RunFile, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a run file with a comment for every key.

    Raises
    ------
    OutputError
        If it is there already and shall not be replaced, or cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} is there already and was kept: choose another name")
    with atomic_path(path) as written:
        text = _HEAD.format(name=path.name) + settings_yaml(settings)
        written.write_text(text, encoding="utf-8")
    return path


# ---- reading -------------------------------------------------------------------------------------


def read_run_file(path: str | Path) -> RunFile:
    """Read a run file; its paths become absolute.

    Raises
    ------
    InputError
        If there is no such file, it is no YAML, or does not fit: told by line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text file") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        told = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{path}{line}: no YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(told, dict) or node is None:
        raise InputError(f"{path} holds no settings: make one by `ogive new {path.name}`")
    lines = dict(_lines_of(node, path))
    try:
        settings = RunFile.model_validate(told)
    except ValidationError as error:
        raise InputError(_problems(error, path, lines)) from error
    return _resolved(settings, path.absolute().parent)


def _lines_of(
    node: yaml.Node, path: Path, above: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Tell on which line each key stands, and refuse one that stands there twice."""
    yield above, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise InputError(
                    f"{path}, line {line}: {name!r} stands on line {seen[name]} already"
                )
            seen[name] = line
            yield from _lines_of(value, path, (*above, name))
            yield (*above, name), line
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _lines_of(value, path, (*above, number))


def _problems(error: ValidationError, path: Path, lines: dict[tuple[str | int, ...], int]) -> str:
    """Tell what does not fit, by line, the first few."""
    problems = error.errors()
    told = [
        f"{path}, line {_line(problem['loc'], lines)}: {_told(problem)}"
        for problem in problems[:_SHOWN]
    ]
    more = len(problems) - _SHOWN
    return "\n".join(told) + (f"\nand {more} more" if more > 0 else "")


def _line(place: Sequence[str | int], lines: dict[tuple[str | int, ...], int]) -> int:
    """Find the line of a key, or of the innermost key above it that there is."""
    for length in range(len(place), -1, -1):
        if tuple(place[:length]) in lines:
            return lines[tuple(place[:length])]
    return 1


def _told(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {key!r}"
    if problem["type"] == "missing":
        return f"{key!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _resolved(settings: RunFile, base: Path) -> RunFile:
    """Make paths absolute, and give the folder its usual place."""
    changes: dict[str, Any] = {}
    for section, names in {
        "region": ("file", "glaciers", "stable"),
        "match": ("prior", "weights"),
    }.items():
        own = getattr(settings, section)
        paths = {
            name: base / getattr(own, name) for name in names if getattr(own, name) is not None
        }
        changes[section] = own.model_copy(update=paths)
    folder = base / (settings.run.folder or settings.name)
    changes["run"] = settings.run.model_copy(update={"folder": folder})
    archive = base / settings.search.archive
    if "://" not in settings.search.archive and archive.exists():
        changes["search"] = settings.search.model_copy(update={"archive": str(archive)})
    return settings.model_copy(update=changes)
