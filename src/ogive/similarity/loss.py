r"""What training lowers: the features must match where the ice went, and nowhere else.

Two contrastive losses look at a pair's features with the same labels:

- *through the correlator*: at random windows, the surface :math:`\rho(\Delta)` of windowed
  correlation is what matching will use (`ogive.matching.correlate`), and the loss is the
  cross-entropy of :math:`\mathrm{softmax}(s\rho)` with the true displacement, which is split
  bilinearly among the four candidates round it; :math:`s` is learned. A window whose surface has
  vanished is taught to correlate with nothing;
- *pixel by pixel* (after Chebbi et al. 2023, DeepSim-Nets, in two dimensions): the similarity of a
  pixel with its true place, sampled between pixels, must exceed by a margin those in an annulus of
  1 to 4 px round it and the highest of the search window; of vanished pixels both must be low.

Physics terms on the flow that the correlation surfaces expect may be added (`physics`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ogive.model import InputError

from .physics import Evidence, away_from_margins, physics_terms, soft_argmax

__all__ = [
    "LossConfig",
    "Windows",
    "contrastive_loss",
    "correlator_loss",
    "draw_windows",
    "similarity_loss",
    "window_correlation",
]

INITIAL_SCALE = 15.0
"""Of correlation, inside the softmax, before it is learned: the best of 225 unrelated windows of
12 x 12 px correlates by about 0.2, three units of the exponent."""
CHANCE_CORRELATION = 0.2
"""Vanished windows may correlate this much: what the best of unrelated ones does."""
LEAST_VARIANCE = 1e-6
SPARSE = 0.5
"""Where less than this is labelled, windows are drawn from the labelled pixels."""
MARGIN_STRAIN = 0.05
"""Pixels over pixels, between the two images: where the label strains more, no physics term judges,
for ice tears there."""


class Network(Protocol):
    """Turns images into features; see `ogive.similarity.networks`."""

    def __call__(
        self, image: Tensor, valid: Tensor, condition: Tensor | None = None, /
    ) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What the loss is made of.

    Parameters
    ----------
    windows_px
        Sides of the windows that are correlated; one is drawn for each batch.
    radius_px
        Half-width of the search.
    windows_per_pair
        How many windows are drawn in each pair.
    jitter_px
        The search is centred up to this far from the truth, so that its middle is no answer.
    correlator, contrastive
        Weights of the two losses.
    vanished
        Weight, within the correlator's loss, of windows whose surface has vanished.
    margin
        By how much a right similarity should exceed a wrong one, pixel by pixel.
    physics
        Weights of physics terms, by name (`ogive.similarity.physics.PHYSICS_TERMS`).

    Raises
    ------
    InputError
        If windows, radius or counts are not positive, or all weights are zero.
    """

    windows_px: tuple[int, ...] = (8, 12, 16)
    radius_px: int = 7
    windows_per_pair: int = 40
    jitter_px: int = 5
    correlator: float = 1.0
    contrastive: float = 0.0
    vanished: float = 0.1
    margin: float = 0.3
    physics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not self.windows_px or min(self.windows_px) < 2:
            raise InputError("windows_px of the loss: at least one, of 2 px or more")
        if self.radius_px < 2 or self.windows_per_pair < 1:
            raise InputError(
                "radius_px of at least 2 and windows_per_pair of at least 1 are needed"
            )
        if not 0 <= self.jitter_px <= self.radius_px - 1:
            raise InputError(
                f"jitter_px is {self.jitter_px}: it must leave the truth inside a search of "
                f"radius_px = {self.radius_px}"
            )
        if self.correlator <= 0 and self.contrastive <= 0:
            raise InputError(
                "correlator and contrastive loss are both switched off: nothing to learn"
            )


@dataclass(frozen=True)
class Windows:
    """Windows of the earlier images and where they are searched in the later ones.

    Attributes
    ----------
    sample
        ``(window,)``: which pair of the batch.
    y, x
        First row and column of the window.
    search_y, search_x
        First row and column of the middle candidate.
    offset_x, offset_y
        The true displacement less that of the middle candidate, in pixels.
    matchable
        Whether the surface can still be seen.
    size_px, radius_px
        Side of the windows and half-width of the search.
    """

    sample: Tensor
    y: Tensor
    x: Tensor
    search_y: Tensor
    search_x: Tensor
    offset_x: Tensor
    offset_y: Tensor
    matchable: Tensor
    size_px: int
    radius_px: int


