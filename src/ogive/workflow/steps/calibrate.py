"""Step ``calibrate``: from the displacement of a pair to its velocity, with errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ogive.correction.calibrate import calibrate
from ogive.correction.outliers import limit_speed
from ogive.model import Pair, Scene
from ogive.store.velocity_file import read_velocity, write_velocity
from ogive.workflow.catalogue import Claim, Planned, Product, paths_of, plan_pairs
from ogive.workflow.fingerprint import fingerprint
from ogive.workflow.ground import windows_inside
from ogive.workflow.runfile_settings import RunFile
from ogive.workflow.velocity import Motion, velocity_of

from . import match
from .grid import matched_pixels
from .ground import ground_of
from .job import NETCDF, Job, product_of
from .region import Region, content, folder_of

__all__ = ["inputs_of", "jobs", "perform", "plan"]

NAME = "calibrate"
VERSION = 1


def inputs_of(settings: RunFile) -> str:
    """Fingerprint of what decides a velocity, apart from the two scenes."""
    region = settings.region
    ground = [content(region.glaciers), content(region.stable), region.beside_m, region.edge_m]
    speed = settings.match.max_speed_m_yr
    return fingerprint(NAME, VERSION, match.inputs_of(settings), settings.calibrate, ground, speed)


def plan(region: Region) -> Planned:
    """Plan the calibration of every pair that is matched."""
    inputs = inputs_of(region.settings)
    return plan_pairs(region.engine, NAME, inputs=inputs, after=match.NAME)


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Give each claim its scenes and its displacement."""
    paths = paths_of(region.engine, match.NAME, [claim.subject for claim in claims])
    inputs = [{"displacement": paths[claim.subject]} for claim in claims]
    return match.pair_jobs(region, claims, inputs)


def perform(job: Job) -> Product:
    """Calibrate a displacement on stable ground, and publish the velocity.

    Raises
    ------
    StableGroundError
        If there is too little stable ground.
    InputError
        If the displacement cannot be read.
    OutputError
        If the product cannot be written.
    """
    folder = folder_of(job.settings)
    path = match.pair_path(job, "velocity")
    pair = job.inputs["pair"]
    if path.is_file():
        with NETCDF:
            velocity = read_velocity(path)
        return product_of(job, path, folder, _figures(velocity, pair))
    moved = match.read_displacement(folder / job.inputs["displacement"])
    velocity = calibrated(moved, pair, job.settings)
    velocity.attrs[match.FINGERPRINT] = job.fingerprint
    with NETCDF:
        write_velocity(velocity, path, pair=pair)
    return product_of(job, path, folder, _figures(velocity, pair))


def calibrated(moved: xr.Dataset, pair: Pair, settings: RunFile) -> xr.Dataset:
    """Turn a displacement into a velocity.

    Parameters
    ----------
    moved
        As the step ``match`` gives it.
    pair
        Its scenes.
    settings
        The run file.

    Returns
    -------
    xarray.Dataset
        As of `ogive.velocity`.
    """
    grid = matched_pixels(moved)
    still = ground_of(settings, grid).stable
    ground = None
    if still is None:
        moved.attrs["calibration"] = "none: no stable ground was given"
    else:
        ground = windows_inside(
            still, window_px=int(moved.attrs["window_px"]), step_px=int(moved.attrs["step_px"])
        )
        model = settings.calibrate.model
        moved = calibrate(moved, ground, model=model)
        count = moved.attrs["stable_count"]
        moved.attrs["calibration"] = f"{model} on {count} points of stable ground"
    limit = settings.calibrate.max_speed_m_yr or settings.match.max_speed_m_yr
    if limit is not None:
        moved = limit_speed(moved, max_speed_m_yr=limit, days=pair.days)
    image = xr.DataArray(np.broadcast_to(np.float32(0), grid.shape), dims=("y", "x"))
    motion = Motion(moved, image, ground, pair, int(moved.attrs["search_px"]))
    return velocity_of(motion)


def _figures(velocity: xr.Dataset, pair: Pair) -> dict[str, Any]:
    """Tell where and when the map lies, and what it shows."""
    grid = velocity["v"].odc.geobox
    speed = velocity["v"].values
    known = speed[np.isfinite(speed)]
    epsg = grid.crs.to_epsg()
    told = {
        "crs": f"EPSG:{epsg}" if epsg else grid.crs.to_wkt(),
        "bounds": [float(edge) for edge in grid.boundingbox.bbox],
        "mid_date": pair.mid_date.isoformat(),
        "days": pair.days,
        "passes": _passes(pair),
        "measured_share": known.size / speed.size,
    }
    if known.size:
        told["median_speed_m_yr"] = float(np.median(known))
    for axis in ("x", "y"):
        scatter = velocity[f"v{axis}"].attrs.get("nmad_stationary")
        if scatter is not None and np.isfinite(scatter):
            told[f"nmad_{axis}_m_yr"] = float(scatter)
    return told


def _passes(pair: Pair) -> str:
    """Name the two passes of satellites, which may have seen several overlapping tiles."""
    return " ".join(_pass(scene) for scene in (pair.earlier, pair.later))


def _pass(scene: Scene) -> str:
    track = scene.relative_orbit if scene.path is None else scene.path
    return f"{scene.mission}-{scene.satellite}-{track}-{scene.time:%Y%m%d}"
