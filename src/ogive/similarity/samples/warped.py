"""Samples of images that are moved onto themselves: the first labels, which cost nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ogive.model import InputError

from ..embedding import condition_of, encode
from .crops import Corner, Corners, cut
from .image_series import DatedImage
from .real_sample import chance_of, check_size, clouds_of, sample_of, turned
from .sample import Sample
from .seen_again import seen_again, standardised
from .simulated.fields import SCENE_PER_PIXEL, sampled
from .simulated.motion import draw_motion
from .simulated.ranges import Ranges

__all__ = ["WarpedSamples"]

LEAST_VALID = 0.7
"""Of a square's inner part."""
INSIDE = 0.999
REACH_PX = 24
"""How far beyond the square ice may come from; what comes from farther is not labelled."""


class WarpedSamples:
    """Squares of single images, moved onto themselves; sample ``index`` is always the same.

    Parameters
    ----------
    images
        Real images; one band of one of them is drawn for each sample.
    ranges
        How they move and change, as for simulated samples.
    size_px
        Side of the samples.
    seed
        Of the draw.

    Raises
    ------
    InputError
        If no image holds a square of valid pixels, or the size is impossible.
    """

    def __init__(
        self, images: Sequence[DatedImage], ranges: Ranges, *, size_px: int = 128, seed: int = 0
    ) -> None:
        check_size(size_px)
        places = [
            (image, Corners(image.valid, size_px=size_px, least_share=LEAST_VALID))
            for image in images
        ]
        self._places = [(image, corners) for image, corners in places if len(corners)]
        if not self._places:
            raise InputError(
                f"none of {len(images)} images holds {size_px} x {size_px} px of which "
                f"{LEAST_VALID:.0%} are valid"
            )
        self._chance = chance_of([len(corners) for _, corners in self._places])
        self.ranges, self.size_px, self.seed = ranges, size_px, seed
        self._clouds = clouds_of(seed)

    def sample(self, index: int) -> Sample:
        """Draw the sample of this number: one band, ``size_px`` squared."""
        rng = np.random.default_rng((self.seed, index))
        image, corners = self._places[int(rng.choice(len(self._places), p=self._chance))]
        corner = corners.draw(rng)
        band = image.pixels[int(rng.integers(len(image.pixels)))]
        motion = draw_motion(rng, self.ranges.motion, SCENE_PER_PIXEL * self.size_px)
        around = Corner(corner.left - REACH_PX, corner.top - REACH_PX)
        side = self.size_px + 2 * REACH_PX
        inside = torch.from_numpy(cut(image.valid, around, side, beyond=False))
        surface = standardised(torch.from_numpy(cut(band, around, side, beyond=0)), inside)
        scenes, valid = [], []
        for place in (motion.earlier, motion.later):
            # The scene's middle lies between its pixels, the square's between the image's.
            x, y = place / SCENE_PER_PIXEL + REACH_PX + (self.size_px - 0.5) / 2
            scenes.append(sampled(surface, x, y))
            within = (x >= 0) & (y >= 0) & (x <= side - 1) & (y <= side - 1)
            seen = within & (sampled(inside.float(), x, y, smooth=False) > INSIDE)
            valid.append(seen[::SCENE_PER_PIXEL, ::SCENE_PER_PIXEL])
        seen_twice = seen_again(
            rng, (scenes[0], scenes[1]), self.ranges, self._clouds, through_optics=True
        )
        displacement = motion.displacement[:, ::SCENE_PER_PIXEL, ::SCENE_PER_PIXEL]
        sample = sample_of(
            seen_twice, (valid[0], valid[1]), displacement / SCENE_PER_PIXEL, valid[0].clone()
        )
        sample["stable"] = valid[0] & motion.stable
        # Left open: an image and itself are no time apart, as no pair to be matched ever is.
        sample["condition_earlier"] = sample["condition_later"] = encode(condition_of(image.scene))
        return turned(rng, sample)
