"""Simulated training pairs: real textures moved by a known flow, and changed as ice is changed.

A sample is drawn from `Ranges` in the order of the light's way: the ice moves (`motion`), wears the
texture of a real image, part of which is replaced as time passes, is crevassed and shaded by the
sun of each date (`surface`), ends in water (`terminus`), is snowed on, and is seen through air by
a sensor (`sensor`). The scene is made on a grid twice as fine as the image, both images are moved
by half the displacement, and the sensor's point spread is applied before each second pixel is
kept: no interpolation is left in one image that is not in the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ogive.model import DAYS_PER_YEAR, InputError

from ...embedding import Condition, encode
from ..sample import Sample
from .fields import SCENE_PER_PIXEL, cloud_bank, relief_bank
from .motion import SceneMotion, draw_motion
from .ranges import Ranges, draw_log, read_ranges
from .sensor import draw_cameras, seen_through, snowed
from .surface import Light, Looks, draw_light, replaced, shadows, with_relief, worn
from .terminus import draw_terminus
from .texture import Texture, read_textures, texture_of

__all__ = [
    "Ranges",
    "SimulatedSamples",
    "Texture",
    "read_ranges",
    "read_textures",
    "texture_of",
]

LOST = 0.93
"""Where more than this of the fine texture is gone, nothing is left to match."""
LEAST_CLEAR = 0.1
LARGEST_PX = 256


class SimulatedSamples:
    """Samples drawn from real textures; sample ``index`` is the same whenever it is asked for.

    Parameters
    ----------
    textures
        Real images to wear; see `read_textures`.
    ranges
        What samples are like; see `read_ranges`.
    size_px
        Side of the images.
    seed
        Of the draw.

    Raises
    ------
    InputError
        Without a texture, or if the size is impossible.

    Examples
    --------
    >>> rough = np.random.default_rng(0).normal(size=(300, 300)).astype("float32")
    >>> texture = texture_of(rough, np.isfinite(rough), place="nowhere")
    >>> samples = SimulatedSamples([texture], read_ranges(), size_px=64, seed=1)
    >>> tuple(samples.sample(5)["earlier"].shape)
    (1, 64, 64)
    """

    def __init__(
        self, textures: Sequence[Texture], ranges: Ranges, *, size_px: int = 128, seed: int = 0
    ) -> None:
        if not textures:
            raise InputError("no texture to make samples of: no image is large and whole enough")
        if not 32 <= size_px <= LARGEST_PX - 2:
            raise InputError(f"samples of {size_px} px: 32 to {LARGEST_PX - 2} are possible")
        self.textures = list(textures)
        weight = np.array([texture.weight for texture in textures])
        self._chance = weight / weight.sum()
        self.ranges = ranges
        self.size_px = size_px
        self.seed = seed
        self._clouds = cloud_bank(seed)
        self._relief = relief_bank(seed)

    def _texture(self, rng: np.random.Generator) -> Texture:
        return self.textures[int(rng.choice(len(self.textures), p=self._chance))]

    def sample(self, index: int) -> Sample:
        """Draw the sample of this number."""
        rng = np.random.default_rng((self.seed, index))
        ranges, side = self.ranges, SCENE_PER_PIXEL * self.size_px
        motion = draw_motion(rng, ranges.motion, side)
        days = draw_log(rng, ranges.time.days)
        lights = draw_light(rng, ranges.sun, days)
        looks = self._looks(rng, motion, days, lights)
        scenes = [looks.earlier, looks.later]
        matchable, labelled = looks.lost < LOST, torch.ones(side, side, dtype=torch.bool)
        if rng.random() < ranges.motion.terminus_share:
            front = draw_terminus(rng, motion, ranges.motion, self._clouds)
            scenes = [
                torch.where(ice, scene, water)
                for ice, scene, water in zip(
                    (front.ice_earlier, front.ice_later), scenes, front.water, strict=True
                )
            ]
            labelled, matchable = front.ice_earlier, matchable & front.survives
        images, clear = self._photographed(rng, scenes, lights)
        step = SCENE_PER_PIXEL
        size = self.size_px
        still = torch.full((size, size), motion.stable)
        everywhere = torch.ones(1, size, size, dtype=torch.bool)
        return {
            "earlier": images[0],
            "later": images[1],
            "valid_earlier": everywhere,
            "valid_later": everywhere,
            "displacement": motion.displacement[:, ::step, ::step] / step,
            "matchable": (matchable & (clear > LEAST_CLEAR))[::step, ::step],
            "labelled": labelled[::step, ::step].contiguous(),
            "stable": still,
            "condition_earlier": _condition(lights[0], days),
            "condition_later": _condition(lights[1], days),
            "years": torch.tensor(days / DAYS_PER_YEAR, dtype=torch.float32),
            "weight": torch.tensor(1.0),
        }

    def _looks(
        self,
        rng: np.random.Generator,
        motion: SceneMotion,
        days: float,
        lights: tuple[Light, Light],
    ) -> Looks:
        """Texture, what replaced it, and relief."""
        ranges = self.ranges
        changed = 1 - np.exp(-days / draw_log(rng, ranges.time.decorrelation_days))
        texture = self._texture(rng)
        scale = draw_log(rng, ranges.texture.scale) / SCENE_PER_PIXEL
        earlier, later = worn(rng, texture, scale, [motion.earlier, motion.later])
        looks = Looks(earlier, later, torch.zeros_like(earlier))
        if rng.random() < ranges.texture.replaced_share:
            looks = replaced(
                rng,
                looks,
                motion,
                ranges.texture,
                draw_texture=lambda: texture if rng.random() < 0.6 else self._texture(rng),
                clouds=self._clouds,
                scale=scale,
                changed=float(changed),
            )
        return with_relief(
            rng, looks, motion, ranges, relief=self._relief, clouds=self._clouds, lights=lights
        )

    def _photographed(
        self, rng: np.random.Generator, scenes: Sequence[Tensor], lights: tuple[Light, Light]
    ) -> tuple[list[Tensor], Tensor]:
        """Both images, and how much of the earlier one's ground is seen."""
        ranges = self.ranges
        contrast = draw_log(rng, ranges.sensor.texture_contrast)
        brightness = rng.uniform(0.4, 0.8)
        camera, *blurs = draw_cameras(rng, ranges.sensor, contrast)
        dark: Sequence[Tensor | None] = (None, None)
        if rng.random() < ranges.relief.shadow_share:
            dark = shadows(rng, scenes[0].shape[-1], self._clouds, lights)
        images, shown = [], []
        for scene, shadow, blur in zip(scenes, dark, blurs, strict=True):
            surface, bare = snowed(rng, scene, ranges.surface, self._clouds)
            gain = contrast * float(np.exp(rng.normal(0, ranges.surface.gain_deviation)))
            reflectance = brightness + gain * surface
            if shadow is not None:
                reflectance = reflectance * shadow
            hazy, clear = seen_through(rng, reflectance, ranges.atmosphere, self._clouds)
            images.append(camera(rng, hazy, blur_px=blur).contiguous())
            shown.append(bare * clear)
        return images, shown[0]


def _condition(light: Light, days: float) -> Tensor:
    """What the metadata of such an image would say."""
    return encode(
        Condition(
            days_between=days,
            sun_azimuth_deg=light.sun.azimuth_deg,
            sun_elevation_deg=light.sun.elevation_deg,
            day_of_year=float(light.time.timetuple().tm_yday),
        )
    )
