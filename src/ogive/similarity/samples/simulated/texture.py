"""Real images whose texture simulated samples wear."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from torch import Tensor

from ogive.model import InputError

__all__ = ["Texture", "read_textures", "texture_of"]

LEAST_SIDE_PX = 128
LEAST_VALID = 0.98
CLIPPED_PERCENT = 0.5
PLACE = r"[^_]+"


@dataclass(frozen=True)
class Texture:
    """An image of some place, made alike in brightness and contrast.

    Attributes
    ----------
    place
        Of which place: sources are split into training and test by it.
    date
        As in the file's name; empty if unknown.
    pixels
        ``(y, x)``, of mean zero and deviation one.
    weight
        How often it is drawn.
    """

    place: str
    date: str
    pixels: Tensor
    weight: float = 1.0


def texture_of(
    image: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    place: str,
    date: str = "",
    weight: float = 1.0,
) -> Texture | None:
    """Make a texture of an image; ``None`` where it is too small, too gappy or flat.

    Parameters
    ----------
    image, valid
        ``(y, x)``.
    place, date, weight
        As in `Texture`.
    """
    if min(image.shape) < LEAST_SIDE_PX or valid.mean() < LEAST_VALID:
        return None
    filled = np.where(valid, image, np.median(image[valid]))
    low, high = np.percentile(filled, [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT])
    clipped = np.clip(filled, low, high)
    deviation = clipped.std()
    if deviation <= 0:
        return None
    pixels = ((clipped - clipped.mean()) / deviation).astype(np.float32)
    return Texture(place, date, torch.from_numpy(np.ascontiguousarray(pixels)), weight)


def read_textures(
    pattern: str | Path,
    *,
    bands: Sequence[int] = (1,),
    place: str = PLACE,
    weight: float = 1.0,
) -> list[Texture]:
    """Read the images that match a pattern as textures, one for each band.

    Parameters
    ----------
    pattern
        Of paths, with ``*`` and ``**``.
    bands
        Numbers of the bands, from 1.
    place
        Regular expression that finds the name of the place at the beginning of a file's name.
    weight
        How often these textures are drawn, all together.

    Returns
    -------
    list of Texture
        Those that are large, whole and textured enough; perhaps none.

    Raises
    ------
    InputError
        If a file cannot be read, or its name does not begin with a place.
    """
    found = []
    for path in sorted(glob(str(pattern), recursive=True)):  # noqa: PTH207 (absolute patterns)
        named = re.match(place, Path(path).name)
        if named is None:
            raise InputError(f"{path}: the name does not begin with a place ({place!r})")
        dated = re.search(r"(?:19|20)\d{2}(?:\d{4}|\d{3})?", Path(path).stem[named.end() :])
        for band in bands:
            image, valid = _read(path, band)
            texture = texture_of(
                image, valid, place=named.group(), date=dated.group() if dated else ""
            )
            if texture is not None:
                found.append(texture)
    return [
        Texture(texture.place, texture.date, texture.pixels, weight / len(found))
        for texture in found
    ]


def _read(path: str, band: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Numbers of a band, which need no grid here, and where they are numbers."""
    try:
        with rasterio.open(path) as file:
            if band not in file.indexes:
                raise InputError(f"{path} has no band {band}: it has {file.count}")
            image = file.read(band).astype(np.float32)
            valid = file.read_masks(band) > 0
    except RasterioError as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    return image, valid & np.isfinite(image) & (image != 0)
