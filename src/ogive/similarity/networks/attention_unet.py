r"""U-Net with attention gates on its skips (Oktay et al. 2018), with the widths of DeepSim-Nets.

A gate weighs the skip :math:`x` of a level by what the next coarser level :math:`g` has seen:

.. math:: y = W\left(x\,\uparrow\!\sigma\!\left(\psi\,\mathrm{ReLU}(\Theta x + \Phi g)\right)\right)

with 2 x 2 convolutions :math:`\Theta` of stride 2 and 1 x 1 convolutions for the rest. Two gates of
a skip are concatenated and mixed. Four side outputs, one a level, are brought to full resolution
and concatenated for the head. Chebbi et al. (2023) count 9 462 022 parameters. What the paper
leaves open is as in the authors' training code, and the count confirms it:

- the gates work with as many channels as their skip (64, 128, 256), on all levels but that of full
  resolution, whose encoder's output is not used as a skip at all;
- the signal of the coarsest gate passes a 1 x 1 convolution with normalisation of its own; the
  finer ones take the decoder's features as they are;
- the convolution :math:`\Theta` has no bias, :math:`\Phi`, :math:`\psi`, :math:`W`,
  the mixing convolution, the gating signal and the side outputs have one;
- :math:`W`, the mixing convolution and the gating signal are normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..embedding import Modulation
from .feature_network import NORMS, FeatureNetwork, NetworkOptions
from .receptive import Span
from .unet import (
    BLOCK_RADIUS,
    LEVELS,
    convolution_pair,
    encoder_reach,
    full_resolution_head,
    unet_film_channels,
)

__all__ = ["AttentionBody", "AttentionUNet"]


def enlarged(features: Tensor, factor: int) -> Tensor:
    """Bilinear interpolation between pixel centres to a grid finer by a whole factor."""
    rows, columns = features.shape[-2:]
    return functional.interpolate(
        features, (factor * rows, factor * columns), mode="bilinear", align_corners=False
    )


class Gate(nn.Module):
    """One additive attention gate."""

    def __init__(self, channels: int, signal_channels: int, norm: str) -> None:
        super().__init__()
        self.from_skip = nn.Conv2d(channels, channels, 2, stride=2, bias=False)
        self.from_signal = nn.Conv2d(signal_channels, channels, 1)
        self.score = nn.Conv2d(channels, 1, 1)
        self.output = nn.Sequential(nn.Conv2d(channels, channels, 1), NORMS[norm](channels))

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """Weigh a skip by a signal of half its resolution."""
        both = functional.relu(self.from_skip(skip) + self.from_signal(signal))
        attention = torch.sigmoid(self.score(both))
        gated: Tensor = self.output(skip * enlarged(attention, 2))
        return gated


class GatePair(nn.Module):
    """Two gates of one skip, mixed."""

    def __init__(self, channels: int, signal_channels: int, norm: str) -> None:
        super().__init__()
        self.gates = nn.ModuleList(Gate(channels, signal_channels, norm) for _ in range(2))
        self.mix = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1), NORMS[norm](channels), nn.ReLU()
        )

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """Weigh a skip by a signal of half its resolution."""
        mixed: Tensor = self.mix(torch.cat([gate(skip, signal) for gate in self.gates], 1))
        return mixed


class AttentionBody(nn.Module):
    """The U-Net's levels with gated skips and side outputs; see the module."""

    multiple_px = 1 << LEVELS

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        norm, widths = options.norm, [options.width << level for level in range(LEVELS + 1)]
        self.film_channels: Mapping[str, int] = unet_film_channels(options.width)
        self.encoders = nn.ModuleList(
            convolution_pair(inputs, outputs, norm)
            for inputs, outputs in zip(
                [options.input_channels, *widths[: LEVELS - 1]], widths[:LEVELS], strict=True
            )
        )
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = convolution_pair(widths[-2], widths[-1], norm)
        self.signal = nn.Sequential(
            nn.Conv2d(widths[-1], widths[-1], 1), NORMS[norm](widths[-1]), nn.ReLU()
        )
        # From full resolution upwards; gates and decoders from the level above it.
        self.risers = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2)
            for level in range(LEVELS)
        )
        self.gates = nn.ModuleList(
            GatePair(widths[level], widths[level + 1], norm) for level in range(1, LEVELS)
        )
        self.decoders = nn.ModuleList(
            convolution_pair(2 * widths[level], widths[level], norm) for level in range(1, LEVELS)
        )
        self.sides = nn.ModuleList(
            nn.Conv2d(widths[level], options.width // 2, 1) for level in range(LEVELS)
        )
        self.head = full_resolution_head(options)

    def forward(self, stack: Tensor, modulate: Modulation) -> Tensor:
        """Features of a stack whose sides are multiples of 16 pixels."""
        skips = []
        for level, encoder in enumerate(self.encoders):
            stack = modulate(f"encoder{level + 1}", encoder(self.pool(stack) if level else stack))
            skips.append(stack)
        stack = modulate("bottleneck", self.bottleneck(self.pool(stack)))
        signal, sides = self.signal(stack), []
        for level in reversed(range(1, LEVELS)):
            gated = self.gates[level - 1](skips[level], signal)
            both = torch.cat([gated, self.risers[level](stack)], 1)
            stack = modulate(f"decoder{level + 1}", self.decoders[level - 1](both))
            sides.append(enlarged(self.sides[level](stack), 1 << level))
            signal = stack
        sides.append(self.sides[0](self.risers[0](stack)))
        features: Tensor = self.head(torch.cat(sides[::-1], 1))
        return features

    def reach(self, span: Span) -> Span:
        """Span of the input behind a span of the features."""

        def behind(level: int, span: Span) -> Span:
            span = span.convolved(BLOCK_RADIUS)
            if level == LEVELS:
                return encoder_reach(level - 1, span.pooled(2))
            # A gate looks at the coarser level through bilinear interpolation, and at the skip
            # through the cells of that level.
            attended = span.upsampled(2)
            return behind(level + 1, span.transposed(2) | attended) | encoder_reach(
                level, span | attended.pooled(2)
            )

        head = span.convolved(BLOCK_RADIUS)
        reached = behind(1, head.transposed(2))
        for level in range(1, LEVELS):
            reached |= behind(level, head.upsampled(1 << level))
        return reached


class AttentionUNet(FeatureNetwork):
    """The attention U-Net of DeepSim-Nets; for options see `NetworkOptions`.

    Examples
    --------
    >>> network = AttentionUNet(width=4).eval()
    >>> image = torch.rand(1, 1, 40, 50)
    >>> network(image, torch.ones(1, 1, 40, 50, dtype=torch.bool)).shape
    torch.Size([1, 8, 40, 50])
    """

    def __init__(self, **options: Any) -> None:
        settings = NetworkOptions(**options)
        super().__init__(AttentionBody(settings), settings)
