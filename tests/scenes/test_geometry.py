"""View geometry: angles read from metadata, carried to pixels, or taken from the nominal orbit."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS
from shapely.geometry import box as rectangle
from shapely.geometry import mapping

from ogive.model import GridError, InputError, Scene
from ogive.scenes.geometry import given_view, item_scene, scene_of_angles, view_geometry
from ogive.scenes.geometry_landsat import read_metadata, read_scene_angles
from ogive.scenes.geometry_orbit import flight_azimuth_deg, nominal_sight
from ogive.scenes.geometry_sentinel2 import BANDS, TileAngles, read_tile_angles
from ogive.scenes.geometry_sight import Sight, map_plane, places_of, sight_to
from ogive.simulation.satellite import ORBITS
from ogive.workflow.simulate import true_azimuth_deg


@pytest.fixture(scope="session")
def tiles(data_dir):
    """Granules with viewing grids."""
    root = data_dir / "s2_metadata_stactools" / "tests" / "data-files"
    files = sorted([*root.rglob("MTD_TL.xml"), *root.rglob("metadata.xml")])
    seen = [path for path in files if "S2A_OPER_MSI_L2A_TL_2APS_20240108T121951" not in str(path)]
    return [path for path in seen if "Viewing_Incidence_Angles_Grids" in path.read_text()]


@pytest.fixture(scope="session")
def coefficients(data_dir):
    return sorted((data_dir / "landsat_metadata_stactools").rglob("*_ANG.txt"))


def nodes(angles: TileAngles):
    row, column = np.mgrid[0:23, 0:23].astype(float)
    return places_of(
        angles.left_m + column * angles.step_m, angles.top_m - row * angles.step_m, angles.crs
    )


def across_and_along(sight, other, mission, places):
    """Difference of two lines of sight across the track and along it."""
    turn = np.deg2rad(flight_azimuth_deg(mission, places.latitude_deg) + 90)
    east, north = sight.east - other.east, sight.north - other.north
    return (
        east * np.sin(turn) + north * np.cos(turn),
        east * np.cos(turn) - north * np.sin(turn),
    )


# Sentinel-2 -------------------------------------------------------------------------------------


def test_there_are_tiles_enough(tiles):
    assert len(tiles) == 18


def test_nodes_are_given_back_as_they_are_in_the_file(tiles):
    """Each node gets an angle that one of its detectors has there, to rounding."""
    for path in tiles:
        angles = read_tile_angles(path)
        sight, detector = angles.sight(nodes(angles))
        for k, number in enumerate(angles.detectors):
            here = (detector == number) & np.isfinite(angles.east).any(axis=0)
            assert np.isfinite(angles.east[k][here]).all(), "a node given to a blind detector"
            np.testing.assert_allclose(sight.east[here], angles.east[k][here], atol=1e-12)
            np.testing.assert_allclose(sight.north[here], angles.north[k][here], atol=1e-12)
        assert np.isfinite(sight.east[np.isfinite(angles.east).any(axis=0)]).all()


def test_zenith_agrees_with_the_stac_items(tiles):
    """Items give the mean zenith over the bands' nodes: the same numbers, read another way."""
    compared = 0
    for path in tiles:
        expected = [folder / "expected_output.json" for folder in path.parents]
        item = next((file for file in expected if file.is_file()), None)
        told = json.loads(item.read_text())["properties"] if item else {}
        if told.get("view:incidence_angle") is None:
            continue
        means = [
            np.nanmean(Sight(angles.east, angles.north).zenith_deg)
            for angles in (read_tile_angles(path, band) for band in BANDS)
        ]
        # One producer's means leave out a node at the edge: 0.001°.
        assert np.mean(means) == pytest.approx(told["view:incidence_angle"], abs=2e-3)
        compared += 1
    assert compared >= 12


def test_the_items_mean_azimuth_is_not_to_be_believed(tiles):
    """Near the pole it averages numbers on both sides of north: `item_scene` leaves it out."""
    path = next(path for path in tiles if "T33XWJ" in str(path))
    angles = read_tile_angles(path)
    azimuth = Sight(np.nanmean(angles.east), np.nanmean(angles.north)).azimuth_deg
    item = json.loads((path.parents[2] / "expected_output.json").read_text())
    assert abs(item["properties"]["view:azimuth"] - float(azimuth)) > 20
    scene = item_scene(item)
    assert scene.view_azimuth_deg is None
    assert scene.relative_orbit == 25


