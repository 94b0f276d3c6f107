"""How GlaViTU brings modalities together, and tells the network where it looks.

Each modality has its own convolutions and a squeeze-and-excitation block (Hu et al. 2018, CVPR),
which weighs its channels by what the whole patch shows; the branches are summed. A vector of
location becomes one bias per channel, the same at each pixel (Maslov et al. 2025, figure S10).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .layers import EPSILON, MOMENTUM, SLOPE, convolution_pair

__all__ = ["Fusion", "LocationEncoding", "SqueezeExcitation"]

_LOCATION_SLOPE = 0.3


class SqueezeExcitation(nn.Module):
    """Weights of the channels, 0 to 1, from their means over the patch.

    Examples
    --------
    >>> SqueezeExcitation(8)(torch.rand(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels),
            nn.LeakyReLU(SLOPE),
            nn.Linear(channels, channels),
            nn.Sigmoid(),
        )

    def forward(self, stack: Tensor) -> Tensor:
        """Weigh a stack ``(batch, channel, y, x)``."""
        weights: Tensor = self.weigh(stack.mean((2, 3)))
        return stack * weights[:, :, None, None]


class Fusion(nn.Module):
    """One stack of features from several modalities.

    Parameters
    ----------
    modalities
        Number of bands by name.
    width
        Channels of the stack.
    """

    def __init__(self, modalities: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(convolution_pair(bands, width), SqueezeExcitation(width))
                for name, bands in modalities.items()
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Fuse ``(batch, band, y, x)`` of each modality."""
        branches = [branch(features[name]) for name, branch in self.branches.items()]
        return torch.stack(branches).sum(0) if len(branches) > 1 else branches[0]


class LocationEncoding(nn.Module):
    """One bias per channel from a vector that tells region or coordinates."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Linear(size, width),
            nn.BatchNorm1d(width, eps=EPSILON, momentum=MOMENTUM),
            nn.LeakyReLU(_LOCATION_SLOPE),
            nn.Linear(width, width),
            nn.BatchNorm1d(width, eps=EPSILON, momentum=MOMENTUM),
            nn.LeakyReLU(_LOCATION_SLOPE),
        )

    def forward(self, location: Tensor) -> Tensor:
        """Biases ``(batch, channel, 1, 1)`` of locations ``(batch, size)``."""
        biases: Tensor = self.encode(location)
        return biases[:, :, None, None]
