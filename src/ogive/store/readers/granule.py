"""Image pairs in ITS_LIVE's schema, one or a folder of them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ogive.model import DAYS_PER_YEAR, InputError
from ogive.store.cube import converted, crs_of, placed, stack

from . import its_live
from .place import Found, Request, opened

__all__ = ["layer", "read", "read_folder", "recognises", "recognises_folder"]


def recognises(found: Found) -> bool:
    """Whether a place holds one image pair."""
    dataset = found.dataset
    return dataset is not None and {"vx", "vy", "img_pair_info"} <= set(dataset.variables)


def recognises_folder(found: Found) -> bool:
    """Whether a folder holds NetCDF files only; that they are image pairs shows in reading."""
    return bool(found.files) and all(path.suffix == ".nc" for path in found.files)


def read(request: Request) -> xr.Dataset:
    """Make a cube of a single pair."""
    return stack([layer(request)])


def read_folder(request: Request) -> xr.Dataset:
    """Stack all image pairs of a folder."""
    layers = []
    for path in request.found.files:
        with opened(path, "auto") as found:
            if not recognises(found):
                raise InputError(f"{path} is no image pair, as the other files of its folder are")
            layers.append(layer(request._replace(found=found)))
    return stack(layers)


def layer(request: Request) -> xr.Dataset:
    """Read one image pair as a layer for a stack, in meter per year of 365.25 days."""
    pair = request.dataset
    stated = pair.attrs.get("days_per_year", its_live.DAYS_PER_YEAR)
    year = request.days_per_year or float(stated)
    names = [n for n in ("vx", "vy", "v", "v_error", "vx_error", "vy_error") if n in pair]
    pair = converted(pair, units=request.units, days_per_year=year, names=names)
    factor = DAYS_PER_YEAR / year
    for component in ("vx", "vy"):
        attributes = pair[component].attrs
        for name in (*its_live.ERRORS, *its_live.SHIFTS):
            if name in attributes:
                attributes[name] = float(attributes[name]) * factor
    # Cropped granules have a time axis of length 1.
    pair = pair.isel({dim: 0 for dim in pair["vx"].dims if dim not in ("y", "x")}, drop=True)
    if "chip_size_width" in pair:
        pair = pair.drop_vars(["chip_size_width", "chip_size_height"], errors="ignore")
    if "interp_mask" in pair:
        pair["interp_mask"] = pair["interp_mask"].fillna(0).astype(np.uint8)
    information = pair["img_pair_info"]
    pair = placed(pair, request.crs or crs_of(pair))
    pair["img_pair_info"] = xr.DataArray(np.int8(0), attrs=information.attrs)
    return pair
