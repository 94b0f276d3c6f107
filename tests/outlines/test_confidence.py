"""Confidence, what it is worth, and what it tells of a map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ogive.evaluation.mapping import map_score
from ogive.evaluation.reliability import reliability
from ogive.model import InputError
from ogive.outlines.calibration import Calibration, bin_confidence, calibrate_confidence
from ogive.outlines.confidence import (
    band_of_95,
    confidence,
    estimated_iou,
    estimated_iou_of_counts,
)

BINS = 100


@given(p=st.floats(0, 1))
def test_confidence_is_the_same_for_both_classes_and_between_0_and_1(p: float):
    sure = float(confidence(p))
    assert 0 <= sure <= 1
    assert sure == pytest.approx(float(confidence(1 - p)), abs=1e-12)


def test_confidence_rises_with_the_distance_from_even_odds():
    assert (np.diff(confidence(np.linspace(0.5, 1, 200))) > 0).all()
    assert np.isnan(confidence(np.nan))
    with pytest.raises(InputError, match="outside 0 to 1"):
        confidence([0.3, 1.2])


def overconfident(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities as a network gives them, and truths by which its odds are the root too sure."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 3, count)
    true = rng.random(count) < 1 / (1 + np.exp(-odds / 2))
    p = 1 / (1 + np.exp(-odds))
    return p, true


@pytest.mark.parametrize("monotone", [True, False])
def test_calibration_brings_the_error_to_that_of_chance(monotone: bool):
    p, true = overconfident(200_000, 0)
    curve = calibrate_confidence(
        bin_confidence(confidence(p), (p > 0.5) == true), monotone=monotone
    )
    p, true = overconfident(200_000, 1)
    right = (p > 0.5) == true
    before = reliability(confidence(p), right, bins=BINS).expected_calibration_error
    after = reliability(curve(confidence(p)), right, bins=BINS).expected_calibration_error
    assert before > 0.05
    # Chance alone gives each of 100 bins of 2000 pixels an error of about 0.008.
    assert after < 0.012


def test_the_curve_is_the_truth():
    """The accuracy of such a network is known: a logistic of half the odds."""
    p, true = overconfident(400_000, 2)
    curve = calibrate_confidence(bin_confidence(confidence(p), (p > 0.5) == true))
    odds = np.linspace(0.5, 8, 20)
    wanted = 1 / (1 + np.exp(-odds / 2))
    found = curve(confidence(1 / (1 + np.exp(-odds))))
    # Bins are 0.01 wide, and the curve is steep where confidence is near 1.
    np.testing.assert_allclose(found, wanted, atol=0.03)


def test_a_monotone_curve_does_not_fall_where_accuracy_does():
    rng = np.random.default_rng(0)
    sure = rng.random(100_000)
    right = rng.random(100_000) < np.where(sure < 0.3, 0.9, 0.6 + 0.4 * sure)
    bins = bin_confidence(sure, right)
    free, monotone = (calibrate_confidence(bins, monotone=each) for each in (False, True))
    assert (np.diff(free.accuracy) < -1e-4).any()
    assert (np.diff(monotone.accuracy) >= 0).all()


def test_bins_add_up():
    p, true = overconfident(1000, 3)
    sure, right = confidence(p), (p > 0.5) == true
    whole = bin_confidence(sure, right)
    parts = bin_confidence(sure[:300], right[:300]) + bin_confidence(sure[300:], right[300:])
    np.testing.assert_array_equal(whole.count, parts.count)
    np.testing.assert_array_equal(whole.right, parts.right)
    np.testing.assert_allclose(whole.confidence_sum, parts.confidence_sum)


def test_nothing_to_calibrate_on():
    with pytest.raises(InputError, match="no validation pixel"):
        calibrate_confidence(bin_confidence([np.nan], [True]))
    with pytest.raises(InputError, match="one each is needed"):
        bin_confidence([0.1, 0.2], [True])
    with pytest.raises(InputError, match="outside 0 to 1"):
        bin_confidence([1.2], [True])


def test_a_curve_is_written_and_read(tmp_path: Path):
    p, true = overconfident(5000, 4)
    curve = calibrate_confidence(bin_confidence(confidence(p), (p > 0.5) == true))
    curve.write(tmp_path / "curve.json")
    back = Calibration.read(tmp_path / "curve.json")
    np.testing.assert_allclose(back([0.1, 0.9]), curve([0.1, 0.9]), atol=1e-5)
    assert np.isnan(back(np.nan))


@pytest.mark.parametrize(
    "told",
    ["no", "{}", json.dumps({"confidence": [0, 1, 0.4], "accuracy": [0, 0, 1], "monotone": 1}),
     json.dumps({"confidence": [0, 1], "accuracy": [0.5, 1.5], "monotone": True}),
     json.dumps({"confidence": [0, 1], "accuracy": ["a", 1], "monotone": True})],
)  # fmt: skip
def test_files_that_are_no_curve(tmp_path: Path, told: str):
    (tmp_path / "c.json").write_text(told)
    with pytest.raises(InputError, match="no calibration of confidence"):
        Calibration.read(tmp_path / "c.json")
    with pytest.raises(InputError, match="cannot be read"):
        Calibration.read(tmp_path / "none.json")


# The intersection over union without a reference.


def test_the_estimate_follows_equation_s5():
    # 1 - (1 - 0.9) (50 + 50) / (50 + 0.1 * 50)
    assert estimated_iou_of_counts(0.9, 50, 50) == pytest.approx(1 - 10 / 55)
    assert estimated_iou_of_counts(0.2, 50, 50) == estimated_iou_of_counts(0.5, 50, 50)
    assert np.isnan(estimated_iou_of_counts(1.0, 0, 10))


@settings(max_examples=40)
@given(accuracy=st.floats(0.75, 0.999), share=st.floats(0.2, 0.8), seed=st.integers(0, 100))
def test_the_estimate_is_the_truth_where_its_assumptions_hold(
    accuracy: float, share: float, seed: int
):
    """If all pixels are right equally often, confidence is accuracy and S3 holds."""
    rng = np.random.default_rng(seed)
    mapped = rng.random(200_000) < share
    right = rng.random(200_000) < accuracy
    true = mapped == right
    found = estimated_iou(np.full(200_000, accuracy), mapped)
    assert found == pytest.approx(map_score(mapped, true).iou, abs=0.01)


def test_wrong_shapes():
    with pytest.raises(InputError, match="one value each"):
        estimated_iou([0.9, 0.8], [True])
    with pytest.raises(InputError, match="no pixel has a confidence"):
        estimated_iou([np.nan], [True])
    with pytest.raises(InputError, match="level is"):
        band_of_95(np.array([True]), [0.9], level=1.0)


@given(
    p=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    level=st.sampled_from([0.5, 0.8, 0.95]),
)
def test_inner_is_inside_the_map_and_the_map_inside_outer(p: list[float], level: float):
    given_ = np.array(p)
    glacier = given_ > 0.5
    band = band_of_95(glacier, confidence(given_), level=level)
    assert (band.inner <= glacier).all()
    assert (glacier <= band.outer).all()
