"""Step ``search``: which scenes there are. Its product lists them; the catalogue holds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ogive import scenes
from ogive.model import InputError, Scene
from ogive.scenes.record import to_dict
from ogive.store.atomic import atomic_path
from ogive.workflow.catalogue import (
    Claim,
    Planned,
    Product,
    enter_scenes,
    open_catalogue,
    plan_units,
)
from ogive.workflow.fingerprint import fingerprint
from ogive.workflow.runfile_settings import RunFile

from .job import Job, product_of
from .region import Region, catalogue_address, content, folder_of

__all__ = ["inputs_of", "jobs", "perform", "plan"]

NAME = "search"
VERSION = 1
WHOLE = "region"


def inputs_of(settings: RunFile) -> str:
    """Fingerprint of what decides which scenes are found."""
    region, search = settings.region, settings.search
    where = [region.bbox, content(region.file), region.buffer_m]
    return fingerprint(NAME, VERSION, where, search.model_dump(exclude={"tokens"}))


def plan(region: Region) -> Planned:
    """Plan one search of the whole region."""
    return plan_units(region.engine, NAME, {WHOLE: inputs_of(region.settings)})


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Make the search a job."""
    return [Job(claim, claim.inputs, region.settings) for claim in claims]


def perform(job: Job) -> Product:
    """Search, and make the catalogue hold what was found.

    Raises
    ------
    InputError
        If there is no scene at all.
    """
    settings = job.settings
    found = _found(settings)
    if not found:
        search = settings.search
        raise InputError(
            f"no scene of {search.archive} sees the region from {search.start} to {search.end} "
            f"with at most {search.max_cloud_percent:g} % of clouds: widen the search"
        )
    folder = folder_of(settings)
    path = folder / NAME / f"scenes_{job.fingerprint}.json"
    with atomic_path(path) as written:
        written.write_text(json.dumps([to_dict(scene) for scene in found], indent=1), "utf-8")
    engine = open_catalogue(catalogue_address(settings), region=settings.name)
    try:
        enter_scenes(engine, found)
    finally:
        engine.dispose()
    return product_of(job, path, folder, {"scenes": len(found)})


def _found(settings: RunFile) -> list[Scene]:
    search, region = settings.search, settings.region
    if Path(search.archive).is_dir():
        return [
            scene
            for scene in scenes.local(search.archive)
            if search.start <= scene.time.date() <= search.end
        ]
    where = region.bbox if region.bbox is not None else region.file
    assert where is not None  # the run file has one of the two
    return scenes.search(
        where,
        start=search.start,
        end=search.end,
        archive=search.archive,
        sensor=search.sensors or None,
        max_cloud_percent=search.max_cloud_percent,
        buffer_m=region.buffer_m,
    )
