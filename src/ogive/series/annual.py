"""Annual velocity maps of a cube, with spread, count, error, reliability and trend.

The product of Rabatel et al. (2023, Data 8, 66): filtered velocities of many pairs become one map a
year, pixel by pixel. What is done differently, and why, is in the documentation of `annual`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.model import ATTRIBUTES, DAYS_PER_YEAR, InputError

from .aggregate import METHODS, OVERALL_OUTPUTS, YEARLY_OUTPUTS, aggregate_rows
from .filters import FILTERS, Chain, chain_of, in_threads
from .line import LINE_OUTPUTS
from .observations import Observations, Pairs, check_cube, in_years, pairs_of, read_velocities
from .smoothing import HALO as SMOOTHING_HALO
from .smoothing import SMOOTHINGS, smoothed
from .trend import (
    ROWS_AT_ONCE,
    TREND_ATTRIBUTES,
    check_share,
    cores,
    fit_lines,
    mask_attributes,
    row_ranges,
    significant,
)
from .years import PARTS, Period, check_periods, overlaps, season_parts, years_of

__all__ = ["DEFAULT_FILTERS", "Method", "annual"]

Method = Literal["ols", "theil_sen", "median", "weighted_mean"]
Floats = NDArray[np.float32]

_log = logging.getLogger(__name__)

DEFAULT_FILTERS = ("speed", "spatial_median", "baselines", "direction", "gross", "percentiles")
"""The published filters, and one against gross errors before the tails are cut."""

_YEARLY = (
    "vx", "vy", "v", "vx_error", "vy_error", "v_error", "direction", "direction_std", "v_std",
    "count",
)  # fmt: skip
_OVERALL = ("a", "stdeva", "stdev", "cnt", "trend", "trend_error", "p_value",
            "shared_image_correlation")  # fmt: skip

# Pixels whose pairs touch fewer twelfths of a year than this show one season.
_MIN_PARTS = 6
_BLOCK_BYTES = 100e6

_REASONS = {
    1: "no_observation",
    2: "one_observation",
    4: "speed_varies",
    8: "direction_varies",
    16: "one_season",
}

_TEXTS: Mapping[str, Mapping[str, Any]] = {
    "direction": {"long_name": "flow direction, anticlockwise from +x", "units": "radian"},
    "direction_std": {"long_name": "standard deviation of the flow direction", "units": "radian"},
    "v_std": {"long_name": "standard deviation of the velocity along the flow",
              "units": "meter/year"},
    "count": {"long_name": "image pairs that overlap the year", "units": "1"},
    "a": {"long_name": "flow direction of the whole period, anticlockwise from +x",
          "units": "radian"},
    "stdeva": {"long_name": "standard deviation of the flow direction over the whole period",
               "units": "radian"},
    "stdev": {"long_name": "standard deviation of the velocity along the flow, whole period",
              "units": "meter/year"},
    "cnt": {"long_name": "image pairs aggregated, whole period", "units": "1"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that all blocks of a cube have in common; pairs are sorted by middle date."""

    pairs: Pairs
    order: NDArray[np.int64]
    periods: tuple[Period, ...]
    shares: NDArray[np.float64]
    parts: NDArray[np.uint16]
    chain: Chain
    method: str
    trim_levels: bool
    smoothing: str
    threads: int

    @property
    def halo(self) -> int:
        """Pixels on each side that a result depends on."""
        own = sum(FILTERS[name].halo(options) for name, options in self.chain)
        return own + (0 if self.smoothing == "none" else SMOOTHING_HALO)

    @property
    def centres_years(self) -> NDArray[np.float64]:
        """Middles of the periods."""
        starts, ends = (
            in_years(np.array([period[k] for period in self.periods])) for k in range(2)
        )
        return 0.5 * (starts + ends)


class _Maps(NamedTuple):
    """Results of a block, or of the whole."""

    yearly: dict[str, Floats]
    overall: dict[str, Floats]
    parts: Floats
    level: Floats


