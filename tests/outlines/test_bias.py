"""The mixture of regions is found although entropy has a minimum where the network is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ogive.model import InputError
from ogive.outlines.bias import optimise_bias
from ogive.outlines.networks import GlaViTUOptions, build_network
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


class Told(nn.Module):
    """The surer of its map, the more it is told of one region."""

    def __init__(self, region: int, size: int) -> None:
        super().__init__()
        self.region = region
        self.options = GlaViTUOptions(modalities={"optical": 1}, patch_px=16, location_size=size)

    def forward(self, features: dict[str, Tensor], location: Tensor | None = None) -> Logits:
        assert location is not None
        logit = 30 * (features["optical"] - 0.25) * location[:, self.region, None, None, None]
        logits = torch.cat([-logit, logit], 1)
        return Logits(logits, logits)


def noise(height: int = 40, width: int = 50) -> Arrays:
    pixels = np.random.default_rng(0).uniform(0.1, 1, (1, height, width)).astype("f4")
    return Arrays(pixels, np.ones((height, width), bool))


@settings(max_examples=10)
@given(size=st.integers(2, 12), data=st.data())
def test_whichever_region_a_scene_is_of_is_found(size: int, data: st.DataObject):
    region = data.draw(st.integers(0, size - 1))
    found = optimise_bias(noise(), Told(region, size), ["red"], epochs=20)
    assert found.location.argmax() == region
    assert found.location[region] > 0.9
    assert found.location.sum() == pytest.approx(1, abs=1e-5)
    assert (found.location > 0).all()
    # Epochs draw other patches of the same noise; its mean entropy is known to a part in fifty.
    assert found.entropy[-1] < found.entropy[0] * 1.02


def test_entropy_falls_from_equal_shares():
    """Where no region alone is better than their mixture, the descent begins with equal shares."""

    class Mixed(Told):
        def forward(self, features: dict[str, Tensor], location: Tensor | None = None) -> Logits:
            assert location is not None
            both = torch.minimum(location[:, 0], location[:, 1])
            return super().forward(features, both[:, None])

    found = optimise_bias(noise(), Mixed(0, 5), ["red"], epochs=60)
    assert found.location[:2].min() > 0.4
    assert found.entropy[-1] < 0.8 * found.entropy[0]


@pytest.mark.parametrize("training", [True, False])
def test_a_whole_network_stays_as_it_was(training: bool):
    """Neither its weights nor the means of its norms, which move in training, nor its mode."""
    torch.manual_seed(0)
    network = build_network(
        "mini", modalities={"optical": 1}, patch_px=16, width=4, token_width=8, depth=1,
        location_size=3,
    ).train(training)  # fmt: skip
    network.fusion.eval()
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    one = optimise_bias(noise(), network, ["red"], epochs=2)
    other = optimise_bias(noise(), network, ["red"], epochs=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(each.grad is None for each in network.parameters())
    # Without dropout the same scene gives the same mixture.
    np.testing.assert_array_equal(one.location, other.location)


def test_a_scene_that_is_almost_empty():
    """Most random patches would see nothing."""
    scene = noise(400, 400)
    scene.valid[:] = False
    scene.valid[391:397, 3:9] = True
    found = optimise_bias(scene, Told(1, 3), ["red"], epochs=10)
    assert found.location.argmax() == 1
    assert np.isfinite(found.entropy).all()


def test_what_is_not_valid_does_not_count():
    scene, changed = noise(), noise()
    scene.valid[:, 20:] = changed.valid[:, 20:] = False
    changed.pixels[:, :, 20:] = 77.0
    one, other = (optimise_bias(each, Told(1, 3), ["red"], epochs=3) for each in (scene, changed))
    assert one.entropy == other.entropy


def test_scenes_smaller_than_a_patch():
    assert optimise_bias(noise(5, 7), Told(2, 3), ["red"], epochs=5).location.argmax() == 2


def test_scenes_and_bands_that_cannot_be():
    empty = Arrays(np.ones((1, 20, 20), "f4"), np.zeros((20, 20), bool))
    with pytest.raises(InputError, match="no valid pixel"):
        optimise_bias(empty, Told(0, 3), ["red"])
    with pytest.raises(InputError, match="told no region"):
        optimise_bias(noise(), Told(0, 0), ["red"])
    torch.manual_seed(0)
    network = build_network(
        "mini", modalities={"optical": 2}, patch_px=16, width=4, token_width=8, depth=1,
        location_size=3,
    )  # fmt: skip
    with pytest.raises(InputError, match="the network takes 2 x 16 x 16"):
        optimise_bias(noise(), network, ["red"])
