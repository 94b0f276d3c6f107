"""Where the geometry does not let velocity and elevation bias be told apart, said per pixel."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["GEOMETRY_FLAGS", "epipolar_angle_deg", "geometry_attributes", "geometry_flags"]

GEOMETRY_FLAGS = {
    1: "no_pair_used",
    2: "single_orbit_elevation_bias_unobservable",
    4: "elevation_bias_not_separable_from_motion",
    8: "flow_along_the_epipolar_line",
    16: "all_epipolar_lines_parallel",
    32: "nominal_view_geometry",
}
"""Bits of the variable ``geometry``."""

LEAST_ANGLE_DEG = 15.0
PARALLEL_DEG = 5.0
"""Flow closer to the epipolar line than this is flagged, and not projected."""


class Solved(Protocol):
    """What a solution tells of its geometry, each of (pixels,)."""

    @property
    def used(self) -> NDArray[np.int32]:
        """Pairs used."""
        ...

    @property
    def bias(self) -> NDArray[np.float64]:
        """Elevation bias, NaN where it was not solved for."""
        ...

    @property
    def baseline(self) -> NDArray[np.float32]:
        """Longest baseline of a pair."""
        ...

    @property
    def line_spread(self) -> NDArray[np.float32]:
        """How far the epipolar lines of single pairs turn from the common one, radians."""
        ...


def geometry_attributes() -> dict[str, Any]:
    """CF attributes of the flag variable ``geometry``."""
    return {
        "long_name": "what is wrong with the geometry",
        "flag_masks": np.array(list(GEOMETRY_FLAGS), np.uint8),
        "flag_meanings": " ".join(GEOMETRY_FLAGS.values()),
    }


def epipolar_angle_deg(
    vx: NDArray[Any], vy: NDArray[Any], line: NDArray[Any]
) -> NDArray[np.float32]:
    """Angle between flow and epipolar line, 0 to 90°, (pixels,); NaN where either is unknown.

    Examples
    --------
    >>> epipolar_angle_deg(np.array([1.0]), np.array([-1.0]), np.array([[1.0, 0.0]]))
    array([45.], dtype=float32)
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.abs(vx * line[:, 0] + vy * line[:, 1]) / np.hypot(vx, vy)
    return np.asarray(np.rad2deg(np.arccos(np.minimum(cosine, 1.0))), np.float32)


def geometry_flags(
    result: Solved, angle_deg: NDArray[np.float32], least_baseline: float, *, nominal: bool
) -> NDArray[np.uint8]:
    """Bits of `GEOMETRY_FLAGS`, (pixels,)."""
    none = result.used == 0
    single = ~none & (result.baseline < least_baseline)
    two = ~none & ~single
    where = {
        1: none,
        2: single,
        4: two & np.isnan(result.bias),
        8: two & (angle_deg < LEAST_ANGLE_DEG),
        16: two & (np.rad2deg(result.line_spread) <= PARALLEL_DEG),
        32: ~none & nominal,
    }
    flags = np.zeros(none.size, np.uint8)
    for bit, here in where.items():
        flags |= np.uint8(bit) * here.astype(np.uint8)
    return flags
