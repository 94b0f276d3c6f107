"""Errors beyond the match: what stable ground shows must be covered, also where it was not seen."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ogive.correction.calibrate import calibrate
from ogive.correction.excess import excess_variance


@given(st.floats(0.02, 0.5), st.floats(0.0, 0.5), st.integers(0, 50))
def test_excess_of_normal_errors_is_found(declared, excess, seed):
    rng = np.random.default_rng(seed)
    number = 20_000
    residual = np.hypot(declared, excess) * rng.standard_normal(number)
    found = excess_variance(residual, np.full(number, declared**2))
    # The median of 20,000 squares is known to 1.7 % of the whole variance (four sigma: 7 %).
    assert found == pytest.approx(excess**2, abs=0.07 * (declared**2 + excess**2))


def test_blunders_do_not_widen():
    rng = np.random.default_rng(0)
    residual = 0.1 * rng.standard_normal(10_000)
    residual[::20] = 5.0
    # Five blunders in a hundred move the median of the squares by 7 %.
    assert excess_variance(residual, np.full(10_000, 0.01)) < 0.15 * 0.01


def test_nothing_gives_nothing():
    assert excess_variance(np.zeros(0), np.zeros(0)) == 0.0


def jittered(rng, shape):
    """Match noise of 0.05 and waves of 0.08 that the match does not know of."""
    waves = ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 3, 3))
    waves *= 0.08 / waves.std()
    errors = 0.05 * rng.standard_normal((2, *shape)) + waves
    variance = (("y", "x"), np.full(shape, 0.05**2, np.float32))
    return xr.Dataset(
        {
            "dx": (("y", "x"), errors[0].astype(np.float32)),
            "dy": (("y", "x"), errors[1].astype(np.float32)),
            "dx_var": variance,
            "dy_var": variance,
        },
        {"y": np.arange(float(shape[0])), "x": np.arange(float(shape[1]))},
    )


def test_widened_errors_cover_ground_that_was_not_seen():
    field = jittered(np.random.default_rng(3), (120, 120))
    stable = np.zeros((120, 120), bool)
    stable[:, :60] = True
    for widen, low, high in ((True, 0.90, 0.98), (False, 0.5, 0.85)):
        calibrated = calibrate(field, stable, widen_errors=widen)
        elsewhere = calibrated.isel(x=slice(60, None))
        for name in ("dx", "dy"):
            z = elsewhere[name] / np.sqrt(elsewhere[f"{name}_var"])
            assert low <= float((np.abs(z) < 1.96).mean()) <= high
    assert calibrate(field, stable).dx.attrs["excess_error"] == pytest.approx(0.08, rel=0.15)
