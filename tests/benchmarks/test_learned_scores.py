"""The comparison of learned and classical features scores what it says it scores."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    """Let the benchmarks' modules be imported by name, as the command does."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def made_case(**changes):
    """A square of 40 px that moves by (2, -1), ice in the left half but for a margin."""
    from learned_cases import Case

    shape = (40, 40)
    left = np.zeros(shape, bool)
    left[:, :20] = True
    margin = np.zeros(shape, bool)
    margin[:, 16:20] = True
    everything = np.ones(shape, bool)
    planes = {
        "earlier": np.zeros(shape, np.float32), "later": np.zeros(shape, np.float32),
        "dx_px": np.full(shape, 2.0), "dy_px": np.full(shape, -1.0), "matchable": everything,
        "ice": left, "stable": ~left, "margin": margin,
    }  # fmt: skip
    return Case(name="made", situation="easy", days=10.0, **{**planes, **changes})


def found_at(dx, dy, correlation=0.9):
    """A match on points between pixels, as even windows have their centres."""
    axis = np.arange(4) * 10 + 4.5
    shape = (axis.size, axis.size)
    planes = {"dx": dx, "dy": dy, "correlation": correlation}
    return xr.Dataset(
        {name: (("y", "x"), np.broadcast_to(np.float32(v), shape)) for name, v in planes.items()},
        coords={"y": axis, "x": axis},
    )


def test_scores_of_a_known_error():
    """All points err by (0.3, 0.4) px but for one false match on the margin."""
    from learned_scores import judge, scores

    dx = np.full((4, 4), 2.3)
    dx[0, 1] = 9.0
    margin = np.zeros((40, 40), bool)
    margin[:, 10:20] = True
    found = scores([judge(made_case(margin=margin), found_at(dx, -0.6))])
    assert found["points"] == 8
    assert found["right_share"] == pytest.approx(7 / 8)
    assert found["median_error_px"] == pytest.approx(0.5, abs=1e-6)
    assert found["median_error_of_right_px"] == pytest.approx(0.5, abs=1e-6)
    assert found["margin_points"] == 4
    assert found["margin_right_share"] == pytest.approx(3 / 4)
    assert found["vanished_points"] == 0


def test_points_without_a_match_are_wrong():
    from learned_scores import judge, scores

    dx = np.full((4, 4), 2.0)
    dx[:, 0] = np.nan
    found = scores([judge(made_case(), found_at(dx, -1.0))])
    assert found["right_share"] == pytest.approx(0.5)
    assert found["stable_nmad_px"] == pytest.approx(0.0, abs=1e-6)


def test_what_vanished_is_not_asked_for_but_must_not_be_kept():
    from learned_scores import judge, scores

    matchable = np.ones((40, 40), bool)
    matchable[:10] = False
    correlation = np.full((4, 4), 0.9)
    correlation[0, :2] = 0.2
    found = scores([judge(made_case(matchable=matchable), found_at(2.0, -1.0, correlation))])
    assert found["points"] == 6
    assert found["vanished_points"] == 4
    assert found["vanished_kept_share"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("wrong", "share"),
    [
        ([], 1.0),
        ([99], 1.0),
        (range(90, 100), 0.94),
        ([0], 1.0),
        (range(6), 0.0),
        (range(100), 0.0),
    ],
)
def test_coverage_at_precision(wrong, share):
    """A hundred points, best first: as many stay as leave 95 % of them right."""
    from learned_scores import coverage_at_precision

    correlation = 1 - np.arange(100) / 100
    error = np.zeros(100)
    error[list(wrong)] = 5.0
    shuffled = np.random.default_rng(0).permutation(100)
    found, limit = coverage_at_precision(error[shuffled], correlation[shuffled])
    assert found == pytest.approx(share)
    assert limit == (correlation[round(100 * share) - 1] if share else np.inf)


def test_an_image_moved_there_and_back_is_the_image():
    from learned_scores import moved_by

    y, x = np.mgrid[:96, :96]
    image = np.sin(x / 5) + np.cos(y / 7 + x / 11)
    back = moved_by(moved_by(image, 0.3, -0.4), -0.3, 0.4)
    # Mirroring the moved image is not moving the mirrored one: only the inside is exact.
    np.testing.assert_allclose(back[32:-32, 32:-32], image[32:-32, 32:-32], atol=2e-2)
    right = moved_by(image, 1.0, 0.0)
    np.testing.assert_allclose(right[:, 33:-32], image[:, 32:-33], atol=1e-9)


def test_days_at_half_lie_between_the_baselines():
    from learned_real import days_at

    assert days_at({10: 0.9, 20: 0.6, 30: 0.4}, 0.5) == pytest.approx(25.0)
    assert days_at({10: 0.9, 20: 0.6}, 0.5) == 20.0
    assert np.isnan(days_at({10: 0.4}, 0.5))


def test_no_case_may_have_been_trained_on():
    from learned_cases import LEAST_SEED, SIMULATED, simulate

    seeds = [seed for recipe in SIMULATED.values() for seed in recipe.seeds]
    assert min(seeds) >= LEAST_SEED >= 900_000
    assert len(set(seeds)) == len(seeds)
    with pytest.raises(ValueError, match="trained"):
        simulate("easy", 9_999)


def test_remembered_features_are_computed_once_for_an_image():
    from learned_scores import Remembered

    calls = []

    def feature(image, valid, /, *, threads=1):
        calls.append(image.shape)
        return image[None] * 2

    kept = Remembered(feature, most=2)
    images = [np.full((4, 4), value, np.float32) for value in (1, 2, 3)]
    for image in (*images[:2], images[0].copy(), images[2], images[0]):
        np.testing.assert_array_equal(kept(image, None), image[None] * 2)
    assert len(calls) == 4


def test_the_table_compares_with_the_best_classical_features():
    from learned_report import HARD, hard_ratio

    def shares(value):
        part = {name: {"right_share": value, "points": 100.0} for name in (*HARD, "easy")}
        return {"equal": part, "best": part}

    results = {"highpass": shares(0.3), "sobel": shares(0.4), "learned": shares(0.6)}
    lines = hard_ratio(results)
    assert lines[-2] == "| learned, equal | 1.50 | 1.50 | 1.50 | 1.50 | 1.50 |"
    assert hard_ratio({"highpass": shares(0.3)}) == []