def window_correlation(earlier: Tensor, later: Tensor, windows: Windows) -> Tensor:
    """Surfaces of zero-mean normalised cross-correlation, differentiable in both stacks.

    Parameters
    ----------
    earlier, later
        ``(batch, channel, y, x)``: stacks of features.
    windows
        Where; the candidates must lie inside the images.

    Returns
    -------
    torch.Tensor
        ``(window, 2 radius + 1, 2 radius + 1)``: the correlation of `ogive.matching.correlate`,
        by Fourier transforms.

    Examples
    --------
    >>> image = torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    >>> at = torch.tensor([12]); nothing = torch.zeros(1)
    >>> found = window_correlation(
    ...     image, image.roll((1, 2), (2, 3)),
    ...     Windows(at * 0, at, at, at, at, nothing, nothing, nothing == 0, 8, 4))
    >>> divmod(int(found.argmax()), 9)
    (5, 6)
    """
    size, radius = windows.size_px, windows.radius_px
    extent = size + 2 * radius
    template = _patches(earlier, windows.sample, windows.y, windows.x, size)
    patch = _patches(
        later, windows.sample, windows.search_y - radius, windows.search_x - radius, extent
    )
    template = template - template.mean((-2, -1), keepdim=True)
    norm = template.square().sum((1, 2, 3), keepdim=True).clamp_min(LEAST_VARIANCE).sqrt()
    patch = patch - patch.mean((-2, -1), keepdim=True)
    spectrum = torch.fft.rfft2(template / norm, s=(extent, extent)).conj() * torch.fft.rfft2(patch)
    candidates = 2 * radius + 1
    product = torch.fft.irfft2(spectrum.sum(1), s=(extent, extent))[:, :candidates, :candidates]
    count = size * size
    total = functional.avg_pool2d(patch, size, 1) * count
    squares = functional.avg_pool2d(patch.square().sum(1, keepdim=True), size, 1)[:, 0] * count
    variance = squares - total.square().sum(1) / count
    correlation: Tensor = product / variance.clamp_min(LEAST_VARIANCE).sqrt()
    return correlation


def _patches(stack: Tensor, sample: Tensor, y: Tensor, x: Tensor, size: int) -> Tensor:
    """Square cut-outs ``(window, channel, size, size)``."""
    along = torch.arange(size, device=stack.device)
    rows = (y[:, None] + along)[:, :, None]
    columns = (x[:, None] + along)[:, None, :]
    return stack.permute(0, 2, 3, 1)[sample[:, None, None], rows, columns].permute(0, 3, 1, 2)


