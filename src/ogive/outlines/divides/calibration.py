"""Options of the division that fit reference divides best, by Bayesian optimisation.

As published: the mean of the two distances S7 and S8 is lowered. A Gaussian process learns how the
distance depends on the options, and the options that promise most (expected improvement, Jones et
al. 1998, J. Glob. Optim. 13, 455-492) are tried next.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from scipy.stats import norm, qmc
from shapely.geometry.base import BaseGeometry

from ogive.evaluation.mapping import DivideDistances, divide_distances
from ogive.model import InputError

from ..vectors import polygons_of
from .divide import divide_ice
from .lines import divide_lines
from .options import DivideOptions

__all__ = ["SEARCHED", "DividesCalibrated", "calibrate_divides", "distances_to"]

_log = logging.getLogger(__name__)

SEARCHED: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "smoothing_m": (10.0, 100.0),
        "percentile": (0.0, 0.95),
        "radius_factor": (0.1, 2.0),
        "largest_radius_m": (200.0, 4000.0),
    }
)
"""Options that are searched, and between which values."""
_FIRST = 8
_CANDIDATES = 2048


@dataclass(frozen=True)
class DividesCalibrated:
    """Options that were found, and how good they are.

    Attributes
    ----------
    options
        The best of those that were tried.
    distances
        Of the best.
    tried
        Mean distance of each try, in metres; infinite where all ice was left undivided.
    """

    options: DivideOptions
    distances: DivideDistances
    tried: tuple[float, ...]


def calibrate_divides(
    ice: ArrayLike,
    elevation_m: ArrayLike,
    geobox: GeoBox,
    reference: Sequence[BaseGeometry],
    *,
    tries: int = 40,
    seed: int = 0,
    options: DivideOptions | None = None,
) -> DividesCalibrated:
    """Find the options whose divides lie closest to others.

    Parameters
    ----------
    ice, elevation_m
        As for `divide_ice`, on the grid.
    geobox
        In metres.
    reference
        Divides, as lines on the grid's map.
    tries
        How many options are tried; the first is ``options``.
    seed
        Of the search.
    options
        Where to begin; what is not searched stays.

    Raises
    ------
    InputError
        If fewer than two tries are allowed, or all leave the ice undivided.
    """
    if tries < 2:
        raise InputError(f"{tries} tries: at least 2 are needed to choose from")
    start = options or DivideOptions()
    bounds = np.array(list(SEARCHED.values()))
    first = np.array([getattr(start, name) for name in SEARCHED])
    drawn = qmc.Sobol(len(SEARCHED), seed=seed).random(_CANDIDATES)
    points = [np.clip((first - bounds[:, 0]) / np.diff(bounds)[:, 0], 0, 1), *drawn[:_FIRST]]
    found: list[DivideDistances | None] = []
    made: list[DivideOptions] = []
    for number in range(tries):
        if number >= len(points):
            points.append(_most_promising(np.array(points), _means(found), drawn))
        values = bounds[:, 0] + points[number] * np.diff(bounds)[:, 0]
        names = [*SEARCHED]
        made.append(replace(start, **dict(zip(names, values.tolist(), strict=True))))
        lines = _divides(ice, elevation_m, geobox, made[-1])
        found.append(divide_distances(lines, reference) if lines else None)
        _log.info("divides, try %d of %d: %.0f m", number + 1, tries, _means(found)[-1])
    best = int(_means(found).argmin())
    distances = found[best]
    if distances is None:
        raise InputError(f"{tries} tries leave all ice undivided: no distance can be measured")
    return DividesCalibrated(made[best], distances, tuple(_means(found).tolist()))


def distances_to(
    reference: Sequence[BaseGeometry],
    ice: ArrayLike,
    elevation_m: ArrayLike,
    geobox: GeoBox,
    options: DivideOptions,
) -> DivideDistances:
    """Divide ice and measure how far the divides lie from others.

    Raises
    ------
    InputError
        If nothing is divided.
    """
    lines = _divides(ice, elevation_m, geobox, options)
    if not lines:
        raise InputError("the options leave all ice undivided: no distance can be measured")
    return divide_distances(lines, reference)


def _divides(
    ice: ArrayLike, elevation_m: ArrayLike, geobox: GeoBox, options: DivideOptions
) -> list[BaseGeometry]:
    glaciers = divide_ice(ice, elevation_m, cell_m=abs(geobox.resolution.x), options=options)
    return divide_lines(polygons_of(glaciers, geobox).geometry.to_list())


def _means(found: Sequence[DivideDistances | None]) -> NDArray[np.float64]:
    return np.array([np.inf if each is None else each.mean_m for each in found])


def _most_promising(
    tried: NDArray[np.float64], mean_m: NDArray[np.float64], drawn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Choose the options whose expected improvement is highest."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    known = np.isfinite(mean_m)
    if not known.any():
        untried: NDArray[np.float64] = drawn[len(tried) % len(drawn)]
        return untried
    # Options that leave all ice undivided are as bad as the worst that divide it.
    mean_m = np.where(known, mean_m, mean_m[known].max())
    kernel = ConstantKernel(1.0) * Matern(np.full(tried.shape[1], 0.5), (0.05, 10.0), nu=2.5)
    model = GaussianProcessRegressor(kernel + WhiteKernel(0.01), normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        # An option that decides nothing has the longest scale that is allowed, which is right.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(tried, mean_m)
    expected, spread = model.predict(drawn, return_std=True)
    gain = (mean_m.min() - expected) / spread
    improvement = spread * (gain * norm.cdf(gain) + norm.pdf(gain))
    chosen: NDArray[np.float64] = drawn[int(improvement.argmax())]
    return chosen