def annual(
    cube: xr.Dataset,
    year_start: str = "10-01",
    method: Method = "ols",
    *,
    periods: Sequence[Period] | None = None,
    filters: Sequence[str] = DEFAULT_FILTERS,
    filter_options: Mapping[str, Mapping[str, Any]] | None = None,
    trim_levels: bool = False,
    max_variation_percent: float = 75.0,
    max_direction_std_deg: float = 2.5,
    significance: float = 0.05,
    smoothing: Literal["gaussian", "median", "none"] = "gaussian",
    block_px: int | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Annual velocity maps of a cube and their trend (Rabatel et al. 2023, section 3.6).

    Filters, annual velocities, spreads, the flag, the trend with its test, and a last 3 x 3 filter.
    A pair that spans two years weighs in each by its overlap (``"median"``, ``"weighted_mean"``,
    spreads); a line needs no such weights, since a pair's velocity is that of its middle.

    Speeds are made from components: the speed of a year is the length of its mean (median, fitted)
    vector, the trend is the slope of the component along the mean flow, the spread that of this
    component. Means of magnitudes grow with the noise.

    What differs from the paper: velocities, trends and counts are made *before* the tails of the
    speeds are cut, only spreads (and so the flag) after it, and the tails are those about the
    pixel's line. Tails of the whole record, cut first, are the first and last velocities where ice
    slows down: a quarter to a half of a trend is lost, and its error is told too small. Errors and
    test count what pairs that share an image have in common (`ogive.series.line`). The paper's way
    is ``filters=PUBLISHED, trim_levels=True, filter_options={"percentiles": {"about": "level"}}``.

    Parameters
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year with both dates of each pair, as
        `ogive.open_cube` and `ogive.stack` give it. A lazy cube is read block by block.
    year_start
        Month and day of a year's first day: ``"10-01"`` for hydrological years, ``"01-01"`` for
        calendar years. Years count that the record covers by half.
    method
        ``"ols"``: the line of least squares at the middle of each year (the published choice);
        ``"theil_sen"``: the line of the median slope; ``"median"`` and ``"weighted_mean"`` (by the
        errors in ``vx_error, vy_error``): of the year's own pairs. Where a pixel's record is too
        short for a line, the mean of the year's own pairs stands in, and ``trend`` is NaN.
    periods
        Other periods than years, such as ``[Period.of("2018-05-01", "2018-10-01")]``.
    filters
        Names of `ogive.series.filters.FILTERS`, in order.
    filter_options
        Options of filters by name, such as ``{"speed": {"max_speed_m_yr": 5000}}``.
    trim_levels
        Make velocities and trends of what the filter ``"percentiles"`` leaves, as published.
    max_variation_percent
        Coefficient of variation of the speed above which a pixel is flagged.
    max_direction_std_deg
        Spread of the direction above which a pixel is flagged.
    significance
        Level of the Mann-Kendall test.
    smoothing
        The last filter over the annual components and the trend. Errors are those before it:
        neighbouring matches share most of their windows, so that it hardly lowers them.
    block_px
        Side of the blocks; by default such that a block takes some hundred megabytes. The result
        is the same for any size.
    threads
        By default all cores; the result is the same for any number.

    Returns
    -------
    xarray.Dataset
        Along ``year`` (names such as ``2015_2016``; ``year_start, year_end``): ``vx, vy, v`` and
        their errors (meter/year), ``direction`` (radians, anticlockwise from +x),
        ``direction_std``, ``v_std``, ``count``. For the whole period on (y, x): ``a, stdeva,
        stdev, cnt``, ``flag`` (1 reliable, 0 not) and ``reason`` (why not), ``trend`` and
        ``trend_error`` (meter/year2), ``p_value``, ``trend_mask`` (1 significant),
        ``shared_image_correlation``. Attributes: counts of the filters, ``years_without_data``.
        A year in which the cube has no pair is NaN whatever the method.

    Raises
    ------
    InputError
        If the cube is no canonical one (other units, other dimensions), or an option is wrong.
    DateError
        If dates are missing, equal or reversed.

    Examples
    --------
    >>> import ogive
    >>> maps = ogive.annual(ogive.open_cube("cube.zarr"))  # doctest: +SKIP
    >>> maps.v.sel(year="2019_2020").plot()  # doctest: +SKIP
    """
    check_cube(cube)
    _check_options(cube, method, smoothing, block_px, max_variation_percent, max_direction_std_deg)
    check_share("significance", significance)
    plan = _plan(
        cube,
        year_start,
        periods,
        chain=chain_of(filters, filter_options),
        method=method,
        trim_levels=trim_levels,
        smoothing=smoothing,
        threads=cores(threads),
    )
    maps = _empty(len(plan.periods), cube.sizes["y"], cube.sizes["x"])
    counts: dict[str, int] = {}
    for block in _blocks(cube, plan, block_px):
        _do_block(cube, plan, block, maps, counts)
    result = _dataset(cube, plan, maps)
    _flag(result, maps, max_variation_percent, max_direction_std_deg)
    result["trend_mask"] = (
        ("y", "x"),
        significant(maps.overall["p_value"], significance),
        mask_attributes(significance),
    )
    result.attrs |= counts | {
        "significance": significance,
        "max_variation_percent": max_variation_percent,
        "max_direction_std_deg": max_direction_std_deg,
    }
    _tell_gaps(result)
    return result


def _check_options(
    cube: xr.Dataset,
    method: str,
    smoothing: str,
    block_px: int | None,
    max_variation_percent: float,
    max_direction_std_deg: float,
) -> None:
    if method not in ("ols", "theil_sen", "median", "weighted_mean"):
        raise InputError(
            f"method {method!r} is unknown: use ols, theil_sen, median or weighted_mean"
        )
    if method == "weighted_mean":
        missing = [name for name in ("vx_error", "vy_error") if name not in cube]
        if missing:
            raise InputError(
                f"the cube has no {' and no '.join(missing)}: weighted_mean needs them; use "
                "method='median'"
            )
    if smoothing not in SMOOTHINGS:
        raise InputError(f"smoothing {smoothing!r} is unknown: use {', '.join(SMOOTHINGS)}")
    if block_px is not None and block_px < 1:
        raise InputError(f"block_px={block_px}: at least 1 is needed")
    if not max_variation_percent > 0 or not max_direction_std_deg > 0:
        raise InputError("max_variation_percent and max_direction_std_deg must be positive")


def _plan(
    cube: xr.Dataset, year_start: str, periods: Sequence[Period] | None, **options: Any
) -> _Plan:
    pairs = pairs_of(cube)
    order = np.argsort(pairs.mid_years, kind="stable")
    pairs = pairs.take(order)
    if periods is None:
        record = (cube["acquisition_date_img1"].values.min(),
                  cube["acquisition_date_img2"].values.max())  # fmt: skip
        periods = years_of(*record, year_start)
    check_periods(periods)
    names = [name for name, _ in options["chain"]]
    if "percentiles" in names[:-1] and not options["trim_levels"]:
        raise InputError(
            "the filter 'percentiles' must come last, for only spreads are made of what it leaves: "
            "or pass trim_levels=True"
        )
    return _Plan(
        pairs=pairs,
        order=order,
        periods=tuple(periods),
        shares=overlaps(pairs, periods),
        parts=season_parts(pairs, periods),
        **options,
    )


# ---- block by block ------------------------------------------------------------------------------


class _Block(NamedTuple):
    """A core of the cube, and what has to be read to compute it."""

    core_y: slice
    core_x: slice
    read_y: slice
    read_x: slice

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core within what was read."""
        return tuple(
            slice(core.start - read.start, core.stop - read.start)
            for core, read in ((self.core_y, self.read_y), (self.core_x, self.read_x))
        )  # type: ignore[return-value]


def _blocks(cube: xr.Dataset, plan: _Plan, block_px: int | None) -> Iterator[_Block]:
    side = block_px or max(int((_BLOCK_BYTES / 4 / plan.order.size) ** 0.5), 16)
    for y, read_y in cores_of(cube.sizes["y"], side, plan.halo):
        for x, read_x in cores_of(cube.sizes["x"], side, plan.halo):
            yield _Block(y, x, read_y, read_x)


def cores_of(size: int, side: int, halo: int) -> list[tuple[slice, slice]]:
    """Cut an axis into cores, each with the slice that holds its halo.

    Examples
    --------
    >>> cores_of(10, 5, 2)
    [(slice(0, 5, None), slice(0, 7, None)), (slice(5, 10, None), slice(3, 10, None))]
    """
    starts = range(0, size, side)
    return [
        (
            slice(start, min(start + side, size)),
            slice(max(start - halo, 0), min(start + side + halo, size)),
        )
        for start in starts
    ]


def _do_block(
    cube: xr.Dataset, plan: _Plan, block: _Block, maps: _Maps, counts: dict[str, int]
) -> None:
    part = cube.isel(y=block.read_y, x=block.read_x)
    observations = Observations(*read_velocities(part, plan.order), plan.pairs)
    all_of_them, trimmed = _filtered(observations, plan, block, counts)
    lines = fit_lines(all_of_them, plan.centres_years, _fit_of(plan.method), plan.threads)
    shared = lines.pixel[LINE_OUTPUTS.index("shared_image_correlation")]
    result = _aggregated(part, all_of_them, plan, shared)
    if trimmed is not all_of_them:
        _take_spreads(result, _aggregated(part, trimmed, plan, shared))
    for k, name in enumerate(LINE_OUTPUTS):
        if name in _OVERALL:
            result.overall[name] = lines.pixel[k]
    if plan.method in ("ols", "theil_sen"):
        _take_lines(result, lines.years, plan)
    _finish(result, plan)
    inner_y, inner_x = block.inner
    for whole, piece in ((maps.yearly, result.yearly), (maps.overall, result.overall)):
        for name, field in piece.items():
            whole[name][..., block.core_y, block.core_x] = field[..., inner_y, inner_x]
    maps.parts[block.core_y, block.core_x] = result.parts[inner_y, inner_x]
    maps.level[block.core_y, block.core_x] = result.level[inner_y, inner_x]


def _fit_of(method: str) -> str:
    return "theil_sen" if method == "theil_sen" else "ols"


def _filtered(
    observations: Observations, plan: _Plan, block: _Block, counts: dict[str, int]
) -> tuple[Observations, Observations]:
    """Filter in place and count in the core; return what levels and what spreads are made of."""
    inner_y, inner_x = block.inner

    def left(some: Observations) -> int:
        return int(np.isfinite(some.vx[:, inner_y, inner_x]).sum())

    before = left(observations)
    counts["observations_given"] = counts.get("observations_given", 0) + before
    for_levels = observations
    for name, options in plan.chain:
        if name == "percentiles" and not plan.trim_levels:
            observations = observations.copy()
        FILTERS[name].apply(observations, options, plan.threads)
        now = left(observations)
        key = f"removed_by_{name}"
        counts[key] = counts.get(key, 0) + before - now
        before = now
    return for_levels, observations


def _take_spreads(result: _Maps, trimmed: _Maps) -> None:
    """Use the spreads of what is left when the tails are cut."""
    for name in ("direction_std", "v_std"):
        result.yearly[name] = trimmed.yearly[name]
    for name in ("stdev", "stdeva"):
        result.overall[name] = trimmed.overall[name]


def _aggregated(part: xr.Dataset, observations: Observations, plan: _Plan, rho: Floats) -> _Maps:
    pairs = observations.pairs
    shape = observations.vx.shape[1:]
    yearly = np.full((len(YEARLY_OUTPUTS), len(plan.periods), *shape), np.nan, np.float32)
    overall = np.full((len(OVERALL_OUTPUTS), *shape), np.nan, np.float32)
    error_x, error_y = (_declared(part, f"{c}_error", plan.order) for c in ("vx", "vy"))
    code = METHODS.get(plan.method, METHODS["mean"])

    def work(rows: range) -> None:
        aggregate_rows(
            observations.vx, observations.vy, error_x, error_y, plan.shares, pairs.span_years,
            plan.parts, pairs.image1, pairs.image2, rho, code, rows.start, rows.stop,
            yearly, overall,
        )  # fmt: skip

    for _ in in_threads(work, row_ranges(shape[0], ROWS_AT_ONCE), plan.threads):
        pass
    whole = dict(zip(OVERALL_OUTPUTS, overall, strict=True))
    return _Maps(
        yearly=dict(zip(YEARLY_OUTPUTS, yearly, strict=True)),
        parts=whole.pop("season_parts"),
        level=whole.pop("v"),
        overall=whole,
    )


def _declared(part: xr.Dataset, name: str, order: NDArray[np.int64]) -> Floats:
    """Errors that the cube states, (n, 1, 1) or (n, y, x); NaN where it states none."""
    if name not in part:
        return np.full((order.size, 1, 1), np.nan, np.float32)
    field = part[name]
    if field.dims == ("mid_date",):
        return np.ascontiguousarray(field.values[order, None, None], dtype=np.float32)
    values = field.transpose("mid_date", "y", "x").values[order]
    return np.ascontiguousarray(values, dtype=np.float32)


def _take_lines(result: _Maps, years: Floats, plan: _Plan) -> None:
    """Use the lines where there are some, but not in a year without any pair."""
    seen = np.count_nonzero(plan.shares > 0, axis=1)
    known = np.isfinite(years[0]) & (np.asarray(seen) > 0)[:, None, None]
    for k, name in enumerate(YEARLY_OUTPUTS[:5]):
        result.yearly[name] = np.where(known, years[k], result.yearly[name])


def _finish(result: _Maps, plan: _Plan) -> None:
    """Apply the last filter, then make speed and direction of the components."""
    for name in ("vx", "vy"):
        result.yearly[name] = smoothed(result.yearly[name], plan.smoothing)
    result.overall["trend"] = smoothed(result.overall["trend"], plan.smoothing)
    vx, vy = result.yearly["vx"], result.yearly["vy"]
    result.yearly["v"] = np.hypot(vx, vy)
    result.yearly["direction"] = np.arctan2(vy, vx)


# ---- the result ----------------------------------------------------------------------------------


def _empty(years: int, height: int, width: int) -> _Maps:
    def field(*shape: int) -> Floats:
        return np.full(shape, np.nan, np.float32)

    return _Maps(
        yearly={name: field(years, height, width) for name in _YEARLY},
        overall={name: field(height, width) for name in _OVERALL},
        parts=field(height, width),
        level=field(height, width),
    )


def _dataset(cube: xr.Dataset, plan: _Plan, maps: _Maps) -> xr.Dataset:
    places = {name: cube[name].variable for name in ("y", "x") if name in cube.coords}
    if "spatial_ref" in cube.coords:
        places["spatial_ref"] = cube["spatial_ref"].variable
    coordinates: dict[str, Any] = {
        "year": [period.name for period in plan.periods],
        "year_start": ("year", np.array([period.start for period in plan.periods])),
        "year_end": ("year", np.array([period.end for period in plan.periods])),
    }
    result = xr.Dataset(coords=coordinates | places)
    for name, field in maps.yearly.items():
        result[name] = (("year", "y", "x"), field)
    for name, field in maps.overall.items():
        result[name] = (("y", "x"), field)
    for name in ("count", "cnt"):
        result[name] = result[name].astype(np.int32)
    for key in result.data_vars:
        name = str(key)
        texts = _TEXTS.get(name) or TREND_ATTRIBUTES.get(name) or ATTRIBUTES[name]
        result[name].attrs = dict(texts)
        if "spatial_ref" in result.coords:
            # As odc-geo keeps it, so that its and rioxarray's accessors find the grid.
            result[name].encoding["grid_mapping"] = "spatial_ref"
    seen = (plan.shares > 0).sum(axis=1)
    names = [p.name for p, pairs in zip(plan.periods, seen, strict=True) if not pairs]
    # What a geocube says of its core, the mosaic of its maps needs.
    tile = {k: v for k, v in cube.attrs.items() if k == "tile" or str(k).startswith("core_")}
    result.attrs = tile | {
        "method": plan.method,
        "filters": " ".join(name for name, _ in plan.chain),
        "filter_options": {name: dict(options) for name, options in plan.chain},
        "trend_fit": _fit_of(plan.method),
        "levels_trimmed": plan.trim_levels,
        "smoothing": plan.smoothing,
        "halo_px": plan.halo,
        "pairs": int(plan.order.size),
        "years_without_data": " ".join(names),
        "days_per_year": DAYS_PER_YEAR,
    }
    return result


def _flag(
    result: xr.Dataset, maps: _Maps, max_variation_percent: float, max_direction_std_deg: float
) -> None:
    """Say where the maps are reliable, and why not elsewhere."""
    count = result["cnt"].values
    stdev, stdeva = maps.overall["stdev"], maps.overall["stdeva"]
    reason = np.zeros(count.shape, np.uint8)
    reason |= np.where(count == 0, np.uint8(1), np.uint8(0))
    reason |= np.where(count == 1, np.uint8(2), np.uint8(0))
    varies = 100 * stdev > max_variation_percent * maps.level
    reason |= np.where(varies, np.uint8(4), np.uint8(0))
    turns = stdeva > np.radians(max_direction_std_deg)
    reason |= np.where(turns, np.uint8(8), np.uint8(0))
    seasonal = (maps.parts < _MIN_PARTS) & (count > 0)
    reason |= np.where(seasonal, np.uint8(16), np.uint8(0))
    result["flag"] = (("y", "x"), (reason == 0).astype(np.uint8))
    result["flag"].attrs = {
        "long_name": "reliable pixels",
        "flag_values": np.array([0, 1], np.uint8),
        "flag_meanings": "unreliable reliable",
    }
    result["reason"] = (("y", "x"), reason)
    result["reason"].attrs = {
        "long_name": "why a pixel is unreliable",
        "flag_masks": np.array(list(_REASONS), np.uint8),
        "flag_meanings": " ".join(_REASONS.values()),
        "comment": f"one_season: pairs touch fewer than {_MIN_PARTS} of {PARTS} parts of a year",
    }
    if "spatial_ref" in result.coords:
        for name in ("flag", "reason"):
            result[name].encoding["grid_mapping"] = "spatial_ref"


def _tell_gaps(result: xr.Dataset) -> None:
    attributes = result.attrs
    for key, value in attributes.items():
        if str(key).startswith("removed_by_"):
            share = 100 * value / max(attributes["observations_given"], 1)
            _log.info("%s: %d observations (%.1f %%)", key, value, share)
    if attributes["years_without_data"]:
        _log.warning(
            "no pair overlaps %s: empty, not interpolated", attributes["years_without_data"]
        )
