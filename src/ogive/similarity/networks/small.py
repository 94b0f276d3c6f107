"""The small network, ours: made to train and to run on a CPU.

Four resolutions, each half the one before, 16 to 64 channels wide: most of its work is done where
pixels are few, and its view is wide, so that a window of 8 px is matched by what lies round it too.
Maps are halved by averages and doubled by bilinear interpolation, both of which shift with the
image as well as can be; a stage's own map is added on the way up. Residual blocks begin as
identities. What is read from their sums is normalised at each pixel (``norm="layer"``); the sums
themselves are not, and may grow as they like.

The vector of each pixel is multiplied by a learned confidence: where the ground is veiled, blank or
may have changed, it counts for less in its window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ..embedding import Modulation
from .feature_network import NORMS, FeatureNetwork, NetworkOptions
from .receptive import Span

__all__ = ["Small", "SmallBody"]

BLOCKS = (0, 1, 2, 2)
"""Residual blocks of each resolution, on the way down; the full one has two convolutions."""
WIDTHS = (1, 2, 3, 4)
"""Channels of each resolution over the first's."""
DEFAULTS: Mapping[str, Any] = {
    "width": 16,
    "channels": 8,
    "norm": "layer",
    "normalisation": "two-scale",
    "weighted": True,
}


class Block(nn.Module):
    """Two convolutions beside the identity, which it is before training."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Add what the two convolutions find."""
        found: Tensor = features + self.second(
            functional.relu(self.first(functional.relu(self.norm(features))))
        )
        return found


def _rectified(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())


class SmallBody(nn.Module):
    """Down through four resolutions and up again; see the module."""

    multiple_px = 1 << (len(WIDTHS) - 1)

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        widths = [options.width * factor for factor in WIDTHS]
        norm = NORMS[options.norm] if options.norm == "layer" else nn.Identity
        self.film_channels: Mapping[str, int] = {
            f"stage{stage + 1}": width for stage, width in enumerate(widths)
        }
        self.stem = nn.Sequential(
            _rectified(options.input_channels, widths[0]), _rectified(widths[0], widths[0])
        )
        self.enter = nn.ModuleList(
            _rectified(widths[stage], widths[stage + 1]) for stage in range(len(widths) - 1)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width, norm) for _ in range(blocks)))
            for width, blocks in zip(widths, BLOCKS, strict=True)
        )
        self.leave = nn.ModuleList(
            nn.Conv2d(widths[stage + 1], widths[stage], 1) for stage in range(len(widths) - 1)
        )
        # None at full resolution, where it would cost more than all the others.
        self.merge = nn.ModuleList(
            Block(width, norm) if stage else nn.Identity()
            for stage, width in enumerate(widths[:-1])
        )
        self.norms = nn.ModuleList(norm(width) for width in widths)
        self.head = nn.Conv2d(widths[0], options.output_channels, 3, padding=1)

    def forward(self, stack: Tensor, modulate: Modulation) -> Tensor:
        """Features of a stack whose sides are multiples of 8 pixels."""
        features = modulate("stage1", self.stem(stack))
        kept = [features]
        for stage, enter in enumerate(self.enter, start=1):
            halved = self.norms[stage - 1](functional.avg_pool2d(features, 2))
            features = self.stages[stage](enter(halved))
            features = modulate(f"stage{stage + 1}", features)
            kept.append(features)
        for stage in reversed(range(len(self.leave))):
            wide = functional.interpolate(
                self.leave[stage](self.norms[stage + 1](features)), scale_factor=2,
                mode="bilinear", align_corners=False,
            )  # fmt: skip
            features = self.merge[stage](kept[stage] + wide)
        found: Tensor = self.head(self.norms[0](features))
        return found

    def reach(self, span: Span) -> Span:
        """Span of the input that a span of the output depends on."""
        span = span.convolved(1)
        needed = []
        for stage in range(len(self.leave)):
            span = span.convolved(2 if stage else 0)
            needed.append(span)
            span = span.upsampled(2)
        deepest = span.convolved(2 * BLOCKS[-1])
        for stage in reversed(range(len(self.leave))):
            # Through the way in of the coarser stage, its pooling, and this stage's own blocks.
            deepest = (deepest.convolved(1).pooled(2) | needed[stage]).convolved(2 * BLOCKS[stage])
        return deepest.convolved(2)


class Small(FeatureNetwork):
    """The small network by its options; see `NetworkOptions`, and `DEFAULTS` for its own."""

    def __init__(self, **options: Any) -> None:
        settings = NetworkOptions(**{**DEFAULTS, **options})
        super().__init__(SmallBody(settings), settings)
