"""Which functions make the features of several looks: by name, one for all, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..model import InputError
from .features import Feature, find_feature

__all__ = ["LookFeatures", "look_features"]

GIVEN_UNDER = ("orientation", "adaptive")
"""Names under which three-dimensional images are stacks of features already."""


@dataclass(frozen=True)
class LookFeatures:
    """Features of several looks by what they are called and what makes them.

    Parameters
    ----------
    name
        As told in the result.
    functions
        One for each look; none for the adaptive filter and for given stacks.
    given
        Whether the looks themselves are stacks of features.
    """

    name: str
    functions: tuple[Feature, ...] = ()
    given: bool = False


def look_features(
    features: str | Feature | Sequence[Feature], number: int, *, bands: bool
) -> LookFeatures:
    """Find what makes the features that were asked for.

    Parameters
    ----------
    features
        As for `ogive.match_triplet`.
    number
        Of looks.
    bands
        Whether the looks are three-dimensional.

    Raises
    ------
    InputError
        If there are no such features, or not one for each look.

    Examples
    --------
    >>> look_features("sobel", 3, bands=False).name
    'sobel'
    >>> look_features("adaptive", 3, bands=True).given
    True
    """
    if isinstance(features, str):
        if bands and features in GIVEN_UNDER:
            return LookFeatures("given", given=True)
        if features == "adaptive":
            return LookFeatures("adaptive")
        function = find_feature(features)
        return LookFeatures(str(getattr(function, "name", features)), (function,) * number)
    functions: tuple[Any, ...] = ()
    if callable(features):
        functions = (features,) * number
    elif isinstance(features, Sequence):
        functions = tuple(features)
    if not functions or not all(callable(each) for each in functions):
        raise InputError(
            "features are a name, a function, or a sequence of one function for each image, not a "
            f"{type(features).__name__}"
        )
    if len(functions) != number:
        raise InputError(
            f"{len(functions)} feature functions for {number} images: give one for all, or one for "
            "each, first to last"
        )
    names = dict.fromkeys(_name(each) for each in functions)
    return LookFeatures(" / ".join(names), functions)


def _name(feature: Feature) -> str:
    return str(getattr(feature, "name", getattr(feature, "__name__", "own")))
