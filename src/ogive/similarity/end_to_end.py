"""The other road, to compare with: a network that takes a pair of images and gives its flow.

Two stacked images pass an encoder and a decoder, and the flow comes out, without features that
could be looked at, a correlation, or a peak (FlowNetS; Dosovitskiy et al. 2015, ICCV). GeoFlowNet
(Montagnon et al. 2024) keeps the first two levels at full resolution, since what it looks for is
smaller than a pixel, and MicroFlow (Bertrand et al. 2025) stacks three of it. ``"geoflownet"`` has
FlowNetS' widths with those strides; with all kernels 3 x 3 and two channels of input that makes
38 002 512 parameters, the 38.0 M that are published. ``"tiny"`` is the same road with 83 872, small
enough for a CPU like the network that ogive ships (which has four times as many).

Displacements are those of the samples: dx and dy in pixels, from a pixel of the earlier image to
its place in the later one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ogive.model import InputError

from .networks.feature_network import pad_to_multiple
from .networks.normalise import NORMALISATIONS, check_box

__all__ = ["FLOW_NETWORKS", "FlowNetwork", "build_flow_network", "train_step_loss"]

SLOPE = 0.1
"""Of the leaky ReLU, as published."""
COARSER_WEIGHT = 0.8
"""Each coarser flow counts that much less in the loss, as MicroFlow's earlier iterations do."""
FULL_RESOLUTION_LEVELS = 2


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    _keep_variance(convolution.weight, terms=9 * inputs)
    nn.init.zeros_(cast(Tensor, convolution.bias))
    return nn.Sequential(convolution, nn.LeakyReLU(SLOPE))


def _rise(inputs: int, outputs: int) -> nn.Sequential:
    doubled = _doubled(inputs, outputs)
    # Of the 4 x 4 taps, each pixel of the finer grid sees 2 x 2.
    _keep_variance(doubled.weight, terms=4 * inputs)
    return nn.Sequential(doubled, nn.LeakyReLU(SLOPE))


def _doubled(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _keep_variance(weight: Tensor, *, terms: int) -> None:
    """Start such that a layer of these many terms keeps its input's variance (He et al. 2015).

    PyTorch's own start loses a factor of three a layer, and ten layers deep nothing is learned.
    """
    nn.init.normal_(weight, std=math.sqrt(2.0 / ((1.0 + SLOPE**2) * terms)))


class FlowNetwork(nn.Module):
    """Pair in, flow out.

    Parameters
    ----------
    bands
        Of each image.
    widths
        Channels of the encoder's levels: the first two at full resolution with one convolution
        each, every further one at half the resolution of the one before, with two.
    rise_widths
        Channels with which the decoder rises from each level but the first two, from the coarsest.
    normalisation, box_px
        How each image is normalised; see `networks.normalise`.
    mask_channel
        Whether each image's mask enters beside it.

    Attributes
    ----------
    bands, multiple_px, options
        As those of the feature networks.

    Raises
    ------
    InputError
        For widths that do not fit together, or an unknown normalisation.
    """

    def __init__(
        self,
        *,
        bands: int = 1,
        widths: Sequence[int],
        rise_widths: Sequence[int],
        normalisation: str = "local",
        box_px: int = 31,
        mask_channel: bool = True,
    ) -> None:
        super().__init__()
        _check_widths(bands, widths, rise_widths)
        if normalisation not in NORMALISATIONS:
            raise InputError(
                f"normalisation is {normalisation!r}: choose among {', '.join(NORMALISATIONS)}"
            )
        check_box(box_px)
        self.bands = bands
        self.multiple_px = 1 << (len(widths) - FULL_RESOLUTION_LEVELS)
        self.options: dict[str, Any] = {
            "bands": bands,
            "widths": list(widths),
            "rise_widths": list(rise_widths),
            "normalisation": normalisation,
            "box_px": box_px,
            "mask_channel": mask_channel,
        }
        inputs = 2 * (bands + int(mask_channel))
        self.levels = nn.ModuleList(
            _convolution(before, width, 1)
            if level < FULL_RESOLUTION_LEVELS
            else nn.Sequential(_convolution(before, width, 2), _convolution(width, width, 1))
            for level, (before, width) in enumerate(pairwise([inputs, *widths]))
        )
        # From the coarsest level to full resolution; each adds its skip and the coarser flow.
        below = [widths[-1]] + [
            skip + rise + 2 for skip, rise in zip(widths[-2:0:-1], rise_widths, strict=True)
        ]
        self.risers = nn.ModuleList(
            _rise(inside, rise) for inside, rise in zip(below[:-1], rise_widths, strict=True)
        )
        self.flows = nn.ModuleList(
            nn.Conv2d(inside, 2, 3, padding=1, bias=False) for inside in below
        )
        self.flow_risers = nn.ModuleList(_doubled(2, 2) for _ in rise_widths)

    def forward(
        self, earlier: Tensor, later: Tensor, valid_earlier: Tensor, valid_later: Tensor
    ) -> Tensor:
        """Give the flow of a batch of pairs.

        Parameters
        ----------
        earlier, later
            ``(batch, band, y, x)``, float32, any scale.
        valid_earlier, valid_later
            ``(batch, 1, y, x)``, bool.

        Returns
        -------
        torch.Tensor
            ``(batch, 2, y, x)``: dx and dy in pixels.

        Raises
        ------
        InputError
            For images of other bands or sizes, or too small.
        """
        return self.pyramid(earlier, later, valid_earlier, valid_later)[-1]

    def pyramid(
        self, earlier: Tensor, later: Tensor, valid_earlier: Tensor, valid_later: Tensor
    ) -> list[Tensor]:
        """The flows of all resolutions, coarse to fine, each brought to the images' own size."""
        rows, columns = earlier.shape[-2:]
        stack = torch.cat(
            [self._prepared(earlier, valid_earlier), self._prepared(later, valid_later)], 1
        )
        stack = pad_to_multiple(stack, self.multiple_px)
        size = stack.shape[-2:]
        return [
            functional.interpolate(flow, size, mode="bilinear", align_corners=False)[
                ..., :rows, :columns
            ].float()
            for flow in self._flows(stack)
        ]

    def _flows(self, stack: Tensor) -> list[Tensor]:
        skips = []
        for level in self.levels:
            stack = level(stack)
            skips.append(stack)
        flows = [self.flows[0](stack)]
        for step, (rise, flow_rise) in enumerate(
            zip(self.risers, self.flow_risers, strict=True), start=1
        ):
            stack = torch.cat([skips[-1 - step], rise(stack), flow_rise(flows[-1])], 1)
            flows.append(self.flows[step](stack))
        return flows

    def _prepared(self, image: Tensor, valid: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[1] != self.bands:
            raise InputError(
                f"images of shape {tuple(image.shape)}: this network takes (batch, {self.bands}, "
                "y, x)"
            )
        normalise = NORMALISATIONS[self.options["normalisation"]]
        prepared = normalise(image, valid, box_px=self.options["box_px"])
        if not self.options["mask_channel"]:
            return prepared
        return torch.cat([prepared, valid.to(prepared.dtype)], 1)


FLOW_NETWORKS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "geoflownet": {
            "widths": (64, 128, 256, 512, 512, 1024),
            "rise_widths": (512, 256, 128, 64),
        },
        "tiny": {"widths": (12, 16, 24, 32, 32), "rise_widths": (24, 16, 12)},
    }
)
"""Sizes of end-to-end networks, by name."""


