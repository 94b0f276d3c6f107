"""Ranges of what simulated training pairs are like, read from a commented YAML file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ogive.model import InputError

__all__ = ["Ranges", "draw", "draw_log", "read_ranges"]


def _in_order(range_: tuple[float, float]) -> tuple[float, float]:
    if range_[0] > range_[1]:
        raise ValueError(f"the range {list(range_)} ends before it begins")
    return range_


def _positive(range_: tuple[float, float]) -> tuple[float, float]:
    if range_[0] <= 0:
        raise ValueError(f"the range {list(range_)} is drawn in the logarithm: above zero only")
    return range_


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Range = Annotated[tuple[float, float], AfterValidator(_in_order)]
LogRange = Annotated[tuple[float, float], AfterValidator(_in_order), AfterValidator(_positive)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Motion(_Part):
    """Of the ice between the two images."""

    translation_px: Range
    strain: LogRange
    undulation_px: LogRange
    margin_share: Share
    margin_width_px: LogRange
    margin_step_px: Range
    terminus_share: Share
    terminus_retreat_px: Range
    stable_share: Share
    misregistration_px: Range


class Time(_Part):
    """Between the two images, and how fast the surface changes."""

    days: LogRange
    decorrelation_days: LogRange


class TextureRanges(_Part):
    """Of the source image, and what of it is replaced."""

    scale: LogRange
    replaced_share: Share
    replaced_in_both_share: Share
    replaced_most: Range
    replaced_edge: Range
    band_split_px: LogRange
    icefall_share: Share


class Relief(_Part):
    """Crevasses and other relief, lit by the sun."""

    crevasse_share: Share
    contrast: LogRange
    crevasse_along_strain: Share
    self_shading_share: Share
    shadow_share: Share


class Sun(_Part):
    """Where the sample lies, and when satellites pass."""

    latitude_deg: Range
    acquisition_hour: Range


class Surface(_Part):
    """Snow and brightness."""

    snow_share: Share
    gamma: Range
    gain_deviation: Annotated[float, Field(ge=0.0)]


class Atmosphere(_Part):
    """Clouds and their shadows."""

    cloud_share: Share
    veil_share: Share
    veil_transmission: LogRange
    cloud_shadow_share: Share


class Sensor(_Part):
    """Point spread, noise, and what was done to the numbers."""

    texture_contrast: LogRange
    psf_px: Range
    blur_share: Share
    blur_px: Range
    signal_to_noise: LogRange
    correlated_noise_share: Share
    stripe_share: Share
    eight_bit_share: Share
    eight_bit_contrast: LogRange
    jpeg_share: Share
    jpeg_quality: tuple[int, int]


class Ranges(_Part):
    """What simulated pairs are like; see the comments of ``ranges.yaml`` beside this file."""

    motion: Motion
    time: Time
    texture: TextureRanges
    relief: Relief
    sun: Sun
    surface: Surface
    atmosphere: Atmosphere
    sensor: Sensor


def read_ranges(path: str | Path | None = None) -> Ranges:
    """Read the ranges of simulated samples.

    Parameters
    ----------
    path
        A YAML file like ``ranges.yaml``; a file that leaves entries out takes them from the
        package's own, which is also what ``None`` gives.

    Raises
    ------
    InputError
        If the file cannot be read, or an entry is unknown or impossible.

    Examples
    --------
    >>> read_ranges().time.days
    (5.0, 400.0)
    """
    own = resources.files(__package__).joinpath("ranges.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(own)
    if path is not None:
        given = _read_yaml(Path(path))
        for part, entries in given.items():
            if part not in values or not isinstance(entries, dict):
                raise InputError(
                    f"{path}: no part {part!r} of simulated samples: there are {', '.join(values)}"
                )
            values[part].update(entries)
    try:
        return Ranges.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {place}: {first['msg']}") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(given, dict):
        raise InputError(f"{path} holds no ranges: parts with entries are needed")
    return given


def draw(rng: np.random.Generator, range_: tuple[float, float]) -> float:
    """A value drawn evenly from a range."""
    return float(rng.uniform(*range_))


def draw_log(rng: np.random.Generator, range_: tuple[float, float]) -> float:
    """A value drawn evenly in the logarithm from a range above zero."""
    return float(np.exp(rng.uniform(np.log(range_[0]), np.log(range_[1]))))
