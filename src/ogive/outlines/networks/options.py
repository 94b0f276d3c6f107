"""What a GlaViTU is built with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from ogive.model import InputError

__all__ = ["GlaViTUOptions"]

LEVELS = 4
"""Of the U-Net, each half as fine as the one above."""
_PUBLISHED_MODALITIES: Mapping[str, int] = MappingProxyType({"optical": 6, "dem": 2})


@dataclass(frozen=True, slots=True, kw_only=True)
class GlaViTUOptions:
    """Sizes of a GlaViTU; the defaults are the published ones.

    Attributes
    ----------
    modalities
        Number of bands of each modality, by name, such as ``{"optical": 6, "dem": 2}``.
    classes
        Number of classes; glacier is 1 of 2.
    location_size
        Length of the vector that encodes region (12) or coordinates (4); 0 for none.
    patch_px
        Side of the images it takes, in pixels.
    token_px
        Side of the squares that the transformer sees as one token.
    width
        Channels of the trunk at full resolution; the U-Net has 1, 2, 4 and 8 times as many.
    token_width
        Length of the tokens.
    depth, heads
        Blocks of the transformer, and attention heads in each.
    dropout
        Rate at which activations are dropped in training, and at inference where it is asked.
    """

    modalities: Mapping[str, int] = field(default_factory=lambda: _PUBLISHED_MODALITIES)
    classes: int = 2
    location_size: int = 0
    patch_px: int = 384
    token_px: int = 16
    width: int = 64
    token_width: int = 64
    depth: int = 12
    heads: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if not self.modalities or min(self.modalities.values()) < 1:
            raise InputError("a network needs at least one modality, each of at least one band")
        for name in ("classes", "patch_px", "token_px", "width", "token_width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.classes < 2:
            raise InputError("there must be at least 2 classes")
        if self.location_size < 0 or not 0 <= self.dropout < 1:
            raise InputError("location_size must be 0 or more, and dropout from 0 to below 1")
        least = max(self.token_px, 1 << (LEVELS - 1))
        if self.token_px & (self.token_px - 1) or self.patch_px % least:
            raise InputError(
                f"patch_px {self.patch_px} must be a multiple of {least}, and token_px "
                f"{self.token_px} a power of two"
            )
        if self.token_width % self.heads:
            raise InputError(f"token_width {self.token_width} must be a multiple of {self.heads}")

    def as_json(self) -> dict[str, Any]:
        """Give what builds this network again, JSON-able.

        Examples
        --------
        >>> GlaViTUOptions(modalities={"optical": 4}).as_json()["modalities"]
        {'optical': 4}
        """
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return told | {"modalities": dict(self.modalities)}
