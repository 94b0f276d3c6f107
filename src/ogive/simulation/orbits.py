"""Displacements of pairs from several orbits, whose motion and elevation bias are known.

The quick way to try what orthorectification offsets do: no images are drawn, each displacement is
motion, the difference of two offsets, what each image contributes, and noise of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..model import DAYS_PER_YEAR, InputError

__all__ = ["SENTINEL_2_BASELINE", "DisplacementNetwork", "displacement_network"]

Floats = NDArray[np.float64]

SENTINEL_2_BASELINE = 1 / 5.4
"""Base to height of Sentinel-2's outermost views from neighbouring orbits (Altena & Kääb 2017)."""


@dataclass(frozen=True, slots=True)
class DisplacementNetwork:
    """A cube of pairs with the views of its images, and the truth.

    Attributes
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year with errors and dates.
    views
        ``sight_x, sight_y`` along ``image``.
    elevation_bias_m
        (y, x), surface minus elevation model.
    days
        (images,) since the first of June 2020.
    displacement_m
        Function of days: how far the ice has moved along +x and +y since day 0, in metres.
    """

    cube: xr.Dataset
    views: xr.Dataset
    elevation_bias_m: Floats
    days: Floats
    displacement_m: Callable[[Floats], tuple[Floats, Floats]]


def displacement_network(
    shape: tuple[int, int] = (40, 50),
    *,
    images: int = 8,
    pairs: int | None = 20,
    orbits: int = 2,
    baseline: float = SENTINEL_2_BASELINE,
    sight_azimuth_deg: float = 103.0,
    bias_m: float = 30.0,
    vx_m_yr: float = 200.0,
    vy_m_yr: float = -100.0,
    years_worth: Callable[[Floats], Floats] | None = None,
    noise_m: float = 1.0,
    image_error_m: float = 0.0,
    blunders: float = 0.0,
    blunder_m: float = 80.0,
    span_days: float = 120.0,
    longest_days: float | None = None,
    seed: int = 0,
) -> DisplacementNetwork:
    """Simulate displacements of a network of pairs of images from several orbits.

    Parameters
    ----------
    shape
        Of the map, (y, x).
    images
        How many there are, from each orbit in turn, at dates drawn from multiples of 2.5 days.
    pairs
        How many of all pairs are matched, drawn at random; ``None`` for all.
    orbits
        From how many lines of sight; they lie in one plane across the track.
    baseline
        Tangent of the outermost views' difference.
    sight_azimuth_deg
        Direction of that plane, from +y towards +x.
    bias_m
        Amplitude of the elevation bias, a wave over the map.
    vx_m_yr, vy_m_yr
        Velocity, the same everywhere.
    years_worth
        How many years at that velocity the ice has moved until a day; constant speed by default.
    noise_m
        Standard deviation of each pair's own error, in both components; also declared as its error.
    image_error_m
        Standard deviation of what each image contributes to all its pairs, at each pixel.
    blunders, blunder_m
        Share of displacements with a false match in each component, and how false it is at most.
    span_days
        Over which the images spread.
    longest_days
        Longest baseline in time.
    seed
        The same seed gives the same network.

    Raises
    ------
    InputError
        If there are fewer than two images or orbits to choose from.

    Examples
    --------
    >>> network = displacement_network((2, 3), images=4, pairs=None)
    >>> dict(network.cube.sizes), dict(network.views.sizes)
    ({'mid_date': 6, 'y': 2, 'x': 3}, {'image': 4})
    """
    if images < 2 or orbits < 1:
        raise InputError(f"{images} images of {orbits} orbits make no pair: give two or more")
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(np.arange(0, span_days, 2.5), images, replace=False))
    first, last = np.triu_indices(images, 1)
    if longest_days is not None:
        short = days[last] - days[first] <= longest_days
        first, last = first[short], last[short]
    if pairs is not None:
        taken = np.sort(rng.choice(first.size, min(pairs, first.size), replace=False))
        first, last = first[taken], last[taken]
    # A single orbit looks from one side.
    place = np.linspace(-0.5, 0.5, orbits) if orbits > 1 else np.array([0.3])
    side = place[np.arange(images) % orbits] * baseline
    turn = np.deg2rad(sight_azimuth_deg)
    sight = {"x": side * np.sin(turn), "y": side * np.cos(turn)}
    row, column = np.mgrid[0 : shape[0], 0 : shape[1]]
    height = bias_m * np.sin(6 * row / shape[0]) * np.cos(5 * column / shape[1])
    worth = years_worth or (lambda day: day / DAYS_PER_YEAR)
    moved = worth(days[last]) - worth(days[first])
    years = (days[last] - days[first]) / DAYS_PER_YEAR
    variables: dict[str, tuple[tuple[str, ...], Floats, dict[str, str]]] = {}
    for axis, speed in (("x", vx_m_yr), ("y", vy_m_yr)):
        own = image_error_m * rng.standard_normal((images, *shape))
        d = -(sight[axis][last] - sight[axis][first])[:, None, None] * height
        d = d + (speed * moved)[:, None, None] + own[last] - own[first]
        d = d + noise_m * rng.standard_normal(d.shape)
        false = rng.random(d.shape) < blunders
        d = np.where(false, d + rng.uniform(-blunder_m, blunder_m, d.shape), d)
        units = {"units": "meter/year"}
        variables[f"v{axis}"] = (("mid_date", "y", "x"), d / years[:, None, None], units)
        variables[f"v{axis}_error"] = (("mid_date",), noise_m / years, units)
    times = np.datetime64("2020-06-01", "ns") + (days * 86400e9).astype("timedelta64[ns]")
    cube = xr.Dataset(
        variables,
        {
            "mid_date": times[first] + (times[last] - times[first]) // 2,
            "y": 7e6 - 100.0 * np.arange(shape[0]),
            "x": 5e5 + 100.0 * np.arange(shape[1]),
            "acquisition_date_img1": ("mid_date", times[first]),
            "acquisition_date_img2": ("mid_date", times[last]),
        },
    )
    views = xr.Dataset(
        {f"sight_{axis}": ("image", values) for axis, values in sight.items()},
        {
            "time": ("image", times),
            "mission": ("image", np.full(images, "sentinel-2")),
            "orbit": ("image", np.arange(images) % orbits + 1),
            "geometry": ("image", np.full(images, "per-pixel")),
        },
    )
    return DisplacementNetwork(
        cube, views, height, days, lambda day: (vx_m_yr * worth(day), vy_m_yr * worth(day))
    )
