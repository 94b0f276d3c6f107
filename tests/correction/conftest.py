"""Simulated displacements whose truth is known, shared by the tests of the correction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

STEP_PX = 5
WINDOW_PX = 16


def correlated_noise(
    rng: np.random.Generator, shape: tuple[int, int], length: float, std: float
) -> np.ndarray:
    """Both components of a normal field with a Gaussian autocovariance, exact in std."""
    margin = int(4 * length) + 1
    white = rng.standard_normal((2, shape[0] + 2 * margin, shape[1] + 2 * margin))
    smooth = ndimage.gaussian_filter(white, (0, length, length)) * 2 * np.sqrt(np.pi) * length
    return std * smooth[:, margin:-margin, margin:-margin]


def blobs(rng: np.random.Generator, shape: tuple[int, int], share: float, size: float):
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), size, mode="wrap")
    return smooth > np.quantile(smooth, 1 - share)


def dataset(dx: np.ndarray, dy: np.ndarray, pixel: float = 1.0, **attributes) -> xr.Dataset:
    ny, nx = dx.shape
    attributes = {
        "pixel_size_x": pixel,
        "pixel_size_y": pixel,
        "step_px": STEP_PX,
        "window_px": WINDOW_PX,
    } | attributes
    return xr.Dataset(
        {"dx": (("y", "x"), np.float32(dx)), "dy": (("y", "x"), np.float32(dy))},
        {"y": -pixel * STEP_PX * np.arange(ny), "x": pixel * STEP_PX * np.arange(nx)},
        attributes,
    )


@dataclass(frozen=True)
class Simulated:
    """A displacement in pixels with false matches, and what is known of it."""

    displacement: xr.Dataset
    truth: np.ndarray
    good: np.ndarray
    false: np.ndarray
    ice: np.ndarray


def trunk(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A glacier with a sharp and a wide shear margin (0.1 px/px), after the matching truth case."""
    y, x = np.mgrid[:n, :n].astype(float) * STEP_PX
    height = n * STEP_PX
    profile = 0.5 * (np.tanh((y - 0.27 * height) / 60) - np.tanh((y - 0.75 * height) / 150))
    dx = 0.27 + 11.7 * profile * (0.8 + 0.2 * np.sin(2 * np.pi * x / 2100))
    dy = -0.41 + 2.6 * np.sin(2 * np.pi * x / 1300) * np.exp(-(((y - height / 2) / 330) ** 2))
    return np.stack([dx, dy]), dx > 1


def narrow(n: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Three glaciers of 10 px: along x, oblique, winding; seen through windows 3 points wide."""
    y, x = np.mgrid[:n, :n].astype(float)
    dx, dy, ice = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n), dtype=bool)
    for across, angle in (
        (y - 0.12 * n, 0.0),
        ((y - 0.45 * n) * np.cos(0.3) - (x - 0.5 * n) * np.sin(0.3), 0.3),
        (y - 0.82 * n - 3 * np.sin(2 * np.pi * x / 120), 0.0),
    ):
        speed = 10 * np.clip(1 - (2 * across / (width + 1)) ** 2, 0, None)
        dx, dy, ice = dx + speed * np.cos(angle), dy + speed * np.sin(angle), ice | (speed > 0)
    return ndimage.uniform_filter(np.stack([dx, dy]), (0, 3, 3)), ice


def simulate(
    seed: int,
    *,
    n: int = 160,
    width: float | None = None,
    noise: float = 0.06,
    isolated: float = 0.05,
    clustered: float = 0.02,
    decorrelated: float = 0.1,
    gaps: float = 0.0,
) -> Simulated:
    """Truth, noise that overlapping windows share, and false matches of three kinds."""
    rng = np.random.default_rng(seed)
    truth, ice = trunk(n) if width is None else narrow(n, width)
    white = rng.standard_normal((2, n + 4, n + 4))
    measured = truth + noise * 3 * ndimage.uniform_filter(white, (0, 3, 3))[:, 2:-2, 2:-2]
    false = np.zeros((n, n), dtype=bool)
    if decorrelated:
        patch = blobs(rng, (n, n), decorrelated, 5)
        if width is not None:
            patch &= ~ndimage.binary_dilation(ice, iterations=3)
        measured = np.where(patch, truth + rng.uniform(-2.5, 2.5, measured.shape), measured)
        false |= patch
    for _ in range(int(clustered * n * n / 9)):
        y, x = rng.integers(2, n - 3, 2)
        size = rng.integers(2, 4)
        block = np.s_[y - 1 : y - 1 + size, x - 1 : x - 1 + size]
        wrong = truth[:, y, x] + rng.uniform(-16, 16, 2)
        shape = measured[(slice(None), *block)].shape
        measured[(slice(None), *block)] = wrong[:, None, None] + rng.normal(0, 0.15, shape)
        false[block] = True
    alone = rng.random((n, n)) < isolated
    measured[:, alone] = rng.uniform(-16, 16, (2, alone.sum()))
    false |= alone
    error = np.abs(measured - truth).max(axis=0)
    good, wrong = ~false & (error <= 5 * noise), error > 1
    if gaps:
        gap = rng.random((n, n)) < gaps
        measured[:, gap] = np.nan
        good, wrong = good & ~gap, wrong & ~gap
    return Simulated(dataset(*measured), truth, good, wrong, ice)


@pytest.fixture(scope="session")
def make_displacement() -> Callable[..., xr.Dataset]:
    return dataset


@pytest.fixture(scope="session")
def make_noise() -> Callable[..., np.ndarray]:
    return correlated_noise


@pytest.fixture(scope="session")
def make_blobs() -> Callable[..., np.ndarray]:
    return blobs


@pytest.fixture(scope="session")
def make_simulated() -> Callable[..., Simulated]:
    return simulate
