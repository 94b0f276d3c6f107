"""Networks that turn an image into features, by name.

All of them give one vector per pixel at the image's own resolution, so that windows of two such
stacks can be correlated as windows of two images are; `FeatureNetwork` tells the contract.
"unet", "unet-attention" and "ms-aff" are the three of DeepSim-Nets (Chebbi et al. 2023), with their
published widths as defaults; `PUBLISHED` are the other options with which they are the published
networks to the number of their parameters. "small" is ours, made to train on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from inspect import signature
from types import MappingProxyType
from typing import Any

from torch import nn

from ogive.model import InputError

from .feature_network import PUBLISHED, FeatureNetwork, NetworkOptions

__all__ = ["NETWORKS", "PUBLISHED", "FeatureNetwork", "NetworkOptions", "build_network"]


def _make(place: str, /, **options: Any) -> nn.Module:
    module, name = place.split(":")
    made = getattr(import_module(f"{__name__}.{module}"), name)
    taken = signature(NetworkOptions if issubclass(made, FeatureNetwork) else made)
    unknown = [option for option in options if option not in taken.parameters]
    if unknown:
        raise InputError(
            f"{name} takes no option {unknown[0]!r}: choose among {', '.join(taken.parameters)}"
        )
    network: nn.Module = made(**options)
    return network


NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "unet": partial(_make, "unet:UNet"),
        "unet-attention": partial(_make, "attention_unet:AttentionUNet"),
        "ms-aff": partial(_make, "ms_aff:MSAFF"),
        "small": partial(_make, "small:Small"),
    }
)
"""The networks by name; each is imported when it is made."""


def build_network(name: str, **options: Any) -> nn.Module:
    """Make a network, untrained.

    Parameters
    ----------
    name
        One of `NETWORKS`.
    **options
        What the network takes; see `NetworkOptions`.

    Raises
    ------
    InputError
        For another name, or an option that the network does not take.

    Examples
    --------
    >>> network = build_network("ms-aff", bands=3, width=4)
    >>> network.bands, network.channels, network.multiple_px
    (3, 8, 8)
    """
    if name not in NETWORKS:
        raise InputError(f"there is no network {name!r}: choose among {', '.join(NETWORKS)}")
    return NETWORKS[name](**options)
