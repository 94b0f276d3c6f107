"""The simplest simulated pair: is its truth the truth?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ogive.model import InputError
from ogive.simulation import simple_pair


@pytest.fixture(scope="module")
def clean():
    return simple_pair(
        (400, 400),
        max_displacement_px=5,
        decorrelated_fraction=0,
        snr=np.inf,
        illumination_change=False,
    )


def pulled_back(pair):
    """The later image at the places the truth says, and what lies far enough from the edge."""
    y, x = np.mgrid[0 : pair.later.shape[0], 0 : pair.later.shape[1]].astype(float)
    later = ndimage.map_coordinates(pair.later, [y + pair.dy_px, x + pair.dx_px], order=5)
    return later[20:-20, 20:-20], pair.earlier[20:-20, 20:-20]


def test_truth_carries_the_earlier_image_onto_the_later_one(clean):
    later, earlier = pulled_back(clean)
    # A shift in error by e px changes the image by e times its gradient. The point spread does not
    # follow the shear (at most 0.19 px/px here), which costs some per cent of the finest texture.
    gradient = np.sqrt(np.mean(np.square(np.gradient(earlier)).sum(axis=0)))
    assert np.std(later - earlier) < 0.1 * gradient


def test_wrong_truth_is_noticed(clean):
    """The test above can fail: half a pixel is enough."""
    later, earlier = pulled_back(clean)
    gradient = np.sqrt(np.mean(np.square(np.gradient(earlier)).sum(axis=0)))
    shifted = ndimage.shift(later, (0, 0.5), order=5)[4:-4, 4:-4]
    assert np.std(shifted - earlier[4:-4, 4:-4]) > 0.2 * gradient


def test_still_ground_is_the_same_to_the_last_bit_away_from_the_margin(clean):
    inside = ndimage.binary_erosion(clean.stable, iterations=6)
    inside[:40], inside[-40:] = False, False
    assert inside.any()
    np.testing.assert_allclose(clean.later[inside], clean.earlier[inside], rtol=1e-6)


def test_masks_and_truth_agree():
    pair = simple_pair((300, 300), max_displacement_px=3, decorrelated_fraction=0.2)
    assert np.array_equal(pair.stable, np.hypot(pair.dx_px, pair.dy_px) == 0)
    # The share is exact on the image with its border; inside it scatters with the patches' number.
    assert 0.05 < pair.decorrelated.mean() < 0.4
    assert pair.dx_px.max() > 2.5


def test_decorrelated_surface_is_not_in_the_later_image():
    pair = simple_pair((300, 300), max_displacement_px=0, snr=np.inf, decorrelated_fraction=0.2)
    core = ndimage.binary_erosion(pair.decorrelated, iterations=5)
    same = ndimage.binary_erosion(~pair.decorrelated, iterations=5)
    fine_early, fine_late = (
        image - ndimage.gaussian_filter(image, 2) for image in (pair.earlier, pair.later)
    )
    assert core.sum() > 500
    # Some 500 pixels with a correlation length of two or three give chance correlations of 0.1.
    assert abs(np.corrcoef(fine_early[core], fine_late[core])[0, 1]) < 0.3
    assert np.corrcoef(fine_early[same], fine_late[same])[0, 1] > 0.99


def test_same_seed_same_bytes_and_other_seed_other_image():
    one, two, other = (simple_pair((128, 128), max_displacement_px=2, seed=s) for s in (3, 3, 4))
    for name in ("earlier", "later", "dx_px", "dy_px", "decorrelated", "stable"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert one.earlier.tobytes() != other.earlier.tobytes()


def test_noise_has_the_power_asked_for():
    noisy, clean = (simple_pair((200, 200), max_displacement_px=2, snr=s) for s in (4.0, np.inf))
    noise = noisy.earlier - clean.earlier
    signal = np.median(
        [
            clean.earlier[y : y + 16, x : x + 16].var()
            for y in range(0, 184, 8)
            for x in range(0, 184, 8)
        ]
    )
    # 40,000 independent samples: the variance is known to 1 %; the medians' windows differ a bit.
    assert signal / noise.var() == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(
    "options", [{"shape": (50, 200)}, {"max_displacement_px": 60}, {"max_displacement_px": -1}]
)
def test_impossible_pairs_are_refused(options):
    with pytest.raises(InputError, match=r"."):
        simple_pair(**options)
