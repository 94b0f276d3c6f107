"""Pairs with known motion from which the confidence of a match is learned, and judged.

Three sorts, each `Known` by its number, the same on every machine:

- *crops*: real textures of the places that the shipped network's training kept for validation (or
  for its test), moved and changed as its training samples are;
- *glaciers*: simulated landscapes, whose season, speed, change of the surface and noise are drawn
  from wide ranges, from seed 500,000 on: no training and no test has these;
- *test glaciers*: those of `learned_cases`, on which the confidence is judged and never fitted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from learned_cases import SIMULATED, simulate
from numpy.typing import NDArray
from scipy import ndimage

from ogive.learning.settings import read_settings
from ogive.matching.field import Points
from ogive.similarity.mixture import Mixture, mixtures
from ogive.similarity.training_config import TrainingConfig
from ogive.simulation import (
    Front,
    Place,
    Rhythm,
    SimulatedGlacier,
    SurfaceChange,
    Valley,
    Weather,
)

__all__ = ["Known", "Source", "crops", "glaciers", "test_glaciers"]

CONFIG = Path(__file__).resolve().parents[1] / "examples" / "similarity" / "small.yaml"
CROP_PX = 224
FIRST_SEED = 500_000
CROP_SEEDS = {"validation": 500_000, "test": 950_000}
SHAPE = (360, 360)
PIXEL_M = 10.0
LATITUDES_DEG = (-49.3, 28.0, 46.4, 61.2, 78.0)

PLANES = ("earlier", "later", "dx_px", "dy_px", "told", "gone")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """Two images and what lies between them, ``(y, x)`` on the grid of the earlier image.

    Attributes
    ----------
    name
        Of the pair.
    earlier, later
        Images, float32.
    dx_px, dy_px
        From the earlier to the later one, to the right and down.
    told
        True where it is known whether a displacement is right.
    gone
        True where nothing is left that moved: any displacement there is wrong.
    """

    name: str
    earlier: NDArray[np.float32]
    later: NDArray[np.float32]
    dx_px: Array
    dy_px: Array
    told: NDArray[np.bool_]
    gone: NDArray[np.bool_]

    def error_px(self, points: Points, u: Array, v: Array) -> Array:
        """Length of the error at the windows' centres: infinite on what is gone, NaN untold."""
        rows, columns = np.meshgrid(points.centre_y, points.centre_x, indexing="ij")

        def at(plane: NDArray[np.generic]) -> Array:
            return ndimage.map_coordinates(plane.astype(float), [rows, columns], order=1)

        error = np.hypot(u - at(self.dx_px), v - at(self.dy_px))
        error[at(self.gone) > 0.5] = np.inf
        error[at(self.told) < 0.99] = np.nan
        return error


@dataclass(frozen=True)
class Source:
    """A pair that is made when it is asked for, and kept in a folder.

    Attributes
    ----------
    number
        By which settings of the match are drawn.
    name
        Of the pair.
    make
        Makes it.
    keep
        Whether it is worth keeping.
    """

    number: int
    name: str
    make: Callable[[], Any]
    keep: bool = True

    def known(self, folder: Path) -> Any:
        """Give the pair, from the folder if it is there."""
        if not self.keep:
            return self.make()
        path = folder / f"{self.name.replace(' ', '_')}.npz"
        if path.exists():
            with np.load(path) as kept:
                return Known(self.name, **{plane: kept[plane] for plane in PLANES})
        made = self.make()
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **{plane: getattr(made, plane) for plane in PLANES})
        partial.rename(path)
        return made


def crops(data: Path, side: Literal["validation", "test"], number: int) -> list[Source]:
    """Crops of one side's places; the folder is that of the project's real data."""

    @cache
    def mixture() -> Mixture:
        config = read_settings(CONFIG, TrainingConfig)
        settings = config.samples.model_copy(update={"size_px": CROP_PX})
        before = Path.cwd()
        os.chdir(data)
        try:
            mixed, _ = mixtures(settings, config.split, seeds={side: CROP_SEEDS[side]})
        finally:
            os.chdir(before)
        return mixed[side]

    def make(name: str, index: int) -> Known:
        sample = mixture().sample(index)
        dx, dy = sample["displacement"].numpy().astype(float)
        told = sample["labelled"].numpy()
        # Ice that calved is not told apart from ice under cloud: the few there are count as there.
        earlier, later = (sample[image][0].numpy() for image in ("earlier", "later"))
        return Known(name, earlier, later, dx, dy, told, np.zeros_like(told))

    names = [f"{side} crop {index}" for index in range(number)]
    return [Source(index, name, partial(make, name, index)) for index, name in enumerate(names)]


