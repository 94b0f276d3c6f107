"""Learned features for matching: a trained network as a function of an image.

`learned` gives what `ogive.match` takes as ``features``: also by its name, ``"learned"``, which
matching finds among the entry points without knowing that features can be learned. The network runs
over tiles that overlap by all that it sees round a pixel, so that the result is that of the whole
image at once, to rounding, in bounded memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ogive.learning.device import resolve_device
from ogive.learning.weights import Weights, fill_network, load_weights
from ogive.matching.confidence import Calibration
from ogive.matching.kernels import BoolArray, Float32Array
from ogive.model import InputError

from .embedding import Condition, encode
from .networks import NETWORKS, build_network
from .networks.turned import Turned

__all__ = ["SHIPPED", "LearnedFeature", "confidence_path", "learned"]

SHIPPED = "weights/small.safetensors"
"""The weights that ship with ogive, beside this file."""
TILE_PX = 1024
FALLBACK = "adaptive"
"""What finds a point more precisely where its surface has hardly changed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LearnedFeature:
    """A network as a `ogive.matching.features.LocalFeature`.

    Parameters
    ----------
    network
        By the contract of `ogive.similarity.networks.FeatureNetwork`; in evaluation mode, on its
        device.
    name
        As told in the result of a match.
    tile_px
        Side of the tiles, in pixels, without what they overlap.
    condition
        What is known of the image; for a network that is conditioned on it.
    calibration
        What gives points that match by these features a confidence.
    fallback
        Features that `ogive.match` takes where they are more certain, if there is a `calibration`.

    Attributes
    ----------
    half_precision
        True: vectors of length one lose 2e-4 of it in two bytes, far below any image's noise.
    """

    network: nn.Module
    name: str = "learned"
    tile_px: int = TILE_PX
    condition: Condition | None = None
    calibration: Calibration | None = None
    fallback: str | None = None
    half_precision: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.tile_px < 1:
            raise InputError(f"tiles of {self.tile_px} pixels: at least 1 is needed")

    @property
    def bands(self) -> int:
        """Bands of the images that the network takes."""
        return _number(self.network, "bands")

    @property
    def channels(self) -> int:
        """Length of the feature vectors."""
        return _number(self.network, "channels")

    @property
    def halo_px(self) -> int:
        """How far the network sees round a pixel."""
        return _number(self.network, "halo_px")

    @property
    def multiple_px(self) -> int:
        """A tile gives what the image gives if its first row and column are multiples of this."""
        return _number(self.network, "multiple_px")

    @property
    def conditions(self) -> tuple[str, ...]:
        """What the network is conditioned on."""
        return tuple(getattr(self.network, "conditions", ()))

    @property
    def device(self) -> str:
        """Where the network runs."""
        return str(next(self.network.parameters()).device)

    def with_condition(self, condition: Condition | None) -> LearnedFeature:
        """The same network, told how another image was taken."""
        return replace(self, condition=condition)

    def __call__(
        self, image: Float32Array, valid: BoolArray | None = None, /, *, threads: int = 1
    ) -> Float32Array:
        """Give the features of an image.

        Parameters
        ----------
        image
            ``(y, x)`` for a network of one band, else ``(band, y, x)``.
        valid
            ``(y, x)``, True where the image may be used; ``None`` for everywhere.
        threads
            How many threads the network uses on the processor.

        Returns
        -------
        numpy.ndarray
            ``(channel, y, x)``, float32; zero where not valid.

        Raises
        ------
        InputError
            If the image has another number of bands or is smaller than the network can take; if
            the network gives what is not finite.
        """
        bands = self._bands_of(image)
        rows, columns = bands.shape[1:]
        out = np.zeros((self.channels, rows, columns), np.float32)
        empty = number = 0
        with _threads(threads), torch.inference_mode():
            for y0, y1 in self._cores(rows):
                for x0, x1 in self._cores(columns):
                    top, bottom = self._with_halo(y0, y1, rows)
                    left, right = self._with_halo(x0, x1, columns)
                    there = np.s_[top:bottom, left:right]
                    usable = None if valid is None else valid[there]
                    number += 1
                    if usable is not None and not usable.any():
                        empty += 1
                        continue
                    tile = self._run(bands[(slice(None), *there)], usable)
                    out[:, y0:y1, x0:x1] = tile[:, y0 - top : y1 - top, x0 - left : x1 - left]
        if empty:
            _log.info("%d of %d tiles are wholly masked: their features are zero", empty, number)
        if not np.isfinite(out).all():
            raise InputError(
                f"the network {self.name!r} gives values that are not finite: its weights are "
                "damaged, or the image holds values that are too large"
            )
        return out

    def _bands_of(self, image: Float32Array) -> Float32Array:
        bands = image[None] if image.ndim == 2 else image
        if bands.ndim != 3 or bands.shape[0] != self.bands:
            given = bands.shape[0] if bands.ndim == 3 else f"{bands.ndim}-dimensional"
            raise InputError(
                f"the network {self.name!r} takes images of {self.bands} band"
                f"{'s' if self.bands > 1 else ''}, not of {given}: give (band, y, x) of those it "
                "was trained on, or other weights"
            )
        smallest, seen = min(bands.shape[1:]), 2 * self.halo_px + 1
        if smallest < self.multiple_px:
            raise InputError(
                f"an image of {bands.shape[1]} x {bands.shape[2]} pixels is too small for the "
                f"network {self.name!r}: it needs at least {self.multiple_px} each way"
            )
        if smallest < seen:
            _log.warning(
                "an image of %d x %d pixels is smaller than the %d x %d that the network %r sees "
                "round a pixel: its features are those of an image's border throughout",
                *bands.shape[1:], seen, seen, self.name,
            )  # fmt: skip
        return bands

    def _cores(self, size: int) -> Iterator[tuple[int, int]]:
        """Parts of a side without overlap; a side that is little more than a tile is one."""
        number = max(1, -(-(size - 2 * self.halo_px) // self.tile_px))
        core = -(-size // number)
        core += -core % self.multiple_px
        for start in range(0, size, core):
            yield start, min(start + core, size)

    def _with_halo(self, start: int, stop: int, size: int) -> tuple[int, int]:
        first = max(0, start - self.halo_px)
        first -= first % self.multiple_px
        last = stop + self.halo_px
        last += -(last - first) % self.multiple_px
        return first, min(last, size)

    def _run(self, bands: Float32Array, usable: BoolArray | None) -> Float32Array:
        """The network on one tile."""
        device = torch.device(self.device)
        tile = torch.from_numpy(np.ascontiguousarray(bands)).to(device)[None]
        mask = torch.ones(1, 1, *bands.shape[1:], dtype=torch.bool, device=device)
        if usable is not None:
            mask[0, 0] = torch.from_numpy(np.ascontiguousarray(usable)).to(device)
            tile = torch.where(mask, tile, 0.0)
        condition = None
        if self.condition is not None and self.conditions:
            condition = encode(self.condition).to(device)[None]
        found: Tensor = self.network(
            tile.contiguous(memory_format=torch.channels_last), mask, condition
        )
        if found.shape != (1, self.channels, *bands.shape[1:]):
            raise InputError(
                f"the network {self.name!r} gives features of shape {tuple(found.shape[1:])}: "
                f"{(self.channels, *bands.shape[1:])} is what it promises"
            )
        features: NDArray[np.float32] = torch.where(mask, found, 0.0)[0].float().cpu().numpy()
        return features


def _number(network: nn.Module, name: str) -> int:
    return int(getattr(network, name))


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let PyTorch use so many threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, number))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def learned(
    weights: str | Path | None = None,
    *,
    sha256: str | None = None,
    device: str = "auto",
    tile_px: int = TILE_PX,
    condition: Condition | None = None,
    views: int = 1,
) -> LearnedFeature:
    """Features of a trained network, for `ogive.match`.

    Parameters
    ----------
    weights
        A ``.safetensors`` file, or the address of one with its checksum
        (``https://…/name.safetensors#sha256=…``); the weights that ship with ogive by default.
    sha256
        The checksum that the file must have.
    device
        ``"auto"`` (a CUDA GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    tile_px
        Side of the tiles that the network runs over; more takes more memory and less time.
    condition
        What is known of the images; where it differs between them, use
        `LearnedFeature.with_condition` and `ogive.matching.features.FeaturePair`.
    views
        In how many orientations the network sees the image, 1 to 4: more find a few points in a
        hundred more, for as many times the work; see `ogive.similarity.networks.turned`.

    Returns
    -------
    LearnedFeature

    Raises
    ------
    InputError
        If there are no such weights, they are damaged, or they are of a network that gives no
        features; if there is no such device.

    Examples
    --------
    >>> from ogive.similarity.networks import build_network
    >>> feature = LearnedFeature(network=build_network("small").eval(), name="untrained")
    >>> feature(np.random.default_rng(0).random((300, 260), np.float32)).shape
    (8, 300, 260)
    """
    if weights is not None:
        loaded = load_weights(weights, sha256=sha256)
        calibration = _calibration_of(loaded, confidence_path(loaded.source, views))
    else:
        shipped = files("ogive.similarity").joinpath(*SHIPPED.split("/"))
        if not shipped.is_file():
            raise InputError(
                "no weights ship with this build of ogive: give the path or the address of some"
            )
        with as_file(shipped.parent) as folder:  # type: ignore[attr-defined]
            path = folder / shipped.name
            loaded = load_weights(path, sha256=sha256)
            calibration = _calibration_of(loaded, confidence_path(path, views))
    network = _network_of(loaded).to(resolve_device(device))
    if views != 1:
        network = Turned(network, views=views)
    # The faster layout for the small convolutions on a processor; PyTorch's types leave it out.
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = f", {views} views" if views > 1 else ""
    name = f"learned: {loaded.card.name}, sha256 {loaded.sha256[:12]}{seen}"
    return LearnedFeature(
        network=network, name=name, tile_px=tile_px, condition=condition,
        calibration=calibration, fallback=FALLBACK,
    )  # fmt: skip


def confidence_path(weights: str | Path, views: int = 1) -> Path:
    """Where the calibration of the confidence lies that belongs to weights.

    Examples
    --------
    >>> confidence_path("small.safetensors").name
    'small.confidence.json'
    >>> confidence_path("small.safetensors", 4).name
    'small.4-views.confidence.json'
    """
    seen = f".{views}-views" if views > 1 else ""
    return Path(weights).with_suffix(f"{seen}.confidence.json")


def _calibration_of(weights: Weights, path: Path) -> Calibration | None:
    """Read what was fitted for these weights; ``None`` if nothing was."""
    if not path.is_file():
        return None
    found = Calibration.from_json(path.read_text(encoding="utf-8"), source=str(path))
    fitted_for = found.about.get("weights_sha256")
    if fitted_for != weights.sha256:
        _log.warning(
            "%s was fitted for other weights than %s: matches by them have no confidence; fit it "
            "again", path, weights.source,
        )  # fmt: skip
        return None
    return found


def _network_of(weights: Weights) -> nn.Module:
    """The network that weights belong to, filled, ready to be used."""
    if weights.architecture not in NETWORKS:
        raise InputError(
            f"{weights.source} holds weights of {weights.architecture!r}, which gives no features "
            f"to match: weights of {', '.join(NETWORKS)} do"
        )
    network = build_network(weights.architecture, **dict(weights.options))
    fill_network(network, weights, architecture=weights.architecture)
    return network.eval().requires_grad_(False)
