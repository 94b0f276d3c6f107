"""Models of the shift between two images: constant, plane, stripes along or across the track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline

from ogive.correction.field import Basis, Field
from ogive.correction.robust import RobustFit
from ogive.correction.spatial import sum_covariance
from ogive.model import StableGroundError

__all__ = ["Shift", "ShiftModel", "check_support", "constant", "shift_basis"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ShiftModel = Literal["constant", "plane", "across_track", "along_track"]

_SPLINE_DEGREE = 3
_OUTERMOST = 0.01
_POINTS_OF_SUPPORT = 10.0
_SUPPORT_SAMPLE = 5_000
_WORST_CONDITION = 1e10


def constant(x: Array, y: Array) -> Array:
    """Regressor of a shift that is the same everywhere."""
    return np.ones((x.size, 1))


def shift_basis(
    field: Field, ground: Bools, model: ShiftModel, azimuth: float | None, intervals: int
) -> Basis:
    """Regressors of a model, scaled to the extent of the stable points."""
    if model == "constant":
        return constant
    _, _, x, y = field.places(ground)
    if model == "plane":
        return _plane(x, y)
    assert azimuth is not None  # checked with the options
    angle = np.deg2rad(azimuth if model == "along_track" else azimuth + 90.0)
    return _stripes(x, y, float(np.sin(angle)), float(np.cos(angle)), intervals)


def _plane(x: Array, y: Array) -> Basis:
    """Constant and two slopes, scaled to the extent so that the equations are well-conditioned."""
    middle_x, middle_y = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    extent = max(np.ptp(x), np.ptp(y), np.finfo(np.float64).tiny)

    def basis(x: Array, y: Array) -> Array:
        return np.stack([np.ones_like(x), (x - middle_x) / extent, (y - middle_y) / extent], axis=1)

    return basis


def _stripes(x: Array, y: Array, toward_x: float, toward_y: float, intervals: int) -> Basis:
    """Cubic B-splines of one coordinate, even knots over all but the outermost stable points.

    Beyond its knots a spline keeps its end value: a little of that is needed at the corners of a
    scene that is cut askew to the track, where there are next to no points.
    """
    low, high = np.quantile(toward_x * x + toward_y * y, (_OUTERMOST, 1.0 - _OUTERMOST))
    width = max(float(high - low), np.finfo(np.float64).tiny) / intervals
    knots = low + width * np.arange(-_SPLINE_DEGREE, intervals + _SPLINE_DEGREE + 1)

    def basis(x: Array, y: Array) -> Array:
        place = np.clip(toward_x * x + toward_y * y, low, high)
        # Rounding may put the last knot a hair below the last place.
        place = np.clip(place, knots[_SPLINE_DEGREE], knots[-1 - _SPLINE_DEGREE])
        dense: Array = BSpline.design_matrix(place, knots, _SPLINE_DEGREE).toarray()
        return dense

    return basis


def check_support(field: Field, ground: Bools, basis: Basis, model: ShiftModel) -> None:
    """Refuse a model that the stable points do not determine wherever there is a measurement."""
    _, _, x, y = field.places(ground)
    regressors = basis(x, y)
    normal = regressors.T @ regressors
    _, _, x, y = field.places(field.valid)
    thin = slice(None, None, max(1, x.size // _SUPPORT_SAMPLE))
    everywhere = basis(x[thin], y[thin])
    if np.linalg.cond(normal) < _WORST_CONDITION:
        leverage = np.einsum("ip,pq,iq->i", everywhere, np.linalg.inv(normal), everywhere)
        if leverage.max() <= 1.0 / _POINTS_OF_SUPPORT:
            return
    raise StableGroundError(
        f"the {ground.sum()} stable points do not determine the {model!r} model everywhere: "
        f"somewhere its shift would rest on the worth of fewer than {_POINTS_OF_SUPPORT:g} points; "
        "take a simpler model, fewer stripe_intervals, or more stable ground"
    )


@dataclass(frozen=True, slots=True)
class Shift:
    """A fitted model of the shift, its error, and the ground it rests on."""

    basis: Basis
    coefficients: Array
    covariance: Array
    mean: Array
    mean_error: Array
    effective_count: float
    correlation_range: float
    points: Bools
    area: float

    @classmethod
    def of(cls, field: Field, fitted: Bools, fit: RobustFit, basis: Basis, points: Bools) -> Shift:
        """Shift with its error; ``fitted`` are the points of the fit, ``points`` its ground."""
        rows, columns, x, y = field.places(fitted)
        regressors = basis(x, y)
        sums = sum_covariance(regressors, fit.scores, rows, columns)
        bread = np.linalg.inv(fit.slope)
        widening = sums.interval_widening
        covariance = bread @ sums.correlated @ bread.T * widening**2
        independent = bread @ sums.independent @ bread.T
        mean = np.kron(np.eye(2), regressors.mean(axis=0))
        variance = np.diag(mean @ covariance @ mean.T)
        alone = float(np.trace(mean @ independent @ mean.T))
        inflation = variance.sum() / widening**2 / alone if alone > 0 else 1.0
        return cls(
            basis=basis,
            coefficients=fit.coefficients,
            covariance=covariance,
            mean=mean @ fit.coefficients.ravel(),
            mean_error=np.sqrt(variance),
            effective_count=float(points.sum() / inflation),
            correlation_range=sums.correlation_range,
            points=points,
            area=float(points.sum() * field.cell_area),
        )

    def on(self, x: Array, y: Array) -> dict[str, Array]:
        """Return the shift and its error covariance on a grid: maps, or numbers if constant."""
        p = self.coefficients.shape[1]
        cxx, cxy, cyy = (
            self.covariance[:p, :p], self.covariance[:p, p:], self.covariance[p:, p:]
        )  # fmt: skip
        if self.basis is constant:
            x, y = x[:1], y[:1]
        rows = []
        for place in y:
            regressors = self.basis(x, np.full_like(x, place))
            shift = self.coefficients @ regressors.T
            errors = [np.einsum("ip,pq,iq->i", regressors, c, regressors) for c in (cxx, cyy, cxy)]
            rows.append(np.concatenate([shift, np.stack(errors)]))
        names = ("shift_dx", "shift_dy", "shift_dx_var", "shift_dy_var", "shift_dxdy_cov")
        maps = np.stack(rows, axis=1)
        if self.basis is constant:
            maps = maps[:, 0, 0]
        return {name: np.asarray(values) for name, values in zip(names, maps, strict=True)}
