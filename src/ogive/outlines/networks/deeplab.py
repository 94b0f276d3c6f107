"""DeepLabv3+ behind the fusion of modalities, the baseline of Maslov et al. 2025.

Chen et al. 2018 (ECCV) with a ResNeSt-101 encoder (Zhang et al. 2022, CVPR Workshops), by
segmentation-models-pytorch: ``pip install "ogive[baselines]"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor, nn

from ogive.model import InputError

from .fusion import Fusion, LocationEncoding
from .network import Logits, OutlineNetwork

__all__ = ["DeepLab", "DeepLabOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepLabOptions:
    """Sizes of a DeepLabv3+; see `ogive.outlines.networks.GlaViTUOptions`.

    Attributes
    ----------
    encoder
        Name of the encoder in segmentation-models-pytorch; it starts from random weights.
    """

    modalities: Mapping[str, int] = field(default_factory=lambda: {"optical": 6, "dem": 2})
    classes: int = 2
    location_size: int = 0
    patch_px: int = 384
    width: int = 64
    encoder: str = "timm-resnest101e"

    def as_json(self) -> dict[str, Any]:
        """Give what builds this network again, JSON-able."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return told | {"modalities": dict(self.modalities)}


class DeepLab(OutlineNetwork):
    """The network; it has no auxiliary output."""

    def __init__(self, options: DeepLabOptions) -> None:
        super().__init__(options)
        self.fusion = Fusion(options.modalities, options.width)
        self.location = (
            LocationEncoding(options.location_size, options.width)
            if options.location_size
            else None
        )
        self.deeplab = _deeplab(options)

    def score(self, features: Mapping[str, Tensor], location: Tensor | None) -> Logits:
        """Score the classes of features that were checked."""
        stack = self.fusion(features)
        if self.location is not None:
            stack = stack + self.location(location)
        return Logits(self.deeplab(stack), None)


def _deeplab(options: DeepLabOptions) -> nn.Module:
    try:
        import segmentation_models_pytorch as models
    except ImportError as error:
        raise InputError(
            "DeepLabv3+ needs segmentation-models-pytorch: pip install 'ogive[baselines]'"
        ) from error
    try:
        made: nn.Module = models.DeepLabV3Plus(
            options.encoder,
            encoder_weights=None,
            in_channels=options.width,
            classes=options.classes,
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"there is no encoder {options.encoder!r}: {error}") from error
    return made
