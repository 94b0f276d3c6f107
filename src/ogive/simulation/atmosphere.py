"""Air between the ground and the satellite: haze, thin cloud, cloud and its shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from .noise import Float32Array, filtered_noise, fractal_noise
from .sun import SunPosition

__all__ = ["Atmosphere", "Clouds", "clouds", "through_the_air"]

CLOUD_REFLECTANCE = 0.78
CLOUD_HEIGHT_M = 1900.0
SHADOW_DEPTH = 0.75


@dataclass(frozen=True, slots=True)
class Atmosphere:
    """One day's air.

    Attributes
    ----------
    gain
        Transmittance relative to that of the mean day.
    path_reflectance
        What the air itself adds.
    haze
        Relative amplitude of slow variations over the scene.
    cloud_cover
        Share of the scene under cloud.
    """

    gain: float = 1.0
    path_reflectance: float = 0.01
    haze: float = 0.01
    cloud_cover: float = 0.0


class Clouds(NamedTuple):
    """Opacity of the clouds and of their shadows on the ground, 0 to 1, ``(y, x)``."""

    opacity: Float32Array
    shadow: Float32Array


def clouds(
    shape: tuple[int, int],
    *,
    cover: float,
    sun: SunPosition,
    pixel_m: float,
    rng: np.random.Generator,
) -> Clouds:
    """Cumulus-like clouds that cover a share of the scene, and their shadows away from the sun.

    Parameters
    ----------
    shape
        ``(y, x)`` pixels.
    cover
        Share of the scene where the opacity is above one half.
    sun
        Its position, above the horizon.
    pixel_m
        Side of a pixel.
    rng
        Where the noise comes from.
    """
    if cover <= 0:
        return Clouds(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    reach = min(CLOUD_HEIGHT_M / np.tan(np.deg2rad(max(sun.elevation_deg, 8.0))), 9000.0) / pixel_m
    border = int(np.ceil(reach)) + 1
    large = (shape[0] + 2 * border, shape[1] + 2 * border)
    field = fractal_noise(
        large, slope=3.2, longest=2500.0 / pixel_m, shortest=40.0 / pixel_m, rng=rng
    )
    inner = np.s_[border : border + shape[0], border : border + shape[1]]
    level = np.quantile(field[inner], 1 - min(cover, 1.0))
    # A thin rim, then a body that grows slowly denser.
    depth = (field - level).astype(np.float64)
    body = np.clip(0.5 + depth / 0.9, 0, 0.8) + 0.2 * np.clip(depth, 0, 1)
    opacity: Float32Array = body.astype(np.float32)
    azimuth = np.deg2rad(sun.azimuth_deg)
    # A shadow lies where the ground looks towards the sun and sees the cloud.
    towards_sun = (-np.cos(azimuth) * reach, np.sin(azimuth) * reach)
    shadow = ndimage.shift(
        opacity, (-towards_sun[0], -towards_sun[1]), order=1, mode="nearest", prefilter=False
    )
    return Clouds(
        opacity[inner].copy(), np.asarray(shadow[inner] * (1 - opacity[inner]), np.float32)
    )


def through_the_air(
    reflectance: Float32Array, air: Atmosphere, sky: Clouds, *, rng: np.random.Generator
) -> Float32Array:
    """Reflectance at the top of the atmosphere.

    Parameters
    ----------
    reflectance
        At the ground, ``(y, x)``.
    air
        Gain, path reflectance and haze.
    sky
        Clouds and their shadows.
    rng
        Where the haze comes from.
    """
    shape = (reflectance.shape[0], reflectance.shape[1])
    slow = filtered_noise(
        shape, lambda fx, fy: np.exp(-((min(shape) * 0.4) ** 2) * (fx**2 + fy**2)), rng=rng
    )
    lit = reflectance * (1 - SHADOW_DEPTH * sky.shadow)
    seen = air.gain * lit * (1 + air.haze * slow) + air.path_reflectance
    body = CLOUD_REFLECTANCE * (0.72 + 0.34 * sky.opacity) + 0.05 * slow
    return np.asarray((1 - sky.opacity) * seen + sky.opacity * body, np.float32)