def test_nominal_orbit_agrees_with_the_angle_files(tiles):
    """Across the track to 0.17° (the worst flew before the orbit was reached), half that mostly.

    Along it detectors are staggered by up to 0.019 each way, odd ones to the other side of even
    ones. Were azimuths counted from the grid's north, files at 60 to 80° of latitude, with
    convergences up to 5.8°, would disagree by 0.02 at the swath's edge.
    """
    largest = []
    for path in tiles:
        angles = read_tile_angles(path)
        places = nodes(angles)
        sight, detector = angles.sight(places)
        nominal = nominal_sight("sentinel-2", angles.relative_orbit, places)
        across, along = across_and_along(sight, nominal, "sentinel-2", places)
        if np.abs(places.latitude_deg).max() < 76:  # where the track does not yet turn
            largest.append(np.nanmax(np.abs(across)))
            assert np.nanmax(np.abs(along)) < 0.020
            odd, even = (along[(detector % 2 == k) & (detector > 0)] for k in (1, 0))
            assert not odd.size or np.nanmax(odd) < -0.005
            assert not even.size or np.nanmin(even) > 0.005
        else:
            assert np.nanmax(np.hypot(across, along)) < 0.022
    assert max(largest) < 0.003
    assert np.median(largest) < 0.0015


def synthetic_tile(seams_px, flight_deg=195.0):
    """A swath of detectors whose seams and angles are known; nodes as a product gives them."""
    turn = np.deg2rad(flight_deg + 90)
    crs = CRS.from_epsg(32632)

    def truth(x, y, number):
        across = 0.05 - ((x - 454e3) * np.sin(turn) + (y - 5.1e6) * np.cos(turn)) / 786e3
        along = 0.012 if number % 2 else -0.012
        return (
            across * np.sin(turn) + along * np.sin(turn + np.pi / 2),
            across * np.cos(turn) + along * np.cos(turn + np.pi / 2),
        )

    def seen(x, y):
        way = (x - 400e3) * -np.sin(turn) - (y - 5.1e6) * np.cos(turn)
        return np.searchsorted(seams_px, way) - 1

    row, column = np.mgrid[0:23, 0:23].astype(float)
    x, y = 399960 + 5000 * column, 5.2e6 - 5000 * row
    index = seen(x, y)
    count = len(seams_px) - 1
    layers = [
        np.where(index == k, part, np.nan) for k in range(count) for part in truth(x, y, 5 + k)
    ]
    tile = TileAngles(
        Path("synthetic"), "T32TLS", "2A", None, None, "B08", crs, 399960, 5.2e6, 5000.0,
        tuple(5 + k for k in range(count)), np.stack(layers[::2]), np.stack(layers[1::2]),
    )  # fmt: skip
    return tile, truth, seen


def test_seams_between_detectors_are_found():
    """Nodes 5 km apart bound a seam that crosses them obliquely to a kilometre on either side."""
    tile, truth, seen = synthetic_tile(np.array([-40e3, 0.0, 24e3, 48e3, 72e3, 160e3]))
    # Sorted as a file is: the largest across-track tangent first.
    x, y = np.meshgrid(np.arange(410e3, 500e3, 500.0), np.arange(5.19e6, 5.1e6, -500.0))
    order = np.argsort([-(np.nanmean(-e)) for e in tile.east])
    tile = TileAngles(
        *(getattr(tile, name) for name in (
            "path", "tile", "satellite", "time", "relative_orbit", "band", "crs", "left_m",
            "top_m", "step_m",
        )),
        tuple(tile.detectors[k] for k in order), tile.east[order], tile.north[order],
    )  # fmt: skip
    places = places_of(x, y, tile.crs)
    sight, detector = tile.sight(places)
    true = seen(x, y) + 5
    wrong = (detector != true).mean()
    # Four seams over 90 km of 90 by 90 km, each at most 1.3 km out of place.
    assert wrong < 4 * 1.3 / 90
    for number in np.unique(true):
        here = (true == number) & (detector == number)
        east, north = truth(x[here], y[here], number)
        np.testing.assert_allclose(sight.east[here], east, atol=1e-9)
        np.testing.assert_allclose(sight.north[here], north, atol=1e-9)
    exact, given_back = tile.sight(places, true)
    np.testing.assert_array_equal(given_back, true)
    east = np.select([true == n for n in range(5, 10)], [truth(x, y, n)[0] for n in range(5, 10)])
    np.testing.assert_allclose(exact.east, east, atol=1e-9)
    with pytest.raises(InputError, match="name detectors"):
        tile.sight(places, np.full(x.shape, 2))


