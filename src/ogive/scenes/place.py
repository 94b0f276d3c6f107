"""Where a grid or an outline lies, in words for messages."""

from __future__ import annotations

from typing import Any

__all__ = ["crs_name", "extent_name"]


def crs_name(crs: Any) -> str:
    """Name a reference system by its EPSG code, by its definition where it has none."""
    code = crs.to_epsg()
    return str(crs.to_wkt()) if code is None else f"EPSG:{code}"


def extent_name(bounds: Any) -> str:
    """Name the limits of a place by its coordinates."""
    left, bottom, right, top = bounds
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"
