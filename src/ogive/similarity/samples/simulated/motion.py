"""How the ice of a sample moves: translation, strain, undulation, a shear margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .fields import SCENE_PER_PIXEL
from .ranges import Motion, draw, draw_log

__all__ = ["SceneMotion", "draw_motion"]

NODES = 129
BEYOND = 1.5
"""The field reaches this much beyond the sample, since ice moves in and out."""
FIXED_POINT_STEPS = 12
"""Each multiplies the error by half the displacement's gradient: 0.7 in the sharpest margins."""


@dataclass(frozen=True)
class SceneMotion:
    """Displacement on the scene's grid (see `fields.SCENE_PER_PIXEL`).

    Attributes
    ----------
    grid
        ``(2, y, x)``: x and y of the scene's pixels, zero in the middle.
    earlier, later
        ``(2, y, x)``: where the ice that each image's pixels show is half-way in time.
    displacement
        ``(2, y, x)``: dx, dy from each pixel of the earlier image, in scene pixels.
    gradient
        ``(2, 2)``: of the displacement, in the mean.
    stable
        Whether nothing moves.
    """

    grid: Tensor
    earlier: Tensor
    later: Tensor
    displacement: Tensor
    gradient: NDArray[np.float64]
    stable: bool

    @property
    def extension_deg(self) -> float:
        """Direction of the principal extension, clockwise from +x."""
        strain = (self.gradient + self.gradient.T) / 2
        vectors = np.linalg.eigh(strain).eigenvectors
        return float(np.rad2deg(np.arctan2(vectors[1, -1], vectors[0, -1])))


def draw_motion(rng: np.random.Generator, ranges: Motion, side: int) -> SceneMotion:
    """Draw the motion of a sample whose scene is ``side`` pixels wide.

    The displacement is drawn for the time half-way between the images and taken from both sides,
    so that neither image is more resampled than the other.
    """
    middle = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    down, across = torch.meshgrid(middle, middle, indexing="ij")
    grid = torch.stack([across, down])
    reach = BEYOND * side / 2
    nodes = torch.linspace(-reach, reach, NODES)
    stable = bool(rng.random() < ranges.stable_share)
    gradient = np.zeros((2, 2))
    if stable:
        field = torch.zeros(2, NODES, NODES)
    else:
        gradient = rng.normal(size=(2, 2)) * draw_log(rng, ranges.strain)
        field = _field(rng, ranges, nodes, gradient, side)

    from_earlier, from_later = (_seen_from(field, nodes, sign) for sign in (0.5, -0.5))
    moved_on, came_from = (_interpolated(part, grid / reach) for part in (from_earlier, from_later))
    return SceneMotion(grid, grid + moved_on / 2, grid - came_from / 2, moved_on, gradient, stable)


def _interpolated(field: Tensor, place: Tensor) -> Tensor:
    """A field on the nodes at places from -1 to 1, bilinear."""
    found: Tensor = functional.grid_sample(
        field[None],
        place.permute(1, 2, 0)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    field_there: Tensor = found[0]
    return field_there


def _seen_from(field: Tensor, nodes: Tensor, sign: float) -> Tensor:
    """Displacement by place in one image, of a field by place half-way: a fixed point."""
    down, across = torch.meshgrid(nodes, nodes, indexing="ij")
    place = torch.stack([across, down])
    seen = field
    for _ in range(FIXED_POINT_STEPS):
        seen = _interpolated(field, (place + sign * seen) / nodes[-1])
    return seen


def _field(
    rng: np.random.Generator,
    ranges: Motion,
    nodes: Tensor,
    gradient: NDArray[np.float64],
    side: int,
) -> Tensor:
    """Displacement at the nodes, ``(2, y, x)`` in scene pixels."""
    down, across = torch.meshgrid(nodes, nodes, indexing="ij")
    place = torch.stack([across, down])
    start = [
        SCENE_PER_PIXEL * (draw(rng, ranges.translation_px) + draw(rng, ranges.misregistration_px))
        for _ in range(2)
    ]
    field: Tensor = torch.tensor(start)[:, None, None] + torch.tensordot(
        torch.from_numpy(gradient.astype(np.float32)), place, dims=1
    )
    for axis in range(2):
        rough = torch.from_numpy(rng.standard_normal((1, 1, 5, 5)).astype(np.float32))
        smooth = functional.interpolate(
            rough, size=(NODES, NODES), mode="bicubic", align_corners=True
        )[0, 0]
        field[axis] += SCENE_PER_PIXEL * draw_log(rng, ranges.undulation_px) * smooth
    if rng.random() < ranges.margin_share:
        angle = rng.uniform(0, np.pi)
        width = SCENE_PER_PIXEL * draw_log(rng, ranges.margin_width_px)
        step = SCENE_PER_PIXEL * draw(rng, ranges.margin_step_px) * rng.choice([-1, 1])
        beside = -np.sin(angle) * across + np.cos(angle) * down - rng.uniform(-0.25, 0.25) * side
        slip = step / 2 * torch.tanh(beside / width)
        field += torch.tensor([np.cos(angle), np.sin(angle)])[:, None, None].float() * slip
    return field
