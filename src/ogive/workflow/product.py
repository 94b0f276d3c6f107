"""The folder that holds a velocity map: all of its files, or none.

The files are written into a hidden folder beside and moved into their places together, the run's
own description last. What was there before is kept until then, and put back if a move fails.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import yaml

from ogive.model import OutputError, Pair
from ogive.store.atomic import atomic_path
from ogive.store.cog import write_cogs
from ogive.store.displacement_file import write_displacement
from ogive.store.velocity_file import velocity_file_name, write_velocity
from ogive.view.quicklook import quicklook
from ogive.workflow.velocity import Motion, Options, velocity_of

__all__ = ["DESCRIPTION", "LOG", "Product", "published", "write_product"]

DESCRIPTION = "run.yaml"
LOG = "run.log"
_QUICKLOOK = "quicklook.png"
_DISPLACEMENT = "displacement.nc"
_COGS = ("v", "vx", "vy", "v_error")
_KNOWN_BEFORE = (DESCRIPTION, LOG, _QUICKLOOK, _DISPLACEMENT, *(f"{name}.tif" for name in _COGS))

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Product:
    """What was written, in figures.

    Parameters
    ----------
    files
        Names of all files, the NetCDF first.
    count, measured
        Points of the map, and points with a measurement.
    unit
        Of the figures that follow.
    median_speed, top_speed
        Median and 99th percentile over the measured points; NaN where there are none.
    shift_x, shift_y, nmad_x, nmad_y
        What stable ground showed; NaN where there was none.
    """

    files: tuple[str, ...]
    count: int
    measured: int
    unit: str
    median_speed: float
    top_speed: float
    shift_x: float
    shift_y: float
    nmad_x: float
    nmad_y: float


# ---- publication ---------------------------------------------------------------------------------


@contextmanager
def published(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Lend a hidden folder whose files appear in a folder together, on leaving without an error.

    Parameters
    ----------
    folder
        Made if need be. Files in it that belong to no product stay as they are.
    overwrite
        Replace the product that lies there; its older files go.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    OutputError
        If the folder cannot be written, or a product lies there and shall not be replaced.
    """
    folder = Path(folder)
    if not overwrite:
        _refuse_existing(folder, _KNOWN_BEFORE)
    made = _missing_folders(folder)
    staging = folder / f".{secrets.token_hex(4)}.partial"
    try:
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            staging.mkdir()
        try:
            yield staging
        except OutputError as error:
            raise OutputError(str(error).replace(str(staging), str(folder))) from error
        if not overwrite:
            _refuse_existing(folder, [path.name for path in staging.iterdir()])
        with _explained(folder):
            _move_all(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _refuse_existing(folder: Path, names: Sequence[str]) -> None:
    found = sorted(name for name in names if (folder / name).exists())
    if found:
        raise OutputError(
            f"{folder} holds a product already ({', '.join(found)}), which was kept: choose "
            "another folder, or pass --overwrite"
        )


def _missing_folders(folder: Path) -> list[Path]:
    """List the folders that will have to be made, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Tell in a sentence what the operating system refuses."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OutputError(
            f"{folder} cannot be written: {reason.lower()}; nothing was left there"
        ) from error


def _move_all(staging: Path, folder: Path) -> None:
    """Move files into their places, the description last; put all back if one cannot."""
    new = sorted((path.name for path in staging.iterdir()), key=lambda name: name == DESCRIPTION)
    old = [name for name in {*_listed(folder), *new} if (folder / name).is_file()]
    before = staging / "before"
    before.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in old:
            (folder / name).rename(before / name)
            moved.append((folder / name, before / name))
        for name in new:
            (staging / name).rename(folder / name)
            moved.append((staging / name, folder / name))
    except OSError:
        for origin, place in reversed(moved):
            place.rename(origin)
        raise


def _listed(folder: Path) -> list[str]:
    """Read which files an older product says are its own."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return []
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OutputError(
            f"{path} is no description of a product, so it was kept: choose another folder"
        ) from error
    names = told.get("files", []) if isinstance(told, dict) else []
    return [name for name in names if isinstance(name, str) and Path(name).name == name]


# ---- what is written -----------------------------------------------------------------------------


def write_product(
    motion: Motion,
    folder: Path,
    *,
    options: Options,
    images: Sequence[str],
    dtype: Literal["float32", "int16"] = "float32",
) -> Product:
    """Write the map of a motion, its picture and its description.

    Parameters
    ----------
    motion
        Of `ogive.workflow.velocity.measure_motion`.
    folder
        Where to write, as `published` lends it.
    options
        With which the motion was measured.
    images
        Names of the earlier and the later image.
    dtype
        As in `ogive.write_velocity`.

    Returns
    -------
    Product
    """
    in_metres = motion.georeferenced or options.pixel_size is not None
    if in_metres:
        shown = velocity_of(motion, pixel_size=options.pixel_size)
        main = _write_velocity(shown, motion, folder, options, dtype)
    else:
        main = _DISPLACEMENT
        write_displacement(motion.displacement, folder / main, pair=motion.pair)
        shown = _as_pixels(motion)
    quicklook(shown, folder / _QUICKLOOK, background=motion.image, stable=motion.stable)
    others = {path.name for path in folder.iterdir()} - {main}
    files = (main, *sorted(others | {DESCRIPTION, LOG}))
    _describe(folder, motion, options, images, files)
    return _figures(shown, files)


def _write_velocity(
    velocity: xr.Dataset, motion: Motion, folder: Path, options: Options, dtype: Any
) -> str:
    pair = motion.pair
    assert pair is not None  # velocity_of has asked for it
    spacing = options.step * float(
        np.sqrt(velocity.attrs["pixel_size_x"] * velocity.attrs["pixel_size_y"])
    )
    percent = 100 * float(np.isfinite(velocity["v"].values).mean())
    main = velocity_file_name(pair, spacing, percent)
    write_velocity(velocity, folder / main, pair=pair, dtype=dtype)
    if motion.georeferenced:
        write_cogs(velocity, folder, _COGS)
    else:
        _log.info("no GeoTIFF was written: without a reference it could not say where it lies")
    return main


def _as_pixels(motion: Motion) -> xr.Dataset:
    """Give a displacement in pixels the names that the quicklook draws."""
    moved = motion.displacement
    shown = moved[["dx", "dy"]].rename(dx="vx", dy="vy")
    shown["v"] = (("y", "x"), np.hypot(moved["dx"].values, moved["dy"].values))
    for name in ("vx", "vy", "v"):
        shown[name].attrs["units"] = "pixel"
    return shown


def _describe(
    folder: Path,
    motion: Motion,
    options: Options,
    images: Sequence[str],
    files: Sequence[str],
) -> None:
    """Write the options as they were resolved, and the list of the product's files."""
    chosen = {
        name: _plain(getattr(options, name))
        for name in (field.name for field in fields(options))
        if name not in ("dates", "search", "pixels")
    }
    moved = motion.displacement
    told: dict[str, Any] = {
        "ogive": version("ogive"),
        "earlier": _image(images[0], motion.pair, "earlier"),
        "later": _image(images[1], motion.pair, "later"),
        "options": {**chosen, "search": motion.search_px},
        "found": {
            "features": str(moved.attrs["features"]),
            "calibration": str(moved.attrs["calibration"]),
            "measured_share": round(float(moved.attrs["measured_share"]), 4),
        },
        "files": list(files),
    }
    text = "# What ogive measured here, and how: options as they were resolved.\n"
    text += yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
    with atomic_path(folder / DESCRIPTION) as path:
        path.write_text(text, encoding="utf-8")


def _image(name: str, pair: Pair | None, which: str) -> dict[str, Any]:
    if pair is None:
        return {"file": name}
    scene = pair.earlier if which == "earlier" else pair.later
    return {
        "file": name,
        "time": scene.time.isoformat(),
        "time_from": str(scene.properties.get("date_source", "")),
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | bool | None) else str(value)


def _figures(shown: xr.Dataset, files: tuple[str, ...]) -> Product:
    speed = shown["v"].values
    known = speed[np.isfinite(speed)]
    median, top = np.percentile(known, [50, 99]) if known.size else (np.nan, np.nan)
    return Product(
        files=files,
        count=int(speed.size),
        measured=int(known.size),
        unit="m/yr" if shown["v"].attrs["units"] == "meter/year" else "px",
        median_speed=float(median),
        top_speed=float(top),
        **_stable_figures(shown["vx"].attrs, "x"),
        **_stable_figures(shown["vy"].attrs, "y"),
    )


def _stable_figures(attributes: Mapping[str, Any], axis: str) -> dict[str, float]:
    rests = int(attributes.get("stable_shift_flag", 0)) > 0
    return {
        f"shift_{axis}": float(attributes["stable_shift"]) if rests else float("nan"),
        f"nmad_{axis}": float(attributes["nmad_stationary"]) if rests else float("nan"),
    }
