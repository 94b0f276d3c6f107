"""What the surface is made of: ice with its crevasses, stones, snow, rock; and how it changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .history import IceHistory
from .noise import Float32Array, FloatArray, filtered_noise, fractal_noise
from .resample import refined, spline_layers

__all__ = ["IceTexture", "Reflectance", "SurfaceChange", "generation_weights", "ice_texture"]

TILE = 768
"""Side of the periodic pieces of texture, in samples; each is used at random places."""
ORIENTATIONS = 8
CREVASSE_DEPTH_M = 1.8


@dataclass(frozen=True, slots=True)
class Reflectance:
    """Reflectance of what the ground is made of, in the near infrared."""

    ice: float = 0.50
    old_ice: float = 0.36
    debris: float = 0.17
    rock: float = 0.17
    snow: float = 0.86
    old_snow: float = 0.66
    water: float = 0.04


@dataclass(frozen=True, slots=True)
class SurfaceChange:
    """How soon the surface is no longer itself.

    Attributes
    ----------
    decorrelation_days
        After this long about a third of the ice's fine texture is left; infinite for all of it.
    snow_line_low_m, snow_line_high_m
        Height above the terminus of the snow line at its lowest (late winter) and its highest
        (late summer); below zero the whole glacier is under snow.
    highest_day
        Day of the year when the snow line is highest.
    bridging
        Share of the crevasses' relief that full snow cover hides.
    """

    decorrelation_days: float = 240.0
    snow_line_low_m: float = -450.0
    snow_line_high_m: float = 620.0
    highest_day: float = 235.0
    bridging: float = 0.6


@dataclass(frozen=True, slots=True)
class IceTexture:
    """One generation of the ice's texture, where the ice was at its reference time.

    Attributes
    ----------
    years
        The reference time, in years since the epoch.
    coefficients
        Spline coefficients ``(y, x, layer)`` on the fine grid of: relief in metres, relative
        brightness, cover of stones (0 to 1), and snow drifts (unit variance).
    """

    years: float
    coefficients: Float32Array


def generation_weights(years: float, *, decorrelation_years: float) -> dict[int, float]:
    """Share of each generation of texture in the surface; their squares sum to one.

    A generation fades in and out like the quarter of a sine, so that the fine texture keeps its
    strength while it is replaced. The correlation between two times falls from one, through about
    a third after ``decorrelation_years``, to zero after twice that.

    Parameters
    ----------
    years
        Time since generation 0 was alone.
    decorrelation_years
        Time between generations; infinite for a surface that never changes.

    Examples
    --------
    >>> weights = generation_weights(0.25, decorrelation_years=0.5)
    >>> {number: round(weight, 2) for number, weight in weights.items()}
    {0: 0.71, 1: 0.71}
    >>> generation_weights(3.0, decorrelation_years=float("inf"))
    {0: 1.0}
    """
    position = years / decorrelation_years
    first = int(np.floor(position))
    phase = (position - first) * np.pi / 2
    weights = {first: float(np.cos(phase)), first + 1: float(np.sin(phase))}
    return {number: weight for number, weight in weights.items() if weight > 0}


def ice_texture(
    history: IceHistory,
    *,
    years: float,
    factor: int,
    fine_step_m: float,
    rng: np.random.Generator,
) -> IceTexture:
    """Make a generation of texture on the fine grid.

    Crevasses are narrow, sharpened noise along their strike (a bank of directions, mixed by the
    direction at each place), as dense as the ice's history says. Ogives are waves and dark bands,
    one a year. Stones and flow bands lie where the ice brought them, and go on with it. The rest is
    fractal roughness and dirt.

    Parameters
    ----------
    history
        On the flow's grid.
    years
        Reference time; it sets the phase of the ogives.
    factor
        How many fine samples there are per cell.
    fine_step_m
        Distance between fine samples.
    rng
        Where the noise comes from.
    """
    shape = tuple(side * factor for side in history.crevassing.shape)
    relief = _crevasse_relief(history, shape, factor, fine_step_m, rng)
    rough = _tiled(_fractal_tile(2.2, 120.0, rng), shape, rng)
    relief += 0.35 * rough
    phase = 2 * np.pi * (years - history.icefall_age_yr)
    waves = refined(history.ogive_strength * np.cos(phase), factor)
    relief += 1.6 * waves
    dirt = _tiled(_fractal_tile(1.4, 120.0, rng), shape, rng)
    bands = refined(np.clip(history.foliation, -3, 3), factor)
    brightness = 0.065 * dirt + 0.045 * bands - 0.12 * waves
    stones = refined(history.debris, factor) * (0.75 + 0.3 * dirt)
    snow = _tiled(_fractal_tile(1.9, 250.0, rng), shape, rng)
    return IceTexture(years, spline_layers(np.stack([relief, brightness, stones, snow])))


def _fractal_tile(slope: float, longest: float, rng: np.random.Generator) -> Float32Array:
    return fractal_noise((TILE, TILE), slope=slope, longest=longest, shortest=2.2, rng=rng)


def _tiled(tile: Float32Array, shape: tuple[int, ...], rng: np.random.Generator) -> Float32Array:
    """Cover an area with a periodic tile from a random start."""
    start = rng.integers(0, TILE, 2)
    repeats = [(size + TILE - 1) // TILE + 1 for size in shape]
    covered = np.tile(tile, repeats)
    return np.ascontiguousarray(
        covered[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]
    )


def _crevasse_relief(
    history: IceHistory,
    shape: tuple[int, ...],
    factor: int,
    fine_step_m: float,
    rng: np.random.Generator,
) -> Float32Array:
    """Relief of crevasses in metres, zero where there are none, negative inside them."""
    relief = np.zeros(shape, np.float32)
    rows, columns = np.nonzero(history.crevassing > 0.02)
    if rows.size == 0:
        return relief
    part = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    fine = tuple(slice(axis.start * factor, axis.stop * factor) for axis in part)
    density = np.clip(refined(history.crevassing[part], factor), 0, 1)
    cosine = refined(np.cos(2 * history.crevasse_direction[part]), factor)
    sine = refined(np.sin(2 * history.crevasse_direction[part]), factor)
    length = np.maximum(np.hypot(cosine, sine), 1e-3)
    total = np.zeros(density.shape, np.float32)
    summed = np.zeros(density.shape, np.float32)
    for number in range(ORIENTATIONS):
        angle = np.pi * number / ORIENTATIONS
        closeness = cosine * np.float32(np.cos(2 * angle)) + sine * np.float32(np.sin(2 * angle))
        weight = np.maximum(closeness / length, 0)
        weight *= weight
        weight *= weight * weight * weight * weight
        tile = _crevasse_tile(angle, fine_step_m, rng)
        summed += weight * _tiled(tile, density.shape, rng)
        total += weight**2
    summed /= np.sqrt(np.maximum(total, 1e-6))
    # Only the strongest crests of the noise are open where crevasses are few.
    opening = np.clip((summed - 1.6 * (1 - density)) / 0.9, 0, 2.2)
    relief[fine] = -CREVASSE_DEPTH_M * np.sqrt(density) * opening
    return relief


def _crevasse_tile(angle: float, fine_step_m: float, rng: np.random.Generator) -> Float32Array:
    """Noise with crests some 55 m apart and several times as long, striking along ``angle``."""
    wave = fine_step_m / 55.0

    def amplitude(fx: FloatArray, fy: FloatArray) -> FloatArray:
        # Rows grow to the south, so that y in the map is minus the row.
        across = fx * np.sin(angle) + fy * np.cos(angle)
        along = fx * np.cos(angle) - fy * np.sin(angle)
        band = np.exp(
            -(((np.abs(across) - wave) / (0.42 * wave)) ** 2) - (along / (0.28 * wave)) ** 2
        )
        return np.asarray(band)

    return filtered_noise((TILE, TILE), amplitude, rng=rng)
