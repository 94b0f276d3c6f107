"""View angles of Landsat 8 and 9 from a scene's angle coefficient file, ``*_ANG.txt``.

For each band the file has rational functions that take a line and a sample of the product, and the
height of the ground, to the place on one of fourteen sensor chips (SCA) and on to the unit vector
towards the satellite (east, north, up, true north), as USGS describes them in the Landsat 8-9
Calibration and Validation Algorithm Description Document. Where two chips see a place, their angles
are averaged, as USGS's own tool does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from numpy.typing import ArrayLike

from ogive.model import InputError

from .geometry_sight import Array, Places, Sight

__all__ = ["SceneAngles", "read_metadata", "read_scene_angles"]

_ENTRY = re.compile(r"^\s*(\w+)\s*=\s*(\([^)]*\)|\"[^\"]*\"|\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Rational:
    """``offset + numerator(terms) / (1 + denominator(terms without the constant))``."""

    offset: float
    numerator: Array
    denominator: Array

    def __call__(self, terms: Sequence[Array]) -> Array:
        above = sum(c * t for c, t in zip(self.numerator[1:], terms, strict=True))
        below = sum(c * t for c, t in zip(self.denominator, terms, strict=True))
        return np.asarray(self.offset + (self.numerator[0] + above) / (1.0 + below))


@dataclass(frozen=True, slots=True)
class _Chip:
    """Where on a sensor chip a line and a sample of the product come from."""

    mean_line: float
    mean_sample: float
    line: _Rational
    sample: _Rational


@dataclass(frozen=True, slots=True)
class SceneAngles:
    """The angle coefficients of one band of a scene.

    Attributes
    ----------
    path_number
        WRS-2 path.
    left_m, top_m, pixel_m
        Centre of the product's first pixel, and the pixels' side.
    height_m
        Mean height of the scene, at which angles are given unless the height is known.
    chip_lines, chip_samples
        Size of a sensor chip's image.
    """

    path: Path
    scene: str
    satellite: str
    path_number: int
    time: datetime
    band: str
    crs: pyproj.CRS
    left_m: float
    top_m: float
    pixel_m: float
    height_m: float
    mean_line: float
    mean_sample: float
    mean_chip_line: float
    mean_chip_sample: float
    chip_lines: float
    chip_samples: float
    vector: tuple[_Rational, _Rational, _Rational]
    chips: tuple[_Chip, ...]

    def sight(self, places: Places, height_m: ArrayLike | None = None) -> Sight:
        """Line of sight at places, NaN where the scene has no image.

        Parameters
        ----------
        places
            Where to look from, on any map.
        height_m
            Of the ground above the ellipsoid; the scene's mean by default.
        """
        line, sample = self._pixels(places)
        above = 0.0 if height_m is None else np.asarray(height_m, np.float64) - self.height_m
        rise = np.broadcast_to(above, line.shape)
        total = np.zeros((3, *line.shape))
        count = np.zeros(line.shape)
        for number, chip in enumerate(self.chips):
            terms = _chip_terms(line - chip.mean_line, sample - chip.mean_sample, rise)
            chip_line, chip_sample = chip.line(terms), chip.sample(terms)
            inside = (chip_line >= 0) & (chip_line <= self.chip_lines)
            inside &= (chip_sample >= 0) & (chip_sample <= self.chip_samples)
            if not inside.any():
                continue
            vectors = self._vectors(
                line[inside] - self.mean_line,
                sample[inside] - self.mean_sample,
                rise[inside],
                chip_line[inside] - self.mean_chip_line,
                chip_sample[inside] + number * self.chip_samples - self.mean_chip_sample,
            )
            total[:, inside] += vectors
            count[inside] += 1
        with np.errstate(invalid="ignore"):
            return Sight(total[0] / total[2], total[1] / total[2])

    def _pixels(self, places: Places) -> tuple[Array, Array]:
        x, y = places.x, places.y
        if places.crs != self.crs:
            there = pyproj.Transformer.from_crs(places.crs, self.crs, always_xy=True)
            x, y = (np.asarray(value) for value in there.transform(x, y))
        line = (self.top_m - np.asarray(y)) / self.pixel_m
        return np.atleast_1d(line), np.atleast_1d((np.asarray(x) - self.left_m) / self.pixel_m)

    def _vectors(
        self, line: Array, sample: Array, rise: Array, chip_line: Array, chip_sample: Array
    ) -> Array:
        terms = (
            line, sample, rise, chip_line, line * line, line * sample, sample * sample,
            chip_sample * chip_line * chip_line, chip_line**3,
        )  # fmt: skip
        vector = np.stack([part(terms) for part in self.vector])
        return np.asarray(vector / np.linalg.norm(vector, axis=0))


def _chip_terms(line: Array, sample: Array, rise: Array) -> tuple[Array, ...]:
    return line, sample, rise, line * sample


def read_scene_angles(path: str | Path, band: str = "B08") -> SceneAngles:
    """Read the angle coefficients of one band from ``*_ANG.txt``.

    Raises
    ------
    InputError
        If the file is not of Landsat 8 or 9, or lacks the band.
    """
    path = Path(path)
    told = read_metadata(path)
    number = _band_number(band, told, path)
    name = f"BAND{number:02d}"
    if f"{name}_SAT_X_NUM_COEF" not in told:
        craft = str(told.get("SPACECRAFT_ID", "an unknown satellite")).replace("_", " ").title()
        raise InputError(
            f"{path} is of {craft} and holds no coefficients by sensor chip, which Landsat 8 and 9 "
            "have: take the nominal geometry of its path"
        )

    def numbers(key: str) -> Array:
        value = told.get(f"{name}_{key}")
        if value is None:
            raise InputError(f"{path} has no {name}_{key}: it is incomplete")
        return np.atleast_1d(np.asarray(value, np.float64))

    mean_vector = numbers("MEAN_SAT_VECTOR")
    mean_line, mean_sample = numbers("MEAN_L1T_LINE_SAMP")
    chip_line, chip_sample = numbers("MEAN_L1R_LINE_SAMP")
    scene = str(told["LANDSAT_SCENE_ID"])
    corner = np.asarray(told["UL_CORNER"], np.float64)
    return SceneAngles(
        path=path,
        scene=scene,
        satellite=scene[2],
        path_number=int(scene[3:6]),
        time=_time(told, float(numbers("START_TIME")[0])),
        band=f"B{number}",
        crs=_crs(told, path),
        left_m=float(corner[0]),
        top_m=float(corner[1]),
        pixel_m=float(numbers("PIXEL_SIZE")[0]),
        height_m=float(numbers("MEAN_HEIGHT")[0]),
        mean_line=float(mean_line),
        mean_sample=float(mean_sample),
        mean_chip_line=float(chip_line),
        mean_chip_sample=float(chip_sample),
        chip_lines=float(numbers("NUM_L1R_LINES")[0]),
        chip_samples=float(numbers("NUM_L1R_SAMPS")[0]),
        vector=(
            _Rational(mean_vector[0], numbers("SAT_X_NUM_COEF"), numbers("SAT_X_DEN_COEF")),
            _Rational(mean_vector[1], numbers("SAT_Y_NUM_COEF"), numbers("SAT_Y_DEN_COEF")),
            _Rational(mean_vector[2], numbers("SAT_Z_NUM_COEF"), numbers("SAT_Z_DEN_COEF")),
        ),
        chips=tuple(_chip(numbers, int(chip)) for chip in numbers("SCA_LIST")),
    )


def _chip(numbers: Any, chip: int) -> _Chip:
    key = f"SCA{chip:02d}"
    mean_line, mean_sample = numbers(f"{key}_MEAN_L1T_LINE_SAMP")
    line, sample = numbers(f"{key}_MEAN_L1R_LINE_SAMP")
    return _Chip(
        float(mean_line),
        float(mean_sample),
        _Rational(line, numbers(f"{key}_LINE_NUM_COEF"), numbers(f"{key}_LINE_DEN_COEF")),
        _Rational(sample, numbers(f"{key}_SAMP_NUM_COEF"), numbers(f"{key}_SAMP_DEN_COEF")),
    )


def read_metadata(path: str | Path) -> Mapping[str, Any]:
    """Read the entries of a Landsat text file (``*_ANG.txt``, ``*_MTL.txt``); groups are dropped.

    Returns
    -------
    Mapping
        Text, numbers, and arrays of numbers. Of entries that occur twice the first is kept.

    Raises
    ------
    InputError
        If the file cannot be read or is something else.
    """
    try:
        text = Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a Landsat metadata file: {error}") from error
    entries: dict[str, Any] = {}
    for key, value in _ENTRY.findall(text):
        if key not in ("GROUP", "END_GROUP"):
            entries.setdefault(key, _value(value))
    if "SPACECRAFT_ID" not in entries:
        raise InputError(f"{path} names no spacecraft: it is no Landsat metadata file")
    return entries


def _value(text: str) -> Any:
    if text.startswith('"'):
        return text[1:-1]
    if text.startswith("("):
        parts = text[1:-1].replace("\n", " ").split(",")
        try:
            return np.array([float(part) for part in parts])
        except ValueError:
            return [part.strip().strip('"') for part in parts]
    try:
        return float(text)
    except ValueError:
        return text


def _band_number(band: str, told: Mapping[str, Any], path: Path) -> int:
    digits = band.strip().upper().removeprefix("B").lstrip("0")
    known = [int(number) for number in np.atleast_1d(told.get("BAND_LIST", []))]
    if not digits.isdigit() or int(digits) not in known:
        raise InputError(f"{path} has no band {band!r}: it holds {known}")
    return int(digits)


def _crs(told: Mapping[str, Any], path: Path) -> pyproj.CRS:
    """Landsat keeps to northern UTM zones south of the equator too, with negative northings."""
    if told.get("MAP_PROJECTION") == "UTM":
        return pyproj.CRS.from_epsg(32600 + int(told["UTM_ZONE"]))
    if told.get("MAP_PROJECTION") == "PS":
        scale_latitude = float(np.asarray(told["PROJECTION_PARAMETERS"])[5]) / 1e6
        if np.isclose(scale_latitude, -71.0):
            return pyproj.CRS.from_epsg(3031)
    raise InputError(
        f"{path} is in a projection ({told.get('MAP_PROJECTION')}) that is not read here: only UTM "
        "and Antarctica's polar stereographic one are"
    )


def _time(told: Mapping[str, Any], start: float) -> datetime:
    year, day = int(told["EPHEMERIS_EPOCH_YEAR"]), int(told["EPHEMERIS_EPOCH_DAY"])
    seconds = float(told["EPHEMERIS_EPOCH_SECONDS"]) + start
    return datetime(year, 1, 1) + timedelta(days=day - 1, seconds=seconds)
