"""Bias optimisation: which mixture of regions makes a network surest of a scene.

A network that was told regions in training has learned their sensors and skies too. At inference
the one-hot region gives way to a mixture, the softmax of a vector that is moved until the mean
entropy of the scene's probabilities is least (equations 1 and 2 of Maslov et al. 2025).

Entropy has minima where a network is sure of something wrong, such as that there is no ice at all.
So the descent begins twice, from equal shares as published and from the region that alone makes the
network surest, and the better end is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ogive.model import InputError

from .bands import modalities_of, normalised
from .networks import OutlineNetwork
from .predict import ScenePixels

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
    """Draws patches of a scene."""

    scene: ScenePixels
    bands: Sequence[str]
    side_px: int
    batch_size: int

    @property
    def batches(self) -> int:
        """How many cover the scene once."""
        pixels = self.scene.height * self.scene.width
        return max(round(pixels / self.side_px**2 / self.batch_size), 1)

    def draw(self, rng: np.random.Generator) -> tuple[dict[str, Tensor], Tensor]:
        return _patches(self.scene, self.bands, self.side_px, self.batch_size, rng)


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
        Trained with its region told; it does not change.
    bands
        Names of the scene's bands.
    learning_rate
        Of Adam. Published is 1e-4, for scenes so large that an epoch has a hundred batches; one of
        a few patches would not leave its start.
    epochs
        In each, as many random patches are seen as cover the scene once; it ends earlier when the
        mixture no longer changes.
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
    patches = _Patches(scene, bands, network.options.patch_px, batch_size)
    rng = np.random.default_rng(seed)
    judged = [patches.draw(rng) for _ in range(min(patches.batches, _JUDGED_BATCHES))]

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
    logits = network(features, location.expand(len(valid), -1)).main
    p = logits.softmax(1)
    entropy = -(p * (p + _LEAST).log()).sum(1) / np.log(p.shape[1])
    if not bool(valid.any()):
        raise InputError("the scene has no valid pixel to optimise the bias on")
    mean: Tensor = (entropy * valid).sum() / valid.sum()
    return mean


def _patches(
    scene: ScenePixels, bands: Sequence[str], side: int, count: int, rng: np.random.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """Draw patches; where the scene is smaller than a patch, it is mirrored."""
    pixels, valid = [], []
    for _ in range(count):
        top, left = (
            int(rng.integers(0, max(n - side, 0) + 1)) for n in (scene.height, scene.width)
        )
        part = scene.read(
            slice(top, min(top + side, scene.height)), slice(left, min(left + side, scene.width))
        )
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
