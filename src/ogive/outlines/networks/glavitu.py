"""GlaViTU: Glacier-VisionTransformer-U-Net.

Maslov et al. 2025 (doi 10.1038/s41467-024-54956-x), figure 1: modalities are fused, a transformer
sees the whole patch, a residual U-Net then finds the fine detail; an auxiliary output behind the
transformer is trained beside the main one.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from .fusion import Fusion, LocationEncoding
from .network import Logits, OutlineNetwork
from .options import GlaViTUOptions
from .residual_unet import ResidualUNet
from .transformer import TransformerStage

__all__ = ["GlaViTU"]


class GlaViTU(OutlineNetwork):
    """The network; for its sizes see `GlaViTUOptions`.

    Examples
    --------
    >>> import torch
    >>> options = GlaViTUOptions(modalities={"optical": 4}, patch_px=32, width=4, token_width=8)
    >>> logits = GlaViTU(options)({"optical": torch.rand(2, 4, 32, 32)})
    >>> logits.main.softmax(1).shape
    torch.Size([2, 2, 32, 32])
    """

    def __init__(self, options: GlaViTUOptions) -> None:
        super().__init__(options)
        self.fusion = Fusion(options.modalities, options.width)
        self.location = (
            LocationEncoding(options.location_size, options.width)
            if options.location_size
            else None
        )
        self.transformer = TransformerStage(options)
        self.unet = ResidualUNet(options)
        self.classify = nn.Conv2d(options.width, options.classes, 1)
        self.classify_auxiliary = nn.Conv2d(options.width, options.classes, 1)

    def score(self, features: Mapping[str, Tensor], location: Tensor | None) -> Logits:
        """Score the classes of features that were checked."""
        stack = self.fusion(features)
        if self.location is not None:
            stack = stack + self.location(location)
        seen = self.transformer(stack)
        return Logits(self.classify(self.unet(seen)), self.classify_auxiliary(seen))
