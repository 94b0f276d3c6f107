"""The stage that sees the whole patch: a vision transformer and its progressive upsampling.

Squares of the fused stack become tokens with a learned position (Dosovitskiy et al. 2021); blocks
normalise before attention and before the two dense layers, with GELU behind both; convolutions and
doublings bring the tokens back to the pixels (SETR-PUP, Zheng et al. 2021, CVPR).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import batch_norm
from .options import GlaViTUOptions

__all__ = ["ProgressiveUpsampling", "TransformerBlock", "TransformerStage", "VisionTransformer"]

_MLP_RATIO = 4
_EPSILON = 1e-6


class TransformerBlock(nn.Module):
    """Attention among the tokens, then two dense layers, each added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width, eps=_EPSILON)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm_dense = nn.LayerNorm(width, eps=_EPSILON)
        self.dense = nn.Sequential(
            nn.Linear(width, _MLP_RATIO * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(_MLP_RATIO * width, width),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pass tokens ``(batch, token, width)`` on."""
        tokens = tokens + self.drop(self._attend(self.norm_attention(tokens)))
        moved: Tensor = tokens + self.dense(self.norm_dense(tokens))
        return moved

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        split = self.query_key_value(tokens).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.project(attended.transpose(1, 2).reshape(batch, count, width))
        return projected


class VisionTransformer(nn.Module):
    """Tokens on a coarse grid, each aware of all others."""

    def __init__(self, options: GlaViTUOptions) -> None:
        super().__init__()
        side = options.patch_px // options.token_px
        # A dense layer on the pixels of each square, as a convolution that strides.
        self.tokenise = nn.Conv2d(
            options.width, options.token_width, options.token_px, stride=options.token_px
        )
        self.position = nn.Parameter(torch.empty(side * side, options.token_width))
        nn.init.uniform_(self.position, -0.05, 0.05)
        self.drop = nn.Dropout(options.dropout)
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(options.token_width, options.heads, options.dropout)
                for _ in range(options.depth)
            )
        )

    def forward(self, stack: Tensor) -> Tensor:
        """Give tokens ``(batch, token_width, row, column)`` of a stack."""
        tokens = self.tokenise(stack)
        flat = tokens.flatten(2).transpose(1, 2) + self.position
        moved: Tensor = self.blocks(self.drop(flat))
        return moved.transpose(1, 2).reshape(tokens.shape)


class ProgressiveUpsampling(nn.Module):
    """From tokens back to pixels, twice as fine with each step."""

    def __init__(self, options: GlaViTUOptions) -> None:
        super().__init__()
        steps = options.token_px.bit_length() - 1
        widths = [options.token_width, *[options.width] * steps]
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), batch_norm(outputs))
            for inputs, outputs in pairwise(widths)
        )
        self.project = nn.Conv2d(widths[-1], options.width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Give a stack of the patch's own resolution."""
        # The projection has no neighbours, so that it may come before the last doubling.
        for number, step in enumerate(self.steps):
            tokens = step(_doubled(tokens) if number else tokens)
        projected = self.project(tokens)
        return _doubled(projected) if len(self.steps) else projected


class TransformerStage(nn.Module):
    """The transformer with its way back, added to what came in."""

    def __init__(self, options: GlaViTUOptions) -> None:
        super().__init__()
        self.transformer = VisionTransformer(options)
        self.decoder = ProgressiveUpsampling(options)

    def forward(self, stack: Tensor) -> Tensor:
        """Add what the whole patch tells to each pixel of a stack."""
        seen: Tensor = self.decoder(self.transformer(stack))
        return stack + seen


def _doubled(stack: Tensor) -> Tensor:
    return functional.interpolate(stack, scale_factor=2.0, mode="bilinear", align_corners=False)
