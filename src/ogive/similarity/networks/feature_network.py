"""What every feature network does about its body: normalise, mask, pad, and give unit vectors.

A *body* is the part that differs: layers from a stack of bands to a map of features of the same
size. `FeatureNetwork` puts one to use, by the contract that training and matching rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from ogive.model import InputError

from ..embedding import Film, Modulation, condition_columns
from .normalise import NORMALISATIONS, check_box, maps_per_band, normalisation_halo_px
from .receptive import Span, halo_px

__all__ = [
    "NORMS",
    "PUBLISHED",
    "Body",
    "FeatureNetwork",
    "NetworkOptions",
    "PixelGroupNorm",
    "PixelLayerNorm",
    "pad_to_multiple",
    "unit_vectors",
]

CHANNELS_PER_GROUP = 16
LEAST_LENGTH = 1e-6
LEAST_VARIANCE = 1e-4

PUBLISHED: Mapping[str, Any] = MappingProxyType(
    {"bands": 1, "mask_channel": False, "normalisation": "published", "norm": "batch"}
)
"""Options with which a network is the published one, to the number of its parameters."""


class PixelGroupNorm(nn.Module):
    r"""Group normalisation with the statistics of each pixel's own channels.

    Group normalisation (Wu & He 2018, ECCV) does not depend on the batch, so it suits batches of
    one or two. As published its mean and variance are also those of the whole image: what a pixel
    gets would depend on whatever else is in the tile, and no halo would make tiles agree. Here each
    group of (about 16) channels is normalised at each pixel by itself, with a scale and an offset
    for each channel.

    Parameters
    ----------
    channels
        How many there are; the number of groups is the greatest divisor that leaves at least 16 in
        each, or one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        most = max(1, channels // CHANNELS_PER_GROUP)
        self.groups = next(count for count in range(most, 0, -1) if channels % count == 0)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise ``(batch, channel, y, x)``."""
        batch, _, rows, columns = features.shape
        grouped = features.reshape(batch, self.groups, -1, rows, columns)
        variance, mean = torch.var_mean(grouped, 2, correction=0, keepdim=True)
        even = ((grouped - mean) * torch.rsqrt(variance + 1e-5)).reshape(features.shape)
        scaled: Tensor = even * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled


class PixelLayerNorm(nn.Module):
    """Give each pixel's channels mean zero and mean square one (Ba et al. 2016), nothing more.

    Without it the maps of a residual network may grow without bound. Whatever is decided by the
    size of a number, such as a confidence, is then decided for good, and is not learned any more.

    Parameters
    ----------
    channels
        Of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._shape = (channels,)

    def forward(self, features: Tensor) -> Tensor:
        """Give the maps normalised."""
        # As it lies in memory where channels are last, for which there is a fast kernel.
        pixels = features.permute(0, 2, 3, 1)
        return functional.layer_norm(pixels, self._shape, eps=LEAST_VARIANCE).permute(0, 3, 1, 2)


NORMS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {
        "batch": nn.BatchNorm2d,
        "group": PixelGroupNorm,
        "layer": PixelLayerNorm,
        "none": nn.Identity,
    }
)
"""Normalisation between layers, by name: the published one, two for small batches, and none."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What a feature network is made with; all of it goes into JSON.

    Parameters
    ----------
    bands
        Of the images.
    width
        Channels of the first layer: 32 as published; small ones for tests.
    channels
        Length of the feature vector; twice the width if left out.
    norm
        One of `NORMS`.
    normalisation, box_px
        One of `normalise.NORMALISATIONS` and its box in pixels.
    mask_channel
        Whether the mask enters beside the bands.
    weighted
        Whether a vector's length is a learned confidence in (0, 1), instead of one.
    conditions, film_layers
        What the network is conditioned on, and at which of its layers (all if left out); see
        `embedding`.

    Raises
    ------
    InputError
        For values that make no network.
    """

    bands: int = 1
    width: int = 32
    channels: int | None = None
    norm: str = "batch"
    normalisation: str = "local"
    box_px: int = 31
    mask_channel: bool = True
    weighted: bool = False
    conditions: tuple[str, ...] = ()
    film_layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        # Lists come from JSON.
        object.__setattr__(self, "conditions", tuple(self.conditions))
        if self.film_layers is not None:
            object.__setattr__(self, "film_layers", tuple(self.film_layers))
        for name, value, least in (
            ("bands", self.bands, 1),
            ("width", self.width, 2),
            ("channels", self.feature_channels, 1),
        ):
            if value < least:
                raise InputError(f"{name} is {value}: a network needs at least {least}")
        for name, given, known in (
            ("norm", self.norm, NORMS),
            ("normalisation", self.normalisation, NORMALISATIONS),
        ):
            if given not in known:
                raise InputError(f"{name} is {given!r}: choose among {', '.join(known)}")
        check_box(self.box_px)
        condition_columns(self.conditions)

    @property
    def input_channels(self) -> int:
        """Maps of the bands, and the mask where it enters."""
        return self.bands * maps_per_band(self.normalisation) + int(self.mask_channel)

    @property
    def feature_channels(self) -> int:
        """Length of the feature vector."""
        return 2 * self.width if self.channels is None else self.channels

    @property
    def output_channels(self) -> int:
        """What the body gives: features, and one map for the confidence."""
        return self.feature_channels + int(self.weighted)


