"""Training samples from real images that nobody labelled (after Shen et al. 2022).

The first round has no labels but those it makes: an image is warped onto itself by a drawn flow
(`warped`). What is trained on them matches the real pairs; matches that contradict nothing
(`consistency`) become the labels of the next round (`self_sample_round`), and so on. Squares of the
real pairs with these labels, or with those of stable ground (`stable_pairs`), are `SelfSamples`.

Labels come from what a matcher can do already. So that there is something to learn, both images are
changed once more (`seen_again`), and the windows that are trained on are smaller than those that
made the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from ogive.matching.kernels import Float32Array
from ogive.model import DAYS_PER_YEAR, InputError

from ..embedding import condition_of, encode
from .consistency import Kept, Matching, consistent_pairs
from .crops import Corner, Corners, cut
from .image_series import ImageSeries
from .labelled_pair import LabelledPair
from .real_sample import chance_of, check_size, clouds_of, sample_of, turned
from .sample import Sample
from .seen_again import finer, seen_again, standardised
from .simulated.ranges import Ranges
from .warped import WarpedSamples

__all__ = [
    "Round",
    "SelfSamples",
    "WarpedSamples",
    "self_sample_round",
    "self_sample_rounds",
]

LEAST_LABELLED = 0.1
"""Of a square's inner part."""
STILL_SHARE = 0.5
"""How often the two squares are cut at one place, so that stable ground lies still."""

SECONDS_PER_DAY = 86400.0

Learned = Callable[..., Float32Array]


