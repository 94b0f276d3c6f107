"""The strength of the regularisation that predicts pairs left out, where the best one is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from ogive.model import InputError
from ogive.series.regularisation import best_regularisation

DAYS = 12.0 * np.arange(61)


def walk(change_m_day: float, seed: int = 3):
    """Ice whose velocity makes an independent step at every date."""
    steps = np.random.default_rng(seed).normal(size=(2, DAYS.size - 1)) * change_m_day
    moved = 12.0 * np.cumsum(np.cumsum(steps, axis=1), axis=1)
    place = np.concatenate([np.zeros((2, 1)), moved], axis=1)
    return lambda days: np.stack([np.interp(days, DAYS, axis) for axis in place])


@pytest.mark.parametrize("change_m_day", [0.3, 0.03])
def test_the_best_strength_is_the_square_of_error_over_change(simulate, pairs, change_m_day):
    cube = simulate(*pairs(60), pixels=30, outliers=0.05, position=walk(change_m_day))
    best = 1.0 / change_m_day**2  # errors are of 1 m
    tried = best_regularisation(
        cube, "12D", best * np.logspace(-3, 3, 7), moving=xr.ones_like(cube.vx[0]), threads=1
    )
    misfit = tried.misfit.values
    # A factor of ten changes little about the minimum, so that its neighbours may win.
    assert 0.09 < tried.attrs["best_regularisation"] / best < 11
    assert (np.diff(misfit[4:]) > 0).all()
    if change_m_day == 0.03:
        # Where places are known well from their pairs, a weak λ does no harm; here it does.
        assert (np.diff(misfit[:3]) < 0).all()
    assert tried.attrs["pixels"] == 30


def test_where_to_look_is_where_ice_moves(simulate, pairs):
    cube = simulate(*pairs(30), pixels=8)
    for name in ("vx", "vy"):
        cube[name].values[:, 0, :5] -= cube[name].values[:, 0, :5].mean()
    assert best_regularisation(cube, "12D", [1], threads=1).attrs["pixels"] == 3
    cube["vx"].values[:] = np.nan
    with pytest.raises(InputError, match="no pair has a value"):
        best_regularisation(cube, "12D")


def test_lazy_cubes_and_errors_per_pixel_give_the_same(simulate, pairs):
    cube = simulate(*pairs(20), pixels=4)
    whole = cube.assign(
        {name: cube[name].broadcast_like(cube.vx) for name in ("vx_error", "vy_error")}
    )
    one, other, lazy = (
        best_regularisation(c, "12D", [1, 100], folds=3, threads=1)
        for c in (cube, whole, cube.chunk({"x": 2}))
    )
    xr.testing.assert_identical(one, other)
    xr.testing.assert_identical(one, lazy)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regularisations": []}, "above 0"),
        ({"regularisations": [0, 1]}, "above 0"),
        ({"regularisations": [np.inf]}, "above 0"),
        ({"folds": 1}, "give 2 to 20"),
        ({"folds": 99}, "give 2 to 20"),
        ({"pixels": 0}, "at least 1"),
    ],
)
def test_bad_options_are_told(simulate, pairs, options, words):
    with pytest.raises(InputError, match=words):
        best_regularisation(simulate(*pairs(20)), **({"sampling": "12D"} | options))


def test_what_cannot_be_predicted_is_told(simulate):
    chain = simulate([0, 12, 24], [12, 24, 36])
    with pytest.raises(InputError, match="no series reaches"):
        best_regularisation(chain, "12D", folds=4)
    with pytest.raises(InputError, match="give more folds than 2"):
        best_regularisation(chain, "12D", folds=2)
