"""Divides as lines: where glaciers touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from ogive.model import InputError

__all__ = ["divide_lines"]


def divide_lines(
    glaciers: Sequence[BaseGeometry], *, tolerance_m: float = 1.0
) -> list[BaseGeometry]:
    """Find the lines along which glaciers touch.

    Parameters
    ----------
    glaciers
        Polygons in metres, valid.
    tolerance_m
        Borders that are so close are one.

    Returns
    -------
    list
        A line or several for each two glaciers that touch.

    Raises
    ------
    InputError
        If a polygon crosses itself.

    Examples
    --------
    >>> lines = divide_lines([shapely.box(0, 0, 50, 80), shapely.box(50, 0, 90, 60)])
    >>> [round(line.length) for line in lines]
    [62]
    """
    shapes = np.array(list(glaciers), object)
    for number, shape in enumerate(shapes):
        if not shape.is_valid:
            raise InputError(f"glacier {number} crosses itself: {shapely.is_valid_reason(shape)}")
    one, other = STRtree(shapes).query(shapes, predicate="dwithin", distance=tolerance_m)
    lines = []
    for first, second in zip(one, other, strict=True):
        if first < second:
            near = shapely.buffer(shapes[second], tolerance_m, quad_segs=2)
            shared = shapely.line_merge(
                shapely.multilinestrings(
                    _line_parts(shapely.intersection(shapes[first].boundary, near))
                )
            )
            if shared.length > 4 * tolerance_m:
                lines.append(shared)
    return lines


def _line_parts(shape: BaseGeometry) -> list[BaseGeometry]:
    return [part for part in shapely.get_parts(shape) if part.geom_type == "LineString"]
