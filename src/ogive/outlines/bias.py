"""Bias optimisation: which mixture of regions makes a network surest of a scene.

A network that was told regions in training has learned their sensors and skies too. At inference
the one-hot region gives way to a mixture, the softmax of a vector that is moved until the mean
entropy of the scene's probabilities is least (equations 1 and 2 of Maslov et al. 2025).

Entropy has minima where a network is sure of something wrong, such as that there is no ice at all.
So the descent begins twice, from equal shares as published and from the region that alone makes the
network surest, and the better end is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ogive.model import InputError

from .bands import modalities_of, normalised
from .networks import OutlineNetwork
from .predict import ScenePart, ScenePixels

__all__ = ["OptimisedBias", "optimise_bias"]

_LEAST = 1e-6
_CONVERGED = 1e-8
_PATIENCE = 5
_ALONE = 5.0
"""How much a region's number is above the others' where it stands alone: 0.93 of 12 shares."""
_JUDGED_BATCHES = 16


@dataclass(frozen=True)
class OptimisedBias:
    """What was found.

    Attributes
    ----------
    location
        The mixture of regions: numbers from 0 to 1 that add up to 1.
    entropy
        Mean entropy (base: number of classes) of each epoch of the descent that found it.
    """

    location: NDArray[np.float32]
    entropy: tuple[float, ...]


@dataclass(frozen=True)
class _Patches:
    """Draws patches of a scene, where it has data."""

    scene: ScenePixels
    bands: Sequence[str]
    side_px: int
    batch_size: int
    places: Sequence[tuple[int, int]]

    @property
    def batches(self) -> int:
        """How many cover the scene's data once."""
        return max(round(len(self.places) / self.batch_size), 1)

    def draw(self, rng: np.random.Generator) -> tuple[dict[str, Tensor], Tensor]:
        chosen = [
            self.places[each] for each in rng.integers(len(self.places), size=self.batch_size)
        ]
        return _patches(self.scene, self.bands, self.side_px, chosen, rng)


def optimise_bias(
    scene: ScenePixels,
    network: OutlineNetwork,
    bands: Sequence[str],
    *,
    learning_rate: float = 0.05,
    epochs: int = 100,
    batch_size: int = 8,
    seed: int = 0,
) -> OptimisedBias:
    """Find the mixture of regions for a scene.

    Parameters
    ----------
    scene
        What will be mapped.
    network
        Trained with its region told, on any device; it does not change.
    bands
        Names of the scene's bands.
    learning_rate
        Of Adam. Published is 1e-4, for scenes so large that an epoch has a hundred batches; one of
        a few patches would not leave its start.
    epochs
        In each, as many random patches are seen as cover the scene's data once; it ends earlier
        when the mixture no longer changes.
    batch_size, seed
        Of the patches.

    Raises
    ------
    InputError
        If the network is told no location, or the scene has no valid pixel.
    """
    size = network.options.location_size
    if not size:
        raise InputError("the network is told no region: there is no bias to optimise")
    side = network.options.patch_px
    patches = _Patches(scene, bands, side, batch_size, _places(scene, side))
    with _still(network):
        return _optimised(network, patches, learning_rate, epochs, np.random.default_rng(seed))


def _optimised(
    network: OutlineNetwork,
    patches: _Patches,
    learning_rate: float,
    epochs: int,
    rng: np.random.Generator,
) -> OptimisedBias:
    """Descend from both starts, and take the better end."""
    judged = [patches.draw(rng) for _ in range(min(patches.batches, _JUDGED_BATCHES))]
    size = network.options.location_size

    def entropy_of(location: Tensor) -> float:
        with torch.no_grad():
            found = [_mean_entropy(network, *each, location).item() for each in judged]
        return float(np.mean(found))

    equal, alone = torch.ones(size), torch.ones(size) + _ALONE * torch.eye(size)
    surest = min(alone, key=lambda bias: entropy_of(bias.softmax(0)))
    ends = [
        _descend(network, patches, start, learning_rate, epochs, rng) for start in (equal, surest)
    ]
    return min(ends, key=lambda end: entropy_of(torch.from_numpy(end.location)))


@contextmanager
def _still(network: OutlineNetwork) -> Iterator[None]:
    """Keep a network from learning means and from dropping while it is asked."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _places(scene: ScenePixels, side: int) -> list[tuple[int, int]]:
    """Find where patches have data, side by side over the scene: many scenes are mostly empty."""
    places = [
        (top, left)
        for top in range(0, scene.height, side)
        for left in range(0, scene.width, side)
        if _read(scene, top, left, side).valid.any()
    ]
    if not places:
        raise InputError("the scene has no valid pixel to optimise the bias on")
    return places


def _read(scene: ScenePixels, top: int, left: int, side: int) -> ScenePart:
    return scene.read(
        slice(top, min(top + side, scene.height)), slice(left, min(left + side, scene.width))
    )


def _descend(
    network: OutlineNetwork,
    patches: _Patches,
    start: Tensor,
    learning_rate: float,
    epochs: int,
    rng: np.random.Generator,
) -> OptimisedBias:
    """Follow the gradient of the entropy."""
    bias = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([bias], lr=learning_rate)
    entropy: list[float] = []
    still = 0
    for _ in range(epochs):
        before = bias.detach().clone()
        found = []
        for _ in range(patches.batches):
            optimiser.zero_grad()
            loss = _mean_entropy(network, *patches.draw(rng), bias.softmax(0))
            loss.backward(inputs=[bias])  # type: ignore[no-untyped-call]
            optimiser.step()
            found.append(float(loss.detach()))
        entropy.append(float(np.mean(found)))
        still = still + 1 if float((bias.detach() - before).abs().max()) < _CONVERGED else 0
        if still >= _PATIENCE:
            break
    return OptimisedBias(bias.detach().softmax(0).numpy(), tuple(entropy))


def _mean_entropy(
    network: OutlineNetwork, features: dict[str, Tensor], valid: Tensor, location: Tensor
) -> Tensor:
    device = next((each.device for each in network.parameters()), location.device)
    here = {name: stack.to(device) for name, stack in features.items()}
    logits = network(here, location.to(device).expand(len(valid), -1)).main
    p, valid = logits.softmax(1), valid.to(device)
    entropy = -(p * (p + _LEAST).log()).sum(1) / np.log(p.shape[1])
    mean: Tensor = (entropy * valid).sum() / valid.sum()
    return mean


def _patches(
    scene: ScenePixels,
    bands: Sequence[str],
    side: int,
    places: Sequence[tuple[int, int]],
    rng: np.random.Generator,
) -> tuple[dict[str, Tensor], Tensor]:
    """Draw a patch near each place; where the scene ends before it, it is mirrored."""
    pixels, valid = [], []
    for place in places:
        top, left = (
            int(np.clip(at + rng.integers(-side // 2, side // 2 + 1), 0, max(length - side, 0)))
            for at, length in zip(place, (scene.height, scene.width), strict=True)
        )
        part = _read(scene, top, left, side)
        if not part.valid.any():
            part = _read(scene, *place, side)
        around = tuple((0, side - n) for n in part.valid.shape)
        filled = np.where(part.valid, normalised(part.pixels, bands), 0.0).astype(np.float32)
        pixels.append(np.pad(filled, ((0, 0), *around), mode="symmetric"))
        valid.append(np.pad(part.valid, around))
    stack = torch.from_numpy(np.stack(pixels))
    features, first = {}, 0
    for name, names in modalities_of(bands).items():
        features[name] = stack[:, first : first + len(names)]
        first += len(names)
    return features, torch.from_numpy(np.stack(valid))
