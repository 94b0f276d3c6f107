"""Section: what stable ground, closure and the residuals of the inversion say of the velocities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cmcrameri import cm
from matplotlib.figure import Figure

from ogive.evaluation.scorecard import MapScore
from ogive.view.document import Picture, Section, Table, picture

from .measured import Measured
from .tiles import TileScore, evenly

__all__ = ["MOST_PAIRS", "closure_rows", "quality_section"]

MOST_PAIRS = 40
"""Pairs whose stable ground is read again, evenly spread in time."""
Row = tuple[str | int, ...]


def closure_rows(scores: Sequence[TileScore], most: int = 4) -> list[Row]:
    """Tell of the closure of some tiles, and of how their inversions agree with the errors.

    Parameters
    ----------
    scores
        Of `tile_scores`.
    most
        Tiles that are told of.
    """
    return [
        (
            score.name, f"{score.closed.triplets:,}", f"{score.closed.points:,}",
            f"{score.closed.median_x_m:.2f}/{score.closed.median_y_m:.2f}",
            f"{score.closed.nmad_m:.2f}", f"{score.scale_x:.2f}/{score.scale_y:.2f}",
        )
        for score in evenly([one for one in scores if one.closed.points], most)
    ]  # fmt: skip


def quality_section(
    measured: Measured, still: Sequence[MapScore], closures: Sequence[Row]
) -> Section:
    """Tell how far the velocities can be trusted.

    Parameters
    ----------
    measured
        Figures of the pairs with a velocity.
    still
        Scores of some of them on stable ground.
    closures
        Of `closure_rows`.
    """
    tables, pictures, text = [], [], []
    spread = np.concatenate([measured.nmad_x_m_yr, measured.nmad_y_m_yr])
    scatter = np.stack([spread, np.tile(measured.days, 2)], axis=1)[np.isfinite(spread)]
    if scatter.size:
        pictures.append(_ground_picture(scatter))
    else:
        text.append("No pair was calibrated: the run file names no glaciers and no stable ground.")
    scored = [score for score in still if score.stable_count]
    if scored:
        tables.append(_ground_table(scored))
    if closures:
        head = (
            "tile", "triplets", "points", "median x/y (m)", "NMAD (m)", "error scale x/y",
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
