"""Probability of ice over a scene of any size, from patches that overlap by half.

Patches are blended with weights that fall off towards their edges, so that no seam shows. Rows of
patches are finished from top to bottom: only the rows that patches still reach are held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ogive.model import InputError

from .augment import turned
from .bands import bands_in_order, modalities_of, normalised
from .networks import OutlineNetwork, monte_carlo_dropout
from .tiles import GLACIER

__all__ = [
    "Arrays",
    "PredictOptions",
    "ScenePart",
    "ScenePixels",
    "Strip",
    "blending_weights",
    "probability",
    "probability_strips",
]

BLEND_SIGMA = 0.25
"""Standard deviation of the Gaussian weights, in sides of the patch."""
_BATCH = 4
_WAYS = 8


class ScenePart(NamedTuple):
    """Part of a scene: pixels ``(band, y, x)`` in physical units, and where they are valid."""

    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]


class ScenePixels(Protocol):
    """A scene that is read by windows; its bands are in the order of the network's."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    def read(self, rows: slice, columns: slice) -> ScenePart:
        """Read a window that lies inside the scene."""


@dataclass(frozen=True)
class Arrays:
    """A scene in memory."""

    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.valid.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.valid.shape[1])

    def read(self, rows: slice, columns: slice) -> ScenePart:
        """Give a window."""
        return ScenePart(self.pixels[:, rows, columns], self.valid[rows, columns])


class Strip(NamedTuple):
    """Rows that are finished: probability of each class ``(class, y, x)``; NaN where not valid."""

    rows: slice
    probability: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """How a network is asked.

    Attributes
    ----------
    location
        What it is told of the place, or ``None``.
    test_time_augmentation
        Whether the eight ways a patch can lie are averaged.
    dropout_passes
        Passes with Monte-Carlo dropout that are averaged; 0 for one pass without.
    seed
        Of what is dropped: the same scene gives the same map.
    device
        Where it runs.
    """

    location: NDArray[np.float32] | None = None
    test_time_augmentation: bool = False
    dropout_passes: int = 0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.dropout_passes < 0:
            raise InputError(f"dropout_passes is {self.dropout_passes}: it must be 0 or more")


def probability(
    scene: ScenePixels,
    network: OutlineNetwork,
    bands: Sequence[str],
    options: PredictOptions | None = None,
) -> NDArray[np.float32]:
    """Give the probability of glacier of a whole scene.

    Parameters
    ----------
    scene
        What is mapped.
    network
        Trained, in evaluation mode, on the device of the options.
    bands
        Names of the scene's bands.
    options
        How the network is asked.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``, float32; NaN where the scene is not valid.

    Raises
    ------
    InputError
        If the scene has other bands than the network takes, or no pixel.

    Examples
    --------
    >>> from ogive.outlines.networks import build_network
    >>> _ = torch.manual_seed(0)
    >>> network = build_network(
    ...     "mini", modalities={"optical": 1}, patch_px=32, width=4, token_width=8, depth=1
    ... ).eval()
    >>> scene = Arrays(np.random.rand(1, 40, 70).astype("f4"), np.ones((40, 70), bool))
    >>> probability(scene, network, ["red"]).shape
    (40, 70)
    """
    strips = probability_strips(scene, network, bands, options)
    return np.concatenate([strip.probability[GLACIER] for strip in strips])


def probability_strips(
    scene: ScenePixels,
    network: OutlineNetwork,
    bands: Sequence[str],
    options: PredictOptions | None = None,
) -> Iterator[Strip]:
    """Give the probability of each class in strips of rows, from top to bottom.

    Parameters, errors: see `probability`.
    """
    options = options or PredictOptions()
    if tuple(bands) != bands_in_order(bands):
        raise InputError(f"bands must be in the order {', '.join(bands_in_order(bands))}")
    counts = {name: len(names) for name, names in modalities_of(bands).items()}
    if counts != dict(network.options.modalities):
        raise InputError(
            f"the network takes {dict(network.options.modalities)} bands, the scene has {counts}"
        )
    if scene.height < 1 or scene.width < 1:
        raise InputError("the scene has no pixel")
    return _strips(scene, _Asked(network, tuple(bands), options))