def build_flow_network(name: str, **options: Any) -> FlowNetwork:
    """Make an end-to-end network, untrained.

    Parameters
    ----------
    name
        One of `FLOW_NETWORKS`.
    **options
        What `FlowNetwork` takes; given widths replace those of the name.

    Raises
    ------
    InputError
        For another name, or an option that there is not.

    Examples
    --------
    >>> network = build_flow_network("tiny")
    >>> images, masks = torch.rand(2, 1, 1, 40, 50), torch.ones(2, 1, 1, 40, 50).bool()
    >>> network(*images, *masks).shape
    torch.Size([1, 2, 40, 50])
    """
    if name not in FLOW_NETWORKS:
        raise InputError(
            f"there is no end-to-end network {name!r}: choose among {', '.join(FLOW_NETWORKS)}"
        )
    known = {
        "bands", "widths", "rise_widths", "normalisation", "box_px", "mask_channel",
    }  # fmt: skip
    unknown = sorted(options.keys() - known)
    if unknown:
        raise InputError(
            f"an end-to-end network takes no option {unknown[0]!r}: choose among "
            f"{', '.join(sorted(known))}"
        )
    return FlowNetwork(**{**FLOW_NETWORKS[name], **options})


def train_step_loss(network: FlowNetwork, batch: Mapping[str, Tensor]) -> Tensor:
    r"""Loss of one batch of samples: the L1 distances of the flows of all resolutions, summed.

    .. math:: \sum_i 0.8^{n - i}\;\overline{|dx_i - dx| + |dy_i - dy|}

    over the network's flows, coarse to fine, where the mean is over the pixels whose displacement
    is known and whose surface can still be seen, weighted by their sample's weight. The published
    sum runs over MicroFlow's iterations; of one network it is taken over resolutions.

    Parameters
    ----------
    network
        From `build_flow_network`.
    batch
        Stacked samples: ``earlier``, ``later``, ``valid_earlier``, ``valid_later``,
        ``displacement``, ``labelled``, ``matchable`` and ``weight``.

    Returns
    -------
    torch.Tensor
        In pixels; zero where the batch has no pixel to learn from.
    """
    flows = network.pyramid(
        batch["earlier"], batch["later"], batch["valid_earlier"], batch["valid_later"]
    )
    known = batch["labelled"] & batch["matchable"]
    weight = known * batch["weight"][:, None, None]
    total = weight.sum().clamp(min=torch.finfo(torch.float32).tiny)
    # Where the displacement is not known it may be NaN.
    truth = torch.where(known[:, None], batch["displacement"], 0.0)
    loss = torch.zeros((), device=truth.device)
    for coarseness, flow in enumerate(reversed(flows)):
        distance = (flow - truth).abs().sum(1)
        loss = loss + COARSER_WEIGHT**coarseness * (distance * weight).sum() / total
    return loss


def _check_widths(bands: int, widths: Sequence[int], rise_widths: Sequence[int]) -> None:
    if bands < 1:
        raise InputError(f"bands is {bands}: a network needs at least 1")
    if len(widths) <= FULL_RESOLUTION_LEVELS or min(*widths, *rise_widths, 1) < 1:
        raise InputError(
            f"widths are {list(widths)} and {list(rise_widths)}: three levels or more are needed, "
            "each of at least one channel"
        )
    if len(rise_widths) != len(widths) - FULL_RESOLUTION_LEVELS:
        raise InputError(
            f"{len(widths)} levels rise in {len(widths) - FULL_RESOLUTION_LEVELS} steps: "
            f"rise_widths has {len(rise_widths)}"
        )
