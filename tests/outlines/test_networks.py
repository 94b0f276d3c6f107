"""GlaViTU: its published size, what it refuses, and when it drops."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ogive.model import InputError
from ogive.outlines.loss import deep_focal_loss
from ogive.outlines.networks import (
    GlaViTU,
    GlaViTUOptions,
    build_network,
    members_of,
    monte_carlo_dropout,
    parameter_count,
)

TINY = {"patch_px": 32, "width": 4, "token_width": 8, "depth": 2, "heads": 2}


def tiny(**options: object) -> GlaViTU:
    torch.manual_seed(0)
    return build_network("mini", **{**TINY, "modalities": {"optical": 2}, **options})


def features(batch: int = 2, bands: int = 2, side: int = 32) -> dict[str, torch.Tensor]:
    return {
        "optical": torch.rand(batch, bands, side, side, generator=torch.Generator().manual_seed(1))
    }


# Published for the region-encoded network of optical and elevation bands, part by part; parts that
# are told by the paper's own counts, not by ours.
PUBLISHED = {
    "fusion": 96_256,
    "location": 5_504,
    "transformer": 1_838_208,
    "unet": 8_097_344,
    "classify": 130,
}


def test_the_published_count_and_its_parts():
    network = build_network("glavitu", location_size=12)
    for name, count in PUBLISHED.items():
        tensors = getattr(network, name).state_dict().values()
        assert sum(t.numel() for t in tensors if t.is_floating_point()) == count, name
    assert parameter_count(network) == 10_037_442
    assert parameter_count(network, auxiliary=True) == 10_037_442 + 130
    running = sum(b.numel() for n, b in network.named_buffers() if "running" in n)
    assert running == 7_808  # what the published network does not train


@pytest.mark.slow
def test_the_published_network_maps_a_patch():
    network = build_network("glavitu", location_size=12).eval()
    stack = {"optical": torch.rand(1, 6, 384, 384), "dem": torch.rand(1, 2, 384, 384)}
    with torch.inference_mode():
        logits = network(stack, torch.eye(12)[:1])
    assert logits.main.shape == logits.auxiliary.shape == (1, 2, 384, 384)


def test_all_parts_learn():
    network = tiny(location_size=3)
    logits = network(features(), torch.eye(3)[:2])
    (logits.main.square().mean() + logits.auxiliary.square().mean()).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None]
    # A bias before a normalisation of the batch cannot matter, but has a gradient all the same.
    assert not without


@settings(max_examples=8)
@given(
    bands=st.dictionaries(
        st.sampled_from(["optical", "dem", "thermal"]), st.integers(1, 6), min_size=1
    ),
    classes=st.integers(2, 4),
)
def test_any_modalities_and_classes(bands: dict[str, int], classes: int):
    network = tiny(modalities=bands, classes=classes).eval()
    stack = {name: torch.rand(1, count, 32, 32) for name, count in bands.items()}
    assert network(stack).main.shape == (1, classes, 32, 32)


def test_the_whole_patch_is_seen():
    """A change in one corner reaches the other: that is what the transformer is for."""
    network = tiny(dropout=0.0).eval()
    stack = features(1)
    changed = {"optical": stack["optical"].clone()}
    changed["optical"][..., :4, :4] += 1.0
    with torch.inference_mode():
        moved = (network(changed).main - network(stack).main).abs()
    assert float(moved[..., -4:, -4:].max()) > 0


def test_dropout_drops_in_training_and_when_asked():
    network = tiny(dropout=0.5).eval()
    stack = features()
    with torch.inference_mode():
        still = [network(stack).main for _ in range(2)]
        with monte_carlo_dropout(network):
            assert not network.unet.training
            dropped = [network(stack).main for _ in range(2)]
        again = network(stack).main
    assert torch.equal(*still)
    assert torch.equal(still[0], again)
    assert not torch.equal(*dropped)
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    assert not torch.equal(network(stack).main, network(stack).main)


def test_a_location_moves_all_pixels_alike_before_the_transformer():
    network = tiny(location_size=3).eval()
    biases = network.location(torch.eye(3))
    assert biases.shape == (3, 4, 1, 1)
    assert len(np.unique(biases.detach().numpy().round(6), axis=0)) == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"modalities": {}}, "at least one modality"),
        ({"patch_px": 40}, "multiple of 16"),
        ({"token_px": 12}, "power of two"),
        ({"token_width": 9}, "multiple of 2"),
        ({"dropout": 1.0}, "dropout"),
        ({"classes": 1}, "at least 2 classes"),
        ({"widht": 3}, "no option 'widht'"),
    ],
)
def test_what_cannot_be_built(options: dict[str, object], told: str):
    with pytest.raises(InputError, match=told):
        tiny(**options)


def test_there_is_no_other_network():
    with pytest.raises(InputError, match="choose among glavitu, mini, deeplab"):
        build_network("unet")


def test_what_does_not_fit():
    network = tiny()
    with pytest.raises(InputError, match="'optical', which is missing"):
        network({"dem": torch.rand(1, 2, 32, 32)})
    with pytest.raises(InputError, match="takes 2 x 32 x 32"):
        network(features(1, bands=3))
    with pytest.raises(InputError, match="takes none"):
        network(features(1), torch.eye(3)[:1])
    with pytest.raises(InputError, match="none was given"):
        tiny(location_size=3)(features(1))
    with pytest.raises(InputError, match="has 4 numbers, but needs 3"):
        tiny(location_size=3)(features(1), torch.eye(4)[:1])


def test_options_make_the_network_again():
    options = GlaViTUOptions(modalities={"optical": 4}, width=8)
    assert GlaViTUOptions(**options.as_json()) == options


def test_deeplab_without_its_library(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(InputError, match=r"ogive\[baselines\]"):
        build_network("deeplabv3+", modalities={"optical": 4})


@pytest.mark.slow
def test_deeplab_maps_and_learns():
    pytest.importorskip("segmentation_models_pytorch")
    network = build_network(
        "deeplabv3+", modalities={"optical": 4}, patch_px=64, encoder="resnet18", location_size=3
    )
    logits = network({"optical": torch.rand(2, 4, 64, 64)}, torch.eye(3)[:2])
    assert logits.main.shape == (2, 2, 64, 64)
    assert logits.auxiliary is None
    loss = deep_focal_loss(logits, torch.zeros(2, 64, 64), gamma=2, smoothing=0.1, auxiliary=0.5)
    loss.backward()
    assert all(p.grad is not None for p in network.parameters())
    with pytest.raises(InputError, match="no encoder 'none'"):
        build_network("deeplabv3+", modalities={"optical": 4}, encoder="none")


# Ensembles.


def test_an_ensemble_maps_the_mean_of_its_members():
    three = tiny(members=3).eval()
    members = members_of(three)
    assert len(members) == 3
    with torch.inference_mode():
        each = [member(features()).main.softmax(1) for member in members]
        found = three(features())
    assert not torch.allclose(each[0], each[1])
    assert found.auxiliary is None
    # Single precision of a logarithm and its reverse.
    torch.testing.assert_close(found.main.softmax(1), torch.stack(each).mean(0), atol=1e-6, rtol=0)


def test_an_ensemble_is_built_again_from_what_it_tells():
    two = tiny(members=2)
    again = build_network("mini", **two.options.as_json())
    again.load_state_dict(two.state_dict())
    assert again.options == two.options
    for auxiliary in (False, True):
        alone = parameter_count(members_of(two)[0], auxiliary=auxiliary)
        assert parameter_count(two, auxiliary=auxiliary) == 2 * alone
    assert members_of(members_of(two)[0]) == (members_of(two)[0],)


@pytest.mark.parametrize("members", [0, -1, "three", 1.5])
def test_ensembles_that_cannot_be(members: object):
    with pytest.raises(InputError, match="it must be 1 or more"):
        tiny(members=members)
