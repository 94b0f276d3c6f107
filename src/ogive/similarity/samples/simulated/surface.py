"""What the ice of a sample looks like in both images: texture, what replaces it, relief and sun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ogive.simulation.sun import SunPosition, cast_shadow, sun_position

from .fields import FieldBank, blurred, cut_out, sampled
from .motion import SceneMotion
from .ranges import Ranges, Relief, Sun, TextureRanges, draw, draw_log
from .texture import Texture

__all__ = ["Light", "Looks", "draw_light", "replaced", "shadows", "with_relief"]

LEAST_SUN_DEG = 8.0
LATEST_SCENE_YEAR = 2024
DIFFUSE = 0.2
"""Light left in a cast shadow."""
SHADOW_CELL = 4
"""Scene pixels to a cell of the relief that casts shadows."""

Draw = Callable[[], Texture]


@dataclass(frozen=True)
class Light:
    """Where the sun stood for one image, and when."""

    sun: SunPosition
    time: datetime


@dataclass
class Looks:
    """The two images of the scene while they are made, and what became invisible.

    Attributes
    ----------
    earlier, later
        ``(y, x)``, texture of about deviation one.
    lost
        ``(y, x)`` of the earlier image: share of the fine texture that the later one shows no more.
    """

    earlier: Tensor
    later: Tensor
    lost: Tensor


def draw_light(rng: np.random.Generator, ranges: Sun, days: float) -> tuple[Light, Light]:
    """Sun of both dates at one place, by real sun positions; never below `LEAST_SUN_DEG`."""
    while True:
        latitude = draw(rng, ranges.latitude_deg)
        start = datetime(int(rng.integers(2016, LATEST_SCENE_YEAR)), 1, 1)
        lights = []
        first_day = rng.uniform(0, 365)
        for day in (first_day, first_day + days):
            time = start + timedelta(days=int(day), hours=draw(rng, ranges.acquisition_hour))
            sun = sun_position(time, latitude_deg=latitude, longitude_deg=0.0)
            lights.append(Light(sun, time))
        if min(light.sun.elevation_deg for light in lights) >= LEAST_SUN_DEG:
            return lights[0], lights[1]


def worn(
    rng: np.random.Generator, texture: Texture, scale: float, place: Sequence[Tensor]
) -> list[Tensor]:
    """Values of a texture at places of the scene, from one random turn and spot, normalised alike.

    Parameters
    ----------
    texture
        The source.
    scale
        Pixels of the source to one of the scene.
    place
        ``(2, y, x)`` each, in scene pixels.
    """
    height, width = texture.pixels.shape
    side = place[0].shape[-1]
    # A small source must not be mirrored more than once.
    scale = min(scale, 0.8 * min(height, width) / side)
    angle = rng.uniform(0, 2 * np.pi)
    mirror = rng.choice([-1.0, 1.0])
    cosine, sine = scale * float(np.cos(angle)), scale * float(np.sin(angle))
    half = scale * side / 2
    spot = [rng.uniform(min(half, n / 2), max(n - half, n / 2)) for n in (width, height)]
    parts = [
        sampled(
            texture.pixels,
            mirror * cosine * x - sine * y + spot[0],
            mirror * sine * x + cosine * y + spot[1],
        )
        for x, y in place
    ]
    mean, deviation = parts[0].mean(), parts[0].std() + 1e-3
    return [(part - mean) / deviation for part in parts]


def replaced(
    rng: np.random.Generator,
    looks: Looks,
    motion: SceneMotion,
    ranges: TextureRanges,
    *,
    draw_texture: Draw,
    clouds: FieldBank,
    scale: float,
    changed: float,
) -> Looks:
    """Replace part of the texture in one or both images, more the more the surface has changed.

    Coarse and fine texture change differently: a moraine outlasts the meltwater on it.

    Parameters
    ----------
    looks
        The images so far.
    motion
        Of the ice.
    ranges
        How much and how.
    draw_texture
        Gives the texture that comes instead.
    clouds
        Fields from which the replaced part is cut.
    scale
        Of the first texture.
    changed
        Share of the surface that has changed since, from 0 to 1.
    """
    side = looks.earlier.shape[-1]
    both = rng.random() < ranges.replaced_in_both_share
    images = {"later": (looks.later, motion.later), "earlier": (looks.earlier, motion.earlier)}
    made = {"later": looks.later, "earlier": looks.earlier}
    lost = looks.lost
    least, most = ranges.replaced_most
    for name in ("later", "earlier")[: 1 + both]:
        image, place = images[name]
        other = worn(rng, draw_texture(), scale * float(np.exp(rng.normal(0, 0.3))), [place])[0]
        edge = draw(rng, ranges.replaced_edge)
        field = cut_out(rng, clouds, side) + rng.uniform(-1.5, 1.5)
        amount = min(1.0, rng.uniform(least, least + (most - least) * changed))
        fine = torch.sigmoid(field / edge) * amount
        coarse = fine * (1.0 if rng.random() < 0.5 else rng.uniform(0, 1))
        split = 2 * draw_log(rng, ranges.band_split_px)
        low, other_low = _coarse(image, split), _coarse(other, split)
        made[name] = (
            low
            + coarse * (other_low - low)
            + (1 - fine) * (image - low)
            + fine * (other - other_low)
        )
        lost = torch.maximum(lost, _in_earlier(fine, motion) if name == "later" else fine)
    return Looks(made["earlier"], made["later"], lost)


def _coarse(image: Tensor, sigma: float) -> Tensor:
    """The image smoothed, by way of a quarter of its resolution."""
    small = functional.interpolate(image[None, None], scale_factor=0.25, mode="area")[0]
    return functional.interpolate(
        blurred(small, sigma / 4)[None], size=image.shape, mode="bilinear", align_corners=False
    )[0, 0]


def _in_earlier(part: Tensor, motion: SceneMotion) -> Tensor:
    """A map of the later image carried to the pixels of the earlier one."""
    middle = (part.shape[-1] - 1) / 2
    x, y = motion.grid + motion.displacement + middle
    return sampled(part, x, y, smooth=False)


def with_relief(
    rng: np.random.Generator,
    looks: Looks,
    motion: SceneMotion,
    ranges: Ranges,
    *,
    relief: FieldBank,
    clouds: FieldBank,
    lights: tuple[Light, Light],
) -> Looks:
    """Add crevasses or roughness that move with the ice, shaded by the sun of each date.

    Crevasses open across the principal extension. Within an icefall the later image has others.
    """
    side = looks.earlier.shape[-1]
    images = [looks.earlier, looks.later]
    lost = looks.lost
    if rng.random() < ranges.relief.crevasse_share:
        number = int(rng.integers(len(relief.fields)))
        turn = _turn(rng, motion, float(relief.along_deg[number]), ranges.relief)
        contrast = draw_log(rng, ranges.relief.contrast)
        albedo = rng.uniform(0, 0.7)
        scale = draw_log(rng, (0.6, 1.6))
        cover: Tensor | float = 1.0
        if rng.random() < 0.6:
            cover = torch.sigmoid((cut_out(rng, clouds, side) + rng.uniform(-1, 2)) / 0.4)
        fields = _turned(rng, relief.fields[number], turn, scale, [motion.earlier, motion.later])
        if rng.random() < ranges.texture.icefall_share:
            new = _turned(rng, relief.fields[number], turn, scale, [motion.later])[0]
            band = torch.sigmoid((cut_out(rng, clouds, side) + rng.uniform(-1, 0.5)) / 0.2)
            fields[1] = fields[1].lerp(new, band)
            images[1] = images[1] * (1 - 0.9 * band)
            lost = torch.maximum(lost, _in_earlier(band, motion))
        for number_, (height, light) in enumerate(zip(fields, lights, strict=True)):
            shade = _shaded(height, light.sun, harshness=rng.uniform(0.5, 3))
            images[number_] = images[number_] + contrast * cover * (shade + albedo * height)
    if rng.random() < ranges.relief.self_shading_share:
        contrast = draw_log(rng, ranges.relief.contrast)
        images = [
            image + contrast * _shaded(image, light.sun, harshness=3.0)
            for image, light in zip(images, lights, strict=True)
        ]
    return Looks(images[0], images[1], lost)


def _turn(rng: np.random.Generator, motion: SceneMotion, along: float, ranges: Relief) -> float:
    """By how much, in radians, ridges are turned."""
    if np.isfinite(along) and rng.random() < ranges.crevasse_along_strain:
        return float(np.deg2rad(along - motion.extension_deg))
    return float(rng.uniform(0, 2 * np.pi))


def _turned(
    rng: np.random.Generator, field: Tensor, turn: float, scale: float, place: Sequence[Tensor]
) -> list[Tensor]:
    """A field of relief at places of the scene, turned by an angle."""
    cosine, sine = scale * float(np.cos(turn)), scale * float(np.sin(turn))
    spot = rng.uniform(0.35, 0.65, size=2) * field.shape[-1]
    return [
        sampled(field, cosine * x - sine * y + spot[0], sine * x + cosine * y + spot[1])
        for x, y in place
    ]


def _shaded(height: Tensor, sun: SunPosition, *, harshness: float) -> Tensor:
    """Light and shade of a relief: its slope towards the sun, stronger the lower the sun stands."""
    azimuth = float(np.deg2rad(sun.azimuth_deg))
    across = functional.pad((height[:, 2:] - height[:, :-2]) / 2, (1, 1))
    down = functional.pad((height[2:] - height[:-2]) / 2, (0, 0, 1, 1))
    # The upper edge is north: the sun stands towards (sin, -cos).
    facing = float(np.cos(azimuth)) * down - float(np.sin(azimuth)) * across
    low_sun = float(np.clip(1 / np.tan(np.deg2rad(sun.elevation_deg)), 0.5, 3.0))
    facing = low_sun**0.5 * facing / (facing.std() + 1e-3)
    shade: Tensor = facing.clamp(-harshness, 1.5 * harshness)
    return shade


def shadows(
    rng: np.random.Generator, side: int, clouds: FieldBank, lights: tuple[Light, Light]
) -> list[Tensor]:
    """Light left by the relief of the valley, which stands still, for both suns."""
    cells = side // SHADOW_CELL
    heights = cut_out(rng, clouds, side)[::SHADOW_CELL, ::SHADOW_CELL].double()
    steepest = float(torch.stack(torch.gradient(heights)).square().sum(0).sqrt().quantile(0.9))
    heights = heights * float(np.tan(np.deg2rad(rng.uniform(25, 60)))) / max(steepest, 1e-6)
    found = []
    for light in lights:
        lit = torch.from_numpy(cast_shadow(heights.numpy(), light.sun, step_m=1.0))
        wide = functional.interpolate(
            lit.reshape(1, 1, cells, cells), size=(side, side), mode="bilinear", align_corners=False
        )[0, 0]
        found.append(DIFFUSE + (1 - DIFFUSE) * wide)
    return found
