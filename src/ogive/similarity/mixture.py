"""Samples of several kinds, mixed: by name, with shares, each side from its own places.

A kind knows two things: which *ingredients* there are (a texture, a pair with picked points), each
of a place and a time by which they are split; and how samples are made of those of one side.
"""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ogive.learning.split import SIDES, Side, Source, Split, split_sources
from ogive.model import InputError

from .ingredient import Ingredient
from .real_kinds import self_samples, series_found, stable_found, stable_samples
from .samples.manual import ManualSamples, read_picked_pair
from .samples.sample import Sample
from .samples.simulated import SimulatedSamples, read_ranges, read_textures
from .training_config import ManualSettings, SampleSettings, SimulatedSettings, SplitSettings

__all__ = ["KINDS", "Ingredient", "Mixture", "SampleKind", "mixtures"]

_log = logging.getLogger(__name__)


class SampleKind(NamedTuple):
    """How samples of one kind are made.

    Attributes
    ----------
    ingredients
        Reads, from the kind's settings, what there is.
    samples
        Makes, from settings and the contents of one side, something with ``sample(index)``; takes
        ``size_px`` and ``seed``.
    """

    ingredients: Callable[[Any], list[Ingredient]]
    samples: Callable[..., Any]


def _textures(settings: SimulatedSettings) -> list[Ingredient]:
    found: list[Ingredient] = []
    for group in settings.textures:
        textures = read_textures(
            group.files, bands=group.bands, place=group.place, weight=group.weight
        )
        if not textures:
            count = len(glob.glob(group.files, recursive=True))  # noqa: PTH207 (absolute patterns)
            raise InputError(
                f"none of the {count} files that match {group.files} can be learned from: images "
                "of at least 128 x 128 px are needed, nearly all of them valid and not flat"
            )
        for texture in textures:
            name = f"{group.files} {texture.place} {texture.date} {len(found)}"
            source = Source(name, texture.place, dates=_dates(texture.date))
            found.append(Ingredient(source, texture))
    return found


def _simulated(
    settings: SimulatedSettings, contents: Sequence[Any], *, size_px: int, seed: int
) -> SimulatedSamples:
    return SimulatedSamples(contents, read_ranges(settings.ranges), size_px=size_px, seed=seed)


def _picked(settings: ManualSettings) -> list[Ingredient]:
    paths = sorted(glob.glob(settings.points, recursive=True))  # noqa: PTH207 (absolute patterns)
    if not paths:
        raise InputError(f"no file of picked points matches {settings.points}")
    found = []
    for path in paths:
        place = re.match(settings.place, Path(path).stem)
        if place is None:
            raise InputError(f"{path}: the name does not begin with a place ({settings.place!r})")
        pair = read_picked_pair(path, settings.images, band=settings.band)
        dates = tuple(scene.time.date() for scene in pair.scenes)
        found.append(Ingredient(Source(path, place.group(), dates=dates), pair))
    return found


def _manual(
    settings: ManualSettings, contents: Sequence[Any], *, size_px: int, seed: int
) -> ManualSamples:
    return ManualSamples(
        contents,
        size_px=size_px,
        search_px=settings.search_px,
        spread_px=settings.spread_px,
        seed=seed,
    )


KINDS: Mapping[str, SampleKind] = MappingProxyType(
    {
        "simulated": SampleKind(_textures, _simulated),
        "self-sample": SampleKind(series_found, self_samples),
        "stable-ground": SampleKind(stable_found, stable_samples),
        "manual": SampleKind(_picked, _manual),
    }
)
"""Kinds of samples by the name in their settings."""


class Mixture:
    """Samples drawn from several kinds; sample ``index`` is the same whenever it is asked for.

    Parameters
    ----------
    samples
        Functions that give the sample of a number.
    shares
        How often each is drawn, relative to each other.
    seed
        Of the draw.

    Examples
    --------
    >>> mixture = Mixture([lambda n: "a", lambda n: "b"], [3.0, 1.0], seed=0)
    >>> "".join(mixture.sample(index) for index in range(12))
    'ababaaaaabaa'
    """

    def __init__(
        self, samples: Sequence[Callable[[int], Sample]], shares: Sequence[float], *, seed: int
    ) -> None:
        self._samples, self._seed = list(samples), seed
        self._ends = np.cumsum(shares) / np.sum(shares)

    def sample(self, index: int) -> Sample:
        """Give the sample of this number."""
        if len(self._samples) == 1:
            return self._samples[0](index)
        draw = np.random.default_rng((self._seed, index, len(self._samples))).random()
        return self._samples[int(np.searchsorted(self._ends, draw, side="right"))](index)


def mixtures(
    settings: SampleSettings, split: SplitSettings, *, seeds: Mapping[Side, int]
) -> tuple[dict[Side, Mixture], Split]:
    """Read what there is, split it by place and time, and mix the samples of each side.

    Parameters
    ----------
    settings
        Kinds and shares.
    split
        How places and times are split, all kinds together.
    seeds
        Of each side's draws; sides without a seed get no samples.

    Returns
    -------
    samples, split
        Those of each side that has any; and which place went where.

    Raises
    ------
    InputError
        If files cannot be used, or nothing is left for a side that should have samples.
    """
    found = [KINDS[kind.kind].ingredients(kind) for kind in settings.kinds]
    # Two kinds may read one file.
    named = {
        f"{number}: {each.source.name}": each
        for number, ingredients in enumerate(found)
        for each in ingredients
    }
    sources = [
        Source(name, each.source.place, each.source.footprint, each.source.dates)
        for name, each in named.items()
    ]
    divided = split_sources(
        sources,
        seed=split.seed,
        shares=split.shares,
        sides=split.sides,
        periods={side: period.period() for side, period in split.periods.items()},
    )
    if divided.outside:
        _log.warning(
            "%d of %d sources are not used: their dates lie outside the period of their side",
            *(len(divided.outside), len(sources)),
        )
    mixed: dict[Side, Mixture] = {}
    for side in (side for side in SIDES if side in seeds):
        samples, shares = [], []
        for number, kind in enumerate(settings.kinds):
            own = [
                named[name].content
                for name in getattr(divided, side)
                if name.startswith(f"{number}: ")
            ]
            _log.info("%s: %d sources of %s samples", side, len(own), kind.kind)
            if own:
                make = KINDS[kind.kind].samples
                made = make(kind, own, size_px=settings.size_px, seed=seeds[side])
                samples.append(made.sample)
                shares.append(kind.share)
        if samples:
            mixed[side] = Mixture(samples, shares, seed=seeds[side])
    return mixed, divided


def _dates(text: str) -> tuple[date, ...]:
    """All days that a date in a file's name may mean: a day, or a year's first and last."""
    if len(text) == 4:
        return date(int(text), 1, 1), date(int(text), 12, 31)
    if not text:
        return ()
    try:
        return (datetime.strptime(text, {7: "%Y%j", 8: "%Y%m%d"}[len(text)]).date(),)
    except ValueError as error:
        raise InputError(f"{text} in the name of an image is no date") from error
