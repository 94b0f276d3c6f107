"""From a cube on the disk to a published folder."""

from __future__ import annotations

import numpy as np
import odc.geo.xr  # noqa: F401  (the .odc accessor)
import pytest
import xarray as xr
import yaml
from odc.geo.geobox import GeoBox

from ogive.model import InputError, OutputError
from ogive.store.annual_file import read_annual
from ogive.store.cube import write_cube
from ogive.workflow.annual import make_annual

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture(scope="module")
def cube_path(tmp_path_factory):
    rng = np.random.default_rng(0)
    box = GeoBox.from_bbox((0, 0, 900, 600), "EPSG:32632", resolution=50)
    first = np.sort(rng.integers(0, 900, 80))
    shape = (80, 12, 18)
    epoch = np.datetime64("2017-10-01", "ns")
    dims = ("mid_date", "y", "x")
    slowing = (60 - 0.02 * first)[:, None, None]
    cube = xr.Dataset(
        {
            "vx": (dims, (slowing + rng.normal(0, 3, shape)).astype("f4")),
            "vy": (dims, rng.normal(10, 3, shape).astype("f4")),
        },
        {
            "acquisition_date_img1": ("mid_date", epoch + first.astype("timedelta64[D]")),
            "acquisition_date_img2": (
                "mid_date", epoch + (first + 60).astype("timedelta64[D]")),
        },
    )  # fmt: skip
    for name in ("vx", "vy"):
        cube[name].attrs["units"] = "meter/year"
    cube = cube.assign_coords({a: box.coordinates[a].values for a in "yx"})
    return write_cube(
        cube.odc.assign_crs("EPSG:32632"), tmp_path_factory.mktemp("cube") / "cube.nc"
    )


def test_a_cube_becomes_a_product(cube_path, tmp_path):
    points = tmp_path / "stakes.csv"
    points.write_text(
        "name,start,end,x,y,end_x,end_y\n"
        "a,2018-01-01,2018-12-31,400,300,452,310\nb,2018-06-01,2019-06-01,500,200,552,210\n"
    )
    out = tmp_path / "out"
    summary = make_annual(cube_path, out, points=points, points_crs="EPSG:32632")
    assert summary.years == ("2017_2018", "2018_2019", "2019_2020")
    assert summary.years_without_data == ()
    assert summary.pairs == 80
    assert summary.observations == 80 * 12 * 18
    assert set(summary.files) == {path.name for path in out.iterdir()}
    layers = read_annual(out / "annual.nc")
    # It slows down by 0.02 m/yr a day: 7.3 m/yr a year along x, and nothing along y.
    trend = layers["trend_2017_2020"]
    assert float(trend.mean()) == pytest.approx(-7.3 * np.cos(np.arctan2(10, 51)), rel=0.03)
    for figure in ("annual.png", "speeds.png", "trends.png", "points.png"):
        assert (out / figure).read_bytes().startswith(b"\x89PNG")
    told = yaml.safe_load((out / "run.yaml").read_text())
    assert told["options"]["method"] == "ols"
    assert told["found"]["removed"] == summary.removed
    assert told["files"] == list(summary.files)


def test_a_product_is_not_replaced_unasked(cube_path, tmp_path):
    make_annual(cube_path, tmp_path, period=("2018-01-01", "2019-01-01"), method="median")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(OutputError, match="holds a product already"):
        make_annual(cube_path, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    make_annual(cube_path, tmp_path, overwrite=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert "v20180101_20190101.tif" not in names
    assert "v2018_2019.tif" in names


def test_nothing_is_left_of_a_run_that_fails(cube_path, tmp_path):
    with pytest.raises(InputError, match="unknown"):
        make_annual(cube_path, tmp_path / "out", method="mode")
    with pytest.raises(InputError, match="no file"):
        make_annual(cube_path, tmp_path / "out", points=tmp_path / "none.csv")
    assert not (tmp_path / "out").exists()