class Body(Protocol):
    """The part of a network between its prepared input and its features."""

    multiple_px: int
    film_channels: Mapping[str, int]

    def reach(self, span: Span) -> Span:
        """Span of the input that a span of the output depends on."""
        ...

    def __call__(self, stack: Tensor, modulate: Modulation) -> Tensor:
        """From ``(batch, input_channels, y, x)`` to ``(batch, output_channels, y, x)``."""
        ...


def pad_to_multiple(stack: Tensor, multiple_px: int) -> Tensor:
    """Continue a stack below and to the right by reflection, up to multiples of some pixels.

    Raises
    ------
    InputError
        If the stack is smaller than one multiple: there is too little to reflect.
    """
    rows, columns = stack.shape[-2:]
    if min(rows, columns) < multiple_px:
        raise InputError(
            f"an image of {rows} x {columns} pixels is too small for the network: it needs at "
            f"least {multiple_px} each way"
        )
    below, right = -rows % multiple_px, -columns % multiple_px
    return functional.pad(stack, (0, right, 0, below), mode="reflect") if below or right else stack


def unit_vectors(features: Tensor, valid: Tensor, *, weighted: bool = False) -> Tensor:
    """Divide each pixel's vector by its length; zero where the pixel is not valid.

    Parameters
    ----------
    features
        ``(batch, channel, y, x)``; if weighted, the last channel is the logit of the confidence.
    valid
        ``(batch, 1, y, x)``.
    weighted
        Whether the vector is multiplied by its confidence, and the last channel left out.
    """
    # The sum of squares of half precision overflows.
    features = features.float()
    vectors = features[:, :-1] if weighted else features
    unit = functional.normalize(vectors, dim=1, eps=LEAST_LENGTH)
    if weighted:
        unit = unit * torch.sigmoid(features[:, -1:])
    return torch.where(valid, unit, 0.0)


class FeatureNetwork(nn.Module):
    """A network that gives one vector per pixel, of the image's own resolution.

    Parameters
    ----------
    body
        The layers, a module that is a `Body`.
    options
        What it was made with.

    Attributes
    ----------
    bands, channels
        Of the image, and of the features.
    halo_px
        How far an input pixel reaches, normalisation included: a tile wider by this on each side
        gives what the whole image gives, if its corner lies on a multiple of `multiple_px`.
        With ``norm="batch"`` this holds in evaluation mode, not in training.
    multiple_px
        Sizes are padded inside to a multiple of it.
    options
        JSON-able; `build_network` makes the network again of its name and these.
    conditions
        Names of what it is conditioned on.
    """

    def __init__(self, body: Any, options: NetworkOptions) -> None:
        super().__init__()
        self.body: nn.Module = body
        self._settings = options
        self.bands = options.bands
        self.channels = options.feature_channels
        self.multiple_px: int = body.multiple_px
        self.halo_px = halo_px(body.reach, multiple_px=self.multiple_px) + normalisation_halo_px(
            options.normalisation, box_px=options.box_px
        )
        self.conditions = options.conditions
        self.film = Film(options.conditions, body.film_channels, layers=options.film_layers)

    @property
    def options(self) -> dict[str, Any]:
        """What `build_network` needs to make the network again."""
        listed = asdict(self._settings)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in listed.items()
        }

    def forward(self, image: Tensor, valid: Tensor, condition: Tensor | None = None) -> Tensor:
        """Give the features of a batch of images.

        Parameters
        ----------
        image
            ``(batch, band, y, x)``, float32; what lies under the mask counts for nothing.
        valid
            ``(batch, 1, y, x)``, bool.
        condition
            ``(batch, CONDITION_LENGTH)`` of `embedding.encode`; a network takes the columns of its
            own conditions. ``None`` where nothing is known.

        Returns
        -------
        torch.Tensor
            ``(batch, channel, y, x)``, float32: vectors of length one, or of their confidence;
            zero where not valid.

        Raises
        ------
        InputError
            For another number of bands, a mask that does not fit, an image too small to pad.
        """
        self._check(image, valid)
        rows, columns = image.shape[-2:]
        normalise = NORMALISATIONS[self._settings.normalisation]
        stack = normalise(image, valid, box_px=self._settings.box_px)
        if self._settings.mask_channel:
            stack = torch.cat([stack, valid.to(stack.dtype)], 1)
        features = self.body(pad_to_multiple(stack, self.multiple_px), self.film(condition))
        return unit_vectors(features[..., :rows, :columns], valid, weighted=self._settings.weighted)

    def _check(self, image: Tensor, valid: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != self.bands:
            raise InputError(
                f"images of shape {tuple(image.shape)}: this network takes (batch, {self.bands}, "
                "y, x)"
            )
        fitting = (image.shape[0], 1, *image.shape[2:])
        if tuple(valid.shape) != fitting or valid.dtype != torch.bool:
            raise InputError(
                f"a mask of shape {tuple(valid.shape)} and type {valid.dtype}: images of shape "
                f"{tuple(image.shape)} need {fitting}, torch.bool"
            )
