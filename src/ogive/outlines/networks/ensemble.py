"""Several networks of one kind as one: they learn apart, and map together.

Each begins from other random weights and so errs elsewhere; the mean of their probabilities errs
less than any of them, and is less sure where they differ (Lakshminarayanan et al. 2017, NeurIPS).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ogive.model import InputError

from .network import Logits, NetworkSizes, OutlineNetwork

__all__ = ["Ensemble", "EnsembleOptions", "members_of"]


@dataclass(frozen=True, slots=True)
class EnsembleOptions:
    """Sizes of an ensemble: those of each of its members, and how many there are."""

    member: NetworkSizes
    members: int

    @property
    def modalities(self) -> Mapping[str, int]:
        """Number of bands of each modality."""
        return self.member.modalities

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.member.classes

    @property
    def location_size(self) -> int:
        """Length of the vector that tells the location."""
        return self.member.location_size

    @property
    def patch_px(self) -> int:
        """Side of the images it takes."""
        return self.member.patch_px

    def as_json(self) -> dict[str, Any]:
        """Give what builds this ensemble again, JSON-able."""
        return self.member.as_json() | {"members": self.members}


class Ensemble(OutlineNetwork):
    """The mean of the probabilities of several networks, as logits.

    Examples
    --------
    >>> from ogive.outlines.networks import build_network
    >>> sizes = {"modalities": {"optical": 4}, "patch_px": 32, "width": 4, "token_width": 8}
    >>> three = build_network("mini", members=3, **sizes).eval()
    >>> three({"optical": torch.rand(2, 4, 32, 32)}).main.softmax(1).shape
    torch.Size([2, 2, 32, 32])
    """

    def __init__(self, members: Sequence[OutlineNetwork]) -> None:
        if len(members) < 2:
            raise InputError(f"an ensemble of {len(members)}: it needs two members at least")
        super().__init__(EnsembleOptions(members[0].options, len(members)))
        self.members = nn.ModuleList(members)

    def score(self, features: Mapping[str, Tensor], location: Tensor | None) -> Logits:
        """Score the classes of features that were checked; there is no auxiliary output."""
        found = [member.score(features, location) for member in members_of(self)]
        log_p = torch.stack([logits.main.float().log_softmax(1) for logits in found])
        return Logits(log_p.logsumexp(0) - math.log(len(found)), None)


def members_of(network: OutlineNetwork) -> tuple[OutlineNetwork, ...]:
    """Give the networks that learn: the members of an ensemble, or the network itself.

    Examples
    --------
    >>> from ogive.outlines.networks import build_network
    >>> len(members_of(build_network("mini", modalities={"optical": 4}, members=2)))
    2
    """
    if isinstance(network, Ensemble):
        return tuple(network.members)  # type: ignore[arg-type]
    return (network,)