def glaciers(number: int) -> list[Source]:
    """Glaciers whose everything is drawn."""
    return [
        Source(k, f"glacier {FIRST_SEED + k}", partial(_glacier, FIRST_SEED + k))
        for k in range(number)
    ]


def test_glaciers() -> list[Source]:
    """Glaciers of the comparison of features."""
    every = [(name, seed) for name, recipe in SIMULATED.items() for seed in recipe.seeds]
    return [
        Source(k, f"{name} {seed}", partial(_test_glacier, name, seed))
        for k, (name, seed) in enumerate(every)
    ]


def _test_glacier(situation: str, seed: int) -> Known:
    case = simulate(situation, seed)
    inside = _inside(case.dx_px, case.dy_px)
    return Known(
        case.name, case.earlier, case.later, case.dx_px, case.dy_px, inside,
        inside & ~case.matchable,
    )  # fmt: skip


def _inside(dx_px: Array, dy_px: Array) -> NDArray[np.bool_]:
    """Where the displacement ends inside the image."""
    rows, columns = np.indices(dx_px.shape)
    return (
        (rows + dy_px >= 0) & (rows + dy_px <= dx_px.shape[0] - 1)
        & (columns + dx_px >= 0) & (columns + dx_px <= dx_px.shape[1] - 1)
    )  # fmt: skip


def _glacier(seed: int) -> Known:
    rng = np.random.default_rng([seed, 1])

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    days = log_uniform(5.0, 120.0)
    farthest_px = log_uniform(0.5, 9.0)
    snow_m = rng.uniform(-600.0, 400.0)
    lake = bool(rng.random() < 0.25)
    start = datetime(2023, 1, 1) + timedelta(days=float(rng.uniform(0.0, 330.0)))
    glacier = SimulatedGlacier.build(
        SHAPE,
        seed=seed,
        reference=datetime(2023, 1, 1),
        place=Place(latitude_deg=float(rng.choice(LATITUDES_DEG))),
        valley=Valley(
            slope=0.08 if lake else 0.1, icefall_drop_m=float(rng.uniform(40.0, 200.0)),
            half_width=float(rng.uniform(0.09, 0.12)), relief_m=float(rng.uniform(500.0, 1300.0)),
        ),
        rhythm=replace(Rhythm(trend_origin=datetime(2023, 1, 1)), seasonal_amplitude=0.15),
        change=SurfaceChange(
            decorrelation_days=log_uniform(25.0, 700.0), snow_line_low_m=snow_m,
            snow_line_high_m=snow_m + float(rng.uniform(0.0, 500.0)),
            bridging=float(rng.uniform(0.5, 0.9)),
        ),
        weather=Weather(
            mean_cloud_cover=float(rng.choice([0.0, 0.0, 0.1, 0.25])), gain_spread=0.05,
            haze=float(rng.uniform(0.01, 0.03)), misregistration_px=(0.1, 0.5),
        ),
        front=Front(retreat_m_yr=log_uniform(100.0, 1500.0), season_m=50.0) if lake else None,
        max_speed_m_yr=farthest_px * PIXEL_M / days * 365.25,
        profile_exponent=float(rng.uniform(2.5, 9.0)),
        dem_error_m=float(rng.uniform(3.0, 14.0)),
    )  # fmt: skip
    passes = glacier.passes(start, start + timedelta(days=days + 25))
    first = passes[0]
    last = next(p for p in passes[1:] if (p.time - first.time).days >= int(days) - 5)
    earlier, later = glacier.look(first), glacier.look(last)
    x, y = np.meshgrid(earlier.x, earlier.y)
    apparent = glacier.apparent_displacement(earlier, later, x, y)
    dx_px, dy_px = apparent.dx_m / PIXEL_M, -apparent.dy_m / PIXEL_M
    noise = log_uniform(1.0, 200.0)
    images = [
        (scene.image + noise * rng.standard_normal(SHAPE)).astype(np.float32)
        for scene in (earlier, later)
    ]
    gone = glacier.is_occluded(x, y, earlier.scene.time, later.scene.time)
    return Known(f"glacier {seed}", *images, dx_px, dy_px, _inside(dx_px, dy_px), gone)
