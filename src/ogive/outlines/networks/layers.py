"""Convolutions with the normalisation and the rectifier that GlaViTU uses everywhere.

Rates and small constants are those of the published network's framework where the paper is silent:
batch normalisation with ε = 1e-3, rectifiers that let 0.2 of the negative
through.
"""

from __future__ import annotations

from torch import nn

__all__ = ["SLOPE", "batch_norm", "convolution_pair"]

SLOPE = 0.2
EPSILON = 1e-3
MOMENTUM = 0.1


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Normalise channels over a batch."""
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)


def convolution_pair(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions of 3 x 3, each normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        batch_norm(outputs),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        batch_norm(outputs),
        nn.LeakyReLU(SLOPE),
    )
