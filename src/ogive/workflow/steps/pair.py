"""Step ``pair``: which scenes are matched with which."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError, Scene
from ogive.scenes.network import PairIndices, pair_indices
from ogive.store.atomic import atomic_path
from ogive.workflow.catalogue import (
    Claim,
    KnownScenes,
    Planned,
    Product,
    enter_pairs,
    known_scenes,
    open_catalogue,
    plan_units,
)
from ogive.workflow.fingerprint import fingerprint

from .job import Job, product_of
from .region import Region, catalogue_address, folder_of
from .search import WHOLE

__all__ = ["jobs", "perform", "plan"]

NAME = "pair"
VERSION = 1
TOGETHER = 16
"""So many earlier scenes are paired with so many later ones before others are read."""


def plan(region: Region) -> Planned:
    """Plan one pairing of all scenes; other scenes are other inputs."""
    prints = sorted(known_scenes(region.engine).fingerprints)
    inputs = fingerprint(NAME, VERSION, region.settings.pair, prints)
    return plan_units(region.engine, NAME, {WHOLE: inputs})


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Make the pairing a job."""
    return [Job(claim, claim.inputs, region.settings) for claim in claims]


def perform(job: Job) -> Product:
    """Pair the scenes, and make the catalogue hold the pairs.

    Raises
    ------
    InputError
        If no two scenes make a pair.
    """
    settings = job.settings
    engine = open_catalogue(catalogue_address(settings), region=settings.name)
    try:
        known = known_scenes(engine)
        chosen = pair_indices(known.scenes, **settings.pair.model_dump())
        if not chosen.earlier.size:
            raise InputError(
                f"no two of the {len(known.scenes)} scenes are between {settings.pair.min_days:g} "
                f"and {settings.pair.max_days:g} days apart in one orbit: widen the limits"
            )
        chosen = _place_by_place(known, chosen)
        enter_pairs(engine, known, earlier=chosen.earlier, later=chosen.later)
    finally:
        engine.dispose()
    folder = folder_of(settings)
    path = folder / NAME / f"pairs_{job.fingerprint}.json"
    told = _told(known, chosen)
    with atomic_path(path) as written:
        written.write_text(json.dumps(told, indent=1), "utf-8")
    return product_of(job, path, folder, told)


def _place_by_place(known: KnownScenes, chosen: PairIndices) -> PairIndices:
    """Put pairs together that share images, so that these are kept while they are needed.

    Pairs of one place and orbit follow each other, and among them those of some earlier scenes with
    some later ones: a cache that holds twice `TOGETHER` windows then reads a window once for
    `TOGETHER` pairs, where row after row of pairs would need room for all scenes within the
    longest baseline, or read one for each pair.
    """
    places = np.array([place_of(scene) for scene in known.scenes])
    block = _rank_in(places) // TOGETHER
    earlier, later = chosen
    order = np.lexsort((later, earlier, block[later], block[earlier], places[earlier]))
    return PairIndices(earlier[order], later[order])


def _rank_in(places: NDArray[np.str_]) -> NDArray[np.int64]:
    """Count the scenes of one place in their order.

    Examples
    --------
    >>> _rank_in(np.array(["a", "b", "a", "a", "b"])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(places, kind="stable")
    _, first, counts = np.unique(places[order], return_index=True, return_counts=True)
    rank = np.empty(places.size, np.int64)
    rank[order] = np.arange(places.size) - np.repeat(first, counts)
    return rank


def place_of(scene: Scene) -> str:
    """Name the place and the orbit that a scene is of.

    Examples
    --------
    >>> from datetime import datetime
    >>> place_of(Scene("a", datetime(2020, 7, 1), tile="T32TLS", relative_orbit=65))
    'T32TLS_R065'
    >>> place_of(Scene("a", datetime(2020, 7, 1), path=195, row=28))
    'P195_R028'
    """
    if scene.path is not None:
        return f"P{scene.path:03d}_R{scene.row or 0:03d}"
    orbit = "" if scene.relative_orbit is None else f"R{scene.relative_orbit:03d}"
    return "_".join(part for part in (scene.tile, orbit) if part) or "images"


def _told(known: KnownScenes, chosen: PairIndices) -> dict[str, Any]:
    """Count pairs by place, and tell how long they are."""
    times = np.array([np.datetime64(scene.time, "s") for scene in known.scenes])
    days = (times[chosen.later] - times[chosen.earlier]) / np.timedelta64(1, "D")
    counts = Counter(place_of(known.scenes[k]) for k in chosen.earlier.tolist())
    return {
        "scenes": len(known.scenes),
        "pairs": int(chosen.earlier.size),
        "median_days": float(np.median(days)),
        "pairs_by_place": dict(sorted(counts.items())),
    }
