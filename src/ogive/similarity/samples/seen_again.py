"""Changes on top of what real images differ by: training is to be harder than the match was."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .simulated.fields import SCENE_PER_PIXEL, FieldBank, sampled
from .simulated.ranges import Ranges, draw_log, read_ranges
from .simulated.sensor import draw_cameras, seen_through, snowed

__all__ = ["LEAST_CLEAR", "Seen", "finer", "real_ranges", "seen_again", "standardised"]

LEAST_CLEAR = 0.1
"""Where less than this of the ground shines through snow and cloud, nothing is left to match."""

FINE_BOX_PX = 15
FINE_TEXTURE = 0.7
"""Deviation of what is finer than the box, in scenes of deviation one (see `simulated.sensor`)."""


class Seen(NamedTuple):
    """Two images taken once more, and how much of the ground each shows.

    ``images`` are ``(1, y, x)``, ``shown`` is ``(y, x)`` from 0 to 1.
    """

    images: tuple[Tensor, Tensor]
    shown: tuple[Tensor, Tensor]


def real_ranges() -> Ranges:
    """How real pairs are changed on top; see the comments of ``real_ranges.yaml``."""
    with resources.as_file(resources.files(__package__) / "real_ranges.yaml") as path:
        return read_ranges(path)


def standardised(image: Tensor, valid: Tensor) -> Tensor:
    """The image with mean zero where it is valid, and as much fine texture as simulated ones have.

    Zero where it is not valid, and everywhere if it has no texture.

    Parameters
    ----------
    image
        ``(y, x)``.
    valid
        ``(y, x)``, bool.
    """
    known = valid.to(image.dtype)
    if not bool(valid.any()):
        return torch.zeros_like(image)
    level = image - image[valid].mean()
    around = _box_mean(level * known) / _box_mean(known).clamp_min(1e-6)
    fine = (level - around)[valid].std(correction=0)
    if not bool(fine > 0):
        return torch.zeros_like(image)
    return level * known * (FINE_TEXTURE / fine)


def _box_mean(image: Tensor) -> Tensor:
    return functional.avg_pool2d(
        image[None, None], FINE_BOX_PX, 1, FINE_BOX_PX // 2, count_include_pad=False
    )[0, 0]


def finer(image: Tensor) -> Tensor:
    """The image on the grid of a simulated scene, every second pixel of which it keeps.

    Examples
    --------
    >>> image = torch.rand(1, 9, 12)[0]
    >>> bool(torch.allclose(finer(image)[::2, ::2], image, atol=1e-5))
    True
    """
    rows, columns = (
        torch.arange(SCENE_PER_PIXEL * n, dtype=torch.float32) / SCENE_PER_PIXEL
        for n in image.shape
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return sampled(image, x, y)


def seen_again(
    rng: np.random.Generator,
    scenes: tuple[Tensor, Tensor],
    ranges: Ranges,
    clouds: FieldBank,
    *,
    through_optics: bool,
) -> Seen:
    """Take two scenes once more: gain, snow, air, sharpness, noise, perhaps eight bits.

    Parameters
    ----------
    rng
        Source of the draw.
    scenes
        ``(y, x)`` each, twice as fine as the images, standardised.
    ranges
        Of simulated samples: their surface, atmosphere and sensor.
    clouds
        From which snow and clouds are cut.
    through_optics
        Blur them by a point spread: for scenes that were interpolated. A real image has passed its
        own optics.
    """
    contrast = draw_log(rng, ranges.sensor.texture_contrast)
    brightness = rng.uniform(0.4, 0.8)
    camera, *blurs = draw_cameras(rng, ranges.sensor, contrast)
    if not through_optics:
        camera.psf_px = 0.0
    images, shown = [], []
    for scene, blur in zip(scenes, blurs, strict=True):
        surface, bare = snowed(rng, scene, ranges.surface, clouds)
        gain = contrast * float(np.exp(rng.normal(0, ranges.surface.gain_deviation)))
        hazy, clear = seen_through(rng, brightness + gain * surface, ranges.atmosphere, clouds)
        images.append(camera(rng, hazy, blur_px=blur).contiguous())
        shown.append((bare * clear)[::SCENE_PER_PIXEL, ::SCENE_PER_PIXEL])
    return Seen((images[0], images[1]), (shown[0], shown[1]))