def test_bands_look_different_ways(tiles):
    """B11 lies apart from B08 along the track by about the parallax between bands, not across."""
    angles = [read_tile_angles(tiles[0], band) for band in ("B08", "B11")]
    places = nodes(angles[0])
    first, second = (one.sight(places)[0] for one in angles)
    across, along = across_and_along(first, second, "sentinel-2", places)
    assert np.nanmax(np.abs(across)) < 0.002
    assert 0.002 < np.nanmean(np.abs(along)) < 0.03


# Landsat ----------------------------------------------------------------------------------------


def test_coefficients_give_what_the_usgs_tool_gives(coefficients):
    """Azimuths that USGS's own program writes for this file, as published with its wrapper."""
    path = next(path for path in coefficients if "l8-angles" in path.name)
    angles = read_scene_angles(path, "B3")
    line, sample = np.mgrid[2000:2003, 2000:2003]
    places = places_of(
        angles.left_m + sample * angles.pixel_m, angles.top_m - line * angles.pixel_m, angles.crs
    )
    published = [
        [114.15740648, 114.16167023, 114.16593707],
        [114.15843211, 114.16269665, 114.16696429],
        [114.15945794, 114.16372329, 114.16799171],
    ]
    np.testing.assert_allclose(angles.sight(places).azimuth_deg, published, atol=1e-7)


@pytest.mark.parametrize("band", ["B02", "B8"])
def test_coefficients_agree_with_the_ephemeris(coefficients, band):
    """The satellite's own positions in the file, 1 s apart, at the time when each line was taken.

    Chips look up to 0.7° ahead or back of each other. Their mean in the overlaps is no position
    of the satellite; elsewhere the polynomials are good to some thousandths of a degree.
    """
    from scipy.interpolate import CubicSpline

    for path in coefficients:
        angles, told = read_scene_angles(path, band), read_metadata(path)
        name = f"BAND{int(band[1:]):02d}"
        line, sample = np.mgrid[0:7900:150, 0:7900:150] * (30.0 / angles.pixel_m)
        places = places_of(
            angles.left_m + sample * angles.pixel_m,
            angles.top_m - line * angles.pixel_m,
            angles.crs,
        )
        positions = CubicSpline(
            told["EPHEMERIS_TIME"],
            np.stack([told[f"EPHEMERIS_ECEF_{axis}"] for axis in "XYZ"], axis=-1),
        )
        seconds, chips = np.full(line.shape, np.nan), np.zeros(line.shape)
        for chip in angles.chips:
            down, right = line - chip.mean_line, sample - chip.mean_sample
            terms = (down, right, 0 * down, down * right)
            chip_line, chip_sample = chip.line(terms), chip.sample(terms)
            inside = (chip_line >= 0) & (chip_line <= angles.chip_lines)
            inside &= (chip_sample >= 0) & (chip_sample <= angles.chip_samples)
            chips += inside
            taken = told[f"{name}_START_TIME"] + chip_line * told[f"{name}_LINE_TIME"]
            seconds[inside] = taken[inside]
        one = chips == 1
        assert one.sum() > 500
        sight = angles.sight(places)
        assert np.array_equal(np.isfinite(sight.east), chips > 0)
        direct = sight_to(positions(np.where(one, seconds, 0.0)), places, angles.height_m)
        away = np.hypot(sight.east - direct.east, sight.north - direct.north)[one]
        assert away.max() < np.deg2rad(0.01)
        assert np.sqrt(np.mean(away**2)) < np.deg2rad(0.004)


def test_nominal_path_agrees_with_the_coefficients(coefficients):
    """To 0.15° across the track, for a scene at the edge of Antarctica and one off nadir too."""
    for path in coefficients:
        angles = read_scene_angles(path)
        line, sample = np.mgrid[0:15800:400, 0:15800:400]
        places = places_of(
            angles.left_m + sample * angles.pixel_m,
            angles.top_m - line * angles.pixel_m,
            angles.crs,
        )
        sight = angles.sight(places)
        nominal = nominal_sight("landsat", angles.path_number, places, height_m=angles.height_m)
        across, along = across_and_along(sight, nominal, "landsat", places)
        # Close to the pole the direction of flight itself is less sure.
        polar = np.abs(places.latitude_deg).max() > 78
        assert np.nanmax(np.abs(across)) < (0.006 if polar else 0.003)
        # The chips' stagger, and what an off-nadir scene adds to it.
        assert np.nanmax(np.abs(along)) < 0.017
    off_nadir = next(path for path in coefficients if "_017036_2013" in path.name)
    angles = read_scene_angles(off_nadir)
    x, y = angles.left_m + 15 * 4000, angles.top_m - 15 * 4000
    assert angles.sight(places_of(x, y, angles.crs)).zenith_deg > 9


