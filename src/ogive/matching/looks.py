"""Several looks at one place: images checked against each other, with masks and dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..model import DateError, GridError, InputError
from .kernels import BoolArray, Float32Array
from .match import Image, _as_image, _as_mask, _Axes, _check_texture, _common_axes

__all__ = ["Looks", "looks_of"]


@dataclass(frozen=True)
class Looks:
    """Images of one place on one grid, from the first to the last.

    Parameters
    ----------
    images
        ``(y, x)`` images or ``(channel, y, x)`` stacks of features, float32.
    valid
        Where each may be used; ``None`` for everywhere.
    shares
        How much of the time between the first and the last image has passed at each, 0 to 1; even
        steps where no dates are known.
    dates
        As nanoseconds since 1970, or ``None``.
    axes
        The images' coordinates.
    """

    images: tuple[Float32Array, ...]
    valid: tuple[BoolArray | None, ...]
    shares: tuple[float, ...]
    dates: NDArray[np.datetime64] | None
    axes: _Axes

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the images."""
        return self.images[0].shape[-2], self.images[0].shape[-1]


def looks_of(
    first: Image,
    middle: Image | Sequence[Image],
    last: Image,
    *,
    mask: Image | Sequence[Image | None] | None,
    dates: Sequence[Any] | None,
) -> Looks:
    """Check images, masks and dates against each other; see `ogive.match_triplet`.

    Raises
    ------
    InputError
        An image is given twice, constant, wholly masked, of no numbers; wrong number of masks.
    GridError
        The images, or a mask, are on different grids.
    DateError
        Dates that do not rise, or not one for each image.
    """
    middles = [middle] if isinstance(middle, (np.ndarray, xr.DataArray)) else list(middle)
    given = [first, *middles, last]
    names = _names(len(middles))
    read = [_as_image(image, name) for image, name in zip(given, names, strict=True)]
    axes = _axes(given, names)
    for (image, _), name in zip(read[1:], names[1:], strict=True):
        if image.shape[-2:] != read[0][0].shape[-2:] or image.ndim != read[0][0].ndim:
            raise GridError(
                f"the first image has the shape {read[0][0].shape}, the {name} one {image.shape}: "
                "bring them onto one grid first"
            )
    for one, other in combinations(range(len(given)), 2):
        if np.array_equal(read[one][0], read[other][0]):
            raise InputError(
                f"the {names[one]} and the {names[other]} image are the same: between an image and "
                "itself nothing moves; give another one, or leave the middle one out"
            )
    valid = [known for _, known in read]
    for known, one_mask in zip(valid, _masks(mask, len(given)), strict=True):
        if one_mask is not None:
            known &= _as_mask(one_mask, known.shape)
    for (image, _), known, name in zip(read, valid, names, strict=True):
        _check_texture(image, known, name)
    when = _dates(given, dates, names)
    return Looks(
        images=tuple(image for image, _ in read),
        valid=tuple(None if known.all() else known for known in valid),
        shares=_shares(when, len(given)),
        dates=when,
        axes=axes,
    )


def _names(middles: int) -> list[str]:
    """How the images are called in sentences."""
    numbered = [f"middle (no. {k + 1})" for k in range(middles)] if middles > 1 else ["middle"]
    return ["first", *numbered[:middles], "last"]


def _axes(given: list[Image], names: list[str]) -> _Axes:
    """Coordinates that all images share."""
    for image, name in zip(given[1:], names[1:], strict=True):
        try:
            axes = _common_axes(given[0], image)
        except GridError as error:
            raise GridError(f"first and {name} image: {error}") from None
        systems = [_system(given[0]), _system(image)]
        if None not in systems and systems[0] != systems[1]:
            raise GridError(
                f"the first and the {name} image are in different coordinate reference systems: "
                "bring them onto one grid first"
            )
    return axes


def _system(image: Image) -> str | None:
    """Well-known text of the coordinate reference system, where an image says it."""
    if not isinstance(image, xr.DataArray) or "spatial_ref" not in image.coords:
        return None
    text = image.coords["spatial_ref"].attrs.get("crs_wkt")
    return None if text is None else str(text)


def _masks(mask: Image | Sequence[Image | None] | None, number: int) -> Sequence[Image | None]:
    """One mask, or None, for each image."""
    if mask is None or isinstance(mask, (np.ndarray, xr.DataArray)):
        return [mask] * number
    if len(mask) != number:
        raise InputError(
            f"{len(mask)} masks for {number} images: give one for all, or one (or None) for each, "
            "first to last"
        )
    return mask


def _dates(
    given: list[Image], dates: Sequence[Any] | None, names: list[str]
) -> NDArray[np.datetime64] | None:
    """Dates that rise from image to image, where they are known."""
    if dates is None:
        known = [
            image.coords["time"].values
            for image in given
            if isinstance(image, xr.DataArray)
            and "time" in image.coords
            and image.coords["time"].ndim == 0
        ]
        if len(known) < len(given):
            return None
        dates = known
    if len(dates) != len(given):
        raise DateError(
            f"{len(dates)} dates for {len(given)} images: give one for each, first to last"
        )
    try:
        when = np.array([np.datetime64(date, "ns") for date in dates])
    except (TypeError, ValueError) as error:
        raise DateError(
            f"dates={list(dates)} cannot be read: give datetime, numpy.datetime64 or ISO 8601 text"
        ) from error
    if np.isnat(when).any():
        raise DateError("a date is missing (NaT): give one for each image, or none at all")
    for (name, one), (other_name, other) in pairwise(zip(names, when, strict=True)):
        if other <= one:
            raise DateError(
                f"the {other_name} image is dated {_day(other)}, not after the {name} one "
                f"({_day(one)}): give the images in the order of their dates"
            )
    return when


def _day(date: np.datetime64) -> str:
    return str(date.astype("datetime64[s]"))


def _shares(dates: NDArray[np.datetime64] | None, number: int) -> tuple[float, ...]:
    """Share of the time between the ends that has passed at each image."""
    if dates is None:
        return tuple(np.linspace(0.0, 1.0, number).tolist())
    elapsed = (dates - dates[0]) / (dates[-1] - dates[0])
    return tuple(elapsed.astype(float).tolist())
