"""Random fields from which masks, clouds, relief and snow are cut.

A bank of periodic fields is made once from a seed; a sample takes cut-outs of them, which costs
little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["FieldBank", "blurred", "cloud_bank", "cut_out", "relief_bank", "sampled"]

SIDE_PX = 512
COUNT = 48
SCENE_PER_PIXEL = 2
"""The scene is made on a grid twice as fine as the image, so that no interpolation shows in it."""


@dataclass(frozen=True)
class FieldBank:
    """Random fields of mean zero and deviation one.

    Attributes
    ----------
    fields
        ``(field, y, x)``, periodic.
    along_deg
        ``(field,)``: direction across which its ridges run, clockwise from +x; NaN without one.
    """

    fields: Tensor
    along_deg: Tensor


def _frequencies() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.fft.fftfreq(SIDE_PX)[:, None].astype(float), np.fft.rfftfreq(SIDE_PX)[None].astype(
        float
    )


def _filtered(rng: np.random.Generator, amplitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """White noise given a spectrum, of deviation one."""
    white = np.fft.rfft2(rng.standard_normal((SIDE_PX, SIDE_PX)))
    field = np.fft.irfft2(white * amplitude, s=(SIDE_PX, SIDE_PX))
    return np.asarray((field - field.mean()) / field.std(), np.float64)


def cloud_bank(seed: int) -> FieldBank:
    """Smooth fields with the fractal edges of clouds, snow and bare patches."""
    rng = np.random.default_rng(seed)
    down, across = _frequencies()
    frequency = np.hypot(down, across)
    fields = []
    for _ in range(COUNT):
        outer_px = np.exp(rng.uniform(np.log(15), np.log(200)))
        amplitude = (1 + (outer_px * frequency) ** 2) ** -rng.uniform(1.0, 2.2)
        # Nothing as small as a pixel of the image: a cloud's edge is softer.
        amplitude = amplitude * np.exp(-2 * (np.pi * 1.5 * frequency) ** 2) * (frequency > 0)
        fields.append(_filtered(rng, amplitude))
    return FieldBank(
        torch.from_numpy(np.stack(fields).astype(np.float32)), torch.full((COUNT,), torch.nan)
    )


def relief_bank(seed: int) -> FieldBank:
    """Heights of crevassed ice (two of three: ridges of one direction) and of rough ice."""
    rng = np.random.default_rng(seed)
    down, across = _frequencies()
    frequency = np.hypot(down, across)
    fields, along = [], []
    for number in range(COUNT):
        if number % 3 == 2:
            amplitude = np.maximum(frequency, 1 / 100) ** (-rng.uniform(1.5, 3.5) / 2)
            fields.append(_filtered(rng, amplitude))
            along.append(np.nan)
            continue
        angle = rng.uniform(0, np.pi)
        wavelength_px = np.exp(rng.uniform(np.log(5), np.log(30)))
        with_ridges = across * np.cos(angle) + down * np.sin(angle)
        beside = -across * np.sin(angle) + down * np.cos(angle)
        width, breadth = rng.uniform(0.15, 0.5), rng.uniform(0.06, 0.35)
        amplitude = np.exp(
            -(((np.abs(with_ridges) * wavelength_px - 1) / width) ** 2)
            - (beside * wavelength_px / breadth) ** 2
        )
        field = _filtered(rng, amplitude)
        sharpness = rng.uniform(0, 1.5)
        if sharpness > 0.3:
            # Narrow clefts between broad blocks.
            field = -np.exp(-sharpness * field)
            field = (field - field.mean()) / field.std()
        fields.append(field)
        along.append(np.rad2deg(angle))
    return FieldBank(
        torch.from_numpy(np.stack(fields).astype(np.float32)),
        torch.tensor(along, dtype=torch.float32),
    )


def cut_out(rng: np.random.Generator, bank: FieldBank, side: int) -> Tensor:
    """A square cut out of one of the bank's fields, mirrored at random."""
    number = rng.integers(len(bank.fields))
    y, x = rng.integers(SIDE_PX - side + 1, size=2)
    part = bank.fields[number, y : y + side, x : x + side]
    return part.flip(-1) if rng.random() < 0.5 else part


def blurred(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian over the last two axes, reflected at the borders."""
    if sigma < 0.05:
        return image
    reach = max(1, int(np.ceil(3 * sigma)))
    offset = torch.arange(-reach, reach + 1, dtype=torch.float32)
    taps = torch.exp(-0.5 * (offset / sigma) ** 2)
    taps = taps / taps.sum()
    stack = image.reshape(-1, 1, *image.shape[-2:])
    stack = functional.pad(stack, (reach, reach, reach, reach), mode="reflect")
    stack = functional.conv2d(stack, taps[None, None, None, :])
    return functional.conv2d(stack, taps[None, None, :, None]).reshape(image.shape)


def sampled(image: Tensor, x: Tensor, y: Tensor, *, smooth: bool = True) -> Tensor:
    """An image at ``(x, y)`` in its pixels: bicubic, reflected beyond its borders; or bilinear."""
    height, width = image.shape
    place = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return functional.grid_sample(
        image[None, None],
        place[None],
        mode="bicubic" if smooth else "bilinear",
        padding_mode="reflection" if smooth else "border",
        align_corners=True,
    )[0, 0]
