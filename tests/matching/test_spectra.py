"""Spectra and filters of pairs whose coherence is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ogive.matching.spectra import apply_filter, filter_taps, measure_spectra


def centres(shape, every=24, margin=48):
    y, x = np.meshgrid(
        np.arange(margin, shape[0] - margin, every),
        np.arange(margin, shape[1] - margin, every),
        indexing="ij",
    )
    return x.ravel().astype(float), y.ravel().astype(float)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32)


@pytest.mark.parametrize("snr", [1.0, 4.0])
def test_coherence_of_white_signal_in_white_noise(scene, snr):
    rng = np.random.default_rng(1)
    sigma = np.float32(snr**-0.5)
    earlier = scene + sigma * rng.standard_normal(scene.shape, dtype=np.float32)
    later = np.roll(scene, (3, -5), (0, 1))
    later = later + sigma * rng.standard_normal(scene.shape, dtype=np.float32)
    x, y = centres(scene.shape)
    found = measure_spectra(
        earlier[None], later[None], x, y, np.full(x.shape, -5.0), np.full(x.shape, 3.0)
    )
    # gamma^2 = (S / (S + N))^2; each radial bin rests on hundreds of windows times its own cells.
    np.testing.assert_allclose(found.coherence[4:30], (snr / (1 + snr)) ** 2, atol=0.03)
    # Beyond 0.37 cycles per pixel the spline's own fidelity is part of the filter.
    response = found.response[4:24]
    assert response.std() / response.mean() < 0.05
    assert np.all(found.response[:2] == 0.0)


def test_fractions_of_a_pixel_are_aligned():
    """A shift of half a pixel that is known costs no coherence."""
    rng = np.random.default_rng(0)
    scene = ndimage.gaussian_filter(rng.standard_normal((400, 400)), 1.2)
    later = ndimage.shift(scene, (0.5, 0.5), order=5, mode="grid-wrap")
    x, y = centres(scene.shape)
    half = np.full(x.shape, 0.5)
    stacks = scene[None].astype(np.float32), later[None].astype(np.float32)
    aligned = measure_spectra(*stacks, x, y, half, half)
    assert aligned.coherence[3:16].min() > 0.97
    unaligned = measure_spectra(*stacks, x, y, 0 * half, 0 * half)
    assert unaligned.coherence[16] < aligned.coherence[16] - 0.2


def test_unrelated_images_have_no_coherence_and_few_windows_no_spectra(scene):
    other = np.random.default_rng(9).standard_normal(scene.shape).astype(np.float32)
    x, y = centres(scene.shape)
    still = np.zeros(x.shape)
    found = measure_spectra(scene[None], other[None], x, y, still, still)
    assert found.coherence.max() < 0.02
    assert measure_spectra(scene[None], other[None], x[:5], y[:5], still[:5], still[:5]) is None


def test_windows_with_gaps_are_left_out(scene):
    from ogive.matching.kernels import summed_area

    gaps = np.zeros(scene.shape, bool)
    gaps[:, 300:] = True
    none = summed_area(np.zeros_like(gaps))
    x, y = centres(scene.shape)
    still = np.zeros(x.shape)
    found = measure_spectra(
        scene[None], scene[None], x, y, still, still, usable=(summed_area(gaps), none)
    )
    assert found.windows == int(np.sum(x + 32 <= 300))


def test_filter_equals_a_plain_convolution(scene):
    frequency = np.arange(46) / 64
    taps = filter_taps(frequency, np.exp(-((frequency / 0.2) ** 2)) * (frequency > 0.03))
    expected = ndimage.convolve(scene.astype(float), taps.astype(float), mode="mirror")
    for threads in (1, 2):
        np.testing.assert_allclose(apply_filter(scene, taps, threads=threads), expected, atol=1e-4)


def test_filter_of_a_small_image(scene):
    taps = filter_taps(np.arange(46) / 64, np.ones(46))
    small = scene[:40, :70].copy()
    np.testing.assert_allclose(apply_filter(small, taps), small, atol=1e-4)
