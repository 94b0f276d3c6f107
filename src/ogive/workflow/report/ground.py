"""What some of the pairs of a region tell: what stable ground shows, and how they were matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ogive.evaluation.scorecard import MapScore, score_map
from ogive.store.velocity_file import read_velocity
from ogive.workflow.ground import windows_inside
from ogive.workflow.runfile_settings import RunFile
from ogive.workflow.steps.grid import matched_pixels
from ogive.workflow.steps.ground import ground_of
from ogive.workflow.steps.job import NETCDF
from ogive.workflow.steps.match import read_displacement

__all__ = ["PairsTold", "told_by_pairs"]

_WRITTEN_BY = "written by "
"""What stands before the name and version of a program in the history of a file."""


@dataclass(frozen=True, slots=True)
class PairsTold:
    """What the files of some pairs tell.

    Parameters
    ----------
    scores
        Of their velocities, on the ground that calibrated them.
    window_m
        Width of the widest windows that were matched; 0 without a pair.
    written_by
        Names and versions of what matched them.
    """

    scores: tuple[MapScore, ...]
    window_m: float
    written_by: tuple[str, ...]


def told_by_pairs(settings: RunFile, pairs: Sequence[tuple[Path, Path]]) -> PairsTold:
    """Read pairs, and score them on the ground that calibrated them.

    Parameters
    ----------
    settings
        The run file.
    pairs
        Files of displacement and velocity.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    scores: list[MapScore] = []
    writers: set[str] = set()
    window_m = 0.0
    for displacement, velocity in pairs:
        moved = read_displacement(displacement)
        window_m = max(window_m, float(moved.attrs["window_px"] * moved.attrs["pixel_size_x"]))
        for line in str(moved.attrs.get("history", "")).splitlines():
            writers |= set(line.partition(_WRITTEN_BY)[2:]) - {""}
        score = _score(settings, moved, velocity)
        scores += [] if score is None else [score]
    return PairsTold(tuple(scores), window_m, tuple(sorted(writers)))


def _score(settings: RunFile, moved: xr.Dataset, velocity: Path) -> MapScore | None:
    """Score a velocity; ``None`` where nothing is known of stable ground."""
    still = ground_of(settings, matched_pixels(moved)).stable
    if still is None:
        return None
    window_px, step_px = (int(moved.attrs[name]) for name in ("window_px", "step_px"))
    with NETCDF:
        measured = read_velocity(velocity)
    return score_map(measured, stable=windows_inside(still, window_px=window_px, step_px=step_px))
