"""Declared errors: from spectra alone they must cover what really happens."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ogive.matching.errors import chance_correlation, noise_factor, unresolved_deformation

F = np.arange(46) / 64


def test_chance_correlation_of_smooth_noise_is_what_simulation_gives():
    rng = np.random.default_rng(0)
    power = np.exp(-((2 * np.pi * F) ** 2) * 1.3**2)  # a Gaussian filter of 1.3 px, squared
    a, b = (
        ndimage.gaussian_filter(rng.standard_normal((640, 640)), 1.3, mode="wrap") for _ in range(2)
    )
    size = 32
    windows_a, windows_b = (
        image.reshape(20, size, 20, size).swapaxes(1, 2).reshape(400, -1) for image in (a, b)
    )
    correlations = [np.corrcoef(p, q)[0, 1] for p, q in zip(windows_a, windows_b, strict=True)]
    # 400 windows know the spread of Fisher's transform to 3.5 %.
    declared = np.arctanh(chance_correlation(F, power, size, sigmas=1.0))
    assert np.std(np.arctanh(correlations)) == pytest.approx(declared, rel=0.12)


def test_a_featureless_spectrum_gives_no_chance_and_no_factor():
    assert chance_correlation(F, np.zeros(46), 16, sigmas=3.0) == 0.0
    assert noise_factor(F, np.zeros(46), np.zeros(46), 0.5) == 1.0


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9])
def test_noise_factor_of_white_noise_is_known(correlation):
    # S = rho G everywhere: <k2 G2 (1 - rho2)> <k2 G> / (<k2 rho G>2 2 (1 - rho)) for G = 1.
    expected = (1 + correlation) / (2 * correlation**2)
    found = noise_factor(F, np.ones(46), np.full(46, 0.5), correlation)
    assert found == pytest.approx(expected, rel=1e-6)


def test_curvature_is_found_where_it_is_and_noise_is_not_taken_for_it():
    rng = np.random.default_rng(0)
    x = np.mgrid[:80, :100][1] * 8.0
    sigma = 0.02
    variance = np.full(x.shape, sigma**2, np.float32)
    noise = sigma * rng.standard_normal(x.shape)
    bend = 4e-4  # second derivative in 1/px
    curved = (0.5 * bend * np.clip(x - 400, 0, None) ** 2 + noise).astype(np.float32)
    added = unresolved_deformation(curved, variance, window_px=64, step_px=8)
    bias = 64**2 / 24 * bend
    inside = np.median(added[10:-10, 65:-10])
    assert np.sqrt(inside) == pytest.approx(bias, rel=0.1)
    assert np.median(added[10:-10, 10:40]) < 0.2 * sigma**2


def test_curvature_of_too_few_points_is_none():
    few = np.zeros((2, 2), np.float32)
    assert np.all(unresolved_deformation(few, few + 1, window_px=16, step_px=8) == 0.0)
