"""What the ice has been through: stretched, turned, bent over the icefall, strewn with stones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy import ndimage

from .flow import Flow
from .noise import FloatArray, filtered_noise
from .rhythm import Rhythm
from .terrain import BoolArray
from .trajectories import Trajectories

__all__ = ["IceHistory", "StrainRates", "ice_history", "principal_strain", "strain_rates"]

CREVASSE_STRAIN_PER_YR = 0.035
"""Extension above which ice cracks; field values scatter round 0.01 to 0.1 (Cuffey & Paterson
2010, section 10.8)."""
CREVASSE_LIFE_YR = 1.2
DEBRIS_LIFE_YR = 110.0
OGIVE_LIFE_YR = 14.0
ROCKFALL_REACH_M = 70.0


class StrainRates(NamedTuple):
    """Horizontal strain rates per year, ``(y, x)``."""

    xx: FloatArray
    yy: FloatArray
    xy: FloatArray


class PrincipalStrain(NamedTuple):
    """The greatest extension per year and its direction, radians anticlockwise from east."""

    rate_per_yr: FloatArray
    direction: FloatArray


@dataclass(frozen=True, slots=True)
class IceHistory:
    """Marks that the flow leaves on the ice, on the flow's grid, ``(y, x)``.

    Attributes
    ----------
    crevassing
        How densely the ice is crevassed, 0 to 1.
    crevasse_direction
        Of the crevasses' strike, radians anticlockwise from east.
    debris
        How much of the ice is under stones, 0 to 1.
    foliation
        Bands along the flow lines, mean zero, unit variance.
    icefall_age_yr
        Time since the ice left the icefall.
    ogive_strength
        How clearly ogives are seen, 0 to 1.
    """

    crevassing: FloatArray
    crevasse_direction: FloatArray
    debris: FloatArray
    foliation: FloatArray
    icefall_age_yr: FloatArray
    ogive_strength: FloatArray


def strain_rates(vx: FloatArray, vy: FloatArray, *, step_m: float) -> StrainRates:
    """Strain rates of a velocity field on a north-up grid.

    Parameters
    ----------
    vx, vy
        To the east and to the north, in m/yr, ``(y, x)``.
    step_m
        Distance between cells.
    """
    (vx_x, vx_y), (vy_x, vy_y) = _slopes(vx, step_m), _slopes(vy, step_m)
    return StrainRates(vx_x, vy_y, (vx_y + vy_x) / 2)


def principal_strain(strain: StrainRates) -> PrincipalStrain:
    """Largest eigenvalue of the strain rate tensor and the direction it stretches."""
    mean, half = (strain.xx + strain.yy) / 2, (strain.xx - strain.yy) / 2
    return PrincipalStrain(mean + np.hypot(half, strain.xy), np.arctan2(strain.xy, half) / 2)


def ice_history(flow: Flow, *, steepness: FloatArray, rng: np.random.Generator) -> IceHistory:
    """Follow the ice back in time and collect what it met.

    Parameters
    ----------
    flow
        The mean flow.
    steepness
        Slope of the smoothed surface, ``(y, x)``; the icefall is where it is exceptional.
    rng
        Where the noise of the bands comes from.
    """
    still = Trajectories(
        flow,
        Rhythm(seasonal_amplitude=0, trend_per_year=0),
        longest_step_years=0.3,
        longest_step_cells=4.0,
    )
    strain = principal_strain(strain_rates(flow.vx_m_yr, flow.vy_m_yr, step_m=flow.step_m))
    crevassing, direction = _crevasses(flow, still, strain)
    debris, foliation = _bands(flow, still, rng)
    icefall = flow.ice & (steepness > max(0.22, 1.6 * float(np.median(steepness[flow.ice]))))
    icefall = ndimage.binary_opening(icefall, iterations=2)
    age = np.full(flow.ice.shape, 1e3)
    if icefall.any():
        _travel_time(flow.vx_m_yr, -flow.vy_m_yr, flow.ice, icefall, flow.step_m, age)
    steady = np.exp(-age / OGIVE_LIFE_YR) * np.clip(age / 0.7, 0, 1)
    depth = ndimage.distance_transform_edt(flow.ice) * flow.step_m
    steady *= np.clip(depth / 120 - 0.3, 0, 1)
    return IceHistory(
        crevassing=np.where(flow.ice, crevassing, 0),
        crevasse_direction=direction,
        debris=np.where(flow.ice, debris, 0),
        foliation=foliation,
        icefall_age_yr=np.minimum(age, 60.0),
        ogive_strength=np.where(flow.ice & ~icefall, steady, 0),
    )


def _crevasses(
    flow: Flow, still: Trajectories, strain: PrincipalStrain
) -> tuple[FloatArray, FloatArray]:
    """Density and strike of the crevasses: opened across the extension, then turned by the flow.

    A crevasse that opened a time ago where the ice then was is a line element of the material; the
    deformation gradient since then turns and stretches it.
    """
    x, y = np.meshgrid(flow.x, flow.y)
    open_there = 1 - np.exp(
        -np.maximum(strain.rate_per_yr - CREVASSE_STRAIN_PER_YR, 0) / (2 * CREVASSE_STRAIN_PER_YR)
    )
    strike_there = strain.direction + np.pi / 2
    best = np.where(flow.ice, open_there, 0.0)
    strike = strike_there.copy()
    was_x, was_y = x, y
    for age in np.arange(0.2, 2.01, 0.2):
        was_x, was_y = still.move(was_x, was_y, 0.0, -0.2)
        columns, rows = (was_x - flow.x[0]) / flow.step_m, (flow.y[0] - was_y) / flow.step_m
        density = ndimage.map_coordinates(open_there, [rows, columns], order=1, mode="nearest")
        density = density * np.exp(-age / CREVASSE_LIFE_YR)
        double = [
            ndimage.map_coordinates(part, [rows, columns], order=1, mode="nearest")
            for part in (np.cos(2 * strike_there), np.sin(2 * strike_there))
        ]
        angle = np.arctan2(double[1], double[0]) / 2
        # Inverse of the deformation gradient: how places then depend on places now.
        x_x, x_y = _slopes(was_x, flow.step_m)
        y_x, y_y = _slopes(was_y, flow.step_m)
        turned_x = y_y * np.cos(angle) - x_y * np.sin(angle)
        turned_y = x_x * np.sin(angle) - y_x * np.cos(angle)
        stronger = flow.ice & (density > best)
        best = np.where(stronger, density, best)
        strike = np.where(stronger, np.arctan2(turned_y, turned_x), strike)
    return np.asarray(ndimage.gaussian_filter(best, 1.0)), np.asarray(strike)


def _slopes(values: FloatArray, step_m: float) -> tuple[FloatArray, FloatArray]:
    """Differentiate to the east and to the north on a north-up grid."""
    return (
        np.asarray(np.gradient(values, step_m, axis=1)),
        -np.asarray(np.gradient(values, step_m, axis=0)),
    )


def _bands(
    flow: Flow, still: Trajectories, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Debris from the rock the ice once passed, and noise drawn out along the flow lines."""
    x, y = np.meshgrid(flow.x, flow.y)
    depth = ndimage.distance_transform_edt(flow.ice) * flow.step_m
    patchy = filtered_noise(
        flow.ice.shape, lambda fx, fy: np.exp(-((10 * fx) ** 2) - (10 * fy) ** 2), rng=rng
    )
    rockfall = np.where(flow.ice, np.exp(-((depth / ROCKFALL_REACH_M) ** 2)), 0)
    rockfall = rockfall * np.clip(0.55 + 0.6 * patchy, 0, 1)
    grain = filtered_noise(
        flow.ice.shape, lambda fx, fy: np.exp(-((2.5 * fx) ** 2) - (2.5 * fy) ** 2), rng=rng
    )
    debris, foliation = rockfall[flow.ice], np.zeros(int(flow.ice.sum()))
    was_x, was_y, age = x[flow.ice], y[flow.ice], 0.0
    path = np.zeros_like(was_x)
    # Strides grow, so that a glacier's memory of decades costs some fifty of them.
    for stride in np.geomspace(0.12, 4.0, 52):
        gone = still.move(was_x, was_y, 0.0, -float(stride))
        path += np.hypot(gone.x - was_x, gone.y - was_y)
        was_x, was_y = gone.x, gone.y
        age += float(stride)
        columns, rows = (was_x - flow.x[0]) / flow.step_m, (flow.y[0] - was_y) / flow.step_m
        passed = ndimage.map_coordinates(rockfall, [rows, columns], order=1, mode="nearest")
        debris = np.maximum(debris, passed * np.exp(-age / DEBRIS_LIFE_YR))
        weight = np.exp(-age / 12)
        foliation += weight * ndimage.map_coordinates(
            grain, [rows, columns], order=1, mode="nearest"
        )
    # Ice that has hardly moved has not been drawn out.
    foliation *= np.clip(path / 600, 0, 1) / foliation.std()
    return _spread(debris, flow.ice), _spread(foliation, flow.ice)


