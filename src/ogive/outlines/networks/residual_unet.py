"""The stage of fine detail: a U-Net of residual blocks.

After Ronneberger et al. (2015, MICCAI) with the shortcuts of He et al. (2016, CVPR). The published
count leaves no doubt about biases: convolutions of 2 x 2 on the way up and the shortcuts have none,
and a last 1 x 1 convolution, with bias, closes the stage.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import batch_norm, convolution_pair
from .options import LEVELS, GlaViTUOptions

__all__ = ["ResidualBlock", "ResidualUNet", "Rise"]


class ResidualBlock(nn.Module):
    """Two convolutions, and a shortcut of 1 x 1 round them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolutions = convolution_pair(inputs, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, stack: Tensor) -> Tensor:
        """Pass a stack on."""
        passed: Tensor = self.convolutions(stack) + self.shortcut(stack)
        return passed


class Rise(nn.Module):
    """Twice as fine, half as wide: each pixel four times, then a convolution of 2 x 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 2, bias=False)
        self.norm = batch_norm(outputs)

    def forward(self, stack: Tensor) -> Tensor:
        """Give the finer stack."""
        fine = functional.interpolate(stack, scale_factor=2.0, mode="nearest")
        # An even kernel keeps the size with one more row and column, below and to the right.
        convolved = self.convolution(functional.pad(fine, (0, 1, 0, 1)))
        risen: Tensor = self.norm(convolved)
        return risen


class ResidualUNet(nn.Module):
    """Four levels, skips concatenated, added to what came in.

    Examples
    --------
    >>> ResidualUNet(GlaViTUOptions(width=4)).eval()(torch.rand(1, 4, 16, 24)).shape
    torch.Size([1, 4, 16, 24])
    """

    def __init__(self, options: GlaViTUOptions) -> None:
        super().__init__()
        width = options.width
        widths = [width << level for level in range(LEVELS)]
        self.encoders = nn.ModuleList(
            ResidualBlock(inputs, outputs)
            for inputs, outputs in zip([width, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(options.dropout)
        # From full resolution downwards, as the encoders.
        self.risers = nn.ModuleList(Rise(below, here) for here, below in pairwise(widths))
        self.decoders = nn.ModuleList(ResidualBlock(2 * here, here) for here in widths[:-1])
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, stack: Tensor) -> Tensor:
        """Add fine detail to each pixel of a stack whose sides are multiples of 8."""
        skips: list[Tensor] = []
        fine = stack
        for level, encoder in enumerate(self.encoders):
            fine = encoder(self.pool(fine) if level else fine)
            skips.append(fine)
        fine = self.drop(skips.pop())
        for riser, decoder in zip(reversed(self.risers), reversed(self.decoders), strict=True):
            fine = decoder(torch.cat([riser(fine), skips.pop()], 1))
        detailed: Tensor = stack + self.project(fine)
        return detailed
