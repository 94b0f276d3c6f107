"""Several orientations at once: turned back rightly, and alike by tiles and as a whole."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="learning needs PyTorch: pip install ogive[learning]")

from ogive.model import InputError  # noqa: E402
from ogive.similarity.features import LearnedFeature  # noqa: E402
from ogive.similarity.networks import build_network  # noqa: E402
from ogive.similarity.networks.turned import MOST_VIEWS, TURNS, Turned  # noqa: E402


def network():
    torch.manual_seed(3)
    made = build_network("small", width=4, channels=3)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


def test_each_turn_is_undone():
    image = torch.arange(30.0).reshape(5, 6)
    for turn, back in TURNS:
        assert torch.equal(back(turn(image)), image)
    turned = {tuple(turn(image.reshape(6, 5)).flatten().tolist()) for turn, _ in TURNS}
    assert len(turned) == MOST_VIEWS


def test_views_of_the_turned_image_are_those_of_the_image():
    """The views are closed under mirroring rows and columns exchanged: the same channels, moved."""
    image = torch.rand(1, 1, 48, 56, generator=torch.Generator().manual_seed(0))
    valid = torch.ones_like(image, dtype=torch.bool)
    turned = Turned(network(), views=MOST_VIEWS)
    with torch.inference_mode():
        whole = turned(image, valid)
        other = turned(image.transpose(-1, -2), valid.transpose(-1, -2)).transpose(-1, -2)
    channels = turned.channels // MOST_VIEWS
    # The first view of the one is the transposed view, the last, of the other. Rounding only.
    assert torch.allclose(whole[:, -channels:], other[:, :channels], atol=1e-5)


@pytest.mark.parametrize("views", [2, 4])
def test_tiles_are_the_whole(views):
    image = np.random.default_rng(0).random((205, 171), np.float32)
    valid = np.ones(image.shape, bool)
    valid[60:90, 30:80] = False
    turned = Turned(network(), views=views)
    whole = LearnedFeature(network=turned, tile_px=4096)(image, valid)
    tiled = LearnedFeature(network=turned, tile_px=48)(image, valid)
    assert whole.shape == (3 * views, *image.shape)
    # The same sums in other orders: float32 through some twenty layers of order one.
    assert np.abs(whole - tiled).max() < 1e-4


def test_what_cannot_be_turned():
    with pytest.raises(InputError, match="5 views"):
        Turned(network(), views=5)
    conditioned = build_network("small", width=4, conditions=("sun_azimuth_deg",))
    with pytest.raises(InputError, match="one orientation only"):
        Turned(conditioned, views=2)