def _spread(values: FloatArray, ice: BoolArray) -> FloatArray:
    """Put values of the ice cells back on the grid, zero elsewhere."""
    grid = np.zeros(ice.shape)
    grid[ice] = values
    return grid


@njit(cache=True, nogil=True)
def _travel_time(right: Any, down: Any, ice: Any, start: Any, step_m: float, age: Any) -> None:
    """Solve ``u . grad(age) = 1`` with age 0 in ``start``, upwind, sweeping in four directions."""
    rows, columns = age.shape
    for y in range(rows):
        for x in range(columns):
            if start[y, x]:
                age[y, x] = 0.0
    for sweep in range(24):
        for i in range(rows):
            y = i if sweep % 2 == 0 else rows - 1 - i
            for j in range(columns):
                x = j if (sweep // 2) % 2 == 0 else columns - 1 - j
                if start[y, x] or not ice[y, x]:
                    continue
                u, v = right[y, x], down[y, x]
                from_x = x - 1 if u > 0 else x + 1
                from_y = y - 1 if v > 0 else y + 1
                if not (0 <= from_x < columns and 0 <= from_y < rows):
                    continue
                speed = abs(u) + abs(v)
                if speed < 1e-3:
                    continue
                upstream = (abs(u) * age[y, from_x] + abs(v) * age[from_y, x]) / speed
                age[y, x] = min(age[y, x], upstream + step_m / speed)
