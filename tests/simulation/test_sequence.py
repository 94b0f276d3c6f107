"""A sequence of images: its motion is steady and its surface ages as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ogive.model import InputError
from ogive.simulation.sequence import simple_sequence


def test_the_same_seed_gives_the_same_images():
    one, other = (simple_sequence((128, 128), max_displacement_px=2, seed=4) for _ in range(2))
    for a, b in zip(one.images, other.images, strict=True):
        np.testing.assert_array_equal(a, b)


def test_motion_is_steady_and_carries_the_surface():
    sequence = simple_sequence((160, 160), times=(0, 1, 4), max_displacement_px=4, snr=np.inf)
    # The trunk's profile is scaled by time; float rounding only.
    np.testing.assert_allclose(sequence.dx_px[1], sequence.dx_px[2] / 4, atol=1e-12)
    y, x = np.mgrid[20:140, 20:140].astype(float)
    for k in (1, 2):
        at = [y + sequence.dy_px[k][20:140, 20:140], x + sequence.dx_px[k][20:140, 20:140]]
        back = ndimage.map_coordinates(sequence.images[k].astype(float), at, order=5)
        here = sequence.images[0][20:140, 20:140]
        # What is left is the point spread, applied before or after the shear of the margins.
        assert np.corrcoef(back.ravel(), here.ravel())[0, 1] > 0.995


def test_likeness_falls_exponentially_with_time():
    sequence = simple_sequence(
        (300, 300), times=(0, 1, 2), max_displacement_px=0, snr=np.inf, likeness=0.49
    )
    fine = [image - ndimage.uniform_filter(image, 15) for image in sequence.images]
    near = np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1]
    far = np.corrcoef(fine[0].ravel(), fine[2].ravel())[0, 1]
    # Texture of some four pixels: about 5000 independent values, a correlation known to 0.015;
    # crevasse fields are fewer and double that.
    assert near == pytest.approx(0.7, abs=0.06)
    assert far == pytest.approx(0.49, abs=0.06)


def test_hidden_is_hidden():
    sequence = simple_sequence((128, 128), max_displacement_px=0, snr=np.inf, hidden_fraction=0.3)
    shown = ~sequence.hidden[0] & ~sequence.hidden[1]
    np.testing.assert_array_equal(sequence.images[0][shown], sequence.images[1][shown])
    assert sequence.hidden.mean() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"times": (0, 0)}, "must rise"),
        ({"times": (0,)}, "two at least"),
        ({"likeness": 0.0}, "likeness"),
        ({"max_displacement_px": 40}, "does not fit"),
        ({"shape": (50, 50)}, "at least 96"),
    ],
)
def test_impossible_sequences_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        simple_sequence(**options)
