"""The correlation kernels against textbook sums in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.matching.correlate import (
    NO_CANDIDATE,
    gaussian_peak,
    parabola_peak,
    peak_of,
    quadratic_peak,
    surface_masked,
    surface_narrow,
    surface_wide,
    take_patch,
    take_window,
)
from ogive.matching.kernels import PAD, inverse_norms

# Sums of 10^4 products in single precision, each rounded to 6e-8 of a value below one, stay within
# this of the double-precision sum even when all errors add up.
SINGLE = 1e-5


def textbook(earlier, later, valid_earlier, valid_later, y, x, size, ty, tx, shape):
    """ZNCC over the pixels valid in both windows, summed over channels, one candidate at a time."""
    out = np.empty(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            both = (
                valid_earlier[y : y + size, x : x + size]
                & valid_later[ty + i : ty + i + size, tx + j : tx + j + size]
            )
            a = earlier[:, y : y + size, x : x + size].astype(float)[:, both]
            b = later[:, ty + i : ty + i + size, tx + j : tx + j + size].astype(float)[:, both]
            a = a - a.mean(axis=1, keepdims=True)
            b = b - b.mean(axis=1, keepdims=True)
            out[i, j] = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    return out


def both_kernels(earlier, later, size, y, x, ty, tx, rows, columns):
    norms = inverse_norms(later, size, size)
    channels = earlier.shape[0]
    window = np.zeros((channels, size * (size + PAD)), np.float32)
    take_window(earlier, y, x, size, window)
    patch = np.empty((channels, size + rows, size + columns), np.float32)
    take_patch(later, ty, tx, size + rows - 1, size + columns - 1, patch)
    wide = np.empty((rows, columns), np.float32)
    surface_wide(window, patch, size, rows, columns, norms, ty, tx, wide)
    narrow = np.empty((rows, columns), np.float32)
    lines = np.empty((size + rows) * (size + columns) + 8, np.float32)
    surface_narrow(window, later, size, rows, columns, norms, ty, tx, lines.copy(), lines, narrow)
    return wide, narrow


@pytest.mark.parametrize("size", [8, 9, 16, 31, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [0.0, 10_000.0])
def test_kernels_equal_the_textbook(size, channels, level):
    rng = np.random.default_rng(size)
    # Texture of 100 on a level of 10,000 is what a bright snowfield of uint16 looks like.
    earlier = (level + 100 * rng.standard_normal((channels, 150, 170))).astype(np.float32)
    later = (0.7 * np.roll(earlier, (1, -2), (1, 2)) + level).astype(np.float32)
    later += 30 * rng.standard_normal(later.shape).astype(np.float32)
    everywhere = np.ones(earlier.shape[1:], bool)
    for rows, columns in ((5, 5), (7, 12)):
        wide, narrow = both_kernels(earlier, later, size, 6, 11, 5, 7, rows, columns)
        expected = textbook(
            earlier, later, everywhere, everywhere, 6, 11, size, 5, 7, (rows, columns)
        )
        np.testing.assert_allclose(wide, expected, atol=SINGLE)
        np.testing.assert_allclose(narrow, expected, atol=SINGLE)


def test_masked_kernel_equals_the_textbook():
    rng = np.random.default_rng(4)
    earlier = rng.standard_normal((2, 60, 60)).astype(np.float32)
    later = rng.standard_normal((2, 60, 60)).astype(np.float32)
    valid_earlier = rng.random((60, 60)) > 0.2
    valid_later = rng.random((60, 60)) > 0.2
    out = np.empty((6, 7), np.float32)
    surface_masked(
        earlier,
        later,
        valid_earlier.astype(np.uint8),
        valid_later.astype(np.uint8),
        10,
        12,
        16,
        6,
        7,
        8,
        9,
        0.0,
        0.5,
        out,
    )
    expected = textbook(earlier, later, valid_earlier, valid_later, 10, 12, 16, 8, 9, (6, 7))
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_masked_candidates_with_too_few_pixels_are_none():
    rng = np.random.default_rng(4)
    stack = rng.standard_normal((1, 40, 40)).astype(np.float32)
    valid = np.ones((40, 40), np.uint8)
    later_valid = valid.copy()
    later_valid[:, 20:] = 0
    out = np.empty((1, 12), np.float32)
    surface_masked(stack, stack, valid, later_valid, 4, 4, 16, 1, 12, 4, 4, 0.0, 0.5, out)
    # A window that starts at column 12 has half of its sixteen columns left of column 20.
    assert np.all(out[0, :9] > NO_CANDIDATE)
    assert np.all(out[0, 9:] == NO_CANDIDATE)


def test_flat_windows_have_no_correlation():
    rng = np.random.default_rng(4)
    earlier = rng.standard_normal((1, 40, 40)).astype(np.float32)
    later = np.full((1, 40, 40), 3.0, np.float32)
    wide, narrow = both_kernels(earlier, later, 16, 8, 8, 6, 6, 5, 5)
    assert np.all(wide == 0.0)
    assert np.all(narrow == 0.0)


def test_peak_quality_is_as_defined():
    surface = np.zeros((7, 7), np.float32)
    surface[3, 3], surface[3, 4], surface[0, 6] = 0.8, 0.7, 0.4
    i, j, ratio, snr = peak_of(surface, 7, 7)
    assert (i, j) == (3, 3)
    assert ratio == pytest.approx(2.0)
    # Forty values lie outside the 3 x 3 neighbourhood, one of them is 0.4.
    assert snr == pytest.approx(0.8**2 / (0.4**2 / 40))


def test_a_surface_without_candidates_has_no_peak():
    surface = np.full((5, 5), NO_CANDIDATE, np.float32)
    assert peak_of(surface, 5, 5)[0] == -1


@given(
    st.floats(-0.45, 0.45),
    st.floats(-0.45, 0.45),
    st.floats(0.05, 0.3),
    st.floats(0.05, 0.3),
)
def test_peaks_of_surfaces_of_their_own_kind_are_exact(dx, dy, bend_x, bend_y):
    y, x = np.mgrid[-2:3, -2:3].astype(float)
    paraboloid = (1 - bend_x * (x - dx) ** 2 - bend_y * (y - dy) ** 2).astype(np.float32)
    for peak in (quadratic_peak, parabola_peak):
        np.testing.assert_allclose(peak(paraboloid, 2, 2), (dx, dy), atol=2e-5)
    bell = np.exp(-bend_x * (x - dx) ** 2 - bend_y * (y - dy) ** 2).astype(np.float32)
    np.testing.assert_allclose(gaussian_peak(bell, 2, 2), (dx, dy), atol=2e-5)