@dataclass(frozen=True)
class _Asked:
    """A network with how it is asked."""

    network: OutlineNetwork
    bands: tuple[str, ...]
    options: PredictOptions

    @property
    def side(self) -> int:
        return self.network.options.patch_px

    def __call__(self, patches: NDArray[np.float32], place: tuple[int, int]) -> NDArray[np.float32]:
        """Probabilities ``(patch, class, y, x)`` of patches ``(patch, band, y, x)`` at a place."""
        ways = range(_WAYS if self.options.test_time_augmentation else 1)
        passes = max(self.options.dropout_passes, 1)
        dropping = self._dropping(place) if self.options.dropout_passes else nullcontext()
        total = np.zeros((len(patches), self.network.options.classes, *patches.shape[2:]))
        with torch.inference_mode(), dropping:
            for way in ways:
                lying = torch.from_numpy(np.ascontiguousarray(turned(patches, way)))
                for _ in range(passes):
                    total += _turned_back(self._once(lying), way)
        return (total / (len(ways) * passes)).astype(np.float32)

    @contextmanager
    def _dropping(self, place: tuple[int, int]) -> Iterator[None]:
        """Drop by a seed of our own, and leave the draws of others as they were."""
        device = torch.device(self.options.device)
        forked = [device] if device.type == "cuda" else []
        seed = np.random.SeedSequence((self.options.seed, *place)).generate_state(1)
        with torch.random.fork_rng(forked), monte_carlo_dropout(self.network):
            torch.manual_seed(int(seed[0]))
            yield

    def _once(self, patches: Tensor) -> NDArray[np.float32]:
        patches = patches.to(self.options.device, memory_format=torch.channels_last)
        features: dict[str, Tensor] = {}
        first = 0
        for name, names in modalities_of(self.bands).items():
            features[name] = patches[:, first : first + len(names)]
            first += len(names)
        location = self.options.location
        told = None
        if location is not None:
            told = torch.from_numpy(location).to(self.options.device).expand(len(patches), -1)
        found: NDArray[np.float32] = (
            self.network(features, told).main.float().softmax(1).cpu().numpy()
        )
        return found


def _turned_back(array: NDArray[np.float32], number: int) -> NDArray[np.generic]:
    """Undo `turned`: a mirrored turn is its own reverse but for the order of the two steps."""
    if number >= 4:
        array = array[..., ::-1]
    return np.rot90(array, -(number % 4), axes=(-2, -1))


def blending_weights(side: int) -> NDArray[np.float32]:
    """Weights of a patch, 1 in its middle, falling off as a Gaussian.

    Examples
    --------
    >>> blending_weights(4)[0].round(3)
    array([0.105, 0.287, 0.287, 0.105], dtype=float32)
    """
    offsets = (np.arange(side) + 0.5) / side - 0.5
    profile = np.exp(-0.5 * (offsets / BLEND_SIGMA) ** 2)
    return np.outer(profile, profile).astype(np.float32)


def _strips(scene: ScenePixels, asked: _Asked) -> Iterator[Strip]:
    side, height, width = asked.side, scene.height, scene.width
    weights = blending_weights(side)
    tops, lefts = _starts(height, side), _starts(width, side)
    # Rows from `done` on, as far as the patches of one row of patches reach.
    shape = (asked.network.options.classes, side, max(width, side))
    total, weight = np.zeros(shape, np.float32), np.zeros(shape[1:], np.float32)
    for number, top in enumerate(tops):
        valid = np.zeros(shape[1:], bool)
        for group in _groups(lefts, _BATCH):
            parts = [_patch(scene, top, left, side, asked.bands) for left in group]
            for left, part, found in zip(
                group,
                parts,
                asked(np.stack([part.pixels for part in parts]), (top, group[0])),
                strict=True,
            ):
                across = slice(left, left + side)
                total[..., across] += weights * found
                weight[:, across] += weights
                valid[:, across] |= part.valid
        end = tops[number + 1] if number + 1 < len(tops) else height
        count = end - top
        blended = total[:, :count, :width] / weight[:count, :width]
        yield Strip(
            slice(top, end), np.where(valid[:count, :width], blended, np.nan).astype(np.float32)
        )
        total, weight = _moved_up(total, count), _moved_up(weight, count)


def _starts(length: int, side: int) -> list[int]:
    """Begin patches half a side apart or less, evenly, the last at the end."""
    last = max(length - side, 0)
    count = -(-last // max(side // 2, 1)) + 1
    return [round(each) for each in np.linspace(0, last, count)]


def _groups(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _patch(scene: ScenePixels, top: int, left: int, side: int, bands: Sequence[str]) -> ScenePart:
    """Read a patch; where the scene ends before it, it is mirrored there."""
    bottom, right = min(top + side, scene.height), min(left + side, scene.width)
    read = scene.read(slice(top, bottom), slice(left, right))
    pixels = np.where(read.valid, normalised(read.pixels, bands), 0.0).astype(np.float32)
    around = ((0, side - (bottom - top)), (0, side - (right - left)))
    return ScenePart(
        np.pad(pixels, ((0, 0), *around), mode="symmetric"), np.pad(read.valid, around)
    )


def _moved_up(array: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """Drop the first rows, and begin as many below."""
    moved = np.zeros_like(array)
    kept = array.shape[-2] - rows
    if kept > 0:
        moved[..., :kept, :] = array[..., rows:, :]
    return moved
