"""Features: what they keep and what they lose."""

from __future__ import annotations

import numpy as np
import pytest

from ogive.matching.features import (
    FEATURES,
    fill_invalid,
    highpass,
    intensity,
    near_anomaly_offset,
    orientation,
    sobel,
    wallis,
)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(1)
    return (3000 + 200 * rng.standard_normal((80, 90))).astype(np.float32)


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_is_a_finite_stack_of_the_images_size(image, name):
    stack = FEATURES[name](image, None)
    assert stack.dtype == np.float32
    assert stack.ndim == 3
    assert stack.shape[1:] == image.shape
    assert np.isfinite(stack).all()


@pytest.mark.parametrize("name", FEATURES)
def test_invalid_pixels_do_not_reach_far(image, name):
    """What lies under a mask changes nothing beyond the reach of the filter."""
    valid = np.ones(image.shape, bool)
    valid[30:40, 30:40] = False
    zeros, bright = image.copy(), image.copy()
    zeros[~valid], bright[~valid] = 0.0, 65535.0
    a, b = FEATURES[name](zeros, valid), FEATURES[name](bright, valid)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", FEATURES)
def test_features_do_not_depend_on_threads(image, name):
    np.testing.assert_array_equal(
        FEATURES[name](image, None, threads=1), FEATURES[name](image, None, threads=3)
    )


@pytest.mark.parametrize("feature", [wallis, orientation, near_anomaly_offset])
def test_these_features_lose_gain_and_offset(image, feature):
    # Single precision of values near 10^4 is 10^-3, a share of 10^-5 of the texture.
    np.testing.assert_allclose(feature(image), feature(1.7 * image - 400), atol=2e-3)


def test_orientation_has_length_one_or_nothing(image):
    image = image.copy()
    image[:, :20] = 3000.0
    length = np.hypot(*orientation(image))
    # Mirrored borders have no gradient across them, and perhaps none at all.
    np.testing.assert_allclose(length[1:-1, 22:-1], 1.0, atol=1e-6)
    assert np.all(length[:, :18] == 0.0)


def test_sobel_keeps_both_directions():
    ramp = np.add.outer(3.0 * np.arange(20), 2.0 * np.arange(30)).astype(np.float32)
    x, y = sobel(ramp)[:, 5:-5, 5:-5]
    # Sobel's weights sum to eight times a unit ramp.
    np.testing.assert_allclose(x, 16.0, rtol=1e-4)
    np.testing.assert_allclose(y, 24.0, rtol=1e-4)


def test_highpass_takes_slow_variation_out_and_leaves_fast():
    x = np.arange(200)
    slow = np.tile(1000 * np.sin(2 * np.pi * x / 400), (100, 1))
    fast = np.tile(10 * np.sin(2 * np.pi * x / 5.25), (100, 1))
    for kind in ("box", "gaussian"):
        out = highpass((slow + fast).astype(np.float32), kind=kind)[0]
        # A box of 21 pixels is four periods of 5.25: it takes nothing of the fast wave away; of the
        # slow one a share of (2 pi 21 / 400)^2 / 24 = 0.5 % is left, the Gaussian leaves below 1 %.
        assert np.abs(out - fast)[20:-20, 30:-30].max() < 12
    with pytest.raises(ValueError, match="odd size"):
        highpass(slow.astype(np.float32), size_px=20)
    with pytest.raises(ValueError, match="box"):
        highpass(slow.astype(np.float32), kind="cosine")


def test_intensity_is_centred_without_losing_texture():
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 4, (50, 50)).astype(np.float32)
    out = intensity(texture + 60000)[0]
    np.testing.assert_array_equal(out - out[0, 0], texture - texture[0, 0])


def test_fill_takes_the_mean_of_the_neighbourhood():
    image = np.zeros((60, 60), np.float32)
    image[:, 30:] = 100.0
    valid = np.ones(image.shape, bool)
    valid[20:23, 10:13] = False
    valid[20:23, 50:53] = False
    image[~valid] = 999.0
    filled = fill_invalid(image, valid)
    np.testing.assert_allclose(filled[20:23, 10:13], 0.0, atol=1e-3)
    np.testing.assert_allclose(filled[20:23, 50:53], 100.0, atol=1e-3)
    assert np.all(fill_invalid(image, np.zeros_like(valid)) == 0.0)
