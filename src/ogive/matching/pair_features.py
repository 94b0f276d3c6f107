"""The features of a pair: what is searched, what is refined, and what the pair says of them.

Most features look at one image. The adaptive ones pass both images through the filter of greatest
likelihood, which needs the pair's coherence, which needs a first, coarse match.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..model import InputError
from .blocks import Pair
from .confidence import Calibration, adaptive_calibration
from .errors import best_smoothing_px
from .features import (
    FEATURES,
    Feature,
    FeaturePair,
    LocalFeature,
    each_band,
    filled_and_centred,
    find_feature,
    highpass,
    smoothed,
)
from .kernels import BoolArray, Float32Array, dilate, summed_area
from .spectra import PairSpectra, apply_filter, filter_taps, measure_spectra, power_spectrum
from .stacks import Stack, feature_stack

__all__ = [
    "Aligned",
    "Chosen",
    "Images",
    "PairFeatures",
    "chosen_features",
    "pair_features",
    "rough_stacks",
    "stacks_of",
]

logger = logging.getLogger("ogive.matching")

ERROR_WINDOWS = 200
"""Windows from which the spectra of a fixed feature are estimated, for its error model."""
FILTER_WINDOWS = 800
"""Windows from which the pair's own filter is estimated."""


@dataclass(frozen=True)
class Images:
    """Two images ``(y, x)`` or ``(band, y, x)``, and where each is valid (``None``: everywhere)."""

    earlier: Float32Array
    later: Float32Array
    valid_earlier: BoolArray | None
    valid_later: BoolArray | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.earlier.shape[-2], self.earlier.shape[-1]

    def with_margin(self, margin_px: int) -> Images:
        """The same with masks grown by so many pixels."""
        if self.valid_earlier is None or self.valid_later is None:
            return self
        return Images(
            self.earlier,
            self.later,
            ~dilate(~self.valid_earlier, margin_px),
            ~dilate(~self.valid_later, margin_px),
        )

    def as_pair(self, earlier: Stack, later: Stack) -> Pair:
        """Stacks of these images with the images' masks."""
        return Pair(earlier, later, self.valid_earlier, self.valid_later)


