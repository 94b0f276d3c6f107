"""What ITS_LIVE calls the variables of an image pair, and what it says of them.

Names, descriptions, fill values and compression are those of its version 2 granules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from ogive.model import ATTRIBUTES, InputError

__all__ = ["plain_attribute", "variable_attributes", "variable_encoding"]

INT16_FILL = -32767
CHUNK = 512

REQUIRED = ("vx", "vy", "v", "v_error")
CHIP_SIZES = ("chip_size_width", "chip_size_height")
UNSIGNED = MappingProxyType(
    {"chip_size_width": np.uint16, "chip_size_height": np.uint16, "interp_mask": np.uint8}
)
_DESCRIPTIONS = MappingProxyType(
    {
        "vx": "velocity component in x direction",
        "vy": "velocity component in y direction",
        "v": "velocity magnitude",
        "v_error": "velocity magnitude error",
    }
)
_STANDARD_NAMES = MappingProxyType(
    {
        "vx": "land_ice_surface_x_velocity",
        "vy": "land_ice_surface_y_velocity",
        "vx_error": "land_ice_surface_x_velocity standard_error",
        "vy_error": "land_ice_surface_y_velocity standard_error",
        "flag": "status_flag",
    }
)
_STABLE_SHIFT_FLAG = (
    "flag for applying velocity bias correction: 0 = no correction; 1 = correction from "
    "overlapping stable surface mask (stationary or slow-flowing surfaces with velocity < 15 "
    "meter/year)(top priority); 2 = correction from slowest 25% of overlapping velocities "
    "(second priority)"
)
_CALIBRATION: Mapping[str, Any] = MappingProxyType(
    {
        "error": np.nan,
        "error_description": (
            "best estimate of {axis}_velocity error: v{axis}_error is populated according to the "
            'approach used for the velocity bias correction as indicated in "stable_shift_flag"'
        ),
        "error_stationary": np.nan,
        "error_stationary_description": (
            "RMSE over stable surfaces, stationary or slow-flowing surfaces with velocity < 15 "
            "meter/year identified from an external mask"
        ),
        "error_modeled": np.nan,
        "error_modeled_description": (
            "1-sigma error calculated using a modeled error-dt relationship"
        ),
        "error_slow": np.nan,
        "error_slow_description": "RMSE over slowest 25% of retrieved velocities",
        "stable_shift": 0.0,
        "stable_shift_flag": np.int64(0),
        "stable_shift_flag_description": _STABLE_SHIFT_FLAG,
        "stable_shift_stationary": np.nan,
        "stable_count_stationary": np.int64(0),
        "stable_shift_slow": np.nan,
        "stable_count_slow": np.int64(0),
    }
)


def variable_attributes(
    name: str, given: Mapping[Any, Any], velocity: xr.Dataset
) -> dict[str, Any]:
    """Join ITS_LIVE's attributes of a variable with those that the caller gave."""
    attributes: dict[str, Any] = dict(ATTRIBUTES.get(name, {}))
    if name in _DESCRIPTIONS:
        attributes["description"] = _DESCRIPTIONS[name]
    if name in ("vx", "vy"):
        axis = name[1]
        attributes |= {
            key: value.replace("{axis}", axis) if isinstance(value, str) else value
            for key, value in _CALIBRATION.items()
        }
    attributes |= _mask_attributes(name, velocity)
    attributes |= {
        str(key): plain_attribute(value, key) for key, value in given.items() if value is not None
    }
    attributes.pop("_FillValue", None)
    if "description" in attributes:
        attributes.setdefault("long_name", attributes["description"])
    return _with_standard_name(name, attributes)


def _with_standard_name(name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Keep a standard name for what CF's table knows, in the units that it can be converted to."""
    given = attributes.pop("standard_name", None)
    known = _STANDARD_NAMES.get(name)
    in_pixels = "velocity" in (known or "") and attributes.get("units") != "meter/year"
    if known is not None and not in_pixels:
        return {"standard_name": known, **attributes}
    if given is not None and given != known:
        return {"its_live_standard_name": given, **attributes}
    return attributes


def _mask_attributes(name: str, velocity: xr.Dataset) -> dict[str, Any]:
    if name == "interp_mask":
        return {
            "standard_name": "interpolated_value_mask",
            "description": "true where values have been interpolated",
            "flag_values": np.array([0, 1], np.uint8),
            "flag_meanings": "measured interpolated",
        }
    if name not in CHIP_SIZES:
        return {}
    side, axis = name.removeprefix("chip_size_"), "x" if name.endswith("width") else "y"
    return {
        "standard_name": name,
        "description": f"{side} of search template (chip)",
        "units": "m",
        f"{axis}_pixel_size": float(velocity.attrs.get(f"pixel_size_{axis}", np.nan)),
        "chip_size_coordinates": "image projection geometry: width = x, height = y",
    }


def plain_attribute(value: Any, name: Any) -> Any:
    """Turn an attribute into what NetCDF holds: numbers, text, and lists of one of them."""
    if isinstance(value, bool | np.bool_):
        return np.int8(value)
    if value is None or isinstance(value, str | int | float | np.number):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return json.dumps(dict(value), default=str)
    array = np.asarray(value)
    if array.dtype.kind in "fiu" and array.ndim == 1:
        return array
    if array.dtype.kind == "U" and array.ndim == 1:
        return list(map(str, array))
    raise InputError(f"the attribute {name} cannot be written to a file: {value!r}")


def variable_encoding(product: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Choose fill values, chunks and compression as ITS_LIVE does: lossless, level 2, shuffled."""
    encoding: dict[str, dict[str, Any]] = {}
    for key, variable in product.variables.items():
        name = str(key)
        if not variable.dims or name in product.coords or variable.dtype.kind in "USM":
            encoding[name] = {"_FillValue": None} if variable.dtype.kind == "f" else {}
            continue
        encoding[name] = {
            "zlib": True,
            "complevel": 2,
            "shuffle": True,
            "chunksizes": tuple(min(CHUNK, size) for size in variable.shape),
            "_FillValue": _fill(name, variable.dtype),
        }
    return encoding


def _fill(name: str, dtype: np.dtype[Any]) -> Any:
    if name in UNSIGNED:
        return UNSIGNED[name](0)
    if dtype.kind == "f":
        return dtype.type(np.nan)
    return np.int16(INT16_FILL) if name in REQUIRED else None
