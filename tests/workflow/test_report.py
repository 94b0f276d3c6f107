"""The report of a region: what the catalogue and the products say, on one page."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest
import shapely
import xarray as xr
from pyproj import Transformer
from sqlalchemy import event
from tests.workflow.regions import PAIRS, catalogue_of, folder_of
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import InputError
from ogive.scenes.polygons import read_polygons
from ogive.store.readers import open_cube
from ogive.workflow.catalogue import SceneUse, products_of, uses_of_scenes
from ogive.workflow.ground import windows_inside
from ogive.workflow.report.gathered import gather
from ogive.workflow.report.glaciers import (
    BEYOND,
    ICE,
    STABLE,
    STRIP,
    classes_of,
    glaciers_section,
)
from ogive.workflow.report.network import scene_rows
from ogive.workflow.report.page import make_report
from ogive.workflow.report.points import fast_places
from ogive.workflow.report.tiles import own_pixels, stable_cells
from ogive.workflow.runfile import read_run_file, template
from ogive.workflow.steps.grid import matched_pixels
from ogive.workflow.steps.ground import ground_of
from ogive.workflow.steps.match import read_displacement
from ogive.workflow.steps.region import open_region

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


@pytest.fixture(scope="module")
def page(undisturbed, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "page.html"
    assert make_report(undisturbed, out) == out
    return out.read_text(encoding="utf-8")


def cells(page, first):
    """Cells of the row of a table that begins with a word."""
    row = re.search(rf"<tr><td[^>]*>{re.escape(first)}</td>(.*?)</tr>", page, re.DOTALL)
    return re.findall(r"<td[^>]*>([^<]*)</td>", row[1])


def test_it_tells_all_that_was_asked_for_and_done(page):
    titles = re.findall(r"<h2 id=[^>]*>([^<]*)</h2>", page)
    assert titles == [
        "What was asked", "Annual maps, EPSG32632", "Series at chosen places",
        "Glaciers and stable ground", "How far it can be trusted", "Scenes and pairs",
        "Time, disk and versions", "The run file",
    ]  # fmt: skip
    assert "5 of 5 scenes are in a velocity. 10 of 10 pairs have a velocity." in page
    assert "windows of 16 px" in page
    assert "window: 16" in page  # the run file
    # Maps, three series, the glaciers, the ground, the network.
    assert page.count("data:image/png;base64,") == 7
    assert "src=" not in page.replace('src="data:', "")
    assert "href=" not in page.replace('href="#', "")


def test_steps_are_counted(page):
    assert cells(page, "match")[:3] == ["10", "0", "0"]
    assert cells(page, "annual")[:3] == ["1", "0", "0"]


def test_it_tells_by_what_it_was_made_and_what_was_left_out(page):
    assert "The velocities were written by ogive " in page
    assert re.search(r"This page was made by Python 3[^<]* ogive ", page)
    filters = re.search(r"([\d,]+) velocities of cells[^<]*Filters left out: ([^<]*)\.</p>", page)
    assert int(filters[1].replace(",", "")) > 1000
    assert sum(map(float, re.findall(r"([\d.]+) %", filters[2]))) < 100


def test_stable_ground_holds_what_was_declared(page):
    """Of the 95 % intervals; a calibrated pair errs about zero."""
    middle, low, _ = (float(cell) for cell in cells(page, "95 % intervals that hold zero (%)"))
    assert low <= middle
    assert middle > 50
    shift = [abs(float(cells(page, f"median of {axis} (m/yr)")[0])) for axis in "xy"]
    spread = [float(cells(page, f"spread of {axis}, NMAD (m/yr)")[0]) for axis in "xy"]
    assert max(shift) < min(spread)


def test_a_chosen_place_is_shown(undisturbed, tmp_path):
    (series,) = folder_of(undisturbed).glob("series/*.zarr")
    with xr.open_zarr(series, decode_timedelta=False) as opened:
        rows, columns = np.nonzero(np.isfinite(opened["vx"]).any("time").values)
        x, y = float(opened["x"][columns[0]]), float(opened["y"][rows[0]])
    lon, lat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(x, y)
    out = tmp_path / "page.html"
    told = CliRunner().invoke(
        app, ["report", str(folder_of(undisturbed)), "-o", str(out), "--point", f"{lon},{lat}"]
    )
    assert told.exit_code == 0, told.output
    page = out.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 5
    assert f"Speed at {lon:.4f}° E, {lat:.4f}° N" in page


def test_a_place_elsewhere_is_told(undisturbed, tmp_path):
    page = make_report(undisturbed, tmp_path / "page.html", points=[(10.0, 60.0)]).read_text()
    assert "There is no place with a series." in page


def test_it_is_written_as_the_step_writes_it(undisturbed, page):
    """But for the links to the maps beside the step's page."""
    written = (folder_of(undisturbed) / "report" / "index.html").read_text(encoding="utf-8")
    assert '<a href="EPSG32632/annual.nc">NetCDF and GeoTIFFs</a>' in written
    assert (folder_of(undisturbed) / "report" / "EPSG32632" / "annual.nc").is_file()
    assert re.findall(r"<h2.*?</h2>", written) == re.findall(r"<h2.*?</h2>", page)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.yaml"], "is no region"),
        (["{region}", "--point", "6.9"], "is no place: give LON,LAT"),
        (["{region}", "--point", "46,190"], "give longitude, then latitude"),
        (["{region}", "-o", "a.txt/page.html"], "a.txt"),
    ],
)
def test_what_cannot_be_done_is_said(undisturbed, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    told = CliRunner().invoke(app, ["report", *(w.format(region=undisturbed) for w in words)])
    assert told.exit_code == 2
    assert sentence in told.output
    assert not list(tmp_path.rglob("*.html"))


def test_a_folder_that_is_no_region_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no region"):
        make_report(tmp_path, tmp_path / "page.html")


def test_scenes_know_their_fate(scenes, catalogue):
    from ogive.scenes.network import PairIndices
    from ogive.workflow.catalogue import enter_pairs, enter_scenes, known_scenes

    enter_scenes(catalogue, scenes)
    chosen = PairIndices(np.array([0, 1]), np.array([1, 2]))
    enter_pairs(catalogue, known_scenes(catalogue), earlier=chosen.earlier, later=chosen.later)
    uses = uses_of_scenes(catalogue, "match")
    assert [use.pairs for use in uses] == [1, 2, 1, 0, 0, 0]
    assert [use.name for use in uses] == [scene.id for scene in scenes]
    rows = scene_rows(scenes, [*uses[:2], SceneUse(uses[2].name, 1, 0, 1), *uses[3:]])
    assert [row[-1] for row in rows[:4]] == [
        "not measured yet", "not measured yet", "all its pairs failed", "in no pair",
    ]  # fmt: skip


def test_outcomes_are_counted_on_both_sides_of_a_pair(undisturbed):
    engine = catalogue_of(undisturbed)
    uses = uses_of_scenes(engine, "calibrate")
    engine.dispose()
    assert [(use.pairs, use.done, use.failed) for use in uses] == 5 * [(4, 4, 0)]


def test_figures_of_pairs_are_asked_for_once(undisturbed):
    """Of a million pairs they are 300 MB."""
    told = []
    with open_region(undisturbed) as region:
        event.listen(
            region.engine,
            "before_cursor_execute",
            lambda _1, _2, statement, values, *_: told.append((statement, values)),
        )
        measured = gather(region).measured
    assert len([s for s, values in told if "figures" in s and "calibrate" in values]) == 1
    assert len(measured) == PAIRS
    assert (np.diff(measured.mid_date) >= np.timedelta64(0)).all()
    assert np.isfinite(measured.nmad_x_m_yr).all()


# ---- tiles ---------------------------------------------------------------------------------------


def test_tiles_stand_side_by_side(tiled, tmp_path):
    page = make_report(tiled, tmp_path / "page.html").read_text(encoding="utf-8")
    table = page[page.index(">Tiles</h2>") :]
    engine = catalogue_of(tiled)
    cubes = {made.subject: folder_of(tiled) / made.path for made in products_of(engine, "cube")}
    engine.dispose()
    assert len(cubes) == 6
    holding = []
    for name, path in cubes.items():
        scenes, pairs, kept, seen, spread, holds, closure = cells(
            table, name.removeprefix("EPSG32632_")
        )
        with open_cube(path) as cube:
            dates = [cube[f"acquisition_date_img{k}"].values for k in (1, 2)]
            assert int(scenes) == np.unique(np.concatenate(dates)).size
            assert int(kept) == cube.sizes["mid_date"] <= int(pairs) <= PAIRS
        assert 0 < int(seen) <= 100
        if holds != "–":
            holding.append(int(holds))
            assert min(float(part) for part in spread.split("/")) > 0
        assert float(closure) > 0
    # Of a few hundred values a tile, which err together where images do.
    assert np.median(holding) > 70


def test_one_tile_is_not_set_beside_others(page):
    assert ">Tiles</h2>" not in page


def test_each_cell_is_a_single_tiles_own(tiled):
    with open_region(tiled) as region:
        found = gather(region).tiles
    seen = Counter()
    for tile, _, series, _ in found.values():
        with xr.open_zarr(folder_of(tiled) / series.path, decode_timedelta=False) as opened:
            own = own_pixels(tile, opened)
        seen.update(itertools.product(own["y"].tolist(), own["x"].tolist()))
    assert set(seen.values()) == {1}
    (whole,) = folder_of(tiled).glob("report/*/annual.nc")
    with xr.open_dataset(whole) as maps:
        assert len(seen) == maps.sizes["y"] * maps.sizes["x"]


# ---- masks ---------------------------------------------------------------------------------------


def test_stable_cells_are_those_that_calibrated_the_pairs(undisturbed):
    """On the points of a pair, which lie on the cells: whole windows of 160 m."""
    moved = read_displacement(min(folder_of(undisturbed).glob("match/*/*/*.nc")))
    settings = read_run_file(undisturbed)
    pixels = ground_of(settings, matched_pixels(moved)).stable
    expected = windows_inside(pixels, window_px=16, step_px=8)
    found = stable_cells(settings, moved["dx"].odc.geobox, 160.0)
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < found.size


@pytest.mark.parametrize("beside_m", [None, 300.0])
def test_areas_of_the_masks_are_those_of_the_outlines(undisturbed, beside_m):
    usual = read_run_file(undisturbed)
    region = usual.region.model_copy(update={"beside_m": beside_m})
    settings = usual.model_copy(update={"region": region})
    found = classes_of(settings, "EPSG:32632")
    box = shapely.box(*found.grid.boundingbox.bbox)
    ice = read_polygons(region.glaciers).to_crs("EPSG:32632").union_all()
    near = box if beside_m is None else ice.buffer(beside_m)
    for kind, area in (
        (ICE, ice & box),
        (STRIP, (ice.buffer(100) - ice) & box),
        (STABLE, (near - ice.buffer(100)) & box),
        (BEYOND, box - near),
    ):
        # Pixels of 3 m along outlines of some kilometres.
        assert found.area_km2(kind) == pytest.approx(area.area / 1e6, abs=0.01)
    assert found.outlines == 2


def test_without_masks_there_is_no_chapter_of_them():
    settings = template()
    region = settings.region.model_copy(update={"glaciers": None})
    bare = settings.model_copy(update={"region": region})
    assert glaciers_section(bare, {"EPSG32632": "EPSG:32632"}) is None


def test_maps_without_a_value_have_no_fast_place():
    maps = xr.Dataset(
        {
            "v": (("year", "y", "x"), np.full((1, 2, 2), np.nan)),
            "cnt": (("y", "x"), np.zeros((2, 2))),
            "flag": (("y", "x"), np.zeros((2, 2))),
        },
        {"y": [1.0, 0.0], "x": [0.0, 1.0]},
    )
    assert fast_places(maps, "EPSG:32632") == []
