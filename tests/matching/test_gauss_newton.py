"""The sub-pixel step: its sampler against SciPy's splines, its bias against exact shifts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft, ndimage

from ogive.matching.correlate import take_window
from ogive.matching.gauss_newton import (
    full_weights,
    refine_window,
    refinement_scratch,
    sample_row,
    sample_window,
)
from ogive.matching.kernels import PAD, spline_coefficients


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    """Band-limited noise without content beyond 0.35 cycles per pixel, on a periodic square."""
    size = 256
    rng = np.random.default_rng(3)
    f = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :])
    gain = np.exp(-((f / 0.18) ** 2)) * (f < 0.35)
    return fft.irfft2(fft.rfft2(rng.standard_normal((size, size))) * gain).astype(np.float32)


def shifted(image: np.ndarray, u: float, v: float) -> np.ndarray:
    """Move the pattern of a periodic image by (u, v) exactly."""
    size = image.shape[0]
    phase = np.exp(-2j * np.pi * (fft.fftfreq(size)[:, None] * v + fft.rfftfreq(size)[None, :] * u))
    return fft.irfft2(fft.rfft2(image.astype(float)) * phase).astype(np.float32)


def test_spline_coefficients_are_those_of_scipy(texture):
    ours = spline_coefficients(texture[None])[0]
    scipys = ndimage.spline_filter(texture.astype(float), order=3, mode="mirror")
    # The filter is cut after twelve taps, where its weights have fallen to 0.268^13 = 4e-8.
    assert np.abs(ours - scipys).max() < 1e-5 * np.abs(scipys).max()


@pytest.mark.parametrize(
    "motion",
    [
        (0.3, -0.6, 0.0, 0.0, 0.0, 0.0),
        (2.5, 1.49, 0.01, -0.02, 0.015, 0.005),
        (-3.2, 4.9, 0.15, -0.1, 0.2, 0.12),
    ],
)
def test_sampler_equals_scipys_spline(texture, motion):
    size, y, x = 16, 60, 70
    coefficients = spline_coefficients(texture[None])
    scratch = refinement_scratch(1, size)
    sampled, across, down, patch, place, moves = scratch[2:8]
    place[0] = -1
    inside = sample_window(
        coefficients, y, x, size, np.array(motion), np.zeros(1), place, patch, across, down,
        moves, sampled,
    )  # fmt: skip
    assert inside
    u, v, ux, uy, vx, vy = motion
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    at_x = x + (size - 1) / 2 + columns + u + ux * columns + uy * rows
    at_y = y + (size - 1) / 2 + rows + v + vx * columns + vy * rows
    expected = ndimage.map_coordinates(texture.astype(float), [at_y, at_x], order=3, mode="mirror")
    ours = sampled[0].reshape(size, size + PAD)[:, :size]
    # Positions are single precision within a patch: 1e-7 of some ten pixels, times the gradient.
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(texture).max())


def test_rows_that_cross_pixels_are_cut_rightly(texture):
    coefficients = spline_coefficients(texture[None])[0]
    for x_step, y_step in ((0.3, 0.2), (-0.25, 0.11), (0.0, -0.4), (-0.07, 0.0)):
        out = np.empty(40, np.float32)
        sample_row(coefficients, 80.37, 90.81, x_step, y_step, 40, np.float32(0.0), out)
        k = np.arange(40)
        expected = ndimage.map_coordinates(
            texture.astype(float), [90.81 + y_step * k, 80.37 + k + x_step * k], order=3
        )
        np.testing.assert_allclose(out, expected, atol=1e-5 * np.abs(texture).max())


def refine(earlier, later, *, size, y, x, start, affine):
    scratch = refinement_scratch(1, size)
    window = np.zeros((1, size * (size + PAD)), np.float32)
    norm = take_window(earlier[None], y, x, size, window)
    motion, covariance = np.array(start, float), np.empty(3)
    correlation, left = refine_window(
        window, norm, spline_coefficients(earlier[None]), spline_coefficients(later[None]), y, x,
        size, affine, 20, 1e-4, full_weights(size), False, scratch, motion, covariance,
    )  # fmt: skip
    return motion, covariance, correlation, left


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("size", [16, 32])
def test_no_bias_at_any_fraction(texture, affine, size):
    """Sub-pixel bias stays below 0.005 px at every fraction, where a parabola's reaches 0.06."""
    for fraction in np.arange(-0.5, 0.51, 0.1):
        later = shifted(texture, 2 + fraction, -1 - fraction)
        errors = []
        for y in range(40, 200, 16):
            for x in range(40, 200, 16):
                motion, _, correlation, left = refine(
                    texture, later, size=size, y=y, x=x, start=(2, -1, 0, 0, 0, 0), affine=affine
                )
                assert correlation > 0.99
                assert left < 1e-4
                errors.append((motion[0] - 2 - fraction, motion[1] + 1 + fraction))
        assert np.abs(np.mean(errors, axis=0)).max() < 0.005


def test_affine_model_measures_the_deformation(texture):
    gradient = np.array([[0.04, -0.03], [0.02, 0.05]])
    rows, columns = np.mgrid[:256, :256] - 128.0
    # The later image holds at W(x) what the earlier one holds at x: sample it at the inverse.
    inverse = np.linalg.inv(np.eye(2) + gradient)
    at_x = 128 + inverse[0, 0] * (columns - 0.4) + inverse[0, 1] * (rows + 0.3)
    at_y = 128 + inverse[1, 0] * (columns - 0.4) + inverse[1, 1] * (rows + 0.3)
    later = ndimage.map_coordinates(texture.astype(float), [at_y, at_x], order=5).astype("f4")
    y = x = 112
    motion, _, correlation, _ = refine(
        texture, later, size=33, y=y, x=x, start=(0, 0, 0, 0, 0, 0), affine=True
    )
    assert correlation > 0.999
    # The spline of fifth order that made the image and the third one that samples it differ by some
    # thousandths of the signal near 0.35 cycles per pixel.
    np.testing.assert_allclose(motion[:2], (0.4, -0.3), atol=0.01)
    np.testing.assert_allclose(motion[2:], gradient.ravel(), atol=0.002)


def test_windows_that_leave_the_image_say_so(texture):
    later = shifted(texture, 5.0, 0.0)
    _, _, correlation, _ = refine(
        texture, later, size=16, y=100, x=238, start=(5, 0, 0, 0, 0, 0), affine=False
    )
    assert correlation == -2.0


def test_windows_of_one_direction_are_singular():
    stripes = np.tile(np.sin(np.arange(100) * 0.7), (100, 1)).astype(np.float32)
    _, _, correlation, _ = refine(
        stripes, stripes, size=16, y=40, x=40, start=(0, 0, 0, 0, 0, 0), affine=False
    )
    assert correlation == -3.0