def test_height_changes_angles_little(coefficients):
    angles = read_scene_angles(coefficients[0])
    places = places_of(angles.left_m + np.array([9e4]), angles.top_m - np.array([9e4]), angles.crs)
    low, high = (angles.sight(places, angles.height_m + rise) for rise in (-500.0, 500.0))
    # 1 km of 705: the tangent changes by a seven hundredth of itself.
    assert 0 < abs(high.zenith_deg - low.zenith_deg)[0] < 0.03


# Maps, poles and the date line ------------------------------------------------------------------


def test_components_allow_for_the_convergence_of_the_grid():
    places = places_of(np.array([200e3]), np.array([7.4e6]), "EPSG:32601")
    plane = map_plane(places)
    factors = pyproj.Proj("EPSG:32601").get_factors(places.longitude_deg, places.latitude_deg)
    convergence, scale = factors.meridian_convergence, factors.meridional_scale
    sight = Sight.from_angles(np.array([10.0]), np.array([100.0]))
    turn = np.deg2rad(100.0 - convergence)
    expected = np.tan(np.deg2rad(10.0)) * scale
    np.testing.assert_allclose(plane.x(sight), expected * np.sin(turn), rtol=1e-6)
    np.testing.assert_allclose(plane.y(sight), expected * np.cos(turn), rtol=1e-6)


def test_neither_the_date_line_nor_the_pole_makes_a_jump():
    """Orbits seen from a grid that straddles 180°, and a map plane that holds the South Pole."""
    line = GeoBox.from_bbox((670e3, 5.7e6, 750e3, 5.8e6), "EPSG:32660", resolution=2500)
    view = view_geometry({"mission": "landsat", "path": 84}, line)
    for name in ("sight_x", "sight_y"):
        for axis in ("x", "y"):
            assert float(abs(view[name].diff(axis)).max()) < 1.3 * 2500 / 700e3
    pole = GeoBox.from_bbox((-60e3, -60e3, 60e3, 60e3), "EPSG:3031", resolution=5e3)
    plane = map_plane(places_of(*pole.affine * np.meshgrid(np.arange(24) + 0.5, [12.5]), 3031))
    size = np.hypot(plane.x_east, plane.y_east)
    # Polar stereographic: true at 71° S, (1 + sin 71°)/2 at the pole.
    np.testing.assert_allclose(size, (1 + np.sin(np.deg2rad(71))) / 2, rtol=1e-3)


@given(zenith=st.floats(0.5, 40), azimuth=st.floats(0, 360), turn=st.floats(-180, 180))
def test_angles_survive_the_way_there_and_back(zenith, azimuth, turn):
    sight = Sight.from_angles(zenith, azimuth)
    assert float(sight.zenith_deg) == pytest.approx(zenith, abs=1e-9)
    away = (float(sight.azimuth_deg) - azimuth + 180) % 360 - 180
    assert abs(away) < 1e-8
    other = Sight.from_angles(zenith, (azimuth + turn) % 360)
    cosine = (sight.east * other.east + sight.north * other.north) / np.tan(np.deg2rad(zenith)) ** 2
    assert cosine == pytest.approx(np.cos(np.deg2rad(turn)), abs=1e-9)


# The front door ---------------------------------------------------------------------------------


ALPS = GeoBox.from_bbox((420e3, 5.1355e6, 426e3, 5.1415e6), "EPSG:32632", resolution=500)


def simulated_item(orbit):
    west, south, east, north = ALPS.boundingbox.bbox
    to_degrees = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)
    outline = rectangle(*to_degrees.transform_bounds(west, south, east, north))
    return {
        "type": "Feature",
        "id": "S2A_32TLS_20200701_0_L2A",
        "geometry": mapping(outline),
        "properties": {
            "datetime": "2020-07-01T10:30:00Z",
            "platform": "sentinel-2a",
            "sat:relative_orbit": orbit.number,
            "view:off_nadir": orbit.off_nadir_deg,
            "view:incidence_angle": orbit.view_zenith_deg,
            "view:azimuth": true_azimuth_deg(orbit, outline, CRS.from_epsg(32632)),
            "ogive:simulated": True,
        },
    }


