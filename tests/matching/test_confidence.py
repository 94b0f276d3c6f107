"""Confidence: a probability that is what it says, and a fallback that chooses by it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import ogive
from ogive.evaluation.reliability import reliability
from ogive.matching.confidence import PREDICTORS, RIGHT_PX, Calibration, adaptive_calibration
from ogive.matching.fallback import more_confident
from ogive.matching.field import measure_field
from ogive.matching.search import Search
from ogive.model import Flag, InputError
from ogive.simulation.pair import simple_pair

OPTIONS = {"window_px": 16, "step_px": 8, "search": Search(radius_px=12), "least_sigmas": 0.0}


@pytest.fixture(scope="module")
def pair():
    """A quarter of the surface is another one; the rest is seen through some noise."""
    return simple_pair(
        (320, 320), seed=6, max_displacement_px=5, snr=2.0, decorrelated_fraction=0.25
    )


@pytest.fixture(scope="module")
def adaptive(pair):
    return measure_field(
        pair.earlier, pair.later, features="adaptive", calibration=adaptive_calibration(), **OPTIONS
    )


def errors(pair, field):
    rows = np.rint(field.points.centre_y).astype(int)
    columns = np.rint(field.points.centre_x).astype(int)
    at = np.ix_(rows, columns)
    return np.hypot(field.planes["u"] - pair.dx_px[at], field.planes["v"] - pair.dy_px[at])


def test_confidence_tells_right_points_from_wrong_ones(pair, adaptive):
    measured = adaptive.flag == Flag.MEASURED
    confidence = adaptive.planes["confidence"]
    assert np.isnan(confidence[~measured]).all()
    assert (confidence[measured] >= 0).all()
    assert (confidence[measured] <= 1).all()
    right = errors(pair, adaptive)[measured] < RIGHT_PX
    told = reliability(confidence[measured], right)
    # It was fitted to pairs of many kinds and not to this one: better than knowing only the share
    # of right points, by half of what there is to know.
    assert told.brier < 0.5 * told.base_rate * (1 - told.base_rate)


def test_match_gives_it(pair):
    found = ogive.match(pair.earlier, pair.later, window=16, step=8, search=12)
    assert "confidence" in found
    assert float(found.confidence.where(found.flag == 0).min()) >= 0
    assert "confidence" not in ogive.match(
        pair.earlier, pair.later, window=16, step=16, search=12, features="orientation"
    )


def test_calibration_travels_as_text():
    first = adaptive_calibration()
    again = Calibration.from_json(first.to_json(), source="here")
    assert again.strategies == first.strategies
    assert again.about == first.about


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no json", "holds no calibration"),
        (json.dumps({"format": "another"}), "is of the format 'another'"),
        (json.dumps({"format": "ogive confidence 1"}), "holds no calibration"),
        (
            json.dumps({"format": "ogive confidence 1", "about": {}, "strategies": {
                "full": {"intercept": 0, "coefficients": {"colour": 1}, "ranges": {}}}}),
            "not those of this version",
        ),
    ],
)  # fmt: skip
def test_what_is_no_calibration(text, sentence):
    with pytest.raises(InputError, match=sentence):
        Calibration.from_json(text, source="here.json")


def two_fields(adaptive, **second):
    """A field, and another like it with some planes changed."""
    planes = {**adaptive.planes, **second}
    return replace(adaptive, planes=planes, features="others")


def test_fallback_takes_what_is_more_precise_where_both_agree(adaptive):
    finer = two_fields(adaptive, u=adaptive.planes["u"] + 0.3, u_var=0.5 * adaptive.planes["u_var"])
    measured = adaptive.flag == Flag.MEASURED
    joined = more_confident(adaptive, finer)
    np.testing.assert_array_equal(joined.planes["u"][measured], finer.planes["u"][measured])
    np.testing.assert_array_equal(joined.source[measured], 1)
    back = more_confident(finer, adaptive)
    np.testing.assert_array_equal(back.planes["u"][measured], finer.planes["u"][measured])
    np.testing.assert_array_equal(back.source[measured], 0)


def test_fallback_takes_what_is_more_confident_where_both_disagree(adaptive):
    elsewhere = two_fields(
        adaptive, u=adaptive.planes["u"] + 3.0, u_var=0.01 * adaptive.planes["u_var"],
        confidence=1.0 - adaptive.planes["confidence"],
    )  # fmt: skip
    measured = adaptive.flag == Flag.MEASURED
    doubtful = adaptive.planes["confidence"] < 0.5
    joined = more_confident(adaptive, elsewhere)
    np.testing.assert_array_equal(joined.source[measured], doubtful[measured])
    assert (joined.planes["confidence"][measured] >= 0.5).all()


def test_fallback_fills_what_was_not_found(adaptive):
    holes = replace(
        adaptive,
        flag=np.full_like(adaptive.flag, Flag.NO_PEAK),
        planes={name: np.full_like(plane, np.nan) for name, plane in adaptive.planes.items()},
    )
    joined = more_confident(holes, adaptive)
    for name in ("u", "v", "confidence"):
        np.testing.assert_array_equal(joined.planes[name], adaptive.planes[name])
    np.testing.assert_array_equal(joined.flag == Flag.MEASURED, adaptive.flag == Flag.MEASURED)


def test_no_fallback_without_confidence(pair):
    with pytest.raises(InputError, match="no confidence is known"):
        ogive.match(
            pair.earlier, pair.later, window=16, features="adaptive", fallback="orientation"
        )
    with pytest.raises(InputError, match="no confidence"):
        ogive.match(pair.earlier, pair.later, window=16, fallback="adaptive", subpixel="parabola")


def test_every_predictor_is_used():
    for logistic in adaptive_calibration().strategies.values():
        assert logistic.coefficients.keys() == PREDICTORS.keys()
