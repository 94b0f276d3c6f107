"""Space-time sections, periods of one's own, and the turn to east and north."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr
from shapely import LineString

from ogive.model import DAYS_PER_YEAR, DateError, GridError, InputError
from ogive.series.invert import invert
from ogive.series.north import along_east_north, to_east_north
from ogive.series.period import mean_velocity
from ogive.series.section import section


def plane(times: int = 2) -> xr.Dataset:
    """vx = x + y, vy = time: what bilinear interpolation gives back exactly."""
    y, x = np.arange(1000.0, -1, -100), np.arange(0.0, 1501, 100)
    xx, yy = np.meshgrid(x, y)
    k = np.arange(float(times))[:, None, None]
    return xr.Dataset(
        {
            "vx": (("time", "y", "x"), np.broadcast_to(xx + yy, (times, *xx.shape))),
            "vy": (("time", "y", "x"), k + 0 * xx),
            "observed": (("time",), np.arange(times)),
        },
        {"x": x, "y": y},
    )


def test_a_section_follows_its_line_round_a_corner():
    line = LineString([(100, 150), (400, 150), (400, 750)])
    found = section(plane(), line, spacing_m=50)
    assert found.vx.dims == ("time", "distance")
    np.testing.assert_allclose(found.distance, np.arange(0, 901, 50))
    np.testing.assert_allclose(found.vx[0], found.x + found.y, atol=1e-9)
    ahead = found.distance < 300
    np.testing.assert_allclose(found.v_along[1][ahead], found.vx[1][ahead])
    up = found.distance > 300
    np.testing.assert_allclose(found.v_along[1][up], 1.0)


def test_a_section_stays_open_beside_gaps():
    data = plane()
    data["vx"] = data.vx.where(data.x != 500)
    found = section(data, [(200, 500), (900, 500)])
    missing = np.isnan(found.vx[0].values)
    assert 500 in found.x.values[missing]
    assert set(found.x.values[missing]) <= {400, 500, 600}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([(0, 0)], "two or more points"),
        ([(0, 0, 1), (5, 5, 1)], "two or more points"),
        ([(0, 0), (10, 0)], "longer line"),
        ([(9000, 9000), (9900, 9000)], "meets no velocity"),
    ],
)
def test_bad_lines_are_told(line, words):
    with pytest.raises(InputError, match=words):
        section(plane(), line)


def test_mean_velocity_between_dates_of_ones_own(simulate, pairs):
    def position(days):  # 0.2 m/day until day 120, 0.5 m/day after it
        return np.stack([0.2 * days + 0.3 * np.maximum(days - 120, 0), 0 * days])

    cube = simulate(*pairs(30, keep=1.0), noise=0.0, position=position)
    series = invert(cube, "12D", 1e-6, "dates", threads=1)
    start = np.datetime64("2017-01-01")
    mean = mean_velocity(series, start + np.timedelta64(90, "D"), start + np.timedelta64(150, "D"))
    expected = (30 * 0.2 + 30 * 0.5) / 60
    assert mean.vx.item() / DAYS_PER_YEAR == pytest.approx(expected, abs=1e-4)
    assert mean.vx.attrs["units"] == "meter/year"
    with pytest.raises(DateError, match="not within the series"):
        mean_velocity(series, "2016-01-01", "2017-03-01")
    with pytest.raises(DateError, match="no length"):
        mean_velocity(series, "2017-03-01", "2017-03-01")


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031"])
def test_polar_velocities_agree_with_gnss_after_the_turn(crs):
    """A receiver's east and north, measured by its own positions, and the grid's vx and vy."""
    latitude = 70.0 if crs == "EPSG:3413" else -75.0
    longitudes = np.array([-150.0, -55.0, -45.0, 0.0, 20.0, 179.9])
    geod = pyproj.Geod(ellps="WGS84")
    forward = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    east, north = 300.0, -120.0  # metres on the ground in a year
    distance, azimuth = np.hypot(east, north), np.degrees(np.arctan2(east, north))
    later_lon, later_lat, _ = geod.fwd(
        longitudes, np.full(6, latitude), np.full(6, azimuth), np.full(6, distance)
    )
    x, y = forward(longitudes, np.full(6, latitude))
    later_x, later_y = forward(later_lon, later_lat)
    vx, vy = later_x - x, later_y - y
    scale = np.hypot(vx, vy) / distance  # a polar projection's own, the same for both components
    turned = along_east_north(vx / scale, vy / scale, x=x, y=y, crs=crs)
    # 323 m of great circle bend by less than 1e-4 radian here.
    np.testing.assert_allclose(turned.east, east, atol=0.05)
    np.testing.assert_allclose(turned.north, north, atol=0.05)
    # Without the turn the comparison would be wrong by hundreds of metres.
    assert np.abs(vx / scale - east).max() > 300


def test_a_cube_is_turned_as_its_crs_says(simulate):
    x = np.array([-1e6, 1e6])
    wkt = pyproj.CRS.from_epsg(3031).to_wkt()
    still = xr.DataArray(np.ones((1, 1, 2), "f4"), dims=("time", "y", "x"))
    cube = xr.Dataset({"vx": still, "vy": 0 * still}, {"x": x, "y": [0.0]}).assign_coords(
        spatial_ref=xr.DataArray(0, attrs={"crs_wkt": wkt})
    )
    turned = to_east_north(cube)
    # On the line y = 0 of the Antarctic grid, +x points away from the pole at 90 degrees east.
    np.testing.assert_allclose(turned.v_north.values[0, 0], [-1, 1], atol=1e-6)
    np.testing.assert_allclose(turned.v_east.values[0, 0], [0, 0], atol=1e-6)
    assert turned.v_east.dtype == np.float32
    with pytest.raises(GridError, match="no coordinate reference system"):
        to_east_north(cube.drop_vars("spatial_ref"))
    with pytest.raises(GridError, match="no projection"):
        along_east_north(1.0, 0.0, x=8.0, y=46.0, crs="EPSG:4326")