@pytest.mark.parametrize("name", ["sentinel-2-west", "sentinel-2-east"])
def test_the_simulators_scenes_are_read_as_they_were_made(name):
    """The simulation draws with the same lines of sight that its items lead to.

    It works on a plane; the perspective across 6 km makes 0.008, and the difference between its
    direction and that of the orbit 3 % of it.
    """
    orbit = ORBITS[name]
    view = view_geometry(simulated_item(orbit), ALPS)
    assert view.attrs["geometry"] == "scene-mean"
    x, y = np.meshgrid(view["x"], view["y"])
    tangent = orbit.tangent(x, y, centre_x=423e3, centre_y=5.1385e6)
    azimuth = np.deg2rad(orbit.view_azimuth_deg)
    np.testing.assert_allclose(view["sight_x"], tangent * np.sin(azimuth), atol=3e-4)
    np.testing.assert_allclose(view["sight_y"], tangent * np.cos(azimuth), atol=3e-4)


def test_off_nadir_at_the_satellite_is_less_than_zenith_at_the_ground():
    orbit = ORBITS["sentinel-2-west"]
    item = simulated_item(orbit)
    del item["properties"]["view:incidence_angle"]
    assert item_scene(item).view_zenith_deg == pytest.approx(orbit.view_zenith_deg, abs=1e-3)


def test_an_items_placeholder_is_not_taken_for_nadir(data_dir, caplog):
    """Catalogues that give off_nadir 0 to all images; two adjacent orbits look from two sides."""
    items = json.loads(
        (data_dir / "stac_items" / "intake-stac" / "my-s2-l2a-cogs.json").read_text()
    )["features"]
    assert all(item["properties"]["view:off_nadir"] == 0 for item in items)
    box = GeoBox.from_bbox((780e3, 9.64e6, 782e3, 9.642e6), "EPSG:32736", resolution=1000)
    with caplog.at_level(logging.WARNING):
        views = [view_geometry(item, box) for item in items]
    sights = {view.attrs["relative_orbit"]: float(view["sight_x"].mean()) for view in views}
    assert set(sights) == {92, 135}
    # The strip between two tracks, 10° from each: base to height is 1 to 3.
    assert sights[135] < -0.13
    assert sights[92] > 0.13


def test_a_missing_angle_file_falls_back_to_the_orbit_and_says_so(data_dir, caplog, tmp_path):
    source = next((data_dir / "landsat_metadata_stactools").rglob("LC08_L2SP_047027*_MTL.txt"))
    (tmp_path / source.name).write_text(source.read_text())
    box = GeoBox.from_bbox((450e3, 5.24e6, 460e3, 5.25e6), "EPSG:32610", resolution=1000)
    with caplog.at_level(logging.WARNING):
        nominal = view_geometry(tmp_path, box)
    assert "nominal geometry of orbit 47" in caplog.text
    assert nominal.attrs["geometry"] == "nominal"
    angles = next((data_dir / "landsat_metadata_stactools").rglob("LC08_L2SP_047027*_ANG.txt"))
    exact = view_geometry(angles, box)
    assert exact.attrs["geometry"] == "per-pixel"
    assert float(abs(exact["sight_x"] - nominal["sight_x"]).max()) < 0.006
    assert scene_of_angles(tmp_path).path == scene_of_angles(angles).path == 47
    assert abs(scene_of_angles(tmp_path).time - scene_of_angles(angles).time).seconds < 60


def test_a_product_folder_is_read_by_its_granule(tiles):
    path = next(path for path in tiles if "T46RER" in str(path))
    safe = next(folder for folder in path.parents if folder.suffix == ".SAFE")
    box = GeoBox.from_bbox((5e5, 3.05e6, 5.1e5, 3.06e6), "EPSG:32646", resolution=1000)
    view = view_geometry(safe, box)
    assert view.attrs["relative_orbit"] == 133
    assert set(np.unique(view["detector"])) <= {11, 12}
    assert view["sight_x"].attrs["units"] == "1"
    # The satellite passes west of the eastern edge of its swath.
    assert float(view["sight_x"].max()) < -0.1


