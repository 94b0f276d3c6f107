r"""How likely a displacement is right: a calibrated probability, from what the match knows of it.

A displacement is *right* if it is within one pixel of the true one. No single quality says whether
it is: correlation depends on window and texture, the peak ratio on the search. Their logarithms
together do, by logistic regression,

.. math::

    P(\text{right}) = \frac{1}{1 + e^{-(a + \sum_k b_k x_k)}},

with the predictors :math:`x_k` of `predictors` and coefficients that were fitted to pairs of known
motion. A `Calibration` belongs to the features it was fitted for: that of ``"adaptive"`` is here,
other features carry their own (attribute ``calibration``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ..model import InputError
from .kernels import BoolArray, Float32Array
from .neighbours import neighbourhood

__all__ = [
    "PREDICTORS",
    "RIGHT_PX",
    "Calibration",
    "Circumstances",
    "Logistic",
    "adaptive_calibration",
    "predictors",
]

RIGHT_PX = 1.0
FORMAT = "ogive confidence 1"
LEAST_PX = 0.05
"""Distances are not told apart below this: sub-pixel noise, not wrong peaks."""
STRONGEST = 60.0
CLEAREST_SNR = 1000.0


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What all points of a match share.

    Parameters
    ----------
    window_px, step_px
        Of the points.
    strategy
        Of the search.
    reach_px
        Half-width of the search, a number or ``(rows, columns)``.
    coarse_kept
        Share of the coarse search's nodes with which enough neighbours agreed.
    chance_deviation
        Standard deviation of artanh of the correlation of windows that have nothing to do with each
        other.
    """

    window_px: int
    step_px: int
    strategy: str
    reach_px: float | NDArray[Any]
    coarse_kept: float
    chance_deviation: float


PREDICTORS: Mapping[str, str] = MappingProxyType(
    {
        "strength": "log(1 + z), z the peak's artanh correlation in deviations of chance",
        "correlation": "artanh of the peak's correlation",
        "lead": "log(1 + z - z of the second highest peak of the same search)",
        "snr": "log of the squared peak over the mean square of the rest",
        "prediction": "log of the distance from the predicted displacement, px",
        "neighbours": "share of the eight neighbours that are measured",
        "alone": "1 where fewer than three neighbours are measured, else 0",
        "neighbour_distance": "log of the distance from the neighbours' median, px",
        "neighbour_spread": "log of the neighbours' median distance from their median, px",
        "neighbour_strength": "log(1 + z), z the neighbours' median one",
        "deviation": "log of the displacement's standard deviation, px",
        "window": "log2 of the window's side, px",
        "reach": "log2 of the search's half-width, px",
        "coarse_kept": "share of the coarse search's nodes that agree with their neighbours",
        "valid": "share of the window's pixels that are valid",
    }
)
"""What a confidence rests on, by name; logarithms are natural ones unless they say otherwise."""


def predictors(
    planes: Mapping[str, Float32Array],
    measured: BoolArray,
    known: Circumstances,
    *,
    threads: int = 1,
) -> dict[str, NDArray[Any] | float]:
    """Give `PREDICTORS` of all points, finite wherever a point is measured.

    Parameters
    ----------
    planes
        By the names of `ogive.matching.measure.RESULTS`, variances being those of the error.
    measured
        Which points have a displacement.
    known
        What they share.
    threads
        How many threads share the rows.

    Returns
    -------
    dict
        Each ``(rows, columns)``, or a number that holds for all.
    """
    fisher = np.arctanh(np.clip(planes["correlation"], -0.999, 0.9999))
    valid = planes["valid_fraction"]
    strength = np.clip(
        fisher * (np.sqrt(valid) / np.float32(known.chance_deviation)), 0.0, STRONGEST
    ).astype(np.float32)
    apart = max(1, round(known.window_px / known.step_px))
    near = neighbourhood(planes["u"], planes["v"], strength, measured, apart=apart, threads=threads)
    alone = ~np.isfinite(near.distance_px)
    ratio = planes["peak_ratio"]
    # Without a second peak above zero, the lead is all that the peak has.
    behind = np.zeros_like(ratio)
    np.divide(1.0, ratio, out=behind, where=ratio >= 1.0)
    snr = np.nan_to_num(planes["snr"], nan=CLEAREST_SNR, posinf=CLEAREST_SNR)

    def of_neighbours(values: Float32Array) -> NDArray[Any]:
        return np.where(alone, 0.0, values)

    return {
        "strength": np.log1p(strength),
        "correlation": fisher,
        "lead": np.log1p(strength * (1.0 - behind)),
        "snr": np.log(np.clip(snr, 0.1, CLEAREST_SNR)),
        "prediction": np.log(LEAST_PX + planes["prediction_distance"]),
        "neighbours": near.share,
        "alone": alone,
        "neighbour_distance": of_neighbours(np.log(LEAST_PX + near.distance_px)),
        "neighbour_spread": of_neighbours(np.log(LEAST_PX + near.spread_px)),
        "neighbour_strength": of_neighbours(np.log1p(near.strength)),
        "deviation": 0.5 * np.log(np.clip(planes["u_var"] + planes["v_var"], 1e-8, 1e4)),
        "window": float(np.log2(known.window_px)),
        "reach": np.log2(known.reach_px),
        "coarse_kept": known.coarse_kept,
        "valid": valid,
    }


