"""The report of a region: what the catalogue and the products say, on one page."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer
from tests.workflow.regions import catalogue_of, folder_of
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import InputError
from ogive.workflow.catalogue import SceneUse, uses_of_scenes
from ogive.workflow.report.network import scene_rows
from ogive.workflow.report.page import make_report
from ogive.workflow.report.points import fast_places

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
        "How far it can be trusted", "Scenes and pairs", "Time, disk and versions", "The run file",
    ]  # fmt: skip
    assert "5 of 5 scenes are in a velocity. 10 of 10 pairs have a velocity." in page
    assert "windows of 16 px" in page
    assert "window: 16" in page  # the run file
    # Maps, three series, the ground, the network.
    assert page.count("data:image/png;base64,") == 6
    assert "src=" not in page.replace('src="data:', "")
    assert "href=" not in page.replace('href="#', "")


def test_steps_are_counted(page):
    assert cells(page, "match")[:3] == ["10", "0", "0"]
    assert cells(page, "annual")[:3] == ["1", "0", "0"]


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
    assert page.count("data:image/png;base64,") == 4
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
