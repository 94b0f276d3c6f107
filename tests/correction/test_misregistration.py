"""A misplaced elevation model, told from a wrong one."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ogive.correction.orthorectification.misregistration import (
    fit_misregistration,
    misregistration_bias,
)
from ogive.model import GridError, InputError


def mountains(seed=0, size=80, step=60.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] * step
    height = sum(
        rng.uniform(50, 300) * np.sin(2 * np.pi * (a * x + b * y) + c)
        for a, b, c in zip(
            rng.uniform(-1, 1, 12) / 1500, rng.uniform(-1, 1, 12) / 1500, rng.uniform(0, 6, 12),
            strict=True,
        )
    )  # fmt: skip
    return xr.DataArray(height, {"y": y[::-1, 0], "x": x[0]}, ("y", "x"))


@pytest.mark.parametrize("azimuth", [0.0, 196.0, 300.0])
def test_simulated_misregistration_is_found_again(azimuth):
    """10 m along and across the track, of a model that was moved with its cells of 60 m.

    What remains is the model interpolated twice, to and fro.
    """
    surface = mountains()
    made = misregistration_bias(surface, azimuth)
    turn = np.deg2rad(azimuth)
    for name, x, y in (
        ("along", np.sin(turn), np.cos(turn)),
        ("across", np.cos(turn), -np.sin(turn)),
    ):
        fit = fit_misregistration(made[name], surface - made[name])
        assert fit.dx_m == pytest.approx(10 * x, abs=0.4)
        assert fit.dy_m == pytest.approx(10 * y, abs=0.4)
        assert fit.dz_m == pytest.approx(0, abs=0.1)
        assert fit.explained > 0.975


@pytest.mark.parametrize("cells", [1, 3])
def test_shifts_of_whole_cells_are_found_exactly(cells):
    """Far beyond where slopes alone tell the shift: 180 m on waves of some kilometres."""
    surface = mountains(5, size=120)
    model = surface.shift(x=cells, y=-cells) - 4.0
    fit = fit_misregistration(surface - model, model)
    assert fit.dx_m == pytest.approx(60.0 * cells, abs=0.05)
    assert fit.dy_m == pytest.approx(60.0 * cells, abs=0.05)  # rows run southwards
    assert fit.dz_m == pytest.approx(4.0, abs=0.02)
    assert fit.explained > 0.9999


def test_blunders_and_a_real_bias_do_not_disturb_the_shift():
    dem = mountains(1)
    rng = np.random.default_rng(2)
    noise = 2.0 * rng.standard_normal(dem.shape)
    noise[rng.random(dem.shape) < 0.05] = 150.0
    ice = xr.zeros_like(dem, dtype=bool)
    ice[20:50, 20:60] = True
    moved = misregistration_bias(dem, 90.0, shift_m=8.0)["along"]
    bias = moved + noise - 40.0 * ice + 3.0
    fit = fit_misregistration(bias, dem - moved, ~ice)
    assert fit.dx_m == pytest.approx(8.0, abs=0.5)
    assert fit.dy_m == pytest.approx(0.0, abs=0.5)
    assert fit.dz_m == pytest.approx(3.0, abs=0.3)
    assert fit.dx_error_m < 0.3
    assert fit.pixels < dem.size


def test_a_bias_that_is_no_shift_explains_nothing():
    dem = mountains(3)
    other = mountains(4) * 0.1
    assert fit_misregistration(other, dem).explained < 0.1


def test_bad_input_is_told():
    dem = mountains()
    with pytest.raises(GridError, match="one grid"):
        fit_misregistration(dem[1:], dem)
    with pytest.raises(InputError, match="only 0 pixels"):
        fit_misregistration(dem * np.nan, dem)
    with pytest.raises(InputError, match="flat"):
        fit_misregistration(dem, xr.zeros_like(dem))
    with pytest.raises(InputError, match="no coordinates"):
        misregistration_bias(dem.drop_vars(["x", "y"]), 0.0)
    with pytest.raises(InputError, match="three pixels"):
        misregistration_bias(dem[:2], 0.0)
