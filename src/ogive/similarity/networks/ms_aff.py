r"""Multi-scale network with attentional feature fusion, with the widths of DeepSim-Nets.

The image at full, half, quarter and eighth resolution passes one stem and, each scale on its own,
three residual blocks; from coarse to fine two scales :math:`X, Y` are fused by

.. math:: w\,X + (1 - w)\,Y, \qquad w = \sigma\left(A(X + Y) + B(X + Y)\right)

(Dai et al. 2021, WACV, whose :math:`B` pools over the whole image first; in DeepSim-Nets it does
not, so that both are local). Chebbi et al. (2023) count 965 792 parameters. What the paper leaves
open is as in the authors' training code, and the count confirms it:

- no convolution has a bias, all but the very last are normalised;
- residual blocks have no activation behind the sum (nothing to count, as published); the first of a
  scale, from 32 to 64 channels, has a *1 x 1* convolution on its shortcut (a 3 x 3 one would add
  65 536);
- the blocks of the four scales are not shared, the stem is;
- A and B are alike: 64 to 16 to 64 channels by 1 x 1 convolutions, each normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..embedding import Modulation
from .attention_unet import enlarged
from .feature_network import NORMS, FeatureNetwork, NetworkOptions
from .receptive import Span

__all__ = ["MSAFF", "MSAFFBody"]

SCALES = 4
BLOCKS = 3
STEM_RADIUS = 3
BLOCKS_RADIUS = 2 * BLOCKS
HEAD_RADIUS = 3
SQUEEZE = 4


def normalised_convolution(inputs: int, outputs: int, size: int, norm: str) -> nn.Sequential:
    """One convolution without bias, normalised."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), NORMS[norm](outputs)
    )


def rectified_chain(channels: list[int], norm: str) -> nn.Sequential:
    """Convolutions of 3 x 3, each normalised and rectified."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [normalised_convolution(inputs, outputs, 3, norm), nn.ReLU()]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Two convolutions beside a shortcut, without activation behind the sum."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.first = normalised_convolution(inputs, outputs, 3, norm)
        self.second = normalised_convolution(outputs, outputs, 3, norm)
        self.shortcut = (
            nn.Identity() if inputs == outputs else normalised_convolution(inputs, outputs, 1, norm)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Add what the two convolutions find."""
        found = self.second(functional.relu(self.first(features)))
        total: Tensor = found + self.shortcut(features)
        return total


class Fusion(nn.Module):
    """Attentional fusion of two scales; see the module."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        squeezed = max(1, channels // SQUEEZE)
        self.first, self.second = (
            nn.Sequential(
                normalised_convolution(channels, squeezed, 1, norm),
                nn.ReLU(),
                normalised_convolution(squeezed, channels, 1, norm),
            )
            for _ in range(2)
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Weighted mean of two maps of the same size, the weight by channel and pixel."""
        both = fine + coarse
        weight = torch.sigmoid(self.first(both) + self.second(both))
        return weight * fine + (1.0 - weight) * coarse


class MSAFFBody(nn.Module):
    """Stem, scales, fusions and head; see the module."""

    multiple_px = 1 << (SCALES - 1)

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        width, wide, norm = options.width, 2 * options.width, options.norm
        self.film_channels: Mapping[str, int] = {
            **{f"scale{scale + 1}": wide for scale in range(SCALES)},
            **{f"fusion{scale + 1}": wide for scale in range(SCALES - 1)},
        }
        self.stem = rectified_chain([options.input_channels, width, width, width], norm)
        self.scales = nn.ModuleList(
            nn.Sequential(
                Residual(width, wide, norm),
                *(Residual(wide, wide, norm) for _ in range(BLOCKS - 1)),
            )
            for _ in range(SCALES)
        )
        # Fusion of a scale with the ones coarser than it.
        self.fusions = nn.ModuleList(Fusion(wide, norm) for _ in range(SCALES - 1))
        self.head = nn.Sequential(
            *rectified_chain([wide, wide, wide], norm),
            nn.Conv2d(wide, options.output_channels, 3, padding=1, bias=False),
        )

    def forward(self, stack: Tensor, modulate: Modulation) -> Tensor:
        """Features of a stack whose sides are multiples of 8 pixels."""
        fused = self._scale(SCALES - 1, stack, modulate)
        for scale in reversed(range(SCALES - 1)):
            fine = self._scale(scale, stack, modulate)
            fused = modulate(f"fusion{scale + 1}", self.fusions[scale](fine, enlarged(fused, 2)))
        features: Tensor = self.head(fused)
        return features

    def _scale(self, scale: int, stack: Tensor, modulate: Modulation) -> Tensor:
        if scale:
            rows, columns = stack.shape[-2:]
            # Without smoothing before it, as published.
            stack = functional.interpolate(
                stack, (rows >> scale, columns >> scale), mode="bilinear", align_corners=False
            )
        return modulate(f"scale{scale + 1}", self.scales[scale](self.stem(stack)))

    def reach(self, span: Span) -> Span:
        """Span of the input behind a span of the features."""
        fused = span.convolved(HEAD_RADIUS)
        reached = fused
        for scale in range(SCALES):
            if scale:
                fused = fused.upsampled(2)
            reached |= fused.convolved(BLOCKS_RADIUS + STEM_RADIUS).downsampled(1 << scale)
        return reached


class MSAFF(FeatureNetwork):
    """The multi-scale network of DeepSim-Nets; for options see `NetworkOptions`.

    Examples
    --------
    >>> network = MSAFF(width=4).eval()
    >>> image = torch.rand(1, 1, 40, 50)
    >>> network(image, torch.ones(1, 1, 40, 50, dtype=torch.bool)).shape
    torch.Size([1, 8, 40, 50])
    """

    def __init__(self, **options: Any) -> None:
        settings = NetworkOptions(**options)
        super().__init__(MSAFFBody(settings), settings)