def test_the_epipolar_line_is_at_right_angles_to_the_flight(tiles):
    path = next(path for path in tiles if "T46RER" in str(path))
    box = GeoBox.from_bbox((5e5, 3.05e6, 5.1e5, 3.06e6), "EPSG:32646", resolution=1000)
    view = view_geometry(path, box)
    away = (view["view_azimuth"] - view["flight_azimuth"]).values
    # 9° in zenith across, 0.8° of stagger along: 5°.
    np.testing.assert_allclose(away, 90.0, atol=6)


def test_parts_of_a_grid_are_parts_of_the_whole(tiles):
    path = next(path for path in tiles if "T01LAC" in str(path))
    box = GeoBox.from_bbox((120e3, 8.22e6, 160e3, 8.26e6), "EPSG:32701", resolution=1000)
    whole, part = view_geometry(path, box), view_geometry(path, box[5:17, 11:30])
    np.testing.assert_array_equal(part["sight_x"], whole["sight_x"][5:17, 11:30])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"mission": "sentinel-2"}, "orbit is not known"),
        ({"mission": "sentinel-2", "relative_orbit": 144}, "has no track 144"),
        ({"mission": "sentinel-2", "relative_orbit": 14}, "does not see"),
        ({"mission": "spot", "path": 3}, "view angles are known of"),
        ({"path": 3}, "must be a STAC item"),
        ({"mission": "landsat", "path": 195, "colour": 1}, "has no colour"),
        (Scene("x", datetime(2020, 1, 1), mission="landsat", path=400), "no track 400"),
        ("nowhere/MTD_TL.xml", "does not exist"),
    ],
)  # fmt: skip
def test_sources_that_do_not_serve_are_refused(source, message):
    with pytest.raises(InputError, match=message):
        view_geometry(source, ALPS)


def test_files_that_do_not_serve_are_refused(tmp_path, tiles, coefficients):
    broken = tmp_path / "MTD_TL.xml"
    broken.write_text("<a><b></a>")
    with pytest.raises(InputError, match="cannot be read"):
        view_geometry(broken, ALPS)
    broken.write_text("<a/>")
    with pytest.raises(InputError, match="no viewing angles"):
        view_geometry(broken, ALPS)
    with pytest.raises(InputError, match="sees no pixel"):
        view_geometry(tiles[0], ALPS)
    with pytest.raises(InputError, match="no band"):
        view_geometry(tiles[0], ALPS, band="B13")
    other = tmp_path / "x_ANG.txt"
    other.write_text('GROUP = FILE_HEADER\n SPACECRAFT_ID = "L7_ETM"\n BAND_LIST = (1, 8)\n')
    with pytest.raises(InputError, match="L7 Etm and holds no coefficients"):
        view_geometry(other, ALPS)
    cut = tmp_path / "y_ANG.txt"
    text = coefficients[0].read_text()
    cut.write_text(text.replace("BAND08_SAT_Y_DEN_COEF", "BAND08_OTHER"))
    with pytest.raises(InputError, match="has no BAND08_SAT_Y_DEN_COEF"):
        read_scene_angles(cut)
    with pytest.raises(InputError, match="holds 2 files"):
        view_geometry(_two(tmp_path), ALPS)
    item = tmp_path / "item.json"
    item.write_text('{"type": "Catalog"}')
    with pytest.raises(InputError, match="is no STAC item"):
        view_geometry(item, ALPS)


def _two(folder):
    both = folder / "two"
    for name in ("a", "b"):
        (both / name).mkdir(parents=True)
        (both / name / "MTD_TL.xml").write_text("<a/>")
    return both


def test_radians_are_noticed():
    with pytest.raises(InputError, match="look like radians"):
        given_view(0.15, 4.9, ALPS)
    degrees = given_view(np.rad2deg(0.15), np.rad2deg(4.9), ALPS)
    radians = given_view(0.15, 4.9, ALPS, units="rad")
    np.testing.assert_allclose(degrees["sight_x"], radians["sight_x"])
    with pytest.raises(InputError, match="not those of a satellite"):
        given_view(85.0, 100.0, ALPS)
    with pytest.raises(GridError, match="shape"):
        given_view(np.full((3, 3), 8.0), 100.0, ALPS)


def test_grids_need_metres():
    degrees = GeoBox.from_bbox((7, 46, 8, 47), "EPSG:4326", resolution=0.1)
    with pytest.raises(GridError, match="counts in degrees"):
        given_view(8.0, 100.0, degrees)
    nowhere = GeoBox((10, 10), degrees.affine, None)
    with pytest.raises(GridError, match="no coordinate reference system"):
        given_view(8.0, 100.0, nowhere)
