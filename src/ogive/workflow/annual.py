"""Annual maps of a cube on the disk, published as a folder: all of its files, or none."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import yaml

from ogive.evaluation.points import compare_points
from ogive.evaluation.products import distribution
from ogive.series.annual import DEFAULT_FILTERS, Method, annual
from ogive.series.years import Period
from ogive.store.annual_file import write_annual
from ogive.store.atomic import atomic_path
from ogive.store.points import read_points
from ogive.store.readers import open_cube
from ogive.view.annual import plot_annual, plot_points, plot_speeds, plot_trends
from ogive.workflow.product import DESCRIPTION, published

__all__ = ["AnnualSummary", "make_annual"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnnualSummary:
    """What was made, in figures.

    Parameters
    ----------
    files
        Names of all files, the NetCDF first.
    pairs
        Of images in the cube.
    years, years_without_data
        Names.
    removed
        Observations that each filter removed.
    observations
        Given, before all filters.
    reliable_percent, significant_percent
        Share of the pixels with a value that are reliable, and that have a significant trend.
    median_speed_m_yr
        Of the last year with data.
    """

    files: tuple[str, ...]
    pairs: int
    years: tuple[str, ...]
    years_without_data: tuple[str, ...]
    removed: dict[str, int]
    observations: int
    reliable_percent: float
    significant_percent: float
    median_speed_m_yr: float


def make_annual(
    cube: str | Path,
    folder: str | Path,
    *,
    year_start: str = "10-01",
    method: Method = "ols",
    period: tuple[str, str] | None = None,
    filters: Sequence[str] = DEFAULT_FILTERS,
    filter_options: Mapping[str, Mapping[str, Any]] | None = None,
    trim_levels: bool = False,
    smoothing: Literal["gaussian", "median", "none"] = "gaussian",
    units: str | None = None,
    points: str | Path | None = None,
    points_crs: str | None = None,
    threads: int | None = None,
    overwrite: bool = False,
) -> AnnualSummary:
    """Make annual maps of a cube and publish them (`ogive annual CUBE -o DIR`).

    Writes ``annual.nc``, a cloud-optimised GeoTIFF and a QGIS style for each layer, a STAC
    collection, figures, and the options as they were resolved (``run.yaml``).

    Parameters
    ----------
    cube
        Whatever `ogive.open_cube` opens.
    folder
        Of the product.
    year_start, method, filters, filter_options, trim_levels, smoothing, threads
        As in `ogive.annual`.
    period
        First and last day of one period, in place of years.
    units
        Of the cube's velocities, where it does not say.
    points, points_crs
        A file of stakes or GNSS to compare with (see `ogive.read_points`), and where its positions
        lie if the file does not say; adds ``points.csv`` and ``points.png``.
    overwrite
        Replace the product that lies in the folder.

    Returns
    -------
    AnnualSummary

    Raises
    ------
    InputError, GridError, DateError
        If the cube, an option or the points cannot be used.
    OutputError
        If the folder cannot be written or holds a product already; nothing is left there then.
    """
    options = {
        "year_start": year_start,
        "method": method,
        "period": None if period is None else list(period),
        "filters": list(filters),
        "filter_options": {k: dict(v) for k, v in (filter_options or {}).items()},
        "trim_levels": trim_levels,
        "smoothing": smoothing,
        "units": units,
    }
    measured = None if points is None else Path(points)
    with published(folder, overwrite=overwrite) as staging, open_cube(cube, units=units) as stack:
        maps = annual(
            stack,
            year_start,
            method,
            periods=None if period is None else [Period.of(*period)],
            filters=filters,
            filter_options=filter_options,
            trim_levels=trim_levels,
            smoothing=smoothing,
            threads=threads,
        )
        paths = write_annual(maps, staging)
        _draw(maps, staging)
        if measured is not None:
            _compare(maps, measured, points_crs, staging)
        others = sorted(p.name for p in staging.iterdir() if p not in paths)
        files = (*(path.name for path in paths), *others, DESCRIPTION)
        summary = _summary(maps, files)
        _describe(staging / DESCRIPTION, str(cube), options, summary)
    return summary


def _draw(maps: xr.Dataset, folder: Path) -> None:
    seen = maps["v"].notnull().any(("y", "x")).values
    if not seen.any():
        _log.warning("no year has a velocity: no figure was drawn")
        return
    last = maps["v"].isel(year=int(np.flatnonzero(seen)[-1]))
    _save(plot_annual(maps), folder / "annual.png")
    where = maps["flag"] == 1
    reliable = where if bool((where & last.notnull()).any()) else None
    _save(plot_speeds(distribution(last, where=reliable)), folder / "speeds.png")
    significant = maps["trend_mask"] == 1
    if bool((significant & maps["trend"].notnull()).any()):
        _save(plot_trends(distribution(maps["trend"], where=significant)), folder / "trends.png")


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as written:
        figure.savefig(written, dpi=130, format="png")


def _compare(maps: xr.Dataset, points: Path, crs: str | None, folder: Path) -> None:
    table = read_points(points, crs=crs, to_crs=str(maps.odc.crs))
    comparison = compare_points(maps, table)
    for name, statistics in comparison.statistics.items():
        _log.info("points, %s: %s", name, statistics)
    with atomic_path(folder / "points.csv") as path:
        comparison.table.to_csv(path, index=False)
    _save(plot_points(comparison), folder / "points.png")


def _summary(maps: xr.Dataset, files: tuple[str, ...]) -> AnnualSummary:
    told = maps.attrs
    known = int((maps["cnt"] > 0).sum())
    seen = maps["v"].notnull().any(("y", "x")).values
    last = maps["v"].values[int(np.flatnonzero(seen)[-1])] if seen.any() else np.array([np.nan])
    finite = last[np.isfinite(last)]
    return AnnualSummary(
        files=files,
        pairs=int(told["pairs"]),
        years=tuple(map(str, maps["year"].values)),
        years_without_data=tuple(told["years_without_data"].split()),
        removed={k.removeprefix("removed_by_"): int(v) for k, v in told.items()
                 if str(k).startswith("removed_by_")},
        observations=int(told["observations_given"]),
        reliable_percent=100 * float((maps["flag"] == 1).sum()) / max(known, 1),
        significant_percent=100 * float((maps["trend_mask"] == 1).sum()) / max(known, 1),
        median_speed_m_yr=float(np.median(finite)) if finite.size else float("nan"),
    )  # fmt: skip


def _describe(path: Path, cube: str, options: dict[str, Any], summary: AnnualSummary) -> None:
    told = {
        "ogive": version("ogive"),
        "cube": cube,
        "options": options,
        "found": {
            "pairs": summary.pairs,
            "years": list(summary.years),
            "years_without_data": list(summary.years_without_data),
            "observations": summary.observations,
            "removed": summary.removed,
            "reliable_percent": round(summary.reliable_percent, 2),
            "significant_percent": round(summary.significant_percent, 2),
        },
        "files": list(summary.files),
    }
    text = "# Annual maps of ogive: options as they were resolved.\n"
    text += yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
    with atomic_path(path) as written:
        written.write_text(text, encoding="utf-8")
