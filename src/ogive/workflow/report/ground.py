"""What stable ground says of some of the pairs of a region."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ogive.evaluation.scorecard import MapScore, score_map
from ogive.store.velocity_file import read_velocity
from ogive.workflow.ground import windows_inside
from ogive.workflow.runfile_settings import RunFile
from ogive.workflow.steps.grid import matched_pixels
from ogive.workflow.steps.ground import ground_of
from ogive.workflow.steps.job import NETCDF
from ogive.workflow.steps.match import read_displacement

__all__ = ["ground_scores"]


def ground_scores(settings: RunFile, pairs: Sequence[tuple[Path, Path]]) -> list[MapScore]:
    """Score pairs on the ground that calibrated them.

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
    return [score for pair in pairs if (score := _score(settings, *pair))]


def _score(settings: RunFile, displacement: Path, velocity: Path) -> MapScore | None:
    moved = read_displacement(displacement)
    still = ground_of(settings, matched_pixels(moved)).stable
    if still is None:
        return None
    window_px, step_px = (int(moved.attrs[name]) for name in ("window_px", "step_px"))
    with NETCDF:
        measured = read_velocity(velocity)
    return score_map(measured, stable=windows_inside(still, window_px=window_px, step_px=step_px))
