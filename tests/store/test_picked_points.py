"""Points picked by hand: what is written is read again, and what contradicts itself is refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import LineString

from ogive.model import GridError, InputError, OutputError
from ogive.store.picked_points import (
    Pick,
    PickedImages,
    picks_of,
    pixel_positions,
    points_of,
    read_picked_points,
    write_picked_points,
)

GRID = GeoBox((800, 1000), Affine(15, 0, 465_000, 0, -15, 6_681_000), "EPSG:32607")
BARE = GeoBox((800, 1000), Affine.identity(), None)
NOW = datetime(2024, 5, 1, 12, 30, 15, 250_000)


def images(grid: GeoBox = GRID) -> PickedImages:
    return PickedImages("a.tif", "b.tif", datetime(2016, 7, 18, 20), datetime(2016, 8, 3), grid)


def some_picks() -> list[Pick]:
    return [
        Pick(1, 10.25, 20.5, 17.0, 18.0, 3, NOW),
        Pick(4, 700.0, 3.125, 650.5, 30.0, 1, NOW + timedelta(seconds=9)),
    ]


@pytest.mark.parametrize("grid", [GRID, BARE])
def test_what_is_written_is_read_again(tmp_path, grid):
    path = write_picked_points(points_of(some_picks(), images(grid)), tmp_path / "new" / "p.gpkg")
    points = read_picked_points(path)
    back = picks_of(points, grid)
    assert [(p.id, p.confidence, p.picked_at) for p in back] == [
        (p.id, p.confidence, p.picked_at) for p in some_picks()
    ]
    for one, other in zip(back, some_picks(), strict=True):
        # Eastings and northings of 7 digits before the point, divided by 15 m.
        assert (one.x, one.y, one.x2, one.y2) == pytest.approx(
            (other.x, other.y, other.x2, other.y2), abs=1e-8
        )
    assert points["dx_px"].tolist() == [6.75, -49.5]
    assert points["dy_px"].tolist() == [-2.5, 26.875]
    assert points["earlier_time"].iloc[0].isoformat() == "2016-07-18T20:00:00+00:00"
    info = pyogrio.read_info(path, layer="picked_points")
    assert info["geometry_type"] == "Point"


def test_the_layer_says_which_way_the_pixels_count(tmp_path):
    """Any program that opens the file sees by the system's name what these numbers are."""
    path = write_picked_points(points_of(some_picks(), images(BARE)), tmp_path / "p.gpkg")
    assert "pixels of the image, x to the right, y downwards" in gpd.read_file(path).crs.name


def test_no_points_are_a_whole_file_too(tmp_path):
    path = write_picked_points(points_of([], images()), tmp_path / "p.gpkg")
    points = read_picked_points(path)
    assert len(points) == 0
    assert points.crs == "EPSG:32607"
    assert picks_of(points, GRID) == []


@given(
    place=st.tuples(*[st.floats(-0.5, 799.5)] * 4),
    step=st.sampled_from([0.5, 10.0, 30.0]),
    north_up=st.booleans(),
)
def test_map_and_pixels_are_each_other_undone(place, step, north_up):
    grid = GeoBox(
        (800, 1000),
        Affine(step, 0, 465_000, 0, -step if north_up else step, 6_681_000),
        "EPSG:32607",
    )
    x, y, x2, y2 = place
    points = points_of([Pick(1, x, y, x2, y2, 2, NOW)], images(grid))
    at = pixel_positions(points, grid)
    # Doubles of 7e6 m are 1e-9 m apart.
    np.testing.assert_allclose(np.ravel(at), place, atol=4e-9 / step)
    assert points["dx"].iloc[0] == pytest.approx(step * (x2 - x), abs=4e-9)
    assert points["dy"].iloc[0] == pytest.approx((-step if north_up else step) * (y2 - y), abs=4e-9)


def test_points_of_another_map_are_refused():
    points = points_of(some_picks(), images())
    elsewhere = GeoBox(GRID.shape, GRID.transform, "EPSG:32608")
    with pytest.raises(GridError, match=r"zone 7N, the images in .* zone 8N"):
        pixel_positions(points, elsewhere)
    with pytest.raises(GridError, match="zone 7N, the images in pixels, without"):
        pixel_positions(points, BARE)
    with pytest.raises(GridError, match="picked points are in pixels, without"):
        pixel_positions(points_of(some_picks(), images(BARE)), GRID)


def test_files_that_hold_no_picked_points_are_told(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_picked_points(tmp_path / "none.gpkg")
    text = tmp_path / "text.gpkg"
    text.write_text("no GeoPackage")
    with pytest.raises(InputError, match="holds no picked points"):
        read_picked_points(text)
    points = points_of(some_picks(), images())
    points.to_file(tmp_path / "layer.gpkg", layer="other")
    with pytest.raises(InputError, match="holds no picked points"):
        read_picked_points(tmp_path / "layer.gpkg")

    def told(changed: gpd.GeoDataFrame) -> str:
        path = tmp_path / "changed.gpkg"
        path.unlink(missing_ok=True)
        changed.to_file(path, layer="picked_points")
        with pytest.raises(InputError) as error:
            read_picked_points(path)
        return str(error.value)

    assert "have no x2" in told(points.drop(columns="x2"))
    assert "none of 1, 2, 3" in told(points.assign(confidence=5))
    assert "without finite" in told(points.assign(dx_px=np.nan))
    assert "point 1 of" in told(points.set_geometry(points.translate(5, 0)))
    lines = [LineString([(0, 0), (1, 1)])] * 2
    assert "no point" in told(points.set_geometry(lines, crs=points.crs))


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_picked_points(points_of(some_picks(), images()), tmp_path / "file" / "p.gpkg")
