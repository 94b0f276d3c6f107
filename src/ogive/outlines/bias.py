"""Bias optimisation: which mixture of regions makes a network surest of a scene.

A network that was told regions in training has learned their sensors and skies too. At inference
the one-hot region gives way to a mixture, the softmax of a vector that is moved until the mean
entropy of the scene's probabilities is least (equations 1 and 2 of Maslov et al. 2025).
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


@dataclass(frozen=True)
class OptimisedBias:
    """What was found.

    Attributes
    ----------
    location
        The mixture of regions: numbers from 0 to 1 that add up to 1.
    entropy
        Mean entropy (base: number of classes) of each epoch.
    """

    location: NDArray[np.float32]
    entropy: tuple[float, ...]


def optimise_bias(
    scene: ScenePixels,
    network: OutlineNetwork,
    bands: Sequence[str],
    *,
    learning_rate: float = 1e-4,
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
        Of Adam; published is 1e-4, from equal shares of all regions.
    epochs
        In each, as many random patches are seen as cover the scene once; it ends earlier when the
        entropy no longer changes.
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
    rng = np.random.default_rng(seed)
    bias = torch.ones(size, requires_grad=True)
    optimiser = torch.optim.Adam([bias], lr=learning_rate)
    batches = max(round(scene.height * scene.width / side**2 / batch_size), 1)
    entropy: list[float] = []
    still = 0
    for _ in range(epochs):
        before = bias.detach().clone()
        found = []
        for _ in range(batches):
            features, valid = _patches(scene, bands, side, batch_size, rng)
            optimiser.zero_grad()
            loss = _mean_entropy(network, features, valid, bias.softmax(0))
            loss.backward()  # type: ignore[no-untyped-call]
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
