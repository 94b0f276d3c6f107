"""Products against points and against each other, where the answer is known."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ogive.evaluation.points import compare_points, over_period
from ogive.evaluation.products import compare_products, distribution, profile
from ogive.model import DateError, GridError, InputError
from ogive.series.annual import annual
from ogive.series.years import Period
from ogive.store.points import read_points
from ogive.store.readers import open_cube

DAY = 365.25  # m/yr in one m/d


def plane(shift_x=0.0, shift_y=0.0, *, dim=None, layers=1) -> xr.Dataset:
    """Velocities that are linear in place, which bilinear interpolation gives exactly."""
    x, y = 50.0 * np.arange(20), 50.0 * np.arange(15)[::-1]
    vx = 20 + 0.1 * x[None, :] + 0.02 * y[:, None] + shift_x
    vy = 5 - 0.03 * x[None, :] + 0.05 * y[:, None] + shift_y
    dims = ("y", "x")
    if dim:
        vx, vy = (np.stack([v + 10 * k for k in range(layers)]) for v in (vx, vy))
        dims = (dim, "y", "x")
    return xr.Dataset({"vx": (dims, vx), "vy": (dims, vy)}, {"x": x, "y": y})


def points_on(n=25, *, start="2016-11-01", end="2017-08-01", seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(30, 900, n), rng.uniform(30, 650, n)
    return pd.DataFrame(
        {
            "name": [f"stake {k}" for k in range(n)],
            "start": pd.Timestamp(start),
            "end": pd.Timestamp(end),
            "x": x,
            "y": y,
            "vx": 20 + 0.1 * x + 0.02 * y,
            "vy": 5 - 0.03 * x + 0.05 * y,
        }
    )


def test_a_perfect_map_has_no_error():
    comparison = compare_points(plane(), points_on())
    for statistics in comparison.statistics.values():
        assert statistics.count == 25
        assert statistics.rmse == pytest.approx(0, abs=1e-9)
    assert comparison.r2 == pytest.approx(1)
    assert list(comparison.summary().index) == ["vx", "vy", "v", "along", "across"]


def test_errors_along_and_across():
    points = points_on()
    points["vx"], points["vy"] = 0.0, 40.0  # northwards
    shifted = plane()
    shifted["vx"][:], shifted["vy"][:] = -3.0, 45.0
    statistics = compare_points(shifted, points).statistics
    assert statistics["along"].bias == pytest.approx(5)
    assert statistics["across"].bias == pytest.approx(3)  # westwards is to the left of north
    assert statistics["v"].bias == pytest.approx(np.hypot(3, 45) - 40)
    assert statistics["vx"].rmse == pytest.approx(3)


def test_a_points_own_dates_weigh_the_years():
    product = plane(dim="year", layers=2).assign_coords(
        year=["2015_2016", "2016_2017"],
        year_start=("year", np.array(["2015-10-01", "2016-10-01"], "datetime64[ns]")),
        year_end=("year", np.array(["2016-10-01", "2017-10-01"], "datetime64[ns]")),
    )
    inside = compare_points(product, points_on()).statistics["vx"]
    assert inside.bias == pytest.approx(10)
    # 30 days of 120 lie in the first year.
    across = points_on(start="2016-09-01", end="2016-12-30")
    assert compare_points(product, across).statistics["vx"].bias == pytest.approx(7.5)
    # Three quarters of the span have no product.
    late = points_on(start="2017-09-01", end="2017-12-30")
    with pytest.raises(InputError, match="none of 25 points"):
        compare_points(product, late)
    assert compare_points(product, late, min_share=0.25).statistics["vx"].count == 25


def test_series_and_cubes_are_compared_by_their_dates():
    bounds = np.array(
        [["2016-11-01", "2017-03-01"], ["2017-03-01", "2017-08-01"]], "datetime64[ns]"
    )
    series = plane(dim="time", layers=2).assign_coords(time_bounds=(("time", "nv"), bounds))
    expected = 10 * 153 / 273
    assert compare_points(series, points_on()).statistics["vx"].bias == pytest.approx(expected)
    cube = plane(dim="mid_date", layers=2).assign_coords(
        acquisition_date_img1=("mid_date", np.array(["2016-11-01", "2016-11-01"], "M8[ns]")),
        acquisition_date_img2=("mid_date", np.array(["2017-08-01", "2017-07-01"], "M8[ns]")),
    )
    assert compare_points(cube, points_on()).statistics["vx"].bias == pytest.approx(0)


def test_gaps_and_points_outside_are_told():
    product = plane()
    product["vx"][:, 10:] = np.nan
    points = points_on()
    points.loc[0, "x"] = 1e6
    comparison = compare_points(product, points)
    out = comparison.table["left_out"] != ""
    assert out.iloc[0]
    assert (comparison.table.loc[points["x"] > 476, "left_out"] != "").all()
    assert (comparison.table.loc[points["x"] < 450, "left_out"] == "").all()
    assert comparison.statistics["vx"].count == (~out).sum()


def test_points_that_tell_too_little_are_refused():
    with pytest.raises(InputError, match="no vy"):
        compare_points(plane(), points_on().drop(columns="vy"))
    with pytest.raises(InputError, match="no 'vx'"):
        compare_points(plane().drop_vars("vx"), points_on())
    with pytest.raises(InputError, match="no positions"):
        over_period(points_on(), "2016-01-01", "2017-01-01")


# ---- reading -------------------------------------------------------------------------------------


def test_positions_become_velocities(tmp_path):
    path = tmp_path / "stakes.csv"
    path.write_text(
        "Stake,Date1,Date2,Start_X,Start_Y,End_X,End_Y\na,2018-01-01,2018-12-31 06:00,0,0,30,-40\n"
    )
    points = read_points(path, crs="EPSG:32632")
    assert points["vx"].tolist() == pytest.approx([30 * 365.25 / 364.25])
    assert points["vy"].tolist() == pytest.approx([-40 * 365.25 / 364.25])
    assert points[["x", "y"]].values.tolist() == [[15, -20]]
    assert points["name"].tolist() == ["a"]


def test_csv_and_geopackage_agree_and_axes_are_turned(tmp_path):
    table = pd.DataFrame(
        {
            "name": ["a", "b"], "start": "2018-01-01", "end": "2019-01-01",
            "x": [344_000.0, 350_000.0], "y": [5_078_000.0, 5_079_000.0],
            "end_x": [344_060.0, 350_000.0], "end_y": [5_078_000.0, 5_079_080.0],
        }
    )  # fmt: skip
    table.to_csv(tmp_path / "points.csv", index=False)
    shapes = gpd.GeoDataFrame(
        table.drop(columns=["x", "y"]),
        geometry=gpd.points_from_xy(table.x, table.y),
        crs="EPSG:32632",
    )
    shapes.to_file(tmp_path / "points.gpkg")
    from_csv = read_points(tmp_path / "points.csv", crs="EPSG:32632", to_crs="EPSG:3035")
    from_gpkg = read_points(tmp_path / "points.gpkg", to_crs="EPSG:3035")
    pd.testing.assert_frame_equal(from_csv, from_gpkg, check_dtype=False, check_names=False)
    plain = read_points(tmp_path / "points.csv", crs="EPSG:32632", to_crs="EPSG:32632")
    speed = np.hypot(plain.vx, plain.vy)
    # Map scales differ.
    assert np.asarray(np.hypot(from_csv.vx, from_csv.vy)) == pytest.approx(
        np.asarray(speed), rel=2e-3
    )
    # Grid north of zone 32 at 7 E lies some 1.4 degrees west of true north, LAEA's as much more.
    turned = np.degrees(np.arctan2(from_csv.vy[0], from_csv.vx[0]))
    assert 0.2 < abs(turned) < 3


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("x,y,vx,vy\n1,2,3,4\n", InputError, "no start, end"),
        ("start,end,x,y\n2018-01-01,2018-02-01,1,2\n", InputError, "no end_x"),
        ("start,end,x,y,vx,vy\nsoon,later,1,2,3,4\n", DateError, "no date"),
        ("start,end,x,y,vx,vy\n2018-02-01,2018-01-01,1,2,3,4\n", DateError, "forward in time"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, error, said):
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(error, match=said):
        read_points(path, crs="EPSG:32632")


def test_places_and_axes_must_be_known(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("start,end,x,y,vx,vy\n2018-01-01,2018-02-01,1,2,3,4\n")
    with pytest.raises(InputError, match="does not say where"):
        read_points(path, to_crs="EPSG:32632")
    with pytest.raises(InputError, match="give positions"):
        read_points(path, crs="EPSG:32633", to_crs="EPSG:32632")
    with pytest.raises(InputError, match="no file"):
        read_points(tmp_path / "none.csv")


# ---- gridded products ----------------------------------------------------------------------------


def test_products_differ_by_what_was_added():
    comparison = compare_products(plane(3.0, -1.0), plane())
    assert comparison.bias_x == pytest.approx(3)
    assert comparison.bias_y == pytest.approx(-1)
    assert comparison.rmse_x == pytest.approx(3)
    # On a grid moved by a third of a pixel, planes are interpolated exactly.
    moved = plane()
    moved = moved.assign_coords(x=moved.x + 17.0)
    moved = moved.assign(vx=moved.vx + 1.7, vy=moved.vy - 0.51)
    again = compare_products(plane(3.0, -1.0), moved)
    assert again.rmse_x == pytest.approx(3, rel=1e-6)
    assert again.count < comparison.count
    assert comparison.histogram.sum() <= comparison.count
    along = profile(plane(3.0), plane(), [(100.0, 100.0), (600.0, 500.0)])
    assert along.product.values == pytest.approx(
        np.hypot(23 + 0.1 * along.x + 0.02 * along.y, 5 - 0.03 * along.x + 0.05 * along.y)
    )


def test_products_elsewhere_are_refused():
    far = plane()
    with pytest.raises(GridError, match="no pixel in common"):
        compare_products(plane(), far.assign_coords(x=far.x + 1e5))
    with pytest.raises(InputError, match="choose a year"):
        compare_products(plane(dim="year"), plane())


def test_distribution_counts_what_it_says():
    speeds = xr.DataArray(np.arange(1.0, 101.0).reshape(10, 10), dims=("y", "x"))
    spread = distribution(speeds, edges=np.arange(0.5, 101))
    assert spread.count == 100
    assert spread.quantiles[50] == pytest.approx(50.5)
    assert spread.share_below(25.5) == pytest.approx(0.25)
    half = distribution(speeds, where=speeds > 50)
    assert half.count == 50
    with pytest.raises(InputError, match="no pixel"):
        distribution(speeds.where(speeds > 1000))


# ---- real data -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kaskawulsh(data_dir):
    folder = data_dir / "kaskawulsh_2018"
    cube = open_cube(folder / "velocity", units="meter/day").load()
    gnss = read_points(folder / "gnss_displacements.csv", crs="EPSG:32607", to_crs="EPSG:32607")
    return cube, gnss


@pytest.mark.parametrize("method", ["ols", "median", "weighted_mean"])
@pytest.mark.parametrize("season", [("2018-05-01", "2018-10-06"), ("2018-03-04", "2018-10-06")])
def test_kaskawulsh_season_at_the_gnss_stations(kaskawulsh, season, method):
    cube, gnss = kaskawulsh
    assert cube.sizes["mid_date"] == 32
    maps = annual(cube, method=method, periods=[Period.of(*season)])
    comparison = compare_points(maps, over_period(gnss, *season))
    assert comparison.statistics["vx"].count == 2
    for component in ("vx", "vy"):
        assert comparison.statistics[component].rmse / DAY < 0.10, component