def draw_windows(
    batch: Mapping[str, Tensor],
    *,
    size_px: int,
    config: LossConfig,
    generator: torch.Generator,
) -> Windows:
    """Draw windows of known displacement, up to ``windows_per_pair`` of each pair of the batch.

    Parameters
    ----------
    batch
        Samples (see `ogive.similarity.samples`), stacked.
    size_px
        Side of the windows.
    config
        Search and number of windows.
    generator
        Source of the draw, on the CPU.

    Raises
    ------
    InputError
        If the images are too small for window and search, or nothing in them is labelled.
    """
    displacement = batch["displacement"]
    pairs, _, height, width = displacement.shape
    radius = config.radius_px
    least = size_px + 2 * radius
    if min(height, width) < least:
        raise InputError(
            f"samples of {height} x {width} px are too small: a window of {size_px} px "
            f"and a search of {radius} px need {least}"
        )
    device = displacement.device
    draws = 3 * config.windows_per_pair

    def random(high: int, low: int = 0) -> Tensor:
        return torch.randint(low, high, (pairs, draws), generator=generator).to(device)

    sample = torch.arange(pairs, device=device)[:, None].expand(pairs, draws)
    if batch["labelled"].float().mean() < SPARSE:
        y, x = _labelled_places(batch["labelled"], size_px, draws, generator)
    else:
        y, x = random(height - size_px + 1), random(width - size_px + 1)
    # An even window's centre lies between four pixels.
    rows, columns = (
        (y + (size_px - 1) // 2, y + size_px // 2),
        (
            x + (size_px - 1) // 2,
            x + size_px // 2,
        ),
    )
    corners = [(row, column) for row in rows for column in columns]
    moved = torch.stack([displacement[sample, :, row, column] for row, column in corners]).mean(0)
    labelled = torch.stack([batch["labelled"][sample, row, column] for row, column in corners])
    valid = batch["valid_earlier"][sample, 0, rows[1], columns[1]]
    jitter = config.jitter_px
    whole = torch.nan_to_num(moved).round().long()
    search_x = x + whole[..., 0] + random(jitter + 1, -jitter)
    search_y = y + whole[..., 1] + random(jitter + 1, -jitter)
    usable = labelled.all(0) & valid & torch.isfinite(moved).all(-1)
    for first, length in ((search_x, width), (search_y, height)):
        usable &= (first >= radius) & (first + size_px + radius <= length)
    # The first usable draws of each pair, so that no pair outweighs the others.
    usable &= usable.cumsum(1) <= config.windows_per_pair
    if not bool(usable.any()):
        raise InputError("a batch without a usable window: no labelled pixel whose match is inside")
    return Windows(
        sample=sample[usable],
        y=y[usable],
        x=x[usable],
        search_y=search_y[usable],
        search_x=search_x[usable],
        offset_x=(x + moved[..., 0] - search_x)[usable],
        offset_y=(y + moved[..., 1] - search_y)[usable],
        matchable=batch["matchable"][sample, rows[1], columns[1]][usable],
        size_px=size_px,
        radius_px=radius,
    )


def _labelled_places(
    labelled: Tensor, size_px: int, draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """First rows and columns of windows whose middles are labelled, drawn evenly among those."""
    before, after = (size_px - 1) // 2, size_px // 2
    height, width = labelled.shape[-2:]
    middles = labelled[:, before : height - after, before : width - after].flatten(1).float().cpu()
    # A pair without any label must be drawn somewhere; its windows are not used.
    middles = middles + 1e-9
    place = torch.multinomial(middles, draws, replacement=True, generator=generator)
    place = place.to(labelled.device)
    columns = width - size_px + 1
    return place // columns, place % columns


def correlator_loss(
    surface: Tensor, windows: Windows, *, scale: Tensor, vanished: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Cross-entropy over correlation surfaces, and the hinge of windows that vanished.

    Parameters
    ----------
    surface
        Of `window_correlation`.
    windows
        The windows it belongs to.
    scale
        Of correlation inside the softmax.
    vanished
        Weight of windows without a match: the loss is how far their peak exceeds chance.

    Returns
    -------
    loss, right
        The loss of each window, and whether its peak is within 1.5 px of the truth (of windows
        that can be matched; NaN for the others).
    """
    candidates = surface.shape[-1]
    flat = surface.flatten(1)
    at_x, at_y = windows.offset_x + windows.radius_px, windows.offset_y + windows.radius_px
    left = at_x.floor().clamp(0, candidates - 2)
    top = at_y.floor().clamp(0, candidates - 2)
    share_x, share_y = (at_x - left).clamp(0, 1), (at_y - top).clamp(0, 1)
    corner = (top * candidates + left).long()[:, None]
    logarithm = functional.log_softmax(flat * scale, 1)

    def at(step: int) -> Tensor:
        return logarithm.gather(1, corner + step)[:, 0]

    entropy = -(
        (1 - share_x) * (1 - share_y) * at(0)
        + share_x * (1 - share_y) * at(1)
        + (1 - share_x) * share_y * at(candidates)
        + share_x * share_y * at(candidates + 1)
    )
    highest, place = flat.max(1)
    chance = scale * (highest - CHANCE_CORRELATION).clamp_min(0)
    loss = torch.where(windows.matchable, entropy, vanished * chance)
    distance = torch.hypot(place % candidates - at_x, place // candidates - at_y)
    right = torch.where(windows.matchable, (distance <= 1.5).float(), float("nan"))
    return loss, right


def contrastive_loss(
    earlier: Tensor,
    later: Tensor,
    batch: Mapping[str, Tensor],
    windows: Windows,
    *,
    margin: float,
    generator: torch.Generator,
) -> Tensor:
    """Pixel-wise contrast at the windows' middles: the true place against annulus and worst.

    Parameters
    ----------
    earlier, later
        ``(batch, channel, y, x)``: features; their directions are compared.
    batch
        The samples.
    windows
        Whose middle pixels are compared; the hardest negative is the most similar pixel of the
        search window farther than 1 px from the truth.
    margin
        By how much the right similarity should exceed the wrong ones.
    generator
        Draws the places in the annulus.

    Returns
    -------
    torch.Tensor
        Mean over the pixels, by the weights of their samples.
    """
    earlier, later = functional.normalize(earlier, dim=1), functional.normalize(later, dim=1)
    half, radius = windows.size_px // 2, windows.radius_px
    y, x = windows.y + half, windows.x + half
    here = earlier.permute(0, 2, 3, 1)[windows.sample, y, x]
    moved = batch["displacement"].permute(0, 2, 3, 1)[windows.sample, y, x]
    matchable = batch["matchable"][windows.sample, y, x]

    def similarity(to_x: Tensor, to_y: Tensor) -> Tensor:
        return (here * _sampled(later, windows.sample, to_x, to_y)).sum(-1)

    true_x, true_y = x + moved[:, 0], y + moved[:, 1]
    positive = similarity(true_x, true_y)
    angle = 2 * torch.pi * torch.rand(len(x), generator=generator).to(x.device)
    distance = 1 + 3 * torch.rand(len(x), generator=generator).to(x.device)
    annulus = similarity(true_x + distance * angle.cos(), true_y + distance * angle.sin())
    candidates = _patches(
        later,
        windows.sample,
        windows.search_y + half - radius,
        windows.search_x + half - radius,
        2 * radius + 1,
    )
    every = (here[:, :, None, None] * candidates).sum(1)
    along = torch.arange(-radius, radius + 1, device=x.device)
    away = torch.hypot(
        windows.search_x[:, None, None] + half + along[None, None, :] - true_x[:, None, None],
        windows.search_y[:, None, None] + half + along[None, :, None] - true_y[:, None, None],
    )
    hardest = every.masked_fill(away <= 1.0, -1.0).flatten(1).amax(1)
    negatives = torch.stack([annulus, hardest])
    seen = (negatives - positive + margin).clamp_min(0).mean(0)
    vanished = negatives.clamp_min(0).mean(0) + positive.clamp_min(0)
    counted = batch["weight"][windows.sample]
    return (counted * torch.where(matchable, seen, vanished)).sum() / counted.sum().clamp_min(1e-6)


def _sampled(stack: Tensor, sample: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear interpolation of a stack at ``(x, y)`` in pixels: ``(point, channel)``."""
    height, width = stack.shape[-2:]
    left = x.floor().clamp(0, width - 2).long()
    top = y.floor().clamp(0, height - 2).long()
    share_x, share_y = (x - left).clamp(0, 1)[:, None], (y - top).clamp(0, 1)[:, None]
    pixels = stack.permute(0, 2, 3, 1)
    upper = pixels[sample, top, left].lerp(pixels[sample, top, left + 1], share_x)
    lower = pixels[sample, top + 1, left].lerp(pixels[sample, top + 1, left + 1], share_x)
    return upper.lerp(lower, share_y)


def similarity_loss(
    network: Network,
    batch: Mapping[str, Tensor],
    config: LossConfig,
    *,
    scale: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The loss of a batch of samples, its parts, and how many windows were matched rightly.

    Parameters
    ----------
    network
        Turns ``(batch, band, y, x)`` images into features.
    batch
        Samples, stacked (see `ogive.similarity.samples`).
    config
        What the loss is made of.
    scale
        Of correlation inside the softmax: a positive tensor, learned beside the network.
    generator
        Source of random draws, on the CPU.

    Returns
    -------
    dict
        ``loss``, its parts (``correlator``, ``contrastive``, each physics term) and ``right``, the
        share of windows whose peak is within 1.5 px.
    """
    pairs = batch["earlier"].shape[0]
    features = network(
        torch.cat([batch["earlier"], batch["later"]]),
        torch.cat([batch["valid_earlier"], batch["valid_later"]]),
        torch.cat([batch["condition_earlier"], batch["condition_later"]]),
    ).float()
    earlier, later = features[:pairs], features[pairs:]
    pick = int(torch.randint(len(config.windows_px), (), generator=generator))
    windows = draw_windows(
        batch, size_px=config.windows_px[pick], config=config, generator=generator
    )
    surface = window_correlation(earlier, later, windows)
    each, right = correlator_loss(surface, windows, scale=scale, vanished=config.vanished)
    weight = batch["weight"][windows.sample]
    parts = {"correlator": (weight * each).sum() / weight.sum().clamp_min(1e-6)}
    total = config.correlator * parts["correlator"]
    if config.contrastive > 0:
        parts["contrastive"] = contrastive_loss(
            earlier, later, batch, windows, margin=config.margin, generator=generator
        )
        total = total + config.contrastive * parts["contrastive"]
    if config.physics:
        terms = _physics(earlier, later, batch, windows, config, scale)
        parts.update(terms)
        total = total + sum(config.physics[name] * term for name, term in terms.items())
    return {"loss": total, "right": right.nanmean().detach(), **parts}


def _physics(
    earlier: Tensor,
    later: Tensor,
    batch: Mapping[str, Tensor],
    windows: Windows,
    config: LossConfig,
    scale: Tensor,
) -> dict[str, Tensor]:
    """Physics terms on the flow that correlation expects at a grid of windows in each pair.

    The search of each window is centred on its true displacement, whole pixels of it, so that the
    expectation over the candidates is not cut off.
    """
    displacement = batch["displacement"]
    pairs, _, height, width = displacement.shape
    size, radius = windows.size_px, windows.radius_px
    spacing = size // 2
    reach = size // 2 + radius + int(displacement.nan_to_num().abs().amax().ceil())
    rows = torch.arange(reach, height - reach, spacing, device=displacement.device)
    columns = torch.arange(reach, width - reach, spacing, device=displacement.device)
    if min(len(rows), len(columns)) < 3:
        raise InputError(
            f"samples of {height} x {width} px are too small for physics terms: their flow needs a "
            f"grid of 3 x 3 windows of {size} px inside"
        )
    sample, y, x = (
        part.flatten()
        for part in torch.meshgrid(
            torch.arange(pairs, device=displacement.device), rows, columns, indexing="ij"
        )
    )
    centre = displacement[sample, :, y, x].nan_to_num().round().long()
    nothing = torch.zeros_like(y, dtype=torch.float32)
    grid = Windows(
        sample=sample,
        y=y - size // 2,
        x=x - size // 2,
        search_y=y - size // 2 + centre[:, 1],
        search_x=x - size // 2 + centre[:, 0],
        offset_x=nothing,
        offset_y=nothing,
        matchable=nothing == 0,
        size_px=size,
        radius_px=radius,
    )
    surface = window_correlation(earlier, later, grid)
    shape = (pairs, len(rows), len(columns))
    flow = soft_argmax(
        surface.reshape(*shape, *surface.shape[1:]),
        temperature=1.0 / scale,
        around=centre.float().reshape(*shape, 2).permute(0, 3, 1, 2),
    ).flow
    seen = (batch["matchable"] & batch["labelled"])[sample, y, x].reshape(shape)
    truth = displacement[sample, :, y, x].reshape(*shape, 2)
    evidence: dict[str, Any] = {
        "spacing_px": float(spacing),
        "stable": batch["stable"][sample, y, x].reshape(shape) & seen,
        "interior": away_from_margins(seen & ~_sheared(truth, spacing), points=1),
    }
    if "years" in batch:
        evidence["years"] = batch["years"]
    if "slope" in batch:
        evidence["slope"] = batch["slope"][sample, :, y, x].reshape(*shape, 2).permute(0, 3, 1, 2)
    return physics_terms(flow, Evidence(**evidence), config.physics)


def _sheared(truth: Tensor, spacing: int) -> Tensor:
    """Where the true displacement ``(batch, y, x, 2)`` differs much from the next point's."""
    across = (truth[:, :, 1:] - truth[:, :, :-1]).abs().amax(-1) / spacing > MARGIN_STRAIN
    down = (truth[:, 1:] - truth[:, :-1]).abs().amax(-1) / spacing > MARGIN_STRAIN
    return (
        functional.pad(across, (1, 0))
        | functional.pad(across, (0, 1))
        | functional.pad(down, (0, 0, 1, 0))
        | functional.pad(down, (0, 0, 0, 1))
    )
