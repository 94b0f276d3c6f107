"""What goes wrong with a pair is told, and the rest goes on; and the upkeep of a region."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from datetime import date

import pytest
import rasterio
from affine import Affine
from tests.servers.stac import Fault, StacServer
from tests.workflow.regions import PAIRS, catalogue_of, contents, folder_of, run, tasks_of
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import InputError
from ogive.workflow.catalogue import CatalogueError, claim, new_owner
from ogive.workflow.catalogue.tables import TaskRow
from ogive.workflow.run import RunError, run_region
from ogive.workflow.run_upkeep import broken_products, clean_region, retry_region
from ogive.workflow.status import read_status

# Threads that read files change the filters of warnings under each other's feet.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


def errors_of(path, step="match"):
    rows = tasks_of(path, TaskRow.step, TaskRow.state, TaskRow.error_kind, TaskRow.error)
    return Counter(kind for own, state, kind, _ in rows if own == step and state == "failed")


@pytest.fixture
def image(archive):
    """Name of the image of the second scene, which is in four of the ten pairs."""
    found = sorted(archive.glob("sentinel-2-l2a/*/*.tif"))
    items = sorted(archive.glob("sentinel-2-l2a/*/*.json"), key=lambda path: path.name)
    told = json.loads(items[1].read_text())
    assert len(found) == 10
    return told["assets"]["nir"]["href"].split("/")[-1]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(truncated_to=20_000, forever=True), "DamagedImageError"),
        (Fault(status=403, forever=True), "RefusedError"),
    ],
)
def test_pairs_of_a_broken_image_fail_by_kind(new_region, sound, image, fault, kind):
    path = new_region()
    sound.fault(image, fault)
    status = run_region(path, cluster="threads", steps=["search", "pair", "match"])
    assert errors_of(path) == {kind: 4}
    assert [(error.kind, error.count) for error in status.errors] == [(kind, 4)]
    assert status.steps[-1].done == 6


def test_the_rest_goes_on_and_what_failed_may_be_retried(new_region, sound, image):
    path, kind = new_region(), "MissingImageError"
    sound.fault(image, Fault(status=404, forever=True))
    answer = run(path)
    assert answer.exit_code == 0
    assert errors_of(path) == {kind: 4}
    counts = {step.step: (step.done, step.failed) for step in read_status(path).steps}
    assert counts["match"] == (6, 4)
    assert counts["calibrate"] == (6, 0)
    assert counts["annual"] == counts["report"] == (1, 0)
    told = CliRunner().invoke(app, ["status", str(path)]).stdout
    assert "4" in next(line for line in told.splitlines() if kind in line)
    assert kind in (folder_of(path) / "report" / "index.html").read_text()

    sound.mend()
    assert retry_region(path, kinds=["another"]) == 0
    answer = CliRunner().invoke(app, ["retry", str(path), "--kind", kind])
    assert "4 tasks" in answer.stdout
    status = run_region(path, cluster="threads", steps=["match", "calibrate"])
    assert {step.step: step.done for step in status.steps}["calibrate"] == PAIRS
    assert status.errors == ()


def test_a_server_that_is_busy_for_a_while_is_asked_again(new_region, sound, image):
    path = new_region()
    sound.fault(image, Fault(status=503, retry_after_s=0), Fault(status=503, retry_after_s=0))
    status = run_region(path, cluster="threads", steps=["search", "pair", "match"])
    assert status.errors == ()
    assert {step.step: step.done for step in status.steps}["match"] == PAIRS


def test_a_signature_that_expires_is_renewed(new_region, archive):
    with StacServer(archive, signed=True) as signed:
        path = new_region(search={"archive": signed.url, "tokens": signed.tokens_url})
        run_region(path, cluster="threads", steps=["search", "pair"])
        signed.fault("_B08", Fault(status=403))
        status = run_region(path, cluster="threads", steps=["match"])
    assert status.errors == ()
    assert {step.step: step.done for step in status.steps}["match"] == PAIRS


def test_a_signature_that_is_always_refused_is_told(new_region, sound, image):
    path = new_region(search={"tokens": sound.tokens_url})
    sound.fault(image, Fault(status=403, forever=True))
    run_region(path, cluster="threads", steps=["search", "pair", "match"])
    assert errors_of(path) == {"SignatureError": 4}


def test_a_scene_with_no_overlap_is_told(new_region, sound, archive, tmp_path):
    """A scene whose item says that it sees the region, but whose image lies elsewhere."""
    moved = tmp_path / "moved"
    shutil.copytree(archive, moved)
    item = sorted(moved.glob("sentinel-2-l2a/*/*.json"), key=lambda path: path.name)[1]
    told = json.loads(item.read_text())
    with rasterio.open(
        item.parent / told["assets"]["nir"]["href"], "r+", IGNORE_COG_LAYOUT_BREAK="YES"
    ) as image:
        image.transform = image.transform @ Affine.translation(10_000, 0)
    path = new_region(search={"archive": str(moved / "catalog.json")})
    run_region(path, cluster="threads", steps=["search", "pair", "match"])
    assert errors_of(path) == {"NoOverlapError": 4}
    assert {step.step: step.done for step in read_status(path).steps}["match"] == 6


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small disk of its own")
def test_a_full_disk_is_told_and_the_rest_goes_on_when_there_is_room(
    new_region, sound, tmp_path, undisturbed
):
    """The velocities lie on a small disk of their own."""
    path = new_region()
    run_region(path, cluster="threads", steps=["search", "pair", "match"])
    place = folder_of(path) / "velocity"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        run_region(path, cluster="threads", steps=["calibrate"])
        failed = errors_of(path, "calibrate")
        assert set(failed) == {"OutputError"}
        assert 0 < failed["OutputError"] < PAIRS
        assert [found.name for found in place.rglob("*.partial")] == []
        told = CliRunner().invoke(app, ["status", str(path)]).stdout
        assert "OutputError" in told
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    retry_region(path)
    retry_region(path, done=True, steps=["calibrate"])
    run_region(path, cluster="threads")
    assert contents(path) == contents(undisturbed)


def test_a_search_that_finds_nothing_stops_the_run(new_region, sound):
    path = new_region(search={"start": date(2019, 1, 1), "end": date(2019, 2, 1)})
    with pytest.raises(
        RunError, match=r"the step 'search' failed: no scene of .* widen the search"
    ):
        run_region(path, cluster="threads")
    answer = run(path)
    assert answer.exit_code == 2
    assert "widen the search" in answer.stderr


def test_no_pairs_stop_the_run(new_region, sound):
    path = new_region(pair={"min_days": 300.0})
    with pytest.raises(RunError, match=r"no two of the 5 scenes are between 300 and 400 days"):
        run_region(path, cluster="threads")


def test_an_unexpected_error_is_a_failure_too(new_region, sound, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug")

    path = new_region()
    monkeypatch.setattr("ogive.workflow.steps.match.match", broken)
    run_region(path, cluster="threads", steps=["search", "pair", "match"])
    assert errors_of(path) == {"ZeroDivisionError": PAIRS}
    (error,) = read_status(path).errors
    assert error.example.startswith("unexpected: a bug")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--step", "knit"), "no step 'knit'"),
        (("--cluster", "cloud"), "no cluster 'cloud'"),
        (("--cluster", "tcp://127.0.0.1:1"), "no Dask scheduler at tcp://127.0.0.1:1"),
    ],
)
def test_wrong_words(copy, words, told, monkeypatch):
    monkeypatch.setattr("ogive.workflow.cluster.CONNECT_S", 1.0)
    answer = run(copy, *words)
    assert answer.exit_code == 2
    assert told in answer.stderr


def test_done_is_retried_by_step_only(copy):
    with pytest.raises(InputError, match="which step"):
        retry_region(copy, done=True)
    with pytest.raises(InputError, match="no step 'knit'"):
        retry_region(copy, steps=["knit"])


def test_what_is_done_can_be_done_anew(copy):
    before = contents(copy)
    victim = min(folder_of(copy).glob("velocity/*/*/*.nc"))
    victim.write_bytes(victim.read_bytes()[:1000])
    assert broken_products(copy) == [victim.relative_to(folder_of(copy)).as_posix()]
    told = CliRunner().invoke(app, ["status", str(copy), "--check"])
    assert told.exit_code == 2
    assert f"not whole: velocity/{victim.parents[1].name}" in told.stdout.replace("\n", "")
    assert retry_region(copy, steps=["calibrate"], done=True) == PAIRS
    run_region(copy, cluster="threads")
    assert contents(copy) == before
    assert broken_products(copy) == []


def test_nothing_is_cleaned_under_a_run(copy):
    retry_region(copy, steps=["match"], done=True)
    engine = catalogue_of(copy)
    assert claim(engine, "match", owner=new_owner(), count=1, lease_s=60.0, max_attempts=5)
    engine.dispose()
    with pytest.raises(CatalogueError, match="a run is at work"):
        clean_region(copy)


def test_clean_removes_what_died_in_the_making_and_the_cache(copy):
    before = contents(copy)
    folder = folder_of(copy)
    place = min(folder.glob("match/*/*")) / ".one.nc.0123abcd.partial"
    place.mkdir()
    (place / "one.nc").write_bytes(bytes(1000))
    told = CliRunner().invoke(app, ["clean", str(copy), "--cache"]).stdout
    assert "2 products" in told
    assert not place.exists()
    assert not (folder / "cache").exists()
    assert contents(copy) == before
