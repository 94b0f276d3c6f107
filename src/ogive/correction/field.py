"""A displacement as numbers: what the calibration reads of a Dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from ogive.correction.grid import axes, measured, require
from ogive.correction.robust import RobustFit, biweight_fit

__all__ = ["Basis", "Field"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

Basis = Callable[[Array, Array], Array]
"""Regressors (n, p) of a linear model at n places (x, y)."""


@dataclass(frozen=True, slots=True)
class Field:
    """The displacement as numbers: both components, their match variances, where they are."""

    values: Array
    variance: Array | None
    valid: Bools
    x: Array
    y: Array

    @classmethod
    def of(cls, displacement: xr.Dataset, weighted: bool) -> Field:
        """Read a Dataset; a point counts as valid with a measurement and, weighted, a variance."""
        require(displacement, "dx", "dy")
        valid = measured(displacement)
        variance = None
        if weighted and {"dx_var", "dy_var"} <= set(displacement.data_vars):
            variance = np.stack(
                [np.asarray(displacement[name].values, np.float64) for name in ("dx_var", "dy_var")]
            )
            valid &= np.isfinite(variance).all(axis=0) & (variance >= 0).all(axis=0)
        x, y = axes(displacement)
        values = np.stack([np.asarray(displacement[d].values, np.float64) for d in ("dx", "dy")])
        return cls(values, variance, valid, x, y)

    @property
    def cell_area(self) -> float:
        """Area that one point stands for, in squared units of the coordinates."""
        return abs(_step(self.x) * _step(self.y))

    def places(self, points: Bools) -> tuple[Indices, Indices, Array, Array]:
        """Rows, columns, x and y of chosen points."""
        rows, columns = np.nonzero(points)
        return rows, columns, self.x[columns], self.y[rows]

    def fit(
        self, points: Bools, basis: Basis, start: Array | None = None, scale: Array | None = None
    ) -> RobustFit:
        """Fit a linear model to chosen points, with equal weights where a scale is given."""
        _, _, x, y = self.places(points)
        variance = None if self.variance is None or scale is not None else self.variance[:, points]
        return biweight_fit(basis(x, y), self.values[:, points], variance, start=start, scale=scale)


def _step(axis: Array) -> float:
    return float(axis[-1] - axis[0]) / (axis.size - 1) if axis.size > 1 else 1.0
