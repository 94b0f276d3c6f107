"""Step ``report``: the region's annual maps in one piece, and a page that tells all of the run.

The page holds its pictures itself, so that it can be sent as one file; the maps lie beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ogive.store.annual_file import write_annual
from ogive.store.atomic import atomic_dir
from ogive.workflow.catalogue import Claim, Planned, Product, plan_units, products_of, region_status
from ogive.workflow.fingerprint import fingerprint
from ogive.workflow.report.gathered import TOLD, gather
from ogive.workflow.report.maps import annual_maps
from ogive.workflow.report.page import report_page
from ogive.workflow.runfile import write_run_file

from . import annual, invert
from .job import Job, product_of
from .region import Region, folder_of
from .search import WHOLE

__all__ = ["jobs", "perform", "plan"]

NAME = "report"
VERSION = 3


def plan(region: Region) -> Planned:
    """Plan one page; other maps, other counts of tasks, or other places are another page."""
    status = region_status(region.engine, TOLD)
    counts = [[step.step, step.done, step.failed] for step in status.steps]
    errors = [[error.step, error.kind, error.count] for error in status.errors]
    made = [
        product.fingerprint
        for step in (invert.NAME, annual.NAME)
        for product in products_of(region.engine, step)
    ]
    told = fingerprint(NAME, VERSION, counts, errors, made, region.settings.report)
    return plan_units(region.engine, NAME, {WHOLE: told})


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Give the page what the catalogue tells."""
    told = {"told": gather(region)} if claims else {}
    return [Job(claim, claim.inputs, region.settings, told) for claim in claims]


def perform(job: Job) -> Product:
    """Join the maps, draw them, and publish the folder of the report.

    Raises
    ------
    InputError
        If the maps of a tile, or another product, cannot be read.
    OutputError
        If the folder cannot be written.
    """
    folder, told = folder_of(job.settings), job.inputs["told"]
    path = folder / NAME
    maps = annual_maps(told, folder)
    with atomic_dir(path) as written:
        for zone, own in maps.items():
            write_annual(own, written / zone)
        write_run_file(job.settings, written / "run.yaml")
        page = report_page(job.settings, told, maps, beside=True)
        (written / "index.html").write_text(page, encoding="utf-8")
    return product_of(job, path, folder, {"maps": len(maps)})
