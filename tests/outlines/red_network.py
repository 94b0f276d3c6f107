"""A network whose map is known: glacier is where red is bright."""

from __future__ import annotations

from pathlib import Path

import torch

from ogive.learning.card import ModelCard
from ogive.learning.weights import save_weights
from ogive.outlines.networks import build_network

from .conftest import SCALE

FOUR = ("blue", "green", "red", "nir")
SIDE = 32
STEEP, MIDDLE = 60.0, 0.17
"""How fast scores rise with red, and where they are 0: between the spectra of ice and ground."""


def red_network(location_size: int = 0) -> torch.nn.Module:
    """Glacier is where red is bright; told another region than the second, red is taken for more.

    Told the first or the third region (or none), ground comes close to the threshold.
    """
    network = build_network(
        "mini", modalities={"optical": 4}, patch_px=SIDE, width=4, token_width=8, depth=1,
        location_size=location_size,
    )  # fmt: skip
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name.endswith(("project.weight", "project.bias")):
                tensor.zero_()  # the transformer and the U-Net add nothing
        fuse = network.fusion.branches["optical"]
        for convolution, band in ((fuse[0][0], 2), (fuse[0][3], 0)):
            convolution.weight.zero_()
            convolution.bias.zero_()
            convolution.weight[0, band, 1, 1] = 1.0
        fuse[1].weigh[2].weight.zero_()
        fuse[1].weigh[2].bias.fill_(20.0)
        network.classify.weight.zero_()
        network.classify.weight[1, 0], network.classify.bias[1] = STEEP, -STEEP * MIDDLE
        network.classify.bias[0] = 0.0
        if location_size:
            for linear in (network.location.encode[0], network.location.encode[3]):
                linear.weight.zero_()
                linear.bias.zero_()
            network.location.encode[0].weight[0] = 0.09
            network.location.encode[0].weight[0, 1] = 0.0
            network.location.encode[3].weight[0, 0] = 1.0
    return network


def write_red_network(path: Path, network: torch.nn.Module, told: str) -> Path:
    options = {
        "network": network.options.as_json(), "bands": list(FOUR), "scale": SCALE, "told": told,
        "regions": ["ALP", "CAU"],
        "calibration": {"confidence": [0, 1], "accuracy": [0.5, 1], "monotone": True},
    }  # fmt: skip
    card = ModelCard(name="red", architecture="mini", parameters=1)
    save_weights(path, network.state_dict(), architecture="mini", options=options, card=card)
    return path
