"""A network that looks at the image in several orientations at once.

Nothing tells ice from its mirror image, but a trained network does, a little: what it gives for the
image turned and turned back differs by what it has not learned. The stacks of several orientations
together are features in which such differences count for less, as in an ensemble, at the cost of as
many times the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ogive.model import InputError

__all__ = ["MOST_VIEWS", "Turned"]

Turn = Callable[[Tensor], Tensor]


def _transposed(image: Tensor) -> Tensor:
    return image.transpose(-1, -2)


def _half_turn(image: Tensor) -> Tensor:
    return torch.flip(image, (-1, -2))


TURNS: tuple[tuple[Turn, Turn], ...] = (
    (lambda image: image, lambda image: image),
    (lambda image: _transposed(_half_turn(image)), lambda image: _half_turn(_transposed(image))),
    (lambda image: torch.flip(image, (-1,)), lambda image: torch.flip(image, (-1,))),
    (_transposed, _transposed),
)
"""Each with its inverse, in the order in which they are taken: the first two differ most."""
MOST_VIEWS = len(TURNS)


class Turned(nn.Module):
    """Features of an image and of its mirror images, turned back and stacked.

    Parameters
    ----------
    network
        By the contract of `FeatureNetwork`, without conditions: a sun's azimuth would have to be
        turned, too.
    views
        How many orientations, 1 to `MOST_VIEWS`.

    Raises
    ------
    InputError
        For another number of views, or a conditioned network.

    Examples
    --------
    >>> from ogive.similarity.networks import build_network
    >>> turned = Turned(build_network("small").eval(), views=2)
    >>> turned.channels
    16
    """

    def __init__(self, network: Any, *, views: int) -> None:
        super().__init__()
        if not 1 <= views <= MOST_VIEWS:
            raise InputError(f"{views} views: 1 to {MOST_VIEWS} are possible")
        if network.conditions and views > 1:
            raise InputError(
                "a network that is conditioned on how the image was taken sees it in one "
                "orientation only: give views=1"
            )
        self.network = network
        self.views = views
        self.bands: int = network.bands
        self.channels: int = views * network.channels
        self.halo_px: int = network.halo_px
        self.multiple_px: int = network.multiple_px
        self.conditions: tuple[str, ...] = tuple(network.conditions)

    def forward(self, image: Tensor, valid: Tensor, condition: Tensor | None = None) -> Tensor:
        """Give ``(batch, views channel, y, x)``; parameters as for `FeatureNetwork`."""
        rows, columns = image.shape[-2:]
        # Made whole before it is turned: else the grids of the stages would begin elsewhere.
        below, right = -rows % self.multiple_px, -columns % self.multiple_px
        if below or right:
            image = functional.pad(image, (0, right, 0, below), mode="reflect")
            wide = functional.pad(valid.float(), (0, right, 0, below), mode="reflect")
            valid = wide > 0.5
        stacks = [
            back(self.network(turn(image).contiguous(), turn(valid).contiguous(), condition))
            for turn, back in TURNS[: self.views]
        ]
        return torch.cat(stacks, 1)[..., :rows, :columns]
