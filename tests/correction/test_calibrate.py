"""Known shifts, ramps and stripes are recovered within the errors that are declared for them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ogive.correction.calibrate import calibrate
from ogive.correction.robust import nmad
from ogive.model import Flag, GridError, InputError, StableGroundError

N = 80


def scene(make_displacement, make_noise, make_blobs, seed, *, long_std=0.03, false=0.05, pixel=1.0):
    """Stable ground in patches, errors of two lengths, ice that moves elsewhere, false matches."""
    rng = np.random.default_rng(seed)
    noise = make_noise(rng, (N, N), 1.2, 0.1) + make_noise(rng, (N, N), 5.0, long_std)
    stable = make_blobs(rng, (N, N), 0.35, 7)
    moving = np.where(stable, 0.0, 3.0)
    wrong = rng.random((N, N)) < false
    noise[:, wrong] = rng.uniform(-10, 10, (2, wrong.sum()))
    displacement = make_displacement(pixel * (noise[0] + moving), pixel * noise[1], pixel)
    return displacement, stable


@pytest.fixture
def make_scene(make_displacement, make_noise, make_blobs):
    return lambda seed, **options: scene(make_displacement, make_noise, make_blobs, seed, **options)


def shifted(displacement, along_x, along_y):
    return displacement.assign(dx=displacement.dx + along_x, dy=displacement.dy + along_y)


def test_the_declared_interval_holds_the_true_shift(make_scene):
    # 200 fields, two components. The share of hits has a binomial error of 1.1 %: the true coverage
    # being 95 %, it lies in 90-98 % but once in some hundred thousand draws.
    errors = []
    for seed in range(200):
        displacement, stable = make_scene(seed)
        result = calibrate(shifted(displacement, 0.5, -1.9), stable)
        for name, truth in (("dx", 0.5), ("dy", -1.9)):
            attributes = result[name].attrs
            errors.append(
                (attributes["stable_shift"] - truth) / attributes["stable_shift_error"]
            )  # fmt: skip
        assert result.attrs["stable_effective_count"] < 0.2 * result.attrs["stable_count"]
    hits = np.mean(np.abs(errors) < 1.96)
    assert 0.90 <= hits <= 0.98


def test_points_that_err_independently_count_in_full(make_displacement):
    rng = np.random.default_rng(0)
    displacement = make_displacement(*rng.normal(0, 0.1, (2, 60, 60)))
    result = calibrate(displacement, np.ones((60, 60), bool))
    # The biweight has 95 % of the mean's efficiency; the rest is the sampling of the variance.
    assert result.dx.attrs["stable_shift_error"] == pytest.approx(0.1 / 60 / 0.95**0.5, rel=0.1)
    assert result.attrs["stable_effective_count"] > 0.7 * 3600


def test_the_biweight_is_drawn_less_by_ice_than_median_and_mean(make_scene):
    away = {"biweight": [], "median": [], "mean": []}
    for seed in range(30):
        displacement, stable = make_scene(seed, false=0.0)
        rng = np.random.default_rng(seed)
        ice = stable & (np.add.outer(np.arange(N), np.zeros(N)) % 4 == 0)  # a quarter of it moves
        dx = displacement.dx.values + np.where(ice, rng.uniform(0.5, 5, (N, N)), 0)
        displacement = displacement.assign(dx=(("y", "x"), dx.astype(np.float32)))
        away["biweight"].append(calibrate(displacement, stable).dx.attrs["stable_shift"])
        away["median"].append(np.median(dx[stable]))
        away["mean"].append(dx[stable].mean())
    off = {name: np.sqrt(np.mean(np.square(values))) for name, values in away.items()}
    assert off["biweight"] < 0.5 * off["median"] < 0.5 * off["mean"]


@pytest.mark.parametrize("model", ["plane", "along_track", "across_track"])
def test_ramps_and_stripes_are_recovered_within_their_error(model, make_scene):
    azimuth = np.deg2rad(193.0)
    squared, covered = [], []
    for seed in range(12):
        displacement, stable = make_scene(seed, long_std=0.0)
        x, y = np.meshgrid(displacement.x, displacement.y)
        along = x * np.sin(azimuth) + y * np.cos(azimuth)
        across = x * np.cos(azimuth) - y * np.sin(azimuth)
        truth = {
            "plane": 0.7 + 0.002 * x - 0.001 * y,
            "along_track": 0.7 + 0.3 * np.sin(2 * np.pi * along / 300),
            "across_track": 0.7 + 0.3 * np.sin(2 * np.pi * across / 300),
        }[model]
        result = calibrate(
            shifted(displacement, truth, -truth),
            stable,
            model=model,
            track_azimuth_deg=193.0,
            stripe_intervals=8,
        )
        assert result.shift_dx.dims == ("y", "x")
        for name, sign in (("dx", 1), ("dy", -1)):
            error = (result[f"shift_{name}"].values - sign * truth)[stable]
            variance = result[f"shift_{name}_var"].values[stable]
            squared.append(np.mean(error**2))
            covered.append(np.mean(np.abs(error) < 1.96 * np.sqrt(variance)))
        np.testing.assert_allclose(
            result.dx + result.shift_dx, displacement.dx + truth, atol=2e-6 * 12
        )
    # An error of 0.1 px on some 100 independent points, shared by up to 11 coefficients.
    assert np.sqrt(np.mean(squared)) < 0.1 * np.sqrt(11 / 100) * 1.5
    assert 0.88 <= np.mean(covered) <= 0.995  # neighbours hit or miss together


@settings(max_examples=15)
@given(st.floats(-30, 30), st.floats(-30, 30), st.sampled_from(["constant", "plane"]))
def test_adding_a_constant_adds_to_the_shift(along_x, along_y, model):
    displacement, stable = SHARED
    before = calibrate(displacement, stable, model=model)
    after = calibrate(shifted(displacement, along_x, along_y), stable, model=model)
    # float32 of displacements up to 45 px: half a unit in the last place is 2e-6.
    for name, added in (("dx", along_x), ("dy", along_y)):
        np.testing.assert_allclose(
            after[name].attrs["stable_shift"], before[name].attrs["stable_shift"] + added, atol=1e-5
        )
        np.testing.assert_allclose(after[name], before[name], atol=2e-5)
        assert after[name].attrs["stable_shift_error"] == pytest.approx(
            before[name].attrs["stable_shift_error"], rel=1e-3
        )


@settings(max_examples=10)
@given(st.sampled_from([0.01, 10.0, 1e4]))
def test_units_scale_everything(factor):
    displacement, stable = SHARED
    before = calibrate(displacement, stable)
    after = calibrate(displacement.assign(dx=displacement.dx * factor, dy=displacement.dy * factor),
                      stable)  # fmt: skip
    for key in ("stable_shift", "stable_shift_error", "error_stationary", "nmad_stationary"):
        assert after.dx.attrs[key] == pytest.approx(factor * before.dx.attrs[key], rel=1e-3)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_flipped_axes_flip_the_shift_and_swapped_axes_swap_it(axis):
    displacement, stable = SHARED
    before = calibrate(displacement, stable)
    moved = displacement.assign({f"d{axis}": -displacement[f"d{axis}"]})
    moved = moved.isel({axis: slice(None, None, -1)})
    flip = np.flip(stable, 1 if axis == "x" else 0)
    after = calibrate(moved, flip)
    for name in ("dx", "dy"):
        sign = -1 if name == f"d{axis}" else 1
        for key, factor in (("stable_shift", sign), ("stable_shift_error", 1)):
            assert after[name].attrs[key] == pytest.approx(
                factor * before[name].attrs[key], rel=1e-5, abs=1e-7
            )
    swapped = calibrate(displacement.assign(dx=displacement.dy, dy=displacement.dx), stable)
    assert swapped.dx.attrs["stable_shift"] == pytest.approx(before.dy.attrs["stable_shift"])


def test_gaps_flags_and_other_ground_take_no_part():
    displacement, stable = SHARED
    before = calibrate(displacement, stable)
    hidden = stable & (np.random.default_rng(0).random(stable.shape) < 0.3)
    flagged = displacement.assign(
        dx=displacement.dx + np.where(hidden, 1.0, 0.0) + np.where(stable, 0.0, 7.0),
        flag=(("y", "x"), np.where(hidden, Flag.OUTLIER, Flag.MEASURED).astype(np.uint8)),
    )
    missing = displacement.where(~hidden)
    assert calibrate(flagged, stable).dx.attrs["stable_shift"] == pytest.approx(
        calibrate(missing, stable).dx.attrs["stable_shift"], abs=1e-6
    )
    assert calibrate(missing, stable).attrs["stable_count"] == (stable & ~hidden).sum()
    assert np.isnan(calibrate(missing, stable).dx.values[hidden]).all()
    assert calibrate(displacement.astype(np.float64), stable).dx.attrs[
        "stable_shift"
    ] == pytest.approx(before.dx.attrs["stable_shift"], abs=1e-6)
    assert before.dx.dtype == np.float32


def test_a_second_calibration_finds_nothing_and_keeps_the_sum():
    displacement, stable = SHARED
    once = calibrate(shifted(displacement, 2.0, 0.0), stable)
    twice = calibrate(once, stable)
    np.testing.assert_allclose(twice.dx, once.dx, atol=1e-5)
    for key in ("stable_shift", "stable_shift_error"):
        assert twice.dx.attrs[key] == pytest.approx(once.dx.attrs[key], abs=1e-5)
    np.testing.assert_allclose(twice.shift_dx, once.shift_dx, atol=1e-5)


def test_better_matches_count_more():
    displacement, stable = SHARED
    rng = np.random.default_rng(5)
    worse = rng.random(stable.shape) < 0.5
    noise = np.where(worse, 1.0, 0.02)
    fields = {d: (("y", "x"), np.float32(noise * rng.standard_normal(stable.shape))) for d in DXY}
    variances = {f"{d}_var": (("y", "x"), np.float32(noise**2)) for d in DXY}
    found = {
        weighted: calibrate(displacement.assign(**fields, **variances), stable, weighted=weighted)
        for weighted in (True, False)
    }
    ratio = found[True].dx.attrs["stable_shift_error"] / found[False].dx.attrs["stable_shift_error"]
    # The excess variance is measured on all points: the weights differ less than they might.
    assert ratio < 0.9


def test_what_is_recorded_is_what_is_there(make_scene):
    displacement, stable = make_scene(3, pixel=10.0)
    result = calibrate(displacement, xr.DataArray(stable, dims=("y", "x")))
    ground = result.dx.values[stable]
    assert result.dx.attrs["stable_shift_flag"] == 1
    assert result.dx.attrs["stable_count_stationary"] == stable.sum()
    assert result.dx.attrs["stable_count_slow"] == 0
    assert result.attrs["stable_area"] == stable.sum() * 50.0**2
    assert result.dx.attrs["nmad_stationary"] == pytest.approx(nmad(ground), rel=1e-5)
    assert result.dx.attrs["error_stationary"] == pytest.approx(
        np.sqrt(np.mean(ground.astype(float) ** 2)), rel=1e-5
    )
    assert float(result.shift_dx) == pytest.approx(result.dx.attrs["stable_shift"])
    assert float(result.shift_dx_var) ** 0.5 == pytest.approx(
        result.dx.attrs["stable_shift_error"]
    )  # fmt: skip


def test_the_slowest_quarter_is_found_round_any_shift(make_scene):
    away = []
    for seed in range(10):
        displacement, _ = make_scene(seed, false=0.2)
        result = calibrate(shifted(displacement, 6.0, -4.0), slowest_fraction=0.25)
        assert result.dx.attrs["stable_shift_flag"] == 2
        assert np.isnan(result.dx.attrs["stable_shift_stationary"])
        count = int(np.isfinite(result.dx).sum())
        assert result.dx.attrs["stable_count_slow"] == pytest.approx(0.25 * count, abs=2)
        # Two thirds of the field move together by 3 px: what lies closest together is that ice.
        away.append((result.dx.attrs["stable_shift"] - 9.0, result.dy.attrs["stable_shift"] + 4.0))
    assert np.abs(away).max() < 0.1


def test_the_slowest_quarter_is_second_to_stable_ground(make_scene):
    displacement, stable = make_scene(1)
    first = calibrate(displacement, stable, slowest_fraction=0.25)
    assert first.dx.attrs["stable_shift_flag"] == 1
    assert np.isfinite(first.dx.attrs["stable_shift_slow"])
    little = stable & (np.cumsum(stable).reshape(stable.shape) <= 20)
    second = calibrate(displacement, little, slowest_fraction=0.25)
    assert second.dx.attrs["stable_shift_flag"] == 2
    assert second.dx.attrs["stable_count_stationary"] == 20


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, StableGroundError, "no stable ground was given"),
        ({"stable": np.zeros((N, N), bool)}, StableGroundError, "^0 stable points"),
        ({"stable": "all", "min_count": 10**5}, StableGroundError, "6400 stable points"),
        ({"stable": "all", "min_area": 1e9}, StableGroundError, "160000 square units"),
        ({"stable": "row", "model": "plane"}, StableGroundError, "do not determine the 'plane'"),
        (
            {"stable": "corner", "model": "along_track", "track_azimuth_deg": 10.0},
            StableGroundError,
            "do not determine|too few",
        ),
        ({"stable": np.zeros((3, 3), bool)}, GridError, r"\(3, 3\)"),
        ({"stable": np.full((N, N), 0.5)}, InputError, "Boolean"),
        ({"stable": "all", "model": "along_track"}, InputError, "track_azimuth_deg"),
        ({"stable": "all", "model": "cubic"}, InputError, "known are"),
        ({"slowest_fraction": 25.0}, InputError, "between 0 and 1"),
        ({"stable": "moved"}, GridError, "not on the displacement's grid"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_in_a_sentence(options, error, says):
    displacement, _ = SHARED
    whole = np.ones((N, N), bool)
    masks = {
        "all": whole,
        "row": whole & (np.arange(N)[:, None] == 3),
        "corner": whole & (np.arange(N)[:, None] < 12) & (np.arange(N) < 12),
        "moved": xr.DataArray(
            whole, {"y": displacement.y, "x": displacement.x + 5.0}, dims=("y", "x")
        ),
    }
    given_mask = options.get("stable")
    options = options | {"stable": masks[given_mask]} if isinstance(given_mask, str) else options
    if given_mask is not None and isinstance(given_mask, str) and given_mask == "row":
        options |= {"min_area": 0.0}
    with pytest.raises(error, match=says):
        calibrate(displacement, **options)


def test_nothing_measured_is_refused():
    displacement, stable = SHARED
    empty = displacement.where(False)
    with pytest.raises(StableGroundError, match=r"^0 stable points"):
        calibrate(empty, stable)
    with pytest.raises(StableGroundError, match="nothing to calibrate on"):
        calibrate(empty, slowest_fraction=0.25)


def test_a_field_without_any_scatter_is_calibrated_to_zero(make_displacement):
    flat = make_displacement(np.full((20, 20), 0.3), np.full((20, 20), -7.0))
    result = calibrate(flat, np.ones((20, 20), bool))
    np.testing.assert_allclose(result.dx, 0.0, atol=1e-7)
    np.testing.assert_allclose(result.dy, 0.0, atol=1e-6)
    assert result.dx.attrs["stable_shift_error"] < 1e-6


DXY = ("dx", "dy")


def _shared() -> tuple[xr.Dataset, np.ndarray]:
    rng = np.random.default_rng(11)
    y, x = 5.0 * np.mgrid[:N, :N]
    stable = np.sin(x / 60) + np.cos(y / 45) > 0.2
    fields = {d: (("y", "x"), np.float32(rng.normal(0.2, 0.1, (N, N)))) for d in DXY}
    return xr.Dataset(fields, {"y": y[:, 0], "x": x[0]}), stable


SHARED = _shared()
