"""Shapes from files of one layer and of many; warnings are errors here as everywhere."""

from __future__ import annotations

import logging
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
import shapely

from ogive.model import InputError
from ogive.outlines.vectors import read_inventory
from ogive.scenes.polygons import read_polygons
from ogive.store.points import read_points
from ogive.store.shapes import read_shapes

CRS = "EPSG:32632"
AREAS_M2 = {"glaciers": 100.0, "inner": 64.0, "outer": 144.0}


@pytest.fixture(scope="module")
def outlines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ogive outlines` writes: three layers of polygons, and a table of their styles."""
    workflow = pytest.importorskip("ogive.workflow.outlines", reason="needs the learning extra")
    path = tmp_path_factory.mktemp("outlines") / "outlines.gpkg"
    layers = {
        name: gpd.GeoDataFrame(geometry=[shapely.box(0, 0, area**0.5, area**0.5)], crs=CRS)
        for name, area in AREAS_M2.items()
    }
    workflow._write_layers(layers, path)
    kinds = dict(pyogrio.list_layers(path))
    assert kinds.keys() == {*AREAS_M2, "layer_styles"}
    assert kinds["layer_styles"] is None
    return path


def test_glaciers_of_own_outlines_are_read(outlines: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "ogive.store.shapes")
    for read in (read_shapes, read_polygons, read_inventory):
        caplog.clear()
        assert read(outlines).area.tolist() == [AREAS_M2["glaciers"]]
        assert "the layer glaciers is read, not inner, outer" in caplog.text
        assert "layer_styles" not in caplog.text


def test_own_outlines_lie_over_the_map_of_the_viewer(outlines: Path):
    under = pytest.importorskip("ogive.view.viewer.under", reason="needs the viewer extra")
    product = type("OnTheSameGrid", (), {"crs": CRS})()
    (line,) = under.outline_paths(outlines, product)
    assert shapely.Polygon(line).area == AREAS_M2["glaciers"]


def test_a_file_of_one_layer_is_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "ogive.store.shapes")
    square = gpd.GeoDataFrame({"name": ["a"]}, geometry=[shapely.box(0, 0, 3, 3)], crs=CRS)
    for name in ("one.gpkg", "one.shp", "one.geojson"):
        square.to_file(tmp_path / name)
        found = read_shapes(tmp_path / name)
        assert found.name.tolist() == ["a"]
        assert found.crs == CRS
        assert found.area.tolist() == [9.0]
    assert not caplog.text


def test_tables_before_the_shapes_are_passed_over(tmp_path: Path):
    path = tmp_path / "stakes.gpkg"
    pyogrio.write_dataframe(pd.DataFrame({"who": ["me"]}), path, layer="notes", driver="GPKG")
    stakes = {"start": ["2020-01-01"], "end": ["2021-01-01"], "vx": [3.0], "vy": [4.0]}
    gpd.GeoDataFrame(stakes, geometry=[shapely.Point(5, 6)], crs=CRS).to_file(path, layer="stakes")
    assert read_points(path)[["x", "y", "vx", "vy"]].to_numpy().tolist() == [[5, 6, 3, 4]]


def test_files_without_shapes_are_refused_in_a_sentence(tmp_path: Path, outlines: Path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"table\.csv holds no layer with geometry: polygons"):
        read_shapes(tmp_path / "table.csv")
    for name in ("none.gpkg", "text.gpkg"):
        if name == "text.gpkg":
            (tmp_path / name).write_text("no")
        with pytest.raises(InputError, match=f"{name} is no file of polygons that can be read"):
            read_shapes(tmp_path / name)
    with pytest.raises(InputError, match="is no file of points that can be read"):
        read_points(tmp_path / "text.gpkg")
    with pytest.raises(InputError, match="holds a Polygon: velocities are measured at points"):
        read_points(outlines)
