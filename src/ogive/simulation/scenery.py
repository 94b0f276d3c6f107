"""The lit landscape at a moment, from straight above, as fine as it is simulated."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ..model import DAYS_PER_YEAR
from .flow import Flow
from .history import IceHistory
from .noise import Float32Array, FloatArray, fractal_noise
from .resample import displaced, refined
from .rhythm import Rhythm
from .sun import SunPosition, cast_shadow, irradiance
from .surface import (
    IceTexture,
    Reflectance,
    SurfaceChange,
    generation_weights,
    ice_texture,
)
from .terrain import Terrain
from .trajectories import Trajectories

__all__ = ["Front", "Scenery", "View"]

KEPT_GENERATIONS = 2
ICE_EDGE_M = 6.0


class Front(NamedTuple):
    """Retreat of a calving front: metres a year, and half the range of its yearly swing."""

    retreat_m_yr: float
    season_m: float


class View(NamedTuple):
    """Fine maps, ``(y, x)``: reflectance as lit, and shares of ice, snow, water and sunlight."""

    reflectance: Float32Array
    ice: Float32Array
    snow: Float32Array
    water: Float32Array
    lit: Float32Array


class MovedTexture(NamedTuple):
    """Fine maps of the ice's texture where it is at a time; see `surface.IceTexture`."""

    relief_m: Float32Array
    brightness: Float32Array
    stones: Float32Array
    drifts: Float32Array


