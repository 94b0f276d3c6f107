"""What every network of outlines is: bands by modality in, scores of the classes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from ogive.model import InputError

__all__ = ["Logits", "NetworkSizes", "OutlineNetwork", "monte_carlo_dropout", "parameter_count"]


class Logits(NamedTuple):
    """Scores of the classes, before the softmax: ``(batch, class, y, x)`` each.

    ``auxiliary`` is the output that is trained beside the main one; ``None`` where there is none.
    """

    main: Tensor
    auxiliary: Tensor | None


class NetworkSizes(Protocol):
    """What must be known of a network to use it."""

    @property
    def modalities(self) -> Mapping[str, int]:
        """Number of bands of each modality, by name."""

    @property
    def classes(self) -> int:
        """Number of classes; glacier is 1."""

    @property
    def location_size(self) -> int:
        """Length of the vector that tells the location; 0 for none."""

    @property
    def patch_px(self) -> int:
        """Side of the images it takes."""

    def as_json(self) -> dict[str, Any]:
        """Give what builds this network again."""


class OutlineNetwork(nn.Module):
    """A network of outlines.

    Attributes
    ----------
    options
        What it was built with.
    """

    def __init__(self, options: NetworkSizes) -> None:
        super().__init__()
        self.options = options

    def forward(self, features: Mapping[str, Tensor], location: Tensor | None = None) -> Logits:
        """Score the classes of each pixel.

        Parameters
        ----------
        features
            ``(batch, band, y, x)`` of each modality, normalised; sides are ``patch_px``.
        location
            ``(batch, location_size)``; ``None`` for a network that is told no location.

        Raises
        ------
        InputError
            If a modality is missing, or has other bands or sides; or a location is missing or not
            asked for.
        """
        self._refuse(features, location)
        return self.score(features, location)

    def score(self, features: Mapping[str, Tensor], location: Tensor | None) -> Logits:
        """Score the classes of features that were checked."""
        raise NotImplementedError

    def _refuse(self, features: Mapping[str, Tensor], location: Tensor | None) -> None:
        side = self.options.patch_px
        for name, bands in self.options.modalities.items():
            if name not in features:
                raise InputError(f"the network needs the modality {name!r}, which is missing")
            if tuple(features[name].shape[1:]) != (bands, side, side):
                raise InputError(
                    f"{name} is {' x '.join(map(str, features[name].shape[1:]))} "
                    f"(band, y, x), but the network takes {bands} x {side} x {side}"
                )
        size = self.options.location_size
        if (location is None) != (size == 0):
            told = "none was given" if size else "takes none"
            raise InputError(f"the network's location has {size} numbers: {told}")
        if location is not None and location.shape[1:] != (size,):
            raise InputError(f"a location has {location.shape[-1]} numbers, but needs {size}")


def parameter_count(network: nn.Module, *, auxiliary: bool = False) -> int:
    """Count a network's numbers as it was published: with the means and variances of its norms.

    Parameters
    ----------
    network
        The network.
    auxiliary
        Whether to count the output that only training uses.

    Examples
    --------
    >>> parameter_count(nn.BatchNorm2d(3))
    12
    """
    return sum(
        tensor.numel()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and (auxiliary or "classify_auxiliary" not in name.split("."))
    )


@contextmanager
def monte_carlo_dropout(network: nn.Module) -> Iterator[None]:
    """Let a network in evaluation mode drop activations, as in training.

    Each pass then draws another network (Gal & Ghahramani 2016, ICML); their mean probability is
    what is wanted.
    """
    dropped = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    before = [module.training for module in dropped]
    for module in dropped:
        module.train()
    try:
        yield
    finally:
        for module, training in zip(dropped, before, strict=True):
            module.train(training)
