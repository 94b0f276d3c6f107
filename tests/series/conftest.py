"""Simulated networks of pairs whose motion is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from ogive.model import DAYS_PER_YEAR

EPOCH = np.datetime64("2017-01-01", "ns")


def as_times(days: np.ndarray) -> np.ndarray:
    return EPOCH + np.round(np.asarray(days) * 86_400e9).astype("timedelta64[ns]")


def true_position(days: np.ndarray) -> np.ndarray:
    """(2, ...) position in metres of ice that speeds up every summer."""
    omega = 2 * np.pi / 365.25
    along = 150 * days / 365.25 + 30 / 365.25 / omega * np.sin(omega * days)
    return np.stack([along, 0.4 * along])


def true_displacement(series: xr.Dataset) -> np.ndarray:
    """(2, time) displacement over the periods of a series."""
    bounds = (series.time_bounds.values - EPOCH) / np.timedelta64(1, "D")
    return true_position(bounds[:, 1]) - true_position(bounds[:, 0])


def make_cube(
    first_days,
    second_days,
    *,
    pixels: int = 1,
    error_m=1.0,
    noise: float = 1.0,
    outliers: float = 0.0,
    gaps: float = 0.0,
    seed: int = 0,
    position: Callable[[np.ndarray], np.ndarray] = true_position,
) -> xr.Dataset:
    """Observations of known motion with Gaussian errors, gross outliers and gaps."""
    rng = np.random.default_rng(seed)
    first, second = (np.asarray(d, float) for d in (first_days, second_days))
    n = first.size
    error = np.broadcast_to(np.asarray(error_m, float), n)
    moved = (position(second) - position(first))[:, :, None]
    d = moved + noise * error[:, None] * rng.normal(size=(2, n, pixels))
    wrong = rng.random((n, pixels)) < outliers
    d = np.where(wrong, 40 * rng.normal(size=d.shape), d)
    d = np.where(rng.random((n, pixels)) < gaps, np.nan, d)
    years = (second - first) / DAYS_PER_YEAR
    v = (d / years[:, None]).astype("f4")[:, :, None, :]
    return xr.Dataset(
        {
            "vx": (("mid_date", "y", "x"), v[0]),
            "vy": (("mid_date", "y", "x"), v[1]),
            "vx_error": ("mid_date", (error / years).astype("f4")),
            "vy_error": ("mid_date", (error / years).astype("f4")),
        },
        {
            "acquisition_date_img1": ("mid_date", as_times(first)),
            "acquisition_date_img2": ("mid_date", as_times(second)),
            "x": 120.0 * np.arange(pixels),
            "y": [0.0],
        },
    )


def add_image_errors(
    cube: xr.Dataset, error_m: float, *, seed: int = 0, declared: bool
) -> xr.Dataset:
    """Let every image lie in a wrong place, in each pixel another; the cube's errors may know."""
    rng = np.random.default_rng(seed)
    dates = [cube[f"acquisition_date_img{k}"].values for k in (1, 2)]
    images, number = np.unique(np.concatenate(dates), return_inverse=True)
    first, second = np.split(number, 2)
    years = (dates[1] - dates[0]) / np.timedelta64(1, "D") / DAYS_PER_YEAR
    cube = cube.copy(deep=True)
    for name in ("vx", "vy"):
        wrong = error_m * rng.normal(size=(images.size, cube.sizes["x"]))
        cube[name].values[:, 0] += (wrong[second] - wrong[first]) / years[:, None]
        if declared:
            shared = 2 * (error_m / years) ** 2
            cube[f"{name}_error"] = np.sqrt(cube[f"{name}_error"] ** 2 + shared).astype("f4")
    return cube


def regular_pairs(dates: int = 60, step: float = 12.0, reach: int = 8, keep: float = 0.5, seed=0):
    """Pairs between dates every `step` days, with baselines up to `reach` steps."""
    rng = np.random.default_rng(seed)
    i, j = np.triu_indices(dates, 1)
    chosen = (j - i <= reach) & (rng.random(i.size) < keep)
    return step * i[chosen], step * j[chosen]


@pytest.fixture(scope="session")
def simulate() -> Callable[..., xr.Dataset]:
    return make_cube


@pytest.fixture(scope="session")
def with_images() -> Callable[..., xr.Dataset]:
    return add_image_errors


@pytest.fixture(scope="session")
def pairs() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return regular_pairs


@pytest.fixture(scope="session")
def truth() -> Callable[[xr.Dataset], np.ndarray]:
    return true_displacement
