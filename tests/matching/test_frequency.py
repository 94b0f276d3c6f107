"""Correlation in the frequency domain against textbook sums, and what convolving it can tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.matching.features import orientation
from ogive.matching.frequency import frequency_surfaces, spectral_stack
from ogive.model import Flag

# Transforms in single precision of windows of norm one: rounding of 6e-8 at each of log2(4096)
# stages, for as many as 4096 terms that add up in the worst case.
SINGLE = 1e-5


def windows(stack, y, x, size, valid=None):
    """Windows of zero mean over what is valid, norm one, zero elsewhere, in double precision."""
    out = stack[:, y : y + size, x : x + size].astype(float)
    known = np.ones((size, size), bool) if valid is None else valid[y : y + size, x : x + size]
    out = np.where(known, out - out[:, known].mean(axis=1)[:, None, None], 0.0)
    return out / np.sqrt((out**2).sum())


def textbook(a, b, radius):
    """Sums over all pixels of the first window and the periodically displaced second one."""
    shifts = range(-radius, radius + 1)
    return np.array([[(a * np.roll(b, (-v, -u), (1, 2))).sum() for u in shifts] for v in shifts])


def corner(k):
    return np.array([k], np.int64)


@pytest.mark.parametrize("size", [8, 15, 24, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [0.0, 10_000.0])
@pytest.mark.parametrize("masked", [False, True])
def test_surfaces_equal_the_textbook(size, channels, level, masked):
    rng = np.random.default_rng(size)
    earlier = (level + 100 * rng.standard_normal((channels, 80, 90))).astype(np.float32)
    later = (np.roll(earlier, (1, -2), (1, 2)) + level).astype(np.float32)
    later += 30 * rng.standard_normal(later.shape).astype(np.float32)
    valid = rng.random((80, 90)) > 0.2 if masked else None
    radius = (size - 1) // 2
    stacks = [
        spectral_stack(s, valid, corner(y), corner(x), size)
        for s, y, x in ((earlier, 3, 5), (later, 6, 4))
    ]
    found = frequency_surfaces(*stacks, radius=radius)[0]
    expected = textbook(
        windows(earlier, 3, 5, size, valid), windows(later, 6, 4, size, valid), radius
    )
    # A pixel of 10,000 is known to 1/1000: a hundred-thousandth of the texture of 100.
    np.testing.assert_allclose(found, expected, atol=SINGLE)


def test_two_channels_are_one_complex_image():
    """Eq. 15 of orientation correlation, written with complex windows."""
    rng = np.random.default_rng(0)
    scene = rng.standard_normal((40, 40)).astype(np.float32)
    looks = [orientation(scene), orientation(np.roll(scene, (2, -3), (0, 1)))]
    stacks = [spectral_stack(look, None, corner(4), corner(4), 32) for look in looks]
    found = frequency_surfaces(*stacks, radius=15)[0]
    p, q = (w[0] + 1j * w[1] for w in (windows(look, 4, 4, 32) for look in looks))
    surface = np.fft.ifft2(np.conj(np.fft.fft2(p)) * np.fft.fft2(q)).real
    expected = np.roll(surface, (15, 15), (0, 1))[:31, :31]
    np.testing.assert_allclose(found, expected, atol=SINGLE)


@given(u=st.integers(-10, 10), v=st.integers(-10, 10), seed=st.integers(0, 1000))
def test_the_peak_is_the_displacement_from_first_to_second(u, v, seed):
    rng = np.random.default_rng(seed)
    scene = rng.standard_normal((1, 32, 32)).astype(np.float32)
    moved = np.roll(scene, (v, u), (1, 2))
    stacks = [spectral_stack(s, None, corner(0), corner(0), 32) for s in (scene, moved)]
    surface = frequency_surfaces(*stacks, radius=12)[0]
    i, j = np.unravel_index(surface.argmax(), surface.shape)
    assert (j - 12, i - 12) == (u, v)
    assert surface[i, j] == pytest.approx(1.0, abs=SINGLE)


def test_windows_that_cannot_be_correlated_say_why():
    stack = np.zeros((1, 60, 60), np.float32)
    stack[:, 30:] = np.random.default_rng(0).standard_normal((30, 60))
    valid = np.ones((60, 60), bool)
    valid[:, 40:] = False
    y = np.array([30, 0, 30, -1, 40])
    x = np.array([0, 0, 39, 5, 0])
    found = spectral_stack(stack, valid, y, x, 20)
    assert found.flag.tolist() == [
        Flag.MEASURED, Flag.FLAT, Flag.MASKED, Flag.OUTSIDE, Flag.MEASURED,
    ]  # fmt: skip
    assert not found.spectra[1:4].any()


def test_radius_beyond_half_a_window_and_unlike_windows_are_refused():
    stack = np.random.default_rng(0).standard_normal((1, 60, 60)).astype(np.float32)
    one = spectral_stack(stack, None, corner(0), corner(0), 16)
    with pytest.raises(ValueError, match="1 to 7 px"):
        frequency_surfaces(one, one, radius=8)
    other = spectral_stack(stack, None, corner(0), corner(0), 24)
    with pytest.raises(ValueError, match="cannot be correlated"):
        frequency_surfaces(one, other, radius=4)


def test_surfaces_convolved_as_they_are_lose_the_middle_image():
    """Eq. 16 with a sum of displacements: whatever q's place, the convolution is the same."""
    rng = np.random.default_rng(0)
    p, q = rng.standard_normal((2, 32, 32))
    r = np.roll(p, (1, 4), (0, 1)) + 0.5 * rng.standard_normal((32, 32))
    fp, fr = np.fft.fft2(p), np.fft.fft2(r)
    convolved = []
    for shift in ((0, 0), (3, 5), (-7, 11)):
        fq = np.fft.fft2(np.roll(q, shift, (0, 1)))
        convolved.append(np.fft.ifft2((np.conj(fp) * fq) * (np.conj(fq) * fr)).real)
    for other in convolved[1:]:
        np.testing.assert_allclose(other, convolved[0], atol=1e-9 * np.abs(convolved[0]).max())


def test_with_the_printed_conjugate_the_peak_is_at_the_difference_of_the_steps():
    """Eq. 17 as printed, of one scene moved by (3, 1) and then by (5, 2) px."""
    scene = np.random.default_rng(0).standard_normal((32, 32))
    p, q, r = (np.fft.fft2(np.roll(scene, s, (0, 1))) for s in ((0, 0), (1, 3), (3, 8)))
    printed = np.fft.ifft2((p * np.conj(q)) * np.conj(q * np.conj(r))).real
    i, j = np.unravel_index(printed.argmax(), printed.shape)
    signed = [(k + 16) % 32 - 16 for k in (j, i)]
    assert signed == [2, 1]  # (5, 2) - (3, 1)
