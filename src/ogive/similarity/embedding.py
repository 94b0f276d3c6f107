"""When, under which sun and by what an image was taken, as numbers that a network can use.

A texture looks different in another light and after another time, so a network may be *conditioned*
on both. `encode` turns a `Condition` into a vector of fixed layout, the same for every network;
`Film` scales and shifts the channels of named layers by what a network makes of the columns that it
was built with (feature-wise linear modulation; Perez et al. 2018, FiLM, AAAI). Both images of a
pair pass the same layers, each with the vector of its own light and date, and with the time between
the two, which they share.

What is not known is marked: its numbers and the bit that says "present" are zero. No map here has a
bias, so a vector of zeros modulates nothing: without any condition, a conditioned network is the
unconditioned one, after training as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ogive.model import DAYS_PER_YEAR, InputError, Scene

__all__ = [
    "CONDITIONS",
    "CONDITION_LENGTH",
    "SENSORS",
    "Condition",
    "Film",
    "Modulation",
    "condition_columns",
    "condition_of",
    "encode",
]

SENSORS = ("sentinel-2", "landsat-oli", "landsat-etm", "landsat-tm", "planet", "other")
"""Names of sensors, one column each; a sensor that is not among them is ``"other"``."""

EMBEDDING_CHANNELS = 32
LONGEST_DAYS = DAYS_PER_YEAR
NORMAL_PIXEL_M = 10.0

Modulation = Callable[[str, Tensor], Tensor]
"""What a network calls at each named layer: the layer's name and features give features."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How one image of a pair was taken; ``None`` where it is not known.

    Parameters
    ----------
    days_between
        Time between the two images of the pair, the same for both.
    sun_azimuth_deg
        Where the sun stood for this image, clockwise from the direction of the image's upper edge
        (north, in a north-up image).
    sun_elevation_deg
        Above the horizon.
    day_of_year
        Of this image, 1 to 366.
    pixel_size_m
        Of the grid that the images are on.
    sensor
        One of `SENSORS`.

    Raises
    ------
    InputError
        A value that cannot be: a sun below the nadir, a pixel without size, an unknown sensor.

    Examples
    --------
    >>> Condition(days_between=16, sun_azimuth_deg=150.0).sensor is None
    True
    """

    days_between: float | None = None
    sun_azimuth_deg: float | None = None
    sun_elevation_deg: float | None = None
    day_of_year: float | None = None
    pixel_size_m: float | None = None
    sensor: str | None = None

    def __post_init__(self) -> None:
        if self.sensor is not None and self.sensor not in SENSORS:
            raise InputError(
                f"sensor is {self.sensor!r}: give one of {', '.join(SENSORS)}, or None"
            )
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            # NaN fails the comparison too.
            if value is not None and not least <= value <= most:
                raise InputError(
                    f"{name} is {value}: it must lie in {least:g} to {most:g}, or be None"
                )


_LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "days_between": (0.0, 1e5),
        "sun_azimuth_deg": (-360.0, 360.0),
        "sun_elevation_deg": (-90.0, 90.0),
        "day_of_year": (1.0, 367.0),
        "pixel_size_m": (1e-3, 1e5),
    }
)


def _angle(degrees: float) -> list[float]:
    return [math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]


def _log_days(days: float) -> list[float]:
    # 5 and 400 days differ as 1 and 80 do: decorrelation goes by the ratio.
    return [math.log1p(days) / math.log1p(LONGEST_DAYS)]


def _log_pixel(pixel_size_m: float) -> list[float]:
    return [math.log2(pixel_size_m / NORMAL_PIXEL_M) / 2.0]


def _one_of_sensors(sensor: str) -> list[float]:
    return [float(sensor == name) for name in SENSORS]


_ENCODERS: Mapping[str, tuple[int, Callable[..., list[float]]]] = MappingProxyType(
    {
        "days_between": (1, _log_days),
        "sun_azimuth_deg": (2, _angle),
        "sun_elevation_deg": (2, _angle),
        "day_of_year": (2, lambda day: _angle(360.0 * day / DAYS_PER_YEAR)),
        "pixel_size_m": (1, _log_pixel),
        "sensor": (len(SENSORS), _one_of_sensors),
    }
)

CONDITIONS: tuple[str, ...] = tuple(field.name for field in fields(Condition))
"""What a network may be conditioned on, in the order of the vector."""

CONDITION_LENGTH = sum(width + 1 for width, _ in _ENCODERS.values())
"""Length K of the vector that `encode` gives."""


def encode(condition: Condition) -> Tensor:
    """The vector of a condition: for each field its numbers and a bit that says it is known.

    Parameters
    ----------
    condition
        What is known of the image.

    Returns
    -------
    torch.Tensor
        ``(CONDITION_LENGTH,)``, float32: angles as sine and cosine, time and pixel size as
        logarithms, the sensor as one column each.

    Examples
    --------
    >>> encode(Condition()).abs().sum().item()
    0.0
    >>> encode(Condition(sun_azimuth_deg=90.0))[2:5].round().tolist()
    [1.0, 0.0, 1.0]
    """
    vector: list[float] = []
    for name, (width, encoder) in _ENCODERS.items():
        value = getattr(condition, name)
        vector += [0.0] * (width + 1) if value is None else [*encoder(value), 1.0]
    return torch.tensor(vector, dtype=torch.float32)


def condition_of(
    scene: Scene, *, days_between: float | None = None, pixel_size_m: float | None = None
) -> Condition:
    """What a scene's metadata say, as a `Condition`.

    Parameters
    ----------
    scene
        The image's scene; angles that it does not give stay unknown.
    days_between
        Time between it and the other image of the pair.
    pixel_size_m
        Of the grid that the image was read on.

    Examples
    --------
    >>> from datetime import datetime
    >>> scene = Scene("a", datetime(2020, 3, 1, 12), mission="landsat", satellite="8")
    >>> condition_of(scene).sensor, condition_of(scene).day_of_year
    ('landsat-oli', 61.5)
    """
    start = scene.time.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    return Condition(
        days_between=days_between,
        sun_azimuth_deg=scene.sun_azimuth_deg,
        sun_elevation_deg=scene.sun_elevation_deg,
        day_of_year=1.0 + (scene.time - start).total_seconds() / 86400.0,
        pixel_size_m=pixel_size_m,
        sensor=_sensor_of(scene),
    )


def _sensor_of(scene: Scene) -> str | None:
    if not scene.mission:
        return None
    if scene.mission == "landsat":
        by_satellite = {"4": "tm", "5": "tm", "7": "etm", "8": "oli", "9": "oli"}
        name = by_satellite.get(scene.satellite)
        return f"landsat-{name}" if name else "other"
    return scene.mission if scene.mission in SENSORS else "other"


def condition_columns(names: Sequence[str]) -> list[int]:
    """Columns of the vector that belong to some conditions.

    Raises
    ------
    InputError
        For a name that is not among `CONDITIONS`.

    Examples
    --------
    >>> condition_columns(["days_between", "pixel_size_m"])
    [0, 1, 11, 12]
    """
    unknown = [name for name in names if name not in CONDITIONS]
    if unknown:
        raise InputError(
            f"a network cannot be conditioned on {unknown[0]!r}: choose among "
            f"{', '.join(CONDITIONS)}"
        )
    columns: list[int] = []
    start = 0
    for name, (width, _) in _ENCODERS.items():
        if name in names:
            columns += range(start, start + width + 1)
        start += width + 1
    return columns


def _unchanged(layer: str, features: Tensor) -> Tensor:
    return features


class Film(nn.Module):
    r"""Modulates the features of named layers by a condition: :math:`(1 + \gamma)\,x + \beta`.

    The columns of the network's conditions pass one hidden layer, and a linear map for each named
    layer gives its :math:`\gamma` and :math:`\beta` per channel. These maps start at zero, the
    identity; without conditions there is nothing to learn, and nothing is changed.

    Parameters
    ----------
    conditions
        Names out of `CONDITIONS`; none for a network without condition.
    channels
        How many channels each layer has that may be modulated.
    layers
        Which of these are; all if left out.

    Raises
    ------
    InputError
        For a condition or a layer that does not exist.
    """

    columns: Tensor

    def __init__(
        self,
        conditions: Sequence[str],
        channels: Mapping[str, int],
        *,
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        chosen = tuple(channels) if layers is None else tuple(layers)
        unknown = [layer for layer in chosen if layer not in channels]
        if unknown:
            raise InputError(
                f"there is no layer {unknown[0]!r} to condition: choose among {', '.join(channels)}"
            )
        columns = condition_columns(conditions)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        if not columns:
            return
        self.hidden = nn.Sequential(
            nn.Linear(len(columns), EMBEDDING_CHANNELS, bias=False), nn.ReLU()
        )
        self.maps = nn.ModuleDict(
            {
                layer: nn.Linear(EMBEDDING_CHANNELS, 2 * channels[layer], bias=False)
                for layer in chosen
            }
        )
        for linear in self.maps.values():
            nn.init.zeros_(linear.weight)  # type: ignore[arg-type]

    def forward(self, condition: Tensor | None) -> Modulation:
        """Prepare the modulation of one batch.

        Parameters
        ----------
        condition
            ``(batch, CONDITION_LENGTH)``; ``None`` where nothing is known.

        Returns
        -------
        Modulation
            A function of a layer's name and of its features ``(batch, channel, y, x)``.

        Raises
        ------
        InputError
            For vectors of another length.
        """
        if condition is not None and (
            condition.ndim != 2 or condition.shape[1] != CONDITION_LENGTH
        ):
            raise InputError(
                f"a condition of shape {tuple(condition.shape)}: (batch, {CONDITION_LENGTH}) is "
                "needed, as encode() gives it"
            )
        if condition is None or not self.columns.numel():
            return _unchanged
        embedded = self.hidden(condition.index_select(1, self.columns))

        def modulate(layer: str, features: Tensor) -> Tensor:
            if layer not in self.maps:
                return features
            gamma, beta = self.maps[layer](embedded)[..., None, None].chunk(2, 1)
            modulated: Tensor = features * (1.0 + gamma) + beta
            return modulated

        return modulate
