"""Filters of a cube's velocities before they are aggregated (Rabatel et al. 2023; Mouginot et al.).

Each is a function of a cube that gives a cube in which the velocities that it does not believe are
NaN, both components together. Each looks no farther than its halo (`FILTERS`, pixels on each side),
so that a cube filtered by blocks with that overlap equals the cube filtered whole. They are
composed by name in `filter_cube`, which counts what each removed.

The published order is `PUBLISHED`.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.correction.neighbourhood import deviates_from_median
from ogive.model import InputError

from .filter_kernels import baseline_rows, direction_rows, gross_rows, percentile_rows
from .observations import Observations, Pairs, check_cube, pairs_of

__all__ = [
    "FILTERS",
    "PUBLISHED",
    "Filter",
    "choose_baselines",
    "filter_cube",
    "limit_direction",
    "limit_speed",
    "reject_by_spatial_median",
    "reject_gross",
    "trim_speeds",
]

Floats = NDArray[np.float32]
Options = Mapping[str, Any]

_log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 8


# ---- the filters as functions of a cube ----------------------------------------------------------


def limit_speed(cube: xr.Dataset, *, max_speed_m_yr: float = 1000.0) -> xr.Dataset:
    """Remove velocities that no glacier of the region has.

    Halo: 0.

    Parameters
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year, in memory or lazy.
    max_speed_m_yr
        The limit; 1000 m/yr in the Alps.

    Returns
    -------
    xarray.Dataset
        NaN where a velocity was removed.

    Raises
    ------
    InputError
        If the limit is not positive.
    """
    return _on_cube(cube, "speed", {"max_speed_m_yr": max_speed_m_yr})


def reject_by_spatial_median(
    cube: xr.Dataset,
    *,
    max_deviation_px: float = 3.0,
    size: int = 9,
    image_pixel_m: float | None = None,
) -> xr.Dataset:
    """Remove velocities that deviate from the median of the pixels around, in either component.

    The rule is about displacements in pixels of the images (section 3.4 of the paper, before the
    conversion to m/yr), so that the limit in m/yr is wider for short baselines. It loses a glacier
    narrower than half of the square that moves more than the limit over a baseline.

    Halo: ``size // 2``.

    Parameters
    ----------
    cube
        As in `limit_speed`.
    max_deviation_px
        Largest deviation of a displacement from the median, in pixels of the images.
    size
        Odd width of the square, in pixels of the cube.
    image_pixel_m
        Pixel of the images in metres; by default by the pairs' satellites (Sentinel-2 10 m,
        Landsat 7 to 9 15 m, Landsat 4 and 5 30 m), 10 m where none is told.

    Raises
    ------
    InputError
        If an option is out of range.
    """
    options = {"max_deviation_px": max_deviation_px, "size": size, "image_pixel_m": image_pixel_m}
    return _on_cube(cube, "spatial_median", options)


def choose_baselines(
    cube: xr.Dataset,
    *,
    accuracy_m: float = 1.0,
    min_ratio: float = 1.0,
    max_displacement_m: float = 160.0,
    longest_minimum_days: float = 300.0,
    shortest_maximum_days: float = 30.0,
    min_share: float = 1 / 3,
) -> xr.Dataset:
    """Keep the baselines that can see a pixel's flow.

    Short ones cannot see slow flow: the ice must move ``min_ratio`` times the accuracy of a match.
    Long ones lose fast flow: it must not move farther than the surface keeps its face. The flow is
    the length of the pixel's median vector, which noise does not lengthen.

    Halo: 0.

    Parameters
    ----------
    cube
        As in `limit_speed`.
    accuracy_m
        Expected error of a displacement: a tenth of Sentinel-2's pixel.
    min_ratio
        Least displacement, in units of the accuracy.
    max_displacement_m
        Farthest displacement that is still matched: a window of 16 pixels of 10 m.
    longest_minimum_days, shortest_maximum_days
        However slow the ice, baselines from ``longest_minimum_days`` on are long enough; however
        fast, baselines up to ``shortest_maximum_days`` are short enough.
    min_share
        Of a pixel's velocities at least this share stays: the longest baselines of slow ice, the
        shortest of fast ice. Where no pair is long or short enough, these are the best there are.

    Raises
    ------
    InputError
        If an option is not positive.
    """
    return _on_cube(
        cube,
        "baselines",
        {
            "accuracy_m": accuracy_m,
            "min_ratio": min_ratio,
            "max_displacement_m": max_displacement_m,
            "longest_minimum_days": longest_minimum_days,
            "shortest_maximum_days": shortest_maximum_days,
            "min_share": min_share,
        },
    )


def limit_direction(cube: xr.Dataset, *, max_angle_deg: float = 45.0) -> xr.Dataset:
    """Remove velocities that point away from the pixel's median direction.

    That direction is the one of the vector of the components' medians.

    Halo: 0.

    Parameters
    ----------
    cube
        As in `limit_speed`.
    max_angle_deg
        Largest angle to either side.

    Raises
    ------
    InputError
        If the angle is not between 0 and 180 degrees.
    """
    return _on_cube(cube, "direction", {"max_angle_deg": max_angle_deg})


def reject_gross(cube: xr.Dataset, *, max_deviations: float = 5.0) -> xr.Dataset:
    """Remove what lies far off the pixel's own line in time, in either component.

    The line is Tukey's resistant one (medians of the first and the last third), the deviation is
    counted in robust standard deviations. Of normal errors it removes one in a million, so that
    lines and tests that follow keep their errors; of gross errors it leaves few.

    Halo: 0.

    Parameters
    ----------
    cube
        As in `limit_speed`.
    max_deviations
        Largest deviation, in standard deviations.

    Raises
    ------
    InputError
        If it is not positive.
    """
    return _on_cube(cube, "gross", {"max_deviations": max_deviations})


def trim_speeds(
    cube: xr.Dataset,
    *,
    low_percent: float = 20.0,
    high_percent: float = 80.0,
    about: Literal["level", "line"] = "line",
) -> xr.Dataset:
    """Remove the tails of each pixel's distribution of speeds.

    The percentiles are order statistics, the lower one rounded down and the upper one up, so that
    a pixel with one or two velocities keeps them.

    Halo: 0.

    Parameters
    ----------
    cube
        As in `limit_speed`.
    low_percent, high_percent
        What lies below and above is removed.
    about
        ``"line"``: the deviations along the flow from the pixel's resistant line. ``"level"``: the
        speeds of the whole record, as published. Where the ice slows down, its first and last
        velocities are tails of these, so that a trend through what is left is too small.

    Raises
    ------
    InputError
        If the percentiles are not in order, or ``about`` is unknown.
    """
    options = {"low_percent": low_percent, "high_percent": high_percent, "about": about}
    return _on_cube(cube, "percentiles", options)


def filter_cube(
    cube: xr.Dataset,
    order: Sequence[str] | None = None,
    options: Mapping[str, Options] | None = None,
) -> xr.Dataset:
    """Apply filters one after the other and count what each removes.

    Parameters
    ----------
    cube
        As in `limit_speed`.
    order
        Names of `FILTERS`; by default `PUBLISHED`.
    options
        Options of filters by their name.

    Returns
    -------
    xarray.Dataset
        The filtered cube. Attributes ``observations_given`` and ``removed_by_<filter>`` hold the
        counts of a cube in memory (those of a lazy one are not known yet).

    Raises
    ------
    InputError
        If a filter or an option is unknown.

    Examples
    --------
    >>> filtered = filter_cube(cube, ["speed", "direction"],
    ...                        {"direction": {"max_angle_deg": 30}})  # doctest: +SKIP
    """
    chain = chain_of(PUBLISHED if order is None else order, options)
    lazy = cube["vx"].chunks is not None
    before = 0 if lazy else _valid(cube)
    counts = {} if lazy else {"observations_given": before}
    for name, chosen in chain:
        cube = _on_cube(cube, name, chosen)
        if not lazy:
            left = _valid(cube)
            counts[f"removed_by_{name}"] = before - left
            before = left
    return cube.assign_attrs(counts)


def _valid(cube: xr.Dataset) -> int:
    return int((np.isfinite(cube["vx"].values) & np.isfinite(cube["vy"].values)).sum())


# ---- the filters as functions of arrays ----------------------------------------------------------


class Filter(NamedTuple):
    """A filter that works in place on arrays.

    Parameters
    ----------
    apply
        Sets the velocities to NaN that it removes, given the options and the number of threads.
    halo
        Pixels on each side that it looks at, given the options.
    defaults
        Its options.
    """

    apply: Callable[[Observations, Options, int], None]
    halo: Callable[[Options], int]
    defaults: Options


Chain = list[tuple[str, dict[str, Any]]]


def chain_of(order: Sequence[str], options: Mapping[str, Options] | None = None) -> Chain:
    """Resolve names and options of filters, refusing what is unknown."""
    given = dict(options or {})
    unknown = [name for name in (*order, *given) if name not in FILTERS]
    if unknown:
        raise InputError(f"filter {unknown[0]!r} is unknown: use {', '.join(FILTERS)}")
    unused = [name for name in given if name not in order]
    if unused:
        raise InputError(f"options are given for {unused[0]!r}, which is not among {list(order)}")
    if len(set(order)) < len(order):
        raise InputError(f"a filter is named twice: {list(order)}")
    chain = []
    for name in order:
        defaults = FILTERS[name].defaults
        wrong = [key for key in given.get(name, {}) if key not in defaults]
        if wrong:
            raise InputError(f"{name} has no option {wrong[0]!r}: it has {', '.join(defaults)}")
        chosen = {**defaults, **given.get(name, {})}
        _check(name, chosen)
        chain.append((name, chosen))
    return chain


def _check(name: str, options: Options) -> None:
    for key, value in options.items():
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{key}={value} of the filter {name!r}: a positive number is needed")
        if value == 0 and key != "low_percent":
            raise InputError(f"{key}={value} of the filter {name!r}: a positive number is needed")
    if name == "spatial_median" and options["size"] % 2 == 0:
        raise InputError(f"size={options['size']}: an odd number of pixels is needed")
    if name == "baselines" and options["min_share"] > 1:
        raise InputError(f"min_share={options['min_share']}: at most 1")
    if name == "direction" and options["max_angle_deg"] > 180:
        raise InputError(f"max_angle_deg={options['max_angle_deg']}: at most 180 degrees")
    if name == "percentiles":
        low, high = options["low_percent"], options["high_percent"]
        if not 0 <= low < high <= 100:
            raise InputError(f"percentiles of {low} and {high}: they must rise from 0 to 100")
        if options["about"] not in ("level", "line"):
            raise InputError(f'about={options["about"]!r} is unknown: use "level" or "line"')


def _on_cube(cube: xr.Dataset, name: str, options: Options) -> xr.Dataset:
    """Apply one filter to a cube, block by block if it is lazy."""
    ((name, chosen),) = chain_of([name], {name: options})
    check_cube(cube)
    pairs = pairs_of(cube)
    ordered = cube[["vx", "vy"]].transpose("mid_date", "y", "x")
    if cube["vx"].chunks is None:
        both = _both(np.stack([ordered["vx"].values, ordered["vy"].values]), name, chosen, pairs)
    else:
        halo = FILTERS[name].halo(chosen)
        fields = [ordered[c].astype(np.float32).chunk({"mid_date": -1}).data for c in ("vx", "vy")]
        both = dask.array.map_overlap(  # type: ignore[no-untyped-call]
            _both,
            dask.array.stack(fields).rechunk({0: -1}),  # type: ignore[no-untyped-call]
            depth={2: halo, 3: halo},
            boundary=np.nan,
            dtype=np.float32,
            meta=np.empty((0, 0, 0, 0), np.float32),
            name_=name,
            options=chosen,
            pairs=pairs,
        )
    result = cube.copy()
    for number, component in enumerate(("vx", "vy")):
        attributes = dict(cube[component].attrs)
        result[component] = (("mid_date", "y", "x"), both[number], attributes)
    return result


def _both(fields: NDArray[Any], name_: str, options: Options, pairs: Pairs) -> Floats:
    both = np.array(fields, dtype=np.float32)
    both[:, ~np.isfinite(both).all(axis=0)] = np.nan
    FILTERS[name_].apply(Observations(both[0], both[1], pairs), options, 1)
    return both


def _by_rows(observations: Observations, threads: int, kernel: Any, *arguments: Any) -> None:
    rows = observations.vx.shape[1]
    ranges = [(a, min(a + _ROWS_AT_ONCE, rows)) for a in range(0, rows, _ROWS_AT_ONCE)]

    def work(part: tuple[int, int]) -> None:
        kernel(observations.vx, observations.vy, *arguments, *part)

    for _ in in_threads(work, ranges, threads):
        pass


def in_threads(work: Callable[[Any], None], parts: Sequence[Any], threads: int) -> Iterator[None]:
    """Do the parts of a work in threads; an error of one is raised."""
    if threads <= 1:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(min(threads, os.cpu_count() or 1)) as pool:
        yield from pool.map(work, parts)


def _speed(observations: Observations, options: Options, threads: int) -> None:
    limit = np.float32(options["max_speed_m_yr"])

    def work(k: int) -> None:
        vx, vy = observations.vx[k], observations.vy[k]
        fast = np.hypot(vx, vy) > limit
        vx[fast] = np.nan
        vy[fast] = np.nan

    for _ in in_threads(work, range(observations.vx.shape[0]), threads):
        pass


def _spatial_median(observations: Observations, options: Options, threads: int) -> None:
    pairs, size = observations.pairs, int(options["size"])
    pixel = options["image_pixel_m"]
    pixels = pairs.image_pixel_m if pixel is None else np.full(pairs.span_years.size, pixel)
    limits = options["max_deviation_px"] * pixels / pairs.span_years

    def work(k: int) -> None:
        vx, vy = observations.vx[k], observations.vy[k]
        wrong = deviates_from_median(vx, size, limits[k])
        wrong |= deviates_from_median(vy, size, limits[k])
        vx[wrong] = np.nan
        vy[wrong] = np.nan

    for _ in in_threads(work, range(observations.vx.shape[0]), threads):
        pass


def _baselines(observations: Observations, options: Options, threads: int) -> None:
    days = observations.pairs.span_years * 365.25
    _by_rows(
        observations, threads, baseline_rows, days,
        float(options["accuracy_m"] * options["min_ratio"]), float(options["max_displacement_m"]),
        float(options["longest_minimum_days"]), float(options["shortest_maximum_days"]),
        float(options["min_share"]),
    )  # fmt: skip


def _direction(observations: Observations, options: Options, threads: int) -> None:
    cosine = math.cos(math.radians(options["max_angle_deg"]))
    _by_rows(observations, threads, direction_rows, cosine)


def _gross(observations: Observations, options: Options, threads: int) -> None:
    time = observations.pairs.mid_years
    _by_rows(observations, threads, gross_rows, time, float(options["max_deviations"]))


def _percentiles(observations: Observations, options: Options, threads: int) -> None:
    low, high = options["low_percent"] / 100.0, options["high_percent"] / 100.0
    along = options["about"] == "line"
    _by_rows(observations, threads, percentile_rows, observations.pairs.mid_years, low, high, along)


def _no_halo(_: Options) -> int:
    return 0


FILTERS: dict[str, Filter] = {
    "speed": Filter(_speed, _no_halo, {"max_speed_m_yr": 1000.0}),
    "spatial_median": Filter(
        _spatial_median,
        lambda options: int(options["size"]) // 2,
        {"max_deviation_px": 3.0, "size": 9, "image_pixel_m": None},
    ),
    "baselines": Filter(
        _baselines,
        _no_halo,
        {
            "accuracy_m": 1.0,
            "min_ratio": 1.0,
            "max_displacement_m": 160.0,
            "longest_minimum_days": 300.0,
            "shortest_maximum_days": 30.0,
            "min_share": 1 / 3,
        },
    ),
    "direction": Filter(_direction, _no_halo, {"max_angle_deg": 45.0}),
    "gross": Filter(_gross, _no_halo, {"max_deviations": 5.0}),
    "percentiles": Filter(
        _percentiles, _no_halo, {"low_percent": 20.0, "high_percent": 80.0, "about": "line"}
    ),
}
"""What a cube can be filtered by."""

PUBLISHED = ("speed", "spatial_median", "baselines", "direction", "percentiles")
"""The filters of Rabatel et al. 2023, section 3.6, in their order."""
