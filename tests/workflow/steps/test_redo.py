"""Steps are pure functions of their inputs: a changed key redoes just what depends on it.

The road is gone along without any work: tasks are planned, claimed and recorded as they are in a
run, with products that hold nothing but their fingerprints.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
import shapely

from ogive.model import Asset
from ogive.workflow.catalogue import (
    Product,
    Result,
    begin_again,
    claim,
    enter_scenes,
    open_catalogue,
    products_of,
    record,
)
from ogive.workflow.runfile import template
from ogive.workflow.runfile_settings import RunFile
from ogive.workflow.steps import NAMES, pair
from ogive.workflow.steps.region import Region, catalogue_address, zone_grid
from ogive.workflow.steps.road import STEPS

OUTLINE = shapely.box(6.90, 45.92, 7.03, 46.00)
OTHER = "other file"
"""Stands for a file that holds something else than the one before, or than none."""

SEARCH, PAIR = {"search"}, {"pair"}
INVERT, MAPS = {"invert", "report"}, {"annual", "report"}
FROM_CUBE = {"cube"} | INVERT | MAPS
FROM_CALIBRATE = {"calibrate"} | FROM_CUBE
FROM_MATCH = {"match"} | FROM_CALIBRATE
NOTHING: set[str] = set()

CHANGES = {
    "region.bbox": ((6.9, 45.92, 7.03, 46.01), SEARCH | FROM_MATCH),
    "region.file": (OTHER, SEARCH | FROM_MATCH),
    "region.buffer_m": (500.0, SEARCH | FROM_MATCH),
    "region.glaciers": (OTHER, FROM_CALIBRATE),
    "region.stable": (OTHER, FROM_CALIBRATE),
    "region.beside_m": (900.0, FROM_MATCH),
    "region.edge_m": (50.0, FROM_CALIBRATE),
    "search.archive": ("usgs", SEARCH),
    "search.sensors": (("landsat-l1",), SEARCH),
    "search.start": (date(2020, 5, 1), SEARCH),
    "search.end": (date(2021, 12, 1), SEARCH),
    "search.max_cloud_percent": (20.0, SEARCH),
    "search.tokens": ("https://tokens", NOTHING),
    # Pairs that stay keep their displacements; the cube loses layers.
    "pair.min_days": (15.0, PAIR | FROM_CUBE),
    "pair.max_days": (30.0, PAIR | FROM_CUBE),
    "pair.same_orbit": (False, PAIR),  # all scenes are of one
    "pair.nearest": (2, PAIR | FROM_CUBE),
    "pair.redundancy": (1, PAIR | FROM_CUBE),
    "match.band": ("B04", FROM_MATCH),
    "match.window": (16, FROM_MATCH),
    "match.spacing_m": (160.0, FROM_MATCH),
    "match.max_speed_m_yr": (700.0, FROM_MATCH),
    "match.search_px": (9, FROM_MATCH),
    "match.prior": (OTHER, FROM_MATCH),
    "match.features": ("highpass", FROM_MATCH),
    "match.subpixel_features": ("sobel", FROM_MATCH),
    "match.weights": (OTHER, FROM_MATCH),
    "match.forward_backward_px": (0.5, FROM_MATCH),
    "match.mask_clouds": (False, FROM_MATCH),
    "calibrate.model": ("plane", FROM_CALIBRATE),
    "calibrate.max_speed_m_yr": (700.0, FROM_CALIBRATE),
    "cube.tile_px": (60, FROM_CUBE),
    "invert.sampling_days": (20.0, INVERT),
    "invert.regularisation": (10.0, INVERT),
    "invert.closure": ("combined", INVERT),
    "annual.year_start": ("01-01", MAPS),
    "annual.method": ("median", MAPS),
    "annual.smoothing": ("none", MAPS),
    "report.points": (((6.95, 45.95),), {"report"}),
    "run.workers": (3, NOTHING),
    "run.threads": (2, NOTHING),
    "run.cache_gb": (1.0, NOTHING),
    "run.lease_s": (60.0, NOTHING),
    "run.max_attempts": (9, NOTHING),
    "run.slurm": ({"jobs": 9}, NOTHING),
}
"""By key: another value, and the steps that it redoes."""
OF_ANOTHER_REGION = {"name", "run.folder", "run.catalogue"}


def keys_of(model, above=""):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if hasattr(inner, "model_fields") and f"{above}{name}" != "run.slurm":
            yield from keys_of(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def test_every_key_is_tried():
    assert CHANGES.keys() | OF_ANOTHER_REGION == set(keys_of(RunFile))


@pytest.fixture
def settings(tmp_path):
    """A run file with glaciers."""
    glaciers = tmp_path / "glaciers.gpkg"
    glaciers.write_bytes(b"outlines")
    usual = template("test", glaciers=glaciers)
    return usual.model_copy(
        update={"run": usual.run.model_copy(update={"folder": tmp_path / "test"})}
    )


def changed(settings, key, value, folder):
    if value == OTHER:
        value = folder / "other"
        value.write_bytes(b"something else")
    section, name = key.split(".")
    changes = {name: value} | ({"bbox": None} if key == "region.file" else {})
    own = getattr(settings, section).model_copy(update=changes)
    return settings.model_copy(update={section: own})


@pytest.fixture
def go(settings, scenes, monkeypatch):
    """Go along the road; tell how many tasks each step had to do."""
    # The file of a region need hold no polygons here.
    monkeypatch.setattr("ogive.workflow.steps.region.outline_of", lambda _: OUTLINE)
    settings.run.folder.mkdir()
    engine = open_catalogue(catalogue_address(settings), region=settings.name)

    def along(settings, scenes=scenes):
        region = Region(settings, engine)
        done = {name: pretended(region, name, scenes) for name in NAMES}
        return {name: count for name, count in done.items() if count}

    along.engine = engine
    yield along
    engine.dispose()


def pretended(region, name, scenes):
    step = STEPS[name]
    step.plan(region)
    claims = claim(region.engine, name, owner="one", count=999, lease_s=60.0, max_attempts=5)
    if not claims:
        return 0
    jobs = step.jobs(region, claims)
    if name == "search":
        enter_scenes(region.engine, scenes)
    if name == "pair":
        for job in jobs:
            pair.perform(job)
    results = [Result(job.claim, product(job, region), "here", 1.0, 1.0) for job in jobs]
    assert len(record(region.engine, results, owner="one")) == len(claims)
    return len(claims)


def product(job, region):
    figures = {}
    if job.claim.step == "calibrate":
        grid = zone_grid(region.outline, "EPSG:32632", job.settings.match.spacing_m)
        figures = {
            "crs": "EPSG:32632",
            "bounds": list(grid.boundingbox.bbox),
            "mid_date": job.inputs["pair"].mid_date.isoformat(),
            "days": job.inputs["pair"].days,
            "passes": job.claim.subject,
        }
    path = f"{job.claim.step}/{job.claim.subject}_{job.fingerprint}"
    return Product(job.fingerprint, path, 1, "c" * 32, figures)


ALL = dict.fromkeys(NAMES, 1) | {"match": 15, "calibrate": 15}


def test_the_first_time_all_is_done_and_then_nothing(go, settings):
    assert go(settings) == ALL
    assert go(settings) == {}


@pytest.mark.parametrize("key", CHANGES)
def test_a_changed_key_redoes_just_what_depends_on_it(go, settings, tmp_path, key):
    value, steps = CHANGES[key]
    go(settings)
    other = changed(settings, key, value, tmp_path)
    assert go(other).keys() == steps
    assert go(other) == {}


def test_limits_that_leave_the_same_pairs_redo_no_match(go, settings, tmp_path):
    go(settings)
    assert go(changed(settings, "pair.max_days", 300.0, tmp_path)) == {"pair": 1}


def test_a_new_scene_brings_its_own_pairs_only(go, settings, scenes):
    go(settings)
    last = scenes[-1]
    more = [*scenes, replace(last, id="new", time=last.time + timedelta(days=10))]
    assert begin_again(go.engine, steps=["search"], done=True)
    assert go(settings, more) == ALL | {"match": 6, "calibrate": 6}


def test_a_scene_that_was_processed_anew_redoes_its_own_pairs(go, settings, scenes):
    go(settings)
    others = [replace(scenes[0], assets={"B08": Asset("processed/anew.tif")}), *scenes[1:]]
    begin_again(go.engine, steps=["search"], done=True)
    assert go(settings, others) == ALL | {"match": 5, "calibrate": 5}


@pytest.mark.parametrize(
    ("key", "steps"), [("region.glaciers", FROM_CALIBRATE), ("match.prior", FROM_MATCH)]
)
def test_files_count_by_what_they_hold(go, settings, tmp_path, key, steps):
    """Another name for the same redoes nothing, the same name for something else does."""
    file, copy = tmp_path / "one", tmp_path / "two"
    file.write_bytes(b"one thing")
    copy.write_bytes(b"one thing")
    go(changed(settings, key, file, tmp_path))
    assert go(changed(settings, key, copy, tmp_path)) == {}
    copy.write_bytes(b"another thing")
    assert go(changed(settings, key, copy, tmp_path)).keys() == steps


def test_changed_back_is_what_it_was(go, settings, tmp_path):
    """The same fingerprint names the same product, so that it is taken up where it still lies."""
    before = prints(go, settings)
    other = changed(settings, "match.window", 16, tmp_path)
    between = prints(go, other)
    assert before.keys() == between.keys()
    assert not set(before.values()) & set(between.values())
    assert prints(go, settings) == before


def prints(go, settings):
    """Go along the road, and list the fingerprints of all displacements."""
    go(settings)
    return {made.subject: made.fingerprint for made in products_of(go.engine, "match")}
