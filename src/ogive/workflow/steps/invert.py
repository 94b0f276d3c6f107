"""Step ``invert``: the cube of a tile into a regular time series."""

from __future__ import annotations

from collections.abc import Sequence

from ogive.workflow.catalogue import Claim, Planned, Product, plan_units, products_of
from ogive.workflow.fingerprint import fingerprint
from ogive.workflow.inversion import make_series

from . import cube
from .job import Job, product_of
from .region import Region, folder_of

__all__ = ["jobs", "perform", "plan"]

NAME = "invert"
VERSION = 2


def plan(region: Region) -> Planned:
    """Plan the series of each cube."""
    told = fingerprint(NAME, VERSION, region.settings.invert)
    units = {
        made.subject: fingerprint(told, made.fingerprint)
        for made in products_of(region.engine, cube.NAME)
    }
    return plan_units(region.engine, NAME, units)


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Give each claim its cube."""
    return cube_jobs(region, claims)


def cube_jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Make jobs of the claims of a step that takes a cube."""
    paths = {made.subject: made.path for made in products_of(region.engine, cube.NAME)}
    return [
        Job(claim, claim.inputs, region.settings, {"cube": paths[claim.subject]})
        for claim in claims
    ]


def perform(job: Job) -> Product:
    """Invert a cube, and publish the series.

    Raises
    ------
    InputError, DateError, GridError
        If the cube cannot be inverted.
    OutputError
        If the series cannot be written.
    """
    folder, chosen = folder_of(job.settings), job.settings.invert
    path = folder / "series" / f"{job.claim.subject}_{job.fingerprint}.zarr"
    figures = {}
    if not path.is_dir():
        made = make_series(
            folder / job.inputs["cube"],
            path,
            sampling=chosen.sampling_days,
            regularisation=chosen.regularisation,
            closure=chosen.closure,
        )
        figures = {"pairs": made.pairs, "periods": made.periods}
    return product_of(job, path, folder, figures)