class Samples(Protocol):
    """Gives the sample of a number, always the same."""

    def sample(self, index: int) -> Sample:
        """Give it."""
        ...


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of matching gave.

    Attributes
    ----------
    pairs
        With the labels that contradict nothing.
    kept
        How many points passed which test, pair by pair.
    """

    pairs: tuple[LabelledPair, ...]
    kept: tuple[Kept, ...]


def self_sample_round(
    series: Sequence[ImageSeries], matching: Matching | None = None, *, threads: int | None = None
) -> Round:
    """Match real images with given features and keep what contradicts nothing, as labels.

    Parameters
    ----------
    series
        Real images, a series for each place.
    matching
        With which features, and how; see `Matching`.
    threads
        For matching.

    Raises
    ------
    InputError
        Without a series, or if an image cannot be matched.
    """
    if not series:
        raise InputError("there is no series of real images to label")
    found = [each for one in series for each in consistent_pairs(one, matching, threads=threads)]
    return Round(tuple(pair for pair, _ in found), tuple(kept for _, kept in found))


def self_sample_rounds(
    series: Sequence[ImageSeries],
    learn: Callable[[Samples, int], Learned],
    *,
    ranges: Ranges,
    rounds: int = 3,
    matching: Matching | None = None,
    stable: Sequence[LabelledPair] = (),
    size_px: int = 128,
    seed: int = 0,
) -> tuple[Learned, tuple[Round, ...]]:
    """Learn from images moved onto themselves, match, learn from the matches, and again.

    Parameters
    ----------
    series
        Real images, a series for each place.
    learn
        Trains on samples and gives the features; takes the number of the round, from 0.
    ranges
        How samples move and change.
    rounds
        How often it learns.
    matching
        How the real images are matched; its features are replaced by the learned ones.
    stable
        Pairs that are labelled already: they join from the second round on.
    size_px, seed
        Of the samples; each round draws others.

    Returns
    -------
    learned, rounds
        The last features, and what each matching between two rounds gave.

    Raises
    ------
    InputError
        If rounds is not positive, or nothing is left to learn from.
    """
    if rounds < 1:
        raise InputError(f"{rounds} rounds of self-sample training: at least 1 is needed")
    images = [image for one in series for image in one.images]
    learned = learn(WarpedSamples(images, ranges, size_px=size_px, seed=seed), 0)
    done: list[Round] = []
    for number in range(1, rounds):
        how = replace(matching or Matching(), features=learned)
        done.append(self_sample_round(series, how))
        pairs = [*done[-1].pairs, *stable]
        learned = learn(SelfSamples(pairs, ranges, size_px=size_px, seed=seed + number), number)
    return learned, tuple(done)


class SelfSamples:
    """Squares of labelled real pairs; sample ``index`` is always the same.

    One band of a pair is drawn, a place with enough labels, and a whole number of pixels by which
    the later square is cut elsewhere, so that what is left of the displacement is anything within
    ``shift_px``: no pixel is resampled.

    Parameters
    ----------
    pairs
        Real pairs and their labels.
    ranges
        How the images are changed on top: surface, atmosphere and sensor of simulated samples.
    size_px
        Side of the samples.
    shift_px
        The largest displacement that is left along each axis, besides what varies in the square.
    seed
        Of the draw.

    Raises
    ------
    InputError
        If no pair holds enough labels for a sample, or a number is impossible.
    """

    def __init__(
        self,
        pairs: Sequence[LabelledPair],
        ranges: Ranges,
        *,
        size_px: int = 128,
        shift_px: int = 6,
        seed: int = 0,
    ) -> None:
        check_size(size_px)
        if not 0 <= shift_px <= size_px // 4:
            raise InputError(f"shift_px is {shift_px}: 0 to {size_px // 4} are possible")
        places = [
            (pair, Corners(pair.labelled, size_px=size_px, least_share=LEAST_LABELLED))
            for pair in pairs
        ]
        self._places = [(pair, corners) for pair, corners in places if len(corners)]
        if not self._places:
            raise InputError(
                f"none of {len(pairs)} real pairs holds {size_px} x {size_px} px of which "
                f"{LEAST_LABELLED:.0%} are labelled: too little was matched without contradiction"
            )
        self._chance = chance_of([len(corners) for _, corners in self._places])
        self.ranges, self.size_px, self.shift_px, self.seed = ranges, size_px, shift_px, seed
        self._clouds = clouds_of(seed)

    def sample(self, index: int) -> Sample:
        """Draw the sample of this number: one band, ``size_px`` squared."""
        rng = np.random.default_rng((self.seed, index))
        pair, corners = self._places[int(rng.choice(len(self._places), p=self._chance))]
        corner, size = corners.draw(rng), self.size_px
        band = int(rng.integers(len(pair.earlier.pixels)))
        label = cut(pair.displacement, corner, size, beyond=np.nan)
        moved = np.rint(np.nanmedian(label, axis=(1, 2))).astype(int)
        if rng.random() >= STILL_SHARE:
            moved += rng.integers(-self.shift_px, self.shift_px + 1, 2)
        elsewhere = Corner(corner.left + int(moved[0]), corner.top + int(moved[1]))
        valid = (
            torch.from_numpy(cut(pair.earlier.valid, corner, size, beyond=False)),
            torch.from_numpy(cut(pair.later.valid, elsewhere, size, beyond=False)),
        )
        scenes = [
            finer(standardised(torch.from_numpy(cut(image.pixels[band], at, size, beyond=0)), seen))
            for image, at, seen in zip(
                (pair.earlier, pair.later), (corner, elsewhere), valid, strict=True
            )
        ]
        seen_twice = seen_again(
            rng, (scenes[0], scenes[1]), self.ranges, self._clouds, through_optics=False
        )
        displacement = torch.from_numpy(label - moved[:, None, None].astype(np.float32))
        labelled = displacement.isfinite().all(0) & valid[0]
        sample = sample_of(seen_twice, valid, displacement.nan_to_num(), labelled)
        if not moved.any():
            sample["stable"] = torch.from_numpy(cut(pair.stable, corner, size, beyond=False))
        quality = torch.from_numpy(cut(pair.quality, corner, size, beyond=0))
        sample["weight"] = quality[labelled].mean()
        _add_dates(sample, pair)
        return turned(rng, sample)


def _add_dates(sample: Sample, pair: LabelledPair) -> None:
    """Conditions of both images, and the time between them."""
    days = (pair.later.scene.time - pair.earlier.scene.time).total_seconds() / SECONDS_PER_DAY
    first, second = (
        encode(condition_of(image.scene, days_between=days, pixel_size_m=pair.pixel_size_m))
        for image in (pair.earlier, pair.later)
    )
    sample["condition_earlier"], sample["condition_later"] = first, second
    sample["years"] = torch.tensor(days / DAYS_PER_YEAR, dtype=torch.float32)
