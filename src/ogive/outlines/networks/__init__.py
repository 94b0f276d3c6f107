"""Networks that tell ice from ground, by name.

``"glavitu"`` is GlaViTU at its published size (Maslov et al. 2025): 10,037,442 parameters with the
region encoded and optical and elevation bands. ``"mini"`` is the same network made small enough to
be trained on a CPU. Both take the options of `GlaViTUOptions`. ``"deeplabv3+"`` is a baseline, with
`ogive.outlines.networks.deeplab.DeepLabOptions`. With ``members``, any of them becomes an ensemble
(`ogive.outlines.networks.ensemble`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from ogive.model import InputError

from .ensemble import Ensemble, members_of
from .glavitu import GlaViTU
from .network import Logits, NetworkSizes, OutlineNetwork, monte_carlo_dropout, parameter_count
from .options import GlaViTUOptions

__all__ = [
    "NETWORKS",
    "Ensemble",
    "GlaViTU",
    "GlaViTUOptions",
    "Logits",
    "NetworkSizes",
    "OutlineNetwork",
    "build_network",
    "members_of",
    "monte_carlo_dropout",
    "parameter_count",
]


def _glavitu(preset: GlaViTUOptions, /, **options: Any) -> OutlineNetwork:
    return GlaViTU(replace(preset, **_known(preset, options)))


def _deeplab(**options: Any) -> OutlineNetwork:
    from .deeplab import DeepLab, DeepLabOptions

    preset = DeepLabOptions()
    return DeepLab(replace(preset, **_known(preset, options)))


def _known(preset: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the names of options, which may come from a file."""
    known = [each.name for each in fields(preset)]
    for name in options:
        if name not in known:
            raise InputError(f"there is no option {name!r}: choose among {', '.join(known)}")
    return dict(options)


NETWORKS: Mapping[str, Callable[..., OutlineNetwork]] = MappingProxyType(
    {
        "glavitu": partial(_glavitu, GlaViTUOptions()),
        "mini": partial(_glavitu, GlaViTUOptions(patch_px=192, width=16, token_width=64, depth=4)),
        "deeplabv3+": _deeplab,
    }
)
"""Makers of the networks by name; their modalities are set by the data."""


def build_network(name: str, *, members: int = 1, **options: Any) -> OutlineNetwork:
    """Make a network, untrained.

    Parameters
    ----------
    name
        One of `NETWORKS`.
    members
        How many of them map together, as an ensemble.
    **options
        What differs from the preset.

    Raises
    ------
    InputError
        For another name or option, or options that do not fit together.

    Examples
    --------
    >>> parameter_count(build_network("glavitu", location_size=12))
    10037442
    >>> parameter_count(build_network("mini", modalities={"optical": 4}))
    1000770
    """
    if name not in NETWORKS:
        raise InputError(f"there is no network {name!r}: choose among {', '.join(NETWORKS)}")
    if not isinstance(members, int) or members < 1:
        raise InputError(f"members is {members!r}: it must be 1 or more")
    if members == 1:
        return NETWORKS[name](**options)
    return Ensemble([NETWORKS[name](**options) for _ in range(members)])
