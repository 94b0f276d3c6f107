"""Clouds, shadows, snow and saturated pixels, from the quality bands that scenes come with.

Sentinel-2 has the scene classification (``SCL``, level 2A), the masks of opaque clouds, cirrus and
snow (``MSK_CLASSI``, level 1C and 2A since baseline 04.00) or ``QA60`` before; Landsat has
``QA_PIXEL`` and ``QA_RADSAT`` [1]_.

What an algorithm takes for a cloud over ice is often bright snow, so that masks leave out rather
too much there. Cirrus and snow are not rejected unless that is asked for: a match that they spoil
is thrown out later.

References
----------
.. [1] USGS (2024), Landsat 8-9 Collection 2 Level 2 Science Product Guide, LSDS-1619, tables 6-3
   and 6-4.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from ogive.model import InputError, Scene

from .cache import Cache
from .signing import Signer, sign_known_hosts
from .transport import Retries
from .window import read_window

__all__ = ["Flaw", "clear_pixels", "flawed"]

Flaw = Literal["fill", "saturated", "cloud", "cirrus", "shadow", "dark", "snow", "water"]
"""What may be wrong with a pixel; ``dark`` is topographic shadow."""

_CLASSES: Mapping[Flaw, tuple[int, ...]] = MappingProxyType(
    {
        "fill": (0,),
        "saturated": (1,),
        "dark": (2,),
        "shadow": (3,),
        "water": (6,),
        "cloud": (8, 9),
        "cirrus": (10,),
        "snow": (11,),
    }
)
"""Of the scene classification; 8 and 9 are clouds of medium and of high probability."""

_BITS: Mapping[str, Mapping[Flaw, tuple[int, ...]]] = MappingProxyType(
    {
        "QA_PIXEL": {
            "fill": (0,),
            "cloud": (1, 3),
            "cirrus": (2,),
            "shadow": (4,),
            "snow": (5,),
            "water": (7,),
        },
        "QA_RADSAT": {"saturated": (0, 1, 2, 3, 4, 5, 6, 8), "fill": (9,)},
        "QA60": {"cloud": (10,), "cirrus": (11,)},
        "MSK_CLASSI_OPAQUE": {"cloud": (0,)},
        "MSK_CLASSI_CIRRUS": {"cirrus": (0,)},
        "MSK_CLASSI_SNOW": {"snow": (0,)},
    }
)
"""Bits of quality bands; cloud of ``QA_PIXEL`` includes the pixels beside clouds."""

_BEST_FIRST: Sequence[Sequence[str]] = (
    ("SCL",),
    ("MSK_CLASSI_OPAQUE", "MSK_CLASSI_CIRRUS", "MSK_CLASSI_SNOW"),
    ("QA60",),
    ("QA_PIXEL", "QA_RADSAT"),
)

_CODES = 256
_log = logging.getLogger(__name__)


def clear_pixels(
    scene: Scene,
    grid: GeoBox,
    *,
    reject: Collection[Flaw] = ("fill", "saturated", "cloud", "shadow"),
    grow_m: float = 0.0,
    cache: Cache | str | Path | None = None,
    signer: Signer = sign_known_hosts,
    retries: Retries | None = None,
) -> xr.DataArray:
    """Mark the pixels of a scene that can be matched, by its quality bands.

    Parameters
    ----------
    scene
        With a quality band.
    grid
        The pixels that are wanted.
    reject
        What is left out.
    grow_m
        Leave out so much round it too, for the edges of clouds are thin.
    cache, signer, retries
        As of `ogive.scenes.read_window`.

    Returns
    -------
    xarray.DataArray
        bool on (y, x). Its attributes tell how many percent of the pixels have each flaw.

    Raises
    ------
    InputError
        If the scene has no quality band, or what is to be rejected is not known.
    SceneReadError
        If a band cannot be read.
    """
    if unknown := set(reject) - set(get_args(Flaw)):
        raise InputError(
            f"{', '.join(sorted(unknown))} is no flaw of a pixel: take {', '.join(get_args(Flaw))}"
        )
    if not 0 <= grow_m < np.inf:
        raise InputError(f"masks cannot grow by {grow_m:g} m: give 0 or more")
    bands = _bands(scene)
    codes = {
        band: read_window(scene, band, grid, cache=cache, signer=signer, retries=retries)
        for band in bands
    }
    flaws = list(dict.fromkeys(reject))
    bad, shares = _of_one_band(codes, flaws) if bands == ["SCL"] else _of_bands(codes, flaws)
    if untold := [flaw for flaw in flaws if flaw not in shares and flaw != "fill"]:
        _log.info("%s tells nothing of %s", scene.id, " and ".join(untold))
    if grow_m and bad.any():
        bad = ndimage.distance_transform_edt(~bad, _spacing_m(grid)) <= grow_m
    clear: xr.DataArray = next(iter(codes.values())).copy(data=~bad)
    clear.name = "clear"
    percent = {f"{flaw}_percent": 100 * share for flaw, share in shares.items()}
    clear.attrs = {"long_name": "pixel can be matched", "scene": scene.id, **percent}
    return clear


def flawed(band: str, codes: NDArray[np.integer], flaw: Flaw) -> NDArray[np.bool_] | None:
    """Tell which codes of a quality band mean a flaw; ``None`` if the band tells nothing of it.

    Examples
    --------
    >>> flawed("SCL", np.array([4, 8, 11]), "cloud")
    array([False,  True, False])
    >>> flawed("QA60", np.array([0]), "snow") is None
    True
    """
    if band == "SCL":
        return _of_classes(codes, _CLASSES[flaw])
    bits = _BITS[band].get(flaw)
    if bits is None:
        return None
    marked: NDArray[np.bool_] = (codes & sum(1 << bit for bit in bits)) != 0
    return marked


def _bands(scene: Scene) -> list[str]:
    for bands in _BEST_FIRST:
        present = [band for band in bands if band in scene.assets]
        if present:
            return present
    raise InputError(
        f"scene {scene.id} has no quality band (SCL, MSK_CLASSI, QA60, QA_PIXEL): mask its clouds "
        "otherwise, or leave them to the outlier filters"
    )


def _of_one_band(
    codes: Mapping[str, xr.DataArray], flaws: Sequence[Flaw]
) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """Bad pixels and the share of each flaw by the scene classification, in one pass."""
    values = codes["SCL"].values
    counts = np.sum(
        [np.bincount(np.minimum(row, _CODES - 1), minlength=_CODES) for row in values], axis=0
    )
    shares: dict[str, float] = {
        flaw: float(counts[list(_CLASSES[flaw])].sum() / values.size) for flaw in flaws
    }
    return _of_classes(values, [code for flaw in flaws for code in _CLASSES[flaw]]), shares


def _of_classes(codes: NDArray[np.integer], classes: Collection[int]) -> NDArray[np.bool_]:
    """Mark some classes row by row: numpy takes eight bytes for each pixel that it looks up."""
    table = np.zeros(_CODES, bool)
    table[list(classes)] = True
    marked = np.empty(codes.shape, bool)
    for row, out in zip(np.atleast_2d(codes), np.atleast_2d(marked), strict=True):
        np.take(table, row, out=out, mode="clip")
    return marked


def _of_bands(
    codes: Mapping[str, xr.DataArray], flaws: Sequence[Flaw]
) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """Bad pixels and the share of each flaw of which a band tells."""
    bad = np.zeros(next(iter(codes.values())).shape, bool)
    shares: dict[str, float] = {}
    for flaw in flaws:
        masks = [flawed(band, image.values, flaw) for band, image in codes.items()]
        told = [mask for mask in masks if mask is not None]
        if told:
            mask = np.logical_or.reduce(told)
            bad |= mask
            shares[flaw] = float(mask.mean())
    return bad, shares


def _spacing_m(grid: GeoBox) -> tuple[float, float]:
    return abs(grid.resolution.y), abs(grid.resolution.x)