@dataclass(frozen=True)
class Aligned:
    """Where windows of the two images show the same place: centres and displacements in pixels."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]


@dataclass(frozen=True)
class Chosen:
    """Features by what they are called and what makes them.

    Parameters
    ----------
    name
        As told in the result.
    functions
        One for each image; ``None`` for the adaptive filter and for given stacks.
    given
        Whether the images themselves are stacks of features.
    """

    name: str
    functions: FeaturePair | None = None
    given: bool = False

    @property
    def device(self) -> str:
        """Where the features are computed."""
        return "cpu" if self.functions is None else getattr(self.functions.earlier, "device", "cpu")

    @property
    def calibration(self) -> Calibration | None:
        """What gives points that match by these features a confidence, if that is known."""
        if self.functions is None:
            return None if self.given else adaptive_calibration()
        first, second = (
            getattr(each, "calibration", None)
            for each in (self.functions.earlier, self.functions.later)
        )
        return first if first is second else None

    @property
    def fallback(self) -> str | None:
        """Name of the features that these would rather be where those are more confident."""
        return None if self.functions is None else getattr(self.functions.earlier, "fallback", None)

    @property
    def local(self) -> bool:
        """Whether the features say how far they look."""
        both = self.functions
        return both is not None and all(
            isinstance(each, LocalFeature) for each in (both.earlier, both.later)
        )


def chosen_features(
    features: str | Feature | FeaturePair | Chosen, *, bands: bool, device: str = "auto"
) -> Chosen:
    """Find what makes the features that were asked for.

    Parameters
    ----------
    features
        As for `ogive.match`, or chosen already.
    bands
        Whether the images are three-dimensional.
    device
        Where features of installed packages may compute.

    Raises
    ------
    InputError
        If there are no such features.
    """
    if isinstance(features, Chosen):
        return features
    if isinstance(features, FeaturePair):
        return Chosen(_name(features.earlier), features)
    if not isinstance(features, str):
        return Chosen(_name(features), FeaturePair(features, features))
    if features == "adaptive":
        return Chosen("given", given=True) if bands else Chosen("adaptive")
    function = find_feature(features, device=device)
    return Chosen(str(getattr(function, "name", features)), FeaturePair(function, function))


def _name(feature: Feature) -> str:
    return str(getattr(feature, "name", getattr(feature, "__name__", "own")))


@dataclass(frozen=True)
class PairFeatures:
    """Stacks of both images with what the pair says of them.

    Parameters
    ----------
    pair
        The stacks.
    spectra
        Of aligned windows; ``None`` where too few could be aligned.
    power
        The features' own power spectrum, along the frequencies of ``spectra``.
    name
        As told in the result.
    """

    pair: Pair
    spectra: PairSpectra | None
    power: NDArray[np.float64] | None
    name: str

    def known(self, *, threads: int = 1) -> tuple[PairSpectra, NDArray[np.float64]] | None:
        """Spectra and power of aligned windows, else of any; ``None`` of images too small."""
        if self.spectra is not None and self.power is not None:
            return self.spectra, self.power
        found = power_spectrum(
            self.pair.earlier, self.pair.later, usable=_gaps(self.pair), threads=threads
        )
        return None if found is None else (found, found.power)


def pair_features(
    images: Images,
    chosen: Chosen,
    aligned: Aligned,
    *,
    inside: Images,
    rough: Pair | None = None,
    stacks: tuple[Stack, Stack] | None = None,
    smoothing_px: float | None = None,
    threads: int = 1,
) -> PairFeatures:
    """Features of a pair that was coarsely matched.

    Parameters
    ----------
    images
        Both images.
    chosen
        Which features.
    aligned
        What the coarse match found.
    inside
        The images with masks that windows are judged by: features reach over the edge of what is
        valid.
    rough
        The high-pass of both images, where it is there already.
    stacks
        The features themselves, where they are there already.
    smoothing_px
        As for `ogive.match`.
    threads
        How many threads share the work.
    """
    name = chosen.name
    if stacks is not None:
        first, second = stacks
    elif chosen.functions is None:
        adaptive = _adaptive(images, inside, aligned, name, threads)
        if adaptive is not None:
            return adaptive
        rough = rough or rough_stacks(images, threads)
        first, second, name = rough.earlier, rough.later, "highpass (too few windows for adaptive)"
    elif rough and _is_highpass(chosen.functions.earlier) and _is_highpass(chosen.functions.later):
        first, second = rough.earlier, rough.later
    else:
        first, second = stacks_of(images, chosen.functions, threads)
    pair = inside.as_pair(first, second)
    spectra = _aligned_spectra(pair, aligned, threads, ERROR_WINDOWS)
    power = None if spectra is None else spectra.power
    if smoothing_px is None and spectra is not None and name in FEATURES:
        smoothing_px = best_smoothing_px(spectra.frequency, spectra.power, spectra.coherence)
    if smoothing_px:
        pair = inside.as_pair(
            _smoothed(first, smoothing_px, threads), _smoothed(second, smoothing_px, threads)
        )
        name = f"{name}, smoothed by {smoothing_px:g} px"
        if spectra is not None and power is not None:
            power = power * np.exp(-((2.0 * np.pi * smoothing_px * spectra.frequency) ** 2))
    return PairFeatures(pair, spectra, power, name)


def _is_highpass(feature: Feature) -> bool:
    """Whether the rough stacks are just this feature."""
    inner = feature.args if isinstance(feature, partial) and feature.func is each_band else ()
    return feature is highpass or inner == (highpass,)


def stacks_of(images: Images, functions: FeaturePair, threads: int) -> tuple[Stack, Stack]:
    """Stacks of both images; they must have the same channels."""
    first = feature_stack(functions.earlier, images.earlier, images.valid_earlier, threads=threads)
    second = feature_stack(functions.later, images.later, images.valid_later, threads=threads)
    if first.shape != second.shape:
        raise InputError(
            f"the features of the earlier image have {first.shape[0]} channels, those of the later "
            f"one {second.shape[0]}: they cannot be compared"
        )
    return first, second


def rough_stacks(images: Images, threads: int) -> Pair:
    """High-pass of each band: what is searched coarsely unless features are local."""
    return images.as_pair(
        each_band(highpass, images.earlier, images.valid_earlier, threads=threads),
        each_band(highpass, images.later, images.valid_later, threads=threads),
    )


def _smoothed(stack: Stack, sigma_px: float, threads: int) -> Float32Array:
    if not isinstance(stack, np.ndarray) or stack.dtype != np.float32:
        raise InputError(
            "features too large to be kept whole cannot be smoothed: leave the smoothing out, or "
            "match a part of the images"
        )
    return smoothed(stack, sigma_px, threads=threads)


def _gaps(pair: Pair) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
    """Summed-area tables of what is invalid in each image; None where all is valid."""
    if pair.valid_earlier is None or pair.valid_later is None:
        return None
    return summed_area(~pair.valid_earlier), summed_area(~pair.valid_later)


def _aligned_spectra(
    pair: Pair, aligned: Aligned, threads: int, most_windows: int
) -> PairSpectra | None:
    """Spectra of two stacks from the windows that show the same places."""
    usable = _gaps(pair)
    # Between clouds there may be room for small windows where there is none for large ones.
    for most_px in (64, 32):
        found = measure_spectra(
            pair.earlier, pair.later, aligned.x, aligned.y, aligned.u, aligned.v, usable=usable,
            most_windows=most_windows, most_px=most_px, threads=threads,
        )  # fmt: skip
        if found is not None:
            break
    return found


def _adaptive(
    images: Images, inside: Images, aligned: Aligned, name: str, threads: int
) -> PairFeatures | None:
    """Both images through the pair's own filter; None where it cannot be measured."""
    bands = inside.as_pair(
        *(image.reshape(-1, *images.shape) for image in (images.earlier, images.later))
    )
    spectra = _aligned_spectra(bands, aligned, threads, FILTER_WINDOWS)
    if spectra is None or not spectra.response.any():
        logger.warning(
            "the pair's own filter could not be measured (too few windows match): "
            "a high-pass of 21 pixels is used instead"
        )
        return None
    taps = filter_taps(spectra.frequency, spectra.response)
    first = each_band(_filtered, images.earlier, images.valid_earlier, threads=threads, taps=taps)
    second = each_band(_filtered, images.later, images.valid_later, threads=threads, taps=taps)
    return PairFeatures(
        inside.as_pair(first, second), spectra, spectra.power * spectra.response**2, name
    )


def _filtered(
    image: Float32Array, valid: BoolArray | None, /, *, taps: Float32Array, threads: int
) -> Float32Array:
    centred = filled_and_centred(image, valid, threads=threads)
    return apply_filter(centred, taps, threads=threads)[None]
