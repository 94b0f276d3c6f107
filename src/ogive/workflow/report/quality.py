"""Section: what stable ground, closure and the residuals of the inversion say of the velocities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.figure import Figure

from ogive.evaluation.scorecard import MapScore, closure_of_pairs
from ogive.store.readers import open_cube
from ogive.view.document import Picture, Section, Table, picture
from ogive.workflow.catalogue import Published

__all__ = ["MOST_PAIRS", "closure_rows", "quality_section"]

MOST_PAIRS = 40
"""Pairs whose stable ground is read again, evenly spread in time."""
_SIDE = 50
Row = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Errors:
    """Factors by which declared errors would have to be multiplied to agree with residuals."""

    x: float
    y: float


def closure_rows(cubes: Sequence[Path], series: Sequence[Path], most: int = 4) -> list[Row]:
    """Close the triplets in the middle of some tiles, and ask their inversions about the errors.

    Parameters
    ----------
    cubes, series
        Stores of the same tiles.
    most
        Tiles that are read.
    """
    chosen = np.unique(np.linspace(0, len(cubes) - 1, min(most, len(cubes))).round().astype(int))
    return [row for k in chosen.tolist() if (row := _closure_row(cubes[k], series[k]))]


def _closure_row(cube: Path, series: Path) -> Row | None:
    with open_cube(cube) as opened:
        middle = {axis: _middle(opened.sizes[axis]) for axis in ("y", "x")}
        closed = closure_of_pairs(opened.isel(middle)[["vx", "vy"]].load())
    errors = _declared(series)
    if not closed.points:
        return None
    return (
        cube.stem.rsplit("_", 1)[0], f"{closed.triplets:,}", f"{closed.points:,}",
        f"{closed.median_x_m:.2f}", f"{closed.median_y_m:.2f}", f"{closed.nmad_m:.2f}",
        f"{errors.x:.2f}", f"{errors.y:.2f}",
    )  # fmt: skip


def _middle(size: int) -> slice:
    """Choose pixels of one block of the store near the middle."""
    first = (size // 2) // _SIDE * _SIDE
    return slice(first, first + _SIDE)


def _declared(series: Path) -> _Errors:
    with xr.open_zarr(series, decode_timedelta=False) as opened:
        scales = opened[["error_scale_x", "error_scale_y"]].load()
    return _Errors(*(float(scales[f"error_scale_{axis}"].median()) for axis in ("x", "y")))


def quality_section(
    velocities: Sequence[Published], still: Sequence[MapScore], closures: Sequence[Row]
) -> Section:
    """Tell how far the velocities can be trusted.

    Parameters
    ----------
    velocities
        Products of pairs.
    still
        Scores of some of them on stable ground.
    closures
        Of `closure_rows`.
    """
    tables, pictures, text = [], [], []
    scatter = np.array(
        [
            [one.figures[f"nmad_{axis}_m_yr"], one.figures["days"]]
            for axis in ("x", "y")
            for one in velocities
            if f"nmad_{axis}_m_yr" in one.figures
        ]
    ).reshape(-1, 2)
    if scatter.size:
        pictures.append(_ground_picture(scatter))
    else:
        text.append("No pair was calibrated: the run file names no glaciers and no stable ground.")
    scored = [score for score in still if score.stable_count]
    if scored:
        tables.append(_ground_table(scored))
    if closures:
        head = (
            "tile", "triplets", "points", "median x (m)", "median y (m)", "NMAD (m)",
            "error scale x", "error scale y",
        )  # fmt: skip
        tables.append(Table(head, list(closures), "Closure of triplets and scale of the errors"))
        text.append(
            "Closure: a displacement from the first to the third of three images, less the sum of "
            "its parts; independent errors of σ spread it by 1.7 σ. The error scale is the factor "
            "by which declared errors would have to be multiplied to agree with the residuals of "
            "the inversion: above one, they are declared too small."
        )
    return Section("How far it can be trusted", tuple(text), tuple(tables), tuple(pictures))


def _ground_table(scored: Sequence[MapScore]) -> Table:
    def told(values: Sequence[float]) -> tuple[str, ...]:
        low, middle, high = np.nanquantile(values, (0.1, 0.5, 0.9))
        return f"{middle:.2f}", f"{low:.2f}", f"{high:.2f}"

    rows: list[Row] = [
        ("median of x (m/yr)", *told([one.stable_median_x for one in scored])),
        ("median of y (m/yr)", *told([one.stable_median_y for one in scored])),
        ("spread of x, NMAD (m/yr)", *told([one.stable_nmad_x for one in scored])),
        ("spread of y, NMAD (m/yr)", *told([one.stable_nmad_y for one in scored])),
        ("95 % intervals that hold zero (%)", *told([100 * s.stable_within_95 for s in scored])),
    ]
    caption = f"Stable ground of {len(scored)} pairs, where the truth is zero"
    return Table(("", "median pair", "lowest tenth", "highest tenth"), rows, caption)


def _ground_picture(scatter: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Picture:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes, beside = figure.subplots(1, 2)
    values, days = scatter.T
    top = max(float(np.quantile(values, 0.98)), 1e-6)
    axes.hist(values, bins=40, range=(0, top), color=cm.batlow(0.25))
    axes.set(xlabel="Spread on stable ground (m/yr)", ylabel="Pairs, x and y")
    beside.scatter(days, values, s=9, color=cm.batlow(0.25), alpha=0.6)
    beside.set(xlabel="Days between the images", ylabel="Spread (m/yr)", yscale="log")
    for one in (axes, beside):
        one.spines[["top", "right"]].set_visible(False)
    return picture(figure, "Spread (NMAD) of velocities on stable ground, of each pair and axis.")