class Scenery:
    """Everything that is needed to draw the landscape, and what is worth keeping between scenes.

    Parameters
    ----------
    terrain, flow, history
        On one grid, whose cells hold ``factor`` x ``factor`` fine samples.
    rhythm
        The flow's course in time.
    change
        How snow line and texture change.
    seed
        The same seed gives the same bytes.
    factor
        Fine samples per cell.
    reference_years
        When the terrain's elevation and ice mask are right.
    front
        How a calving front moves; ``None`` for a glacier that ends on land.
    materials
        Reflectances.
    """

    def __init__(
        self,
        terrain: Terrain,
        flow: Flow,
        history: IceHistory,
        rhythm: Rhythm,
        *,
        change: SurfaceChange,
        seed: int,
        factor: int,
        reference_years: float,
        front: Front | None = None,
        materials: Reflectance | None = None,
    ) -> None:
        self.terrain, self.flow, self.history = terrain, flow, history
        self.rhythm, self.change, self.front = rhythm, change, front
        self.seed, self.factor, self.reference_years = seed, factor, reference_years
        self.materials = materials or Reflectance()
        self.trajectories = Trajectories(flow, rhythm)
        self.fine_step_m = terrain.step_m / factor
        rng = np.random.default_rng([seed, 2])
        self._margin_m = _signed_distance(flow, terrain.step_m)
        self._front_m = self._distance_to_front()
        shape = (terrain.y.size * factor, terrain.x.size * factor)
        height = terrain.elevation_m
        self._height = refined(height, factor)
        ice = np.clip(refined(self._margin_m, factor) / 30 + 0.5, 0, 1)
        roughness = fractal_noise(shape, slope=2.0, longest=160.0, shortest=2.2, rng=rng)
        self._height += 1.7 * roughness * (1 - ice)
        self._rock = self._rock_albedo(shape, rng)
        self._snow_offset_m = self._snow_preference(shape, rng)
        self._textures: OrderedDict[int, IceTexture] = OrderedDict()

    def elevation_change_m(self, years: float) -> FloatArray:
        """Give the rise of the surface since the reference date, on the terrain's grid.

        The integral of ``dh/dt = b - div(q)``, with the flux's modes in closed form.
        """
        since = years - self.reference_years
        change = self.flow.thinning_m_yr * since
        now, then = self.rhythm.integrals(years), self.rhythm.integrals(self.reference_years)
        for mode, (late, early) in enumerate(zip(now, then, strict=True)):
            change = change - (late - early) * self.flow.mode_divergence_m_yr[mode]
        return np.where(self.flow.ice, np.maximum(change, -self.flow.thickness_m), 0.0)

    def ice_level_m(self, years: float) -> FloatArray:
        """Distance inside the ice at a time (negative outside), on the terrain's grid."""
        left = self.flow.thickness_m + self.elevation_change_m(years)
        level = np.where(self.flow.ice, np.minimum(self._margin_m, 4 * left), self._margin_m)
        if self.front is not None:
            level = np.minimum(level, self._front_m - self.front_retreat_m(years))
        return np.asarray(level)

    def front_retreat_m(self, years: float) -> float:
        """How far the calving front lies behind where it was at its most advanced."""
        if self.front is None:
            return 0.0
        season = 1 - np.cos(2 * np.pi * (years - self.rhythm.fastest_day / DAYS_PER_YEAR))
        since = years - self.reference_years
        return float(max(self.front.retreat_m_yr * since, 0) + self.front.season_m * season)

    def view(self, years: float, sun: SunPosition) -> View:
        """Draw the landscape at a time (years since the epoch) under a sun above the horizon."""
        factor = self.factor
        rise = self.elevation_change_m(years)
        level = refined(self.ice_level_m(years), factor)
        ice = np.clip(level / ICE_EDGE_M + 0.5, 0, 1)
        water = np.zeros_like(ice)
        if self.front is not None:
            gone = refined(self.front_retreat_m(years) - self._front_m, factor)
            inside = refined(self._margin_m, factor)
            water = np.clip(np.minimum(gone, inside) / ICE_EDGE_M + 0.5, 0, 1)
        relief, bright, stones, drift = self.moved_texture(years)
        snow, freshness = self._snow(years, drift)
        height = self._height + refined(rise, factor)
        height += ice * relief * (1 - np.float32(self.change.bridging) * snow)
        albedo = self._albedo(ice, relief, bright, stones, years)
        snow = snow * (1 - water)
        albedo = albedo * (1 - water) + np.float32(self.materials.water) * water
        white = (
            self.materials.old_snow + (self.materials.snow - self.materials.old_snow) * freshness
        )
        albedo += snow * (np.float32(white) * (1 + 0.03 * drift) - albedo)
        surface = self.terrain.elevation_m + rise
        lit = refined(cast_shadow(surface, sun, step_m=self.terrain.step_m), factor)
        lit = np.clip(lit, 0, 1)
        light = irradiance(height, lit, sun, step_m=self.fine_step_m)
        return View(np.asarray(albedo * light, np.float32), ice, snow, water, lit)

    def _albedo(
        self,
        ice: Float32Array,
        relief: Float32Array,
        bright: Float32Array,
        stones: Float32Array,
        years: float,
    ) -> Float32Array:
        """Reflectance of the ground without snow."""
        made_of = self.materials
        below = np.clip((self._snow_line_m(years) - self._height) / 500, 0, 1)
        clean = made_of.ice - (made_of.ice - made_of.old_ice) * below
        cover = np.clip(stones, 0, 1)
        frozen = clean * (1 + bright) * (1 - cover) + made_of.debris * (1 + 2 * bright) * cover
        frozen *= 1 - 0.08 * np.clip(-relief / 3, 0, 1.8)
        return np.asarray(self._rock + ice * (frozen - self._rock), np.float32)

    def _snow_line_m(self, years: float) -> float:
        """Height of the snow line."""
        swing = np.cos(2 * np.pi * (years - self.change.highest_day / DAYS_PER_YEAR))
        # Snow melts slowly and falls quickly: the summer's peak is sharper than the winter's.
        share = (0.5 + 0.5 * swing) ** 1.3
        low, high = self.change.snow_line_low_m, self.change.snow_line_high_m
        lowest = float(self.terrain.elevation_m[self.flow.ice].min())
        return float(lowest + low + (high - low) * share)

    def _snow(self, years: float, drift: Float32Array) -> tuple[Float32Array, float]:
        """Share of the ground under snow, and how fresh the snow is."""
        line = self._snow_line_m(years)
        above = self._height - np.float32(line) + self._snow_offset_m + 30 * drift
        cover = 0.5 + 0.5 * np.tanh(above / np.float32(45))
        span = self.change.snow_line_high_m - self.change.snow_line_low_m
        lowest = float(self.terrain.elevation_m[self.flow.ice].min())
        freshness = 1 - (line - lowest - self.change.snow_line_low_m) / max(span, 1.0)
        return np.asarray(cover, np.float32), float(np.clip(freshness, 0, 1))

    def moved_texture(self, years: float) -> MovedTexture:
        """Bring the generations of texture that make up the surface to where they are now.

        Two generations mix so that the strength of the texture stays; stones so that their mean
        does.
        """
        terrain = self.terrain
        weights = generation_weights(
            years - self.reference_years,
            decorrelation_years=self.change.decorrelation_days / DAYS_PER_YEAR,
        )
        x, y = np.meshgrid(terrain.x, terrain.y)
        near = self._margin_m > -4 * terrain.step_m
        total = sum(weights.values())
        layers = np.zeros((4, *(side * self.factor for side in x.shape)), np.float32)
        for number, weight in weights.items():
            texture = self._texture(number)
            was = self.trajectories.move(x[near], y[near], years, texture.years)
            right, down = np.zeros(x.shape), np.zeros(x.shape)
            right[near] = (was.x - x[near]) / self.fine_step_m
            down[near] = (y[near] - was.y) / self.fine_step_m
            part = displaced(
                texture.coefficients, refined(right, self.factor), refined(down, self.factor)
            )
            for layer, share in enumerate((weight, weight, weight / total, weight)):
                layers[layer] += np.float32(share) * part[layer]
        return MovedTexture(*layers)

    def _texture(self, number: int) -> IceTexture:
        """Texture of a generation, made when first wanted."""
        if number not in self._textures:
            since = number * self.change.decorrelation_days / DAYS_PER_YEAR if number else 0.0
            self._textures[number] = ice_texture(
                self.history,
                years=self.reference_years + since,
                factor=self.factor,
                fine_step_m=self.fine_step_m,
                rng=np.random.default_rng([self.seed, 3, number + 100_000]),
            )
            while len(self._textures) > KEPT_GENERATIONS:
                self._textures.popitem(last=False)
        self._textures.move_to_end(number)
        return self._textures[number]

    def _distance_to_front(self) -> FloatArray:
        """Distance from the calving front, the lowest hundredth of the ice."""
        height = np.where(self.flow.ice, self.terrain.elevation_m, np.inf)
        front = height <= np.quantile(height[self.flow.ice], 0.01)
        step = self.terrain.step_m
        return np.asarray(ndimage.distance_transform_edt(~front) * step)

    def _rock_albedo(self, shape: tuple[int, int], rng: np.random.Generator) -> Float32Array:
        """Bare ground: strata and scree, brighter where the ice has lately left it."""
        fine = fractal_noise(shape, slope=1.3, longest=120.0, shortest=2.2, rng=rng)
        large = refined(
            fractal_noise(self.flow.ice.shape, slope=3.0, longest=90.0, rng=rng), self.factor
        )
        forefield = np.exp(-np.maximum(-refined(self._margin_m, self.factor), 0) / 60.0)
        level = self.materials.rock * (1 + 0.22 * fine + 0.20 * large + 0.35 * forefield)
        return np.asarray(np.clip(level, 0.03, 0.6), np.float32)

    def _snow_preference(self, shape: tuple[int, int], rng: np.random.Generator) -> Float32Array:
        """How much higher than elsewhere a place seems to the snow: it leaves steep ground."""
        slope = np.hypot(*np.gradient(self.terrain.elevation_m.astype(float), self.terrain.step_m))
        hollow = ndimage.gaussian_laplace(self.terrain.elevation_m.astype(float), 2.0)
        rock = np.clip(0.5 - self._margin_m / 40, 0, 1)
        offset = rock * (60 - 330 * np.maximum(slope - 0.35, 0) + 14 * np.clip(hollow, -12, 12))
        patchy = fractal_noise(shape, slope=2.6, longest=260.0, shortest=3.0, rng=rng)
        return refined(offset, self.factor) + np.float32(45) * patchy * refined(rock, self.factor)


def _signed_distance(flow: Flow, step_m: float) -> FloatArray:
    """Distance to the margin in metres, positive inside, smooth enough to be made finer."""
    inside = ndimage.distance_transform_edt(np.pad(flow.ice, 1))[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~flow.ice)
    signed = np.where(flow.ice, inside - 0.5, 0.5 - outside)
    return np.asarray(ndimage.gaussian_filter(signed, 0.8) * step_m)
