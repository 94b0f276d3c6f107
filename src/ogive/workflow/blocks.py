"""Estimates of every pixel of a cube by blocks of rows: memory holds one of them at a time."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

__all__ = ["by_blocks"]

_BLOCK_BYTES = 2e8


def by_blocks(
    cube: xr.Dataset,
    views: xr.Dataset,
    estimate: Callable[[xr.Dataset, xr.Dataset], xr.Dataset],
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Estimate by blocks of rows.

    Parameters
    ----------
    cube
        ``vx`` and the like (mid_date, y, x), on disk or in memory.
    views
        On the cube's grid.
    estimate
        From a loaded part of the cube and of the views to maps of that part; a pixel's result must
        not depend on its neighbours.
    progress
        Called with the number of blocks done and of all.
    """
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    each = max(int(_BLOCK_BYTES / (32.0 * cube.sizes["mid_date"] * columns)), 1)
    starts = list(range(0, rows, each))
    parts = []
    for done, start in enumerate(starts):
        here = {"y": slice(start, start + each)}
        parts.append(estimate(cube.isel(here).compute(), views.isel(here)))
        if progress is not None:
            progress(done + 1, len(starts))
    if len(parts) == 1:
        return parts[0]
    joined: xr.Dataset = xr.concat(
        parts, "y", data_vars="minimal", coords="minimal", compat="override",
        combine_attrs="override",
    )  # fmt: skip
    return joined
