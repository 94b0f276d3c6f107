"""A region over a simulated archive on a real STAC API: from the run file to annual maps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from tests.workflow.regions import PAIRS, change, contents, folder_of, run, tasks_of

import ogive
from ogive import scenes
from ogive.scenes.polygons import burned, read_polygons
from ogive.workflow.catalogue.tables import TaskRow
from ogive.workflow.run import run_region
from ogive.workflow.run_upkeep import broken_products, clean_region, retry_region
from ogive.workflow.runfile import read_run_file
from ogive.workflow.status import read_status
from ogive.workflow.steps import NAMES as STEPS

# Threads that read files change the filters of warnings under each other's feet.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

# ---- all goes well -------------------------------------------------------------------------------


def test_all_steps_are_done_once(undisturbed):
    status = read_status(undisturbed)
    counts = {step.step: (step.done, step.total) for step in status.steps}
    one, pairs = (1, 1), (PAIRS, PAIRS)
    assert counts == dict.fromkeys(STEPS, one) | {"match": pairs, "calibrate": pairs}
    assert status.errors == ()
    assert {row.attempts for row in tasks_of(undisturbed, TaskRow.attempts)} == {1}
    assert broken_products(undisturbed) == []


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")
def test_speeds_are_those_of_the_glacier(undisturbed, archive):
    """The median of the cube, and the annual map, against the truth of the record's mean."""
    (cube,) = folder_of(undisturbed).glob("cube/*.zarr")
    with ogive.open_cube(cube) as opened:
        median = opened[["vx", "vy"]].median("mid_date").load()
    with xr.open_dataset(archive / "truth.nc") as truth:
        true = truth[["vx", "vy"]].mean("time").interp(x=median.x, y=median.y).load()
        ice = truth["ice"].isel(time=0).interp(x=median.x, y=median.y, method="nearest").load()
    speed = np.hypot(true.vx, true.vy)
    moving = (speed > 50) & (ice > 0) & median.vx.notnull()
    assert int(moving.sum()) > 50
    error = (np.hypot(median.vx - true.vx, median.vy - true.vy) / speed).where(moving)
    # Windows of 160 m blur a glacier some 600 m wide, by a tenth; pairs err by 5 to 20 m/yr each.
    assert float(error.median()) < 0.15
    (maps,) = folder_of(undisturbed).glob("report/*/annual.nc")
    with xr.open_dataset(maps) as opened:
        annual = opened["v2019_2020"].load()
    both = moving & annual.notnull()
    assert np.corrcoef(annual.values[both.values], speed.values[both.values])[0, 1] > 0.7


def test_the_run_says_what_it_did(undisturbed):
    folder = folder_of(undisturbed)
    assert read_run_file(folder / "run.yaml") == read_run_file(undisturbed)
    page = (folder / "report" / "index.html").read_text()
    assert "5 of 5 scenes are in a velocity" in page
    assert "10 of 10 pairs have a velocity" in page
    assert "src=" not in page.replace('src="data:', "")  # nothing from elsewhere


def test_a_pair_is_what_ogive_velocity_gives(undisturbed, archive):
    """Bit for bit, on the same windows of the images."""
    folder = folder_of(undisturbed)
    path = min(folder.glob("velocity/*/*/*.nc"))
    made = ogive.read_velocity(path)
    pair = made["img_pair_info"].attrs
    (displacement,) = folder.glob(f"match/*/*/{path.name.rsplit('_', 1)[0]}_*.nc")
    with xr.open_dataset(displacement, decode_coords="all") as moved:
        grid = pixels_of(moved)
    known = {scene.id: scene for scene in scenes_of(undisturbed)}
    images = []
    for which in ("img1", "img2"):
        scene = known[pair[f"id_{which}"]]
        image = scenes.read_window(scene, scenes.matching_band(scene), grid).drop_vars("time")
        images.append(image.assign_coords(valid=scenes.clear_pixels(scene, grid)))
    measured = ogive.velocity(
        *images,
        dates=[pair["acquisition_date_img1"], pair["acquisition_date_img2"]],
        window=16,
        step=8,
        max_speed=1000.0,
        stable=~near_ice(archive, grid),
        threads=1,
    )
    for name in ("vx", "vy", "vx_error", "flag"):
        np.testing.assert_array_equal(measured[name].values, made[name].values)


def pixels_of(moved):
    shape = int(moved.attrs["image_rows"]), int(moved.attrs["image_columns"])
    return GeoBox(shape, Affine(*moved.attrs["image_transform"]), moved.odc.crs)


def near_ice(archive, grid):
    """Ice and a hundred metres round it."""
    outlines = read_polygons(archive / "outlines.gpkg").to_crs(str(grid.crs))
    return burned(outlines.set_geometry(outlines.buffer(100.0)), grid)