@dataclass(frozen=True)
class Logistic:
    """A logistic regression on `PREDICTORS`.

    Parameters
    ----------
    intercept
        a.
    coefficients
        b of each predictor, by name.
    ranges
        Least and most of each predictor among what was fitted to: values beyond count as these.
    """

    intercept: float
    coefficients: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        for given, what in ((self.coefficients, "coefficients"), (self.ranges, "ranges")):
            if given.keys() != PREDICTORS.keys():
                odd = ", ".join(sorted(given.keys() ^ PREDICTORS.keys()))
                raise InputError(
                    f"the {what} of a confidence are not those of this version of ogive ({odd}): "
                    "it was fitted by another one; fit it again"
                )

    def probability(self, of: Mapping[str, NDArray[Any] | float]) -> NDArray[Any]:
        """Give the probability at each point, from its `predictors`."""
        total: NDArray[Any] | float = self.intercept
        for name, coefficient in self.coefficients.items():
            total = total + coefficient * np.clip(of[name], *self.ranges[name])
        return np.asarray(expit(total))


@dataclass(frozen=True)
class Calibration:
    """What turns the qualities of a match into a probability, for some features.

    Parameters
    ----------
    strategies
        A regression for each strategy of `ogive.matching.search.Search`.
    about
        How it was fitted, and for which features.

    Examples
    --------
    >>> calibration = adaptive_calibration()
    >>> sorted(calibration.strategies)
    ['coarse-to-fine', 'full']
    """

    strategies: Mapping[str, Logistic]
    about: Mapping[str, Any]

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Calibration:
        """Read a calibration.

        Parameters
        ----------
        text
            As `to_json` gives it.
        source
            Where it comes from, for messages.

        Raises
        ------
        InputError
            If it is no calibration, or one of another version.
        """
        try:
            told = json.loads(text)
            if told["format"] != FORMAT:
                raise InputError(f"{source} is of the format {told['format']!r}, not {FORMAT!r}")
            strategies = {
                str(name): Logistic(
                    float(each["intercept"]),
                    {key: float(value) for key, value in each["coefficients"].items()},
                    {key: (float(low), float(high)) for key, (low, high) in each["ranges"].items()},
                )
                for name, each in told["strategies"].items()
            }
            return cls(strategies, dict(told["about"]))
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{source} holds no calibration of a confidence: {error!r}") from error

    def to_json(self) -> str:
        """Write it as text that `from_json` reads, with five digits."""
        return json.dumps(
            {
                "format": FORMAT,
                "about": dict(self.about),
                "strategies": {
                    name: {
                        "intercept": _five_digits(each.intercept),
                        "coefficients": {k: _five_digits(b) for k, b in each.coefficients.items()},
                        "ranges": {k: list(map(_five_digits, r)) for k, r in each.ranges.items()},
                    }
                    for name, each in self.strategies.items()
                },
            },
            indent=1,
        )

    def confidence(
        self,
        planes: Mapping[str, Float32Array],
        measured: BoolArray,
        known: Circumstances,
        *,
        threads: int = 1,
    ) -> Float32Array:
        """Give the probability that each point is right; NaN where there is no displacement.

        Parameters
        ----------
        planes, measured, known, threads
            As for `predictors`.
        """
        if known.strategy not in self.strategies or not np.isfinite(known.chance_deviation):
            return np.full(measured.shape, np.nan, np.float32)
        of = predictors(planes, measured, known, threads=threads)
        found = self.strategies[known.strategy].probability(of)
        return np.where(measured, found, np.nan).astype(np.float32)


def _five_digits(value: float) -> float:
    return float(f"{value:.5g}")


@cache
def adaptive_calibration() -> Calibration:
    """Give the calibration of ``"adaptive"`` features, which ships with ogive."""
    resource = files("ogive.matching").joinpath("adaptive.confidence.json")
    return Calibration.from_json(resource.read_text(encoding="utf-8"), source=resource.name)
