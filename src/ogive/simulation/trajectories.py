"""Where a piece of ice goes: trajectories through a flow that changes with time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy import ndimage

from ..model import InputError
from .flow import MODES, Flow
from .noise import FloatArray
from .rhythm import Rhythm

__all__ = ["Positions", "Trajectories"]

LONGEST_STEP_YEARS = 1 / 24
LONGEST_STEP_CELLS = 1.0


class Positions(NamedTuple):
    """Places in metres, to the east and to the north; arrays of one shape."""

    x: FloatArray
    y: FloatArray


class Trajectories:
    """Moves points with the flow, by the classical Runge-Kutta scheme of fourth order.

    The velocity between the cells is a cubic spline; its modes are combined before each step, so
    that a step costs the same however many there are. Steps are two weeks or the time to cross a
    cell, whichever is less. The result does not depend on how points are grouped.

    Parameters
    ----------
    flow
        The mean flow and the strength of its modes.
    rhythm
        Their course in time.
    longest_step_years, longest_step_cells
        Limits of a step; longer ones serve where a picture is wanted, not a truth.
    """

    def __init__(
        self,
        flow: Flow,
        rhythm: Rhythm,
        *,
        longest_step_years: float = LONGEST_STEP_YEARS,
        longest_step_cells: float = LONGEST_STEP_CELLS,
    ) -> None:
        self.flow = flow
        self.rhythm = rhythm
        mean = np.stack([flow.vx_m_yr, flow.vy_m_yr])
        layers = [mean, *(mean * weight for weight in flow.mode_weight)]
        self._coefficients = np.stack(
            [[ndimage.spline_filter(part, order=3, mode="mirror") for part in v] for v in layers]
        )
        fastest = float(flow.speed_m_yr.max())
        self._step_years = min(longest_step_years, longest_step_cells * flow.step_m / fastest)

    def velocity(self, x: FloatArray, y: FloatArray, years: float) -> Positions:
        """Velocity in m/yr at places and a time (years since the epoch)."""
        places = self._cells(x, y)
        out = np.empty_like(places)
        _evaluate(self._field(years), places, out)
        shape = np.shape(x)
        return Positions(out[:, 0].reshape(shape), out[:, 1].reshape(shape))

    def move(self, x: FloatArray, y: FloatArray, start: float, end: float) -> Positions:
        """Where points are at the time ``end`` that are at (x, y) at the time ``start``.

        Parameters
        ----------
        x, y
            Places in metres.
        start, end
            Years since the epoch; ``end`` may be the earlier one.

        Raises
        ------
        InputError
            If a time is not a number.
        """
        if not (np.isfinite(start) and np.isfinite(end)):
            raise InputError(f"trajectories need two times, but were given {start} and {end}")
        places = self._cells(x, y)
        steps = max(1, int(np.ceil(abs(end - start) / self._step_years)))
        span = (end - start) / steps
        per_cell = span / self.flow.step_m
        for step in range(steps):
            time = start + step * span
            early, middle, late = (self._field(time + part * span) for part in (0, 0.5, 1))
            _runge_kutta(early, middle, late, places, per_cell)
        shape = np.shape(x)
        step_m, flow = self.flow.step_m, self.flow
        return Positions(
            (flow.x[0] + places[:, 0] * step_m).reshape(shape),
            (flow.y[0] - places[:, 1] * step_m).reshape(shape),
        )

    def _cells(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Places as columns and rows of the flow's grid."""
        columns = (np.ravel(x) - self.flow.x[0]) / self.flow.step_m
        rows = (self.flow.y[0] - np.ravel(y)) / self.flow.step_m
        return np.ascontiguousarray(np.stack([columns, rows], axis=1), dtype=np.float64)

    def _field(self, years: float) -> FloatArray:
        """Spline coefficients of the velocity at a time."""
        weights = np.array([1.0, *self.rhythm.factors(years)])
        assert weights.size == len(MODES) + 1
        return np.ascontiguousarray(np.tensordot(weights, self._coefficients, axes=1))


@njit(cache=True, nogil=True)
def _spline(field: Any, column: float, row: float) -> Any:
    """Cubic B-spline with mirrored edges: both components of the velocity at a place."""
    height, width = field.shape[1], field.shape[2]
    column = min(max(column, 0.0), width - 1.0)
    row = min(max(row, 0.0), height - 1.0)
    x0, y0 = int(column), int(row)
    fx, fy = column - x0, row - y0
    weight_x = (
        (1 - fx) ** 3 / 6,
        2 / 3 - fx * fx * (2 - fx) / 2,
        2 / 3 - (1 - fx) ** 2 * (1 + fx) / 2,
        fx**3 / 6,
    )
    weight_y = (
        (1 - fy) ** 3 / 6,
        2 / 3 - fy * fy * (2 - fy) / 2,
        2 / 3 - (1 - fy) ** 2 * (1 + fy) / 2,
        fy**3 / 6,
    )
    first = 0.0
    second = 0.0
    for j in range(4):
        y = y0 + j - 1
        y = -y if y < 0 else (2 * (height - 1) - y if y >= height else y)
        for i in range(4):
            x = x0 + i - 1
            x = -x if x < 0 else (2 * (width - 1) - x if x >= width else x)
            weight = weight_y[j] * weight_x[i]
            first += weight * field[0, y, x]
            second += weight * field[1, y, x]
    return first, second


@njit(cache=True, nogil=True)
def _evaluate(field: Any, places: Any, out: Any) -> None:
    """Velocity at places given as columns and rows."""
    for p in range(places.shape[0]):
        out[p, 0], out[p, 1] = _spline(field, places[p, 0], places[p, 1])


@njit(cache=True, nogil=True)
def _runge_kutta(early: Any, middle: Any, late: Any, places: Any, span: float) -> None:
    """One step for all places, in place; rows grow to the south, velocities to the north."""
    for p in range(places.shape[0]):
        x, y = places[p, 0], places[p, 1]
        u1, v1 = _spline(early, x, y)
        u2, v2 = _spline(middle, x + span / 2 * u1, y - span / 2 * v1)
        u3, v3 = _spline(middle, x + span / 2 * u2, y - span / 2 * v2)
        u4, v4 = _spline(late, x + span * u3, y - span * v3)
        places[p, 0] = x + span / 6 * (u1 + 2 * u2 + 2 * u3 + u4)
        places[p, 1] = y - span / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