def scenes_of(path):
    (listed,) = folder_of(path).glob("search/*.json")
    return [scenes.from_dict(told) for told in json.loads(listed.read_text())]


def test_layers_of_the_cube_are_in_the_order_of_their_dates(undisturbed):
    (cube,) = folder_of(undisturbed).glob("cube/*.zarr")
    with ogive.open_cube(cube) as opened:
        assert opened.sizes["mid_date"] == PAIRS
        assert (np.diff(opened["mid_date"].values) >= np.timedelta64(0)).all()
        assert (opened["x"].values % 80 == 40).all()


def test_tiles_with_their_edges_give_what_the_whole_gives(tiled, undisturbed):
    """Bit for bit."""
    assert len(list(folder_of(tiled).glob("annual/*_x*_y*.nc"))) > 4
    (parted,) = folder_of(tiled).glob("report/*/annual.nc")
    (whole,) = folder_of(undisturbed).glob("report/*/annual.nc")
    with xr.open_dataset(parted) as one, xr.open_dataset(whole) as other:
        names = [name for name, field in other.data_vars.items() if {"y", "x"} <= {*field.dims}]
        assert names
        for name in names:
            np.testing.assert_array_equal(one[name].values, other[name].values)


def test_batches_of_layers_give_what_all_at_once_give(copy, monkeypatch):
    before = contents(copy)
    monkeypatch.setattr("ogive.workflow.steps.cube.BATCH_BYTES", 1.0)  # eight layers of the ten
    assert retry_region(copy, steps=["cube"], done=True) == 1
    run_region(copy, cluster="threads")
    assert contents(copy) == before


# ---- again, and otherwise ------------------------------------------------------------------------


def test_to_run_again_does_nothing(copy, sound):
    before, asked = contents(copy), len(sound.requests)
    finished = tasks_of(copy, TaskRow.id, TaskRow.finished_s)
    answer = run(copy)
    assert answer.exit_code == 0
    assert contents(copy) == before
    assert tasks_of(copy, TaskRow.id, TaskRow.finished_s) == finished
    assert len(sound.requests) == asked


def test_progress_is_told_in_the_end_and_seldom_between(copy, monkeypatch):
    """Counting a million tasks takes a second: not after each of them."""
    monkeypatch.setattr("ogive.workflow.run.TELL_S", 1e9)
    retry_region(copy, steps=["calibrate"], done=True)
    told = []
    run_region(
        copy, cluster="threads", steps=["calibrate"], progress=lambda *words: told.append(words)
    )
    assert len(told) == 2
    assert told[-1] == ("calibrate", PAIRS, PAIRS)


def test_a_changed_parameter_redoes_just_what_depends_on_it(copy):
    def finished():
        return dict(tasks_of(copy, TaskRow.step, TaskRow.finished_s))

    before = finished()
    change(copy, "method: ols", "method: median")
    run_region(copy, cluster="threads")
    after = finished()
    assert {step for step in STEPS if after[step] > before[step]} == {"annual", "report"}
    before = finished()
    change(copy, "  max_speed_m_yr: null", "  max_speed_m_yr: 900")
    run_region(copy, cluster="threads")
    after = finished()
    assert {step for step in STEPS if after[step] > before[step]} == {
        "calibrate", "cube", "invert", "annual", "report",
    }  # fmt: skip


def test_a_parameter_changed_back_takes_up_what_was_made_before(copy):
    before = contents(copy)
    times = {path: path.stat().st_mtime_ns for path in folder_of(copy).rglob("velocity/*/*/*.nc")}
    change(copy, "  max_speed_m_yr: null", "  max_speed_m_yr: 900")
    run_region(copy, cluster="threads", steps=["calibrate"])
    assert len(contents(copy)) == len(before) + PAIRS
    change(copy, "  max_speed_m_yr: 900", "  max_speed_m_yr: null")
    run_region(copy, cluster="threads")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    cleaned = clean_region(copy, dry_run=True)
    assert cleaned.count == PAIRS
    assert clean_region(copy) == cleaned
    assert contents(copy) == before
    assert broken_products(copy) == []


def test_shorter_pairs_drop_the_longer_ones(copy):
    change(copy, "max_days: 400.0", "max_days: 50.0")
    status = run_region(copy, cluster="threads")
    assert 0 < status.pairs < PAIRS
    counts = {step.step: step.done for step in status.steps}
    assert counts["match"] == counts["calibrate"] == status.pairs
    assert counts["cube"] == 1


def test_one_step_alone_takes_what_there_is(new_region, sound):
    path = new_region()
    status = run_region(path, cluster="threads", steps=["search", "pair"])
    assert [step.step for step in status.steps] == ["search", "pair"]
    assert (status.scenes, status.pairs) == (5, PAIRS)
    status = run_region(path, cluster="threads", steps=["calibrate"])
    assert [step.step for step in status.steps] == ["search", "pair"]
