"""A learned score in place of the cosine: a small perceptron on the features of two pixels.

Two unit vectors are usually compared by their cosine. Chebbi et al. (2023) also train a perceptron
on the two, one after the other (128 numbers for 64 features), of three hidden layers of 384 with
ReLU: 345 601 parameters, which takes a bias in every layer. It can tell two pixels that look alike
because they are typical from two that look alike because they are the same, at the price of some
3 10^5 multiplications for each candidate where the cosine takes 64. Unlike a correlation it is not
symmetric: the earlier image comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ogive.model import InputError

__all__ = ["CandidateScores", "Decision", "Sampled", "decision_scores", "sample_at"]

HIDDEN_LAYERS = 3


class Decision(nn.Module):
    """Multi-layer perceptron on the features of two pixels; gives a logit of "the same place".

    Parameters
    ----------
    channels
        Length of the feature vector of one image.
    hidden
        Width of the hidden layers: 384 as published.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in Decision().parameters())
    345601
    """

    def __init__(self, channels: int = 64, *, hidden: int = 384) -> None:
        super().__init__()
        if channels < 1 or hidden < 1:
            raise InputError(
                f"a perceptron of {channels} features and {hidden} hidden units: both must be at "
                "least 1"
            )
        self.channels = channels
        self.options = {"channels": channels, "hidden": hidden}
        layers: list[nn.Module] = []
        width = 2 * channels
        for _ in range(HIDDEN_LAYERS):
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Logit of each pair of vectors, ``(..., channel)`` each; gives ``(...)``."""
        logit: Tensor = self.layers(torch.cat([earlier, later], -1))
        return logit[..., 0]


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """How well candidates fit.

    Attributes
    ----------
    logit
        ``(batch, candidate, y, x)``: above zero where "the same" is more likely than not.
    inside
        ``(batch, candidate, y, x)``, False where the candidate lies outside the later image; the
        logit there means nothing.
    """

    logit: Tensor
    inside: Tensor


class Sampled(NamedTuple):
    """Features at displaced pixels.

    Attributes
    ----------
    features
        ``(batch, channel, y, x)``.
    inside
        ``(batch, y, x)``, True where the place lies between the centres of the outermost pixels.
    """

    features: Tensor
    inside: Tensor


def sample_at(features: Tensor, displacement: Tensor) -> Sampled:
    """Features at displaced pixels, by bilinear interpolation.

    Parameters
    ----------
    features
        ``(batch, channel, y, x)`` of the later image.
    displacement
        ``(batch, 2, y, x)``: dx and dy in pixels, from each pixel to its place in ``features``.

    Returns
    -------
    Sampled
        The features, and where they are not those of the border.

    Examples
    --------
    >>> ramp = torch.arange(5.0).expand(1, 1, 3, 5)
    >>> half = torch.zeros(1, 2, 3, 5); half[:, 0] = 0.5
    >>> sampled, inside = sample_at(ramp, half)
    >>> sampled[0, 0, 0, :4].tolist(), inside[0, 0].tolist()
    ([0.5, 1.5, 2.5, 3.5], [True, True, True, True, False])
    """
    rows, columns = features.shape[-2:]
    x = displacement[:, 0] + torch.arange(columns, device=displacement.device)
    y = displacement[:, 1] + torch.arange(rows, device=displacement.device)[:, None]
    inside = (x >= 0) & (x <= columns - 1) & (y >= 0) & (y <= rows - 1)
    grid = torch.stack([2 * x / max(columns - 1, 1) - 1, 2 * y / max(rows - 1, 1) - 1], -1)
    sampled = functional.grid_sample(
        features, grid.to(features.dtype), padding_mode="border", align_corners=True
    )
    return Sampled(sampled, inside)


def decision_scores(
    decision: Decision, earlier: Tensor, later: Tensor, displacement: Tensor
) -> CandidateScores:
    """Score candidates for each pixel of the earlier image.

    Parameters
    ----------
    decision
        The perceptron.
    earlier, later
        Features ``(batch, channel, y, x)`` of the two images, of one size.
    displacement
        ``(batch, candidate, 2, y, x)``: dx and dy in pixels, as `Sample`'s; a table of candidates
        that all pixels share is expanded to it.

    Returns
    -------
    CandidateScores
        One score a candidate.

    Raises
    ------
    InputError
        For features of another length, or shapes that do not fit.

    Examples
    --------
    >>> features = torch.randn(1, 64, 6, 7)
    >>> still = torch.zeros(1, 1, 2, 6, 7)
    >>> decision_scores(Decision(), features, features, still).logit.shape
    torch.Size([1, 1, 6, 7])
    """
    if earlier.shape != later.shape or earlier.ndim != 4 or earlier.shape[1] != decision.channels:
        raise InputError(
            f"features of shapes {tuple(earlier.shape)} and {tuple(later.shape)}: two maps "
            f"(batch, {decision.channels}, y, x) of one size are needed"
        )
    batch, _, rows, columns = earlier.shape
    if displacement.ndim != 5 or (
        displacement.shape[0],
        *displacement.shape[2:],
    ) != (batch, 2, rows, columns):
        raise InputError(
            f"displacements of shape {tuple(displacement.shape)}: ({batch}, candidates, 2, {rows}, "
            f"{columns}) is needed"
        )
    anchors = earlier.movedim(1, -1)
    logits, insides = [], []
    # One candidate at a time: the hidden layers are six times wider than the features.
    for candidate in displacement.unbind(1):
        sampled, inside = sample_at(later, candidate)
        logits.append(decision(anchors, sampled.movedim(1, -1)))
        insides.append(inside)
    return CandidateScores(torch.stack(logits, 1), torch.stack(insides, 1))
