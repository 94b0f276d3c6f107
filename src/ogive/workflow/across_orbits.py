"""Pairs across orbits in the network of an inversion: kept, dropped, projected or corrected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from ogive.correction.orthorectification import elevation_bias
from ogive.correction.orthorectification.offsets import remove_offsets
from ogive.correction.orthorectification.views import pair_offsets
from ogive.correction.projection import prior_direction, project
from ogive.model import InputError
from ogive.workflow.blocks import by_blocks
from ogive.workflow.views import cube_views, pairs_across_orbits, views_on_grid

__all__ = ["ACROSS", "Across", "Join", "free_of_offsets", "join_orbits"]

Across = Literal["keep", "drop", "project", "correct", "joint"]
Join = Literal["estimated", "projected"]

ACROSS = ("keep", "drop", "project", "correct", "joint")
"""What may be done with pairs across orbits before, or in, an inversion."""
_LEAST_BASELINE = 0.01
_log = logging.getLogger(__name__)


def join_orbits(
    cube: xr.Dataset,
    how: Across = "keep",
    *,
    angles: Sequence[str | Path] = (),
    image_error_m: float = 0.0,
    dem: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Let the pairs across orbits of a cube join those within them, for `ogive.invert`.

    Parameters
    ----------
    cube
        With pairs within and across orbits, on disk or in memory.
    how
        ``"keep"``: as they are, with their offsets; a warning tells how many they are.
        ``"drop"``: pairs within orbits only.
        ``"project"``: onto the direction of flow of the pairs within orbits
        (`ogive.correction.projection`): where speeds change and the direction does not.
        ``"correct"``: freed of the offsets of an elevation bias that is estimated with a constant
        velocity (`ogive.elevation_bias`): where there is no such direction.
        ``"joint"`` is not for this function but for the inversion itself, which then estimates the
        bias beside the series (`ogive.series.elevation`).
    angles, dem
        As of `ogive.workflow.elevation_bias.make_elevation_bias`.
    image_error_m
        Of ``"correct"``: standard error of an image's own displacement.
    progress
        Called with the number of blocks done and of all.

    Returns
    -------
    xarray.Dataset
        Lazy where the cube is.

    Raises
    ------
    InputError
        If an image has neither angles nor an orbit, no direction of flow is known, or ``how`` is
        unknown.
    """
    if how not in ("keep", "drop", "project", "correct"):
        raise InputError(
            f'pairs across orbits {how!r} are unknown: use "keep", "drop", "project" or "correct"'
        )
    if how == "keep":
        _say_what_is_kept(cube)
        return cube
    views, found = cube_views(cube, angles)
    if how == "drop":
        return _within_orbits(cube, views)
    whole = views_on_grid(views, found, cube, dem)
    if how == "project":
        return free_of_offsets(cube, whole, "projected", progress=progress)

    def estimate(part: xr.Dataset, of_part: xr.Dataset) -> xr.Dataset:
        return elevation_bias(part, of_part, image_error_m=image_error_m)

    bias = by_blocks(cube, whole, estimate, progress)
    return free_of_offsets(cube, whole, "estimated", bias=bias)


def free_of_offsets(
    cube: xr.Dataset,
    views: xr.Dataset,
    join: Join,
    *,
    bias: xr.Dataset | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Free the pairs across orbits of a cube of their offsets.

    Parameters
    ----------
    cube, views
        The cube, and the views of its images at its pixels.
    join
        ``"projected"`` onto the flow within orbits, or with the ``"estimated"`` bias.
    bias
        With ``elevation_bias`` and its error; for ``"estimated"``.
    progress
        Called with the number of blocks done and of all.
    """
    lazy = views.chunk({"y": 64}) if cube["vx"].chunks is not None else views
    if join == "projected":
        prior = by_blocks(cube, views, prior_direction, progress)
        freed = project(cube, prior, pair_offsets(cube, lazy))
        freed.attrs["orthorectification_offsets"] = "projected onto the flow within orbits"
        return _chunked_alike(freed, cube)
    if bias is None:
        raise InputError("an elevation bias is needed to free pairs across orbits of its offsets")
    freed = remove_offsets(cube, lazy, bias["elevation_bias"], bias["elevation_bias_error"])
    return _chunked_alike(freed, cube)


def _chunked_alike(freed: xr.Dataset, cube: xr.Dataset) -> xr.Dataset:
    """Rows may have been cut where the views were; an inversion wants all pairs of a pixel."""
    if cube["vx"].chunks is None:
        return freed
    return freed.chunk(dict(zip(cube["vx"].dims, cube["vx"].chunks, strict=True)))


def _within_orbits(cube: xr.Dataset, views: xr.Dataset) -> xr.Dataset:
    line = pair_offsets(cube, views)
    same = np.hypot(line["offset_x"].values, line["offset_y"].values) < _LEAST_BASELINE
    if not same.any():
        raise InputError(
            "no pair of the cube is of one orbit, so that nothing is left without those across "
            'orbits: match pairs within orbits, or take "joint"'
        )
    _log.info("%d of %d pairs are across orbits and are left out", (~same).sum(), same.size)
    return cube.isel(mid_date=np.flatnonzero(same))


def _say_what_is_kept(cube: xr.Dataset) -> None:
    across = pairs_across_orbits(cube)
    if across:
        _log.warning(
            "%d of %d pairs are across orbits and carry the offsets of a wrong elevation model: "
            "--across-orbits project, correct, joint or drop deals with them",
            across, cube.sizes["mid_date"],
        )  # fmt: skip
