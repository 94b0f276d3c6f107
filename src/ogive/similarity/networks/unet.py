"""U-Net (Ronneberger et al. 2015, MICCAI), with the widths of DeepSim-Nets.

Chebbi et al. (2023, CVPR Workshops, EarthVision, 2097-2105) give 32 to 256 channels on four levels,
512 at the bottleneck and 64 features: 7 808 512 parameters. Blocks are two 3 x 3 convolutions,
skips are concatenated, transposed 2 x 2 convolutions go up. What the paper leaves open is as in
the authors' training code, and the count confirms it:

- 3 x 3 convolutions have no bias (biases would add 3 008), each but the last a batch normalisation
  with scale and offset;
- transposed convolutions have one (480 of the parameters), and no normalisation;
- the level of full resolution has a head of two convolutions of 64 channels in place of its block,
  the last without normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..embedding import Modulation
from .feature_network import NORMS, FeatureNetwork, NetworkOptions
from .receptive import Span

__all__ = ["UNet", "UNetBody", "convolution_pair", "full_resolution_head", "unet_film_channels"]

LEVELS = 4
BLOCK_RADIUS = 2


def convolution_pair(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    """Two convolutions of 3 x 3, each normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        NORMS[norm](outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        NORMS[norm](outputs),
        nn.ReLU(),
    )


def full_resolution_head(options: NetworkOptions) -> nn.Sequential:
    """The last two convolutions: features may have any sign, so nothing follows the second."""
    wide = 2 * options.width
    return nn.Sequential(
        nn.Conv2d(wide, wide, 3, padding=1, bias=False),
        NORMS[options.norm](wide),
        nn.ReLU(),
        nn.Conv2d(wide, options.output_channels, 3, padding=1, bias=False),
    )


def unet_film_channels(width: int) -> dict[str, int]:
    """Channels of the layers that may be conditioned."""
    encoders = {f"encoder{level + 1}": width << level for level in range(LEVELS)}
    decoders = {f"decoder{level + 1}": width << level for level in range(LEVELS - 1, 0, -1)}
    return {**encoders, "bottleneck": width << LEVELS, **decoders}


def encoder_reach(level: int, span: Span) -> Span:
    """Span of the input behind the encoder of a level (0 is full resolution)."""
    span = span.convolved(BLOCK_RADIUS)
    return span if level == 0 else encoder_reach(level - 1, span.pooled(2))


class UNetBody(nn.Module):
    """Four levels down, four up, and a head; see the module."""

    multiple_px = 1 << LEVELS

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        widths = [options.width << level for level in range(LEVELS + 1)]
        self.film_channels: Mapping[str, int] = unet_film_channels(options.width)
        self.encoders = nn.ModuleList(
            convolution_pair(inputs, outputs, options.norm)
            for inputs, outputs in zip(
                [options.input_channels, *widths[: LEVELS - 1]], widths[:LEVELS], strict=True
            )
        )
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = convolution_pair(widths[-2], widths[-1], options.norm)
        # From level 0, full resolution, upwards, as the encoders.
        self.risers = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2)
            for level in range(LEVELS)
        )
        self.decoders = nn.ModuleList(
            convolution_pair(2 * widths[level], widths[level], options.norm)
            for level in range(1, LEVELS)
        )
        self.head = full_resolution_head(options)

    def forward(self, stack: Tensor, modulate: Modulation) -> Tensor:
        """Features of a stack whose sides are multiples of 16 pixels."""
        skips = []
        for level, encoder in enumerate(self.encoders):
            stack = modulate(f"encoder{level + 1}", encoder(self.pool(stack) if level else stack))
            skips.append(stack)
        stack = modulate("bottleneck", self.bottleneck(self.pool(stack)))
        for level in reversed(range(1, LEVELS)):
            both = torch.cat([self.risers[level](stack), skips[level]], 1)
            stack = modulate(f"decoder{level + 1}", self.decoders[level - 1](both))
        features: Tensor = self.head(torch.cat([self.risers[0](stack), skips[0]], 1))
        return features

    def reach(self, span: Span) -> Span:
        """Span of the input behind a span of the features."""

        def behind(level: int, span: Span) -> Span:
            span = span.convolved(BLOCK_RADIUS)
            if level == LEVELS:
                return encoder_reach(level - 1, span.pooled(2))
            # The skip starts behind its encoder's block, which encoder_reach counts.
            return behind(level + 1, span.transposed(2)) | encoder_reach(level, span)

        return behind(0, span)


class UNet(FeatureNetwork):
    """The U-Net of DeepSim-Nets; for options see `NetworkOptions`.

    Examples
    --------
    >>> network = UNet(width=4).eval()
    >>> image = torch.rand(1, 1, 40, 50)
    >>> network(image, torch.ones(1, 1, 40, 50, dtype=torch.bool)).shape
    torch.Size([1, 8, 40, 50])
    """

    def __init__(self, **options: Any) -> None:
        settings = NetworkOptions(**options)
        super().__init__(UNetBody(settings), settings)
