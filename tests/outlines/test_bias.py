"""The mixture of regions is found although entropy has a minimum where the network is wrong."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ogive.outlines.bias import optimise_bias
from ogive.outlines.networks import GlaViTUOptions
from ogive.outlines.networks.network import Logits
from ogive.outlines.predict import Arrays

TRUE, WRONG = 1, 0


class Deceived(nn.Module):
    """Sure of the map if mostly told the true region; else, the more of the wrong one it is told,
    the surer that there is no ice."""

    def __init__(self) -> None:
        super().__init__()
        self.options = GlaViTUOptions(modalities={"optical": 1}, patch_px=16, location_size=4)
        self.gain = nn.Parameter(torch.tensor(8.0))

    def forward(self, features: dict[str, Tensor], location: Tensor | None = None) -> Logits:
        assert location is not None
        share = location[:, :, None, None, None]
        ice = torch.sign(features["optical"] - 0.25)
        logit = self.gain * torch.relu(share[:, TRUE] - 0.6) * ice - 0.5 * share[:, WRONG]
        logits = torch.cat([-logit, logit], 1)
        return Logits(logits, logits)


def test_a_mixture_that_is_sure_of_no_ice_is_not_taken():
    rng = np.random.default_rng(0)
    scene = Arrays(rng.uniform(0.1, 1, (1, 40, 50)).astype("f4"), np.ones((40, 50), bool))
    found = optimise_bias(scene, Deceived(), ["red"])
    # From equal shares the gradient knows of the wrong region alone.
    assert found.location.argmax() == TRUE
    assert found.location[TRUE] > 0.9


def test_the_network_stays_as_it_was():
    network = Deceived()
    scene = Arrays(np.ones((1, 16, 16), "f4"), np.ones((16, 16), bool))
    optimise_bias(scene, network, ["red"], epochs=3)
    assert network.gain.item() == 8.0
    assert network.gain.grad is None
