"""Ice that ends: beyond its front there is water and mélange, and the front moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .fields import SCENE_PER_PIXEL, FieldBank, blurred, cut_out, sampled
from .motion import SceneMotion
from .ranges import Motion, draw

__all__ = ["Terminus", "draw_terminus"]


@dataclass(frozen=True)
class Terminus:
    """Ice and water of both images.

    Attributes
    ----------
    ice_earlier, ice_later
        ``(y, x)``, True on ice.
    water
        Looks of the water in both images; mélange does not stay.
    survives
        ``(y, x)``, of the earlier image: ice there that is still ice in the later one.
    """

    ice_earlier: Tensor
    ice_later: Tensor
    water: tuple[Tensor, Tensor]
    survives: Tensor


def draw_terminus(
    rng: np.random.Generator, motion: SceneMotion, ranges: Motion, clouds: FieldBank
) -> Terminus:
    """Draw a front across the sample that retreats, calves or advances."""
    side = motion.grid.shape[-1]
    angle = rng.uniform(0, 2 * np.pi)
    ragged = blurred(cut_out(rng, clouds, side), 4.0) * rng.uniform(2, 12)
    ahead = float(np.cos(angle)) * motion.grid[0] + float(np.sin(angle)) * motion.grid[1]
    front = ahead + ragged - rng.uniform(-0.2, 0.3) * side
    later_front = front + SCENE_PER_PIXEL * draw(rng, ranges.terminus_retreat_px)
    middle = (side - 1) / 2
    x, y = motion.grid + motion.displacement + middle
    ice_later = later_front < 0
    arrives = sampled(ice_later.float(), x, y, smooth=False) > 0.5
    dark = rng.uniform(-3, 1)
    waters = [
        dark + rng.uniform(0, 0.5) * blurred(cut_out(rng, clouds, side), 2.0) for _ in range(2)
    ]
    ice_earlier = front < 0
    return Terminus(ice_earlier, ice_later, (waters[0], waters[1]), ice_earlier & arrives)
