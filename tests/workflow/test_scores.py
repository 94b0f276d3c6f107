"""One table for all products: what was put in comes out, and what cannot be scored is said."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import odc.geo.xr
import pandas as pd
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box as rectangle
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import ATTRIBUTES, DAYS_PER_YEAR, InputError
from ogive.store.cube import write_cube
from ogive.store.velocity_file import write_velocity
from ogive.workflow.glaft_metrics import glaft_metrics
from ogive.workflow.scores import score_products, write_scores

CRS = "EPSG:32632"
GRID = GeoBox((100, 100), Affine(50, 0, 400_000, 0, -50, 5_000_000), CRS)
SIGMA = 12.0
ICE_M = 2000.0


def field(seed: int = 0, bias: float = 0.0) -> xr.Dataset:
    """Ice in the west that moves at 100 m/yr, still ground in the east; errors everywhere."""
    rng = np.random.default_rng(seed)
    x = GRID.coordinates["x"].values
    ice = x < 400_000 + ICE_M
    data = xr.Dataset(coords={axis: GRID.coordinates[axis].values for axis in ("y", "x")})
    values = {
        "vx": np.where(ice, 100.0, 0.0) + bias + rng.normal(0, SIGMA, (100, 100)),
        "vy": rng.normal(0, SIGMA, (100, 100)),
    }
    values["v"] = np.hypot(values["vx"], values["vy"])
    values |= {name: np.full((100, 100), SIGMA) for name in ("vx_error", "vy_error", "v_error")}
    for name, numbers in values.items():
        data[name] = (("y", "x"), numbers.astype(np.float32), dict(ATTRIBUTES[name]))
    placed: xr.Dataset = odc.geo.xr.assign_crs(data, CRS)
    return placed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    write_velocity(field(), folder / "ours.nc", pair=None)
    write_velocity(field(1, bias=30.0), folder / "theirs.nc", pair=None)
    left, top = 400_000, 5_000_000
    for name, west, east in (("ice", 0, ICE_M), ("stable", ICE_M, 5000)):
        shape = rectangle(left + west, top - 5000, left + east, top)
        gpd.GeoDataFrame(geometry=[shape], crs=CRS).to_crs("EPSG:4326").to_file(
            folder / f"{name}.gpkg"
        )
    days = [(0, 12), (12, 36), (0, 36)]
    start = np.datetime64("2020-01-01", "ns")
    maps = [field(k)[["vx", "vy"]] for k in range(3)]
    cube = xr.concat(maps, "mid_date").assign_coords(
        acquisition_date_img1=("mid_date", [start + np.timedelta64(a, "D") for a, _ in days]),
        acquisition_date_img2=("mid_date", [start + np.timedelta64(b, "D") for _, b in days]),
    )
    cube["mid_date"] = cube.acquisition_date_img1.values + np.timedelta64(5, "D") * np.arange(1, 4)
    write_cube(cube, folder / "cube.zarr")
    pd.DataFrame(
        {
            "name": ["a"], "start": ["2020-01-01"], "end": ["2020-02-06"],
            "x": [401_000], "y": [4_998_000], "end_x": [401_000 + 100 * 36 / DAYS_PER_YEAR],
            "end_y": [4_998_000],
        }
    ).to_csv(folder / "gnss.csv", index=False)  # fmt: skip
    return folder


def test_each_product_has_its_own_figures(folder):
    table = score_products(
        [folder / "ours.nc", folder / "theirs.nc"], stable=folder / "stable.gpkg",
        ice=folder / "ice.gpkg",
    ).set_index("product")  # fmt: skip
    ours, theirs = (table.loc[str(folder / name)] for name in ("ours.nc", "theirs.nc"))
    # 6000 still points: medians err by 0.2 m/yr; five of them.
    assert ours["stable_median_x"] == pytest.approx(0.0, abs=1.0)
    assert theirs["stable_median_x"] == pytest.approx(30.0, abs=1.0)
    assert ours["stable_nmad_x"] == pytest.approx(SIGMA, rel=0.08)
    assert ours["stable_within_95"] == pytest.approx(0.95, abs=0.02)
    assert theirs["stable_within_95"] < 0.7
    assert ours["maps"] == "1"


def test_the_ground_beside_ice_is_stable_where_nothing_else_is_said(folder):
    given = score_products([folder / "ours.nc"], stable=folder / "stable.gpkg")
    beside = score_products([folder / "ours.nc"], ice=folder / "ice.gpkg")
    assert beside["stable_count"][0] == given["stable_count"][0]


def test_a_cube_is_closed_and_told_map_by_map(folder):
    whole = score_products([folder / "cube.zarr"], stable=folder / "stable.gpkg")
    assert whole["maps"][0] == "3"
    assert whole["closure_triplets"][0] == 1
    years = np.array([12, 24, 36]) / DAYS_PER_YEAR
    # Independent errors of the three displacements add; the second is read between its points at
    # up to a tenth of a pixel, which takes off some of its noise.
    assert whole["closure_nmad_m"][0] == pytest.approx(SIGMA * np.hypot.reduce(years), rel=0.12)
    each = score_products([folder / "cube.zarr"], stable=folder / "stable.gpkg", each=True)
    assert len(each) == 3
    assert each["maps"].str.contains("2020-01-01").any()
    assert score_products([folder / "cube.zarr"], most=2)["maps"][0] == "2 of 3"


def test_points_of_the_field_are_compared(folder):
    options = {"points": folder / "gnss.csv", "points_crs": CRS}
    table = score_products([folder / "ours.nc", folder / "theirs.nc"], **options)
    # One point between four pixels errs by less than SIGMA; five of them.
    assert table["points_bias_along"][1] - table["points_bias_along"][0] == pytest.approx(
        30.0, abs=5 * SIGMA
    )
    assert list(table["points_compared"]) == [1, 1]


def test_points_elsewhere_leave_a_product_out_and_say_so(folder, tmp_path, caplog):
    far = pd.read_csv(folder / "gnss.csv").assign(x=0, end_x=1)
    far.to_csv(tmp_path / "far.csv", index=False)
    table = score_products([folder / "ours.nc"], points=tmp_path / "far.csv", points_crs=CRS)
    assert table["points_compared"][0] == 0
    assert "can be compared" in caplog.text


def test_glaft_tells_the_spread_of_still_ground(folder):
    pytest.importorskip("glaft", reason="the published metrics' package is not installed")
    x, _ = np.meshgrid(GRID.coordinates["x"].values, GRID.coordinates["y"].values)
    ice = x < 400_000 + ICE_M
    metrics = glaft_metrics(field(), stable=~ice, ice=ice)
    # Two standard deviations of each component, widened by the kernel (2.2 n^(-1/6), half a
    # standard deviation here, of which a fifth is its own), on a mesh of a tenth of them.
    two_sigma_m_d = 2 * SIGMA / DAYS_PER_YEAR
    assert metrics.delta_u_m_d == pytest.approx(two_sigma_m_d, rel=0.2)
    assert metrics.delta_v_m_d == pytest.approx(two_sigma_m_d, rel=0.2)
    moved = glaft_metrics(field(bias=30.0), stable=~ice)
    assert moved.bias_u_m_d - metrics.bias_u_m_d == pytest.approx(30 / DAYS_PER_YEAR, abs=0.03)
    assert np.isnan(moved.delta_shear_d)
    assert metrics.delta_shear_d > 0


def test_glaft_needs_points(folder):
    pytest.importorskip("glaft", reason="the published metrics' package is not installed")
    with pytest.raises(InputError, match="on stable ground"):
        glaft_metrics(field(), stable=np.zeros((100, 100), bool))


def test_the_command_shows_and_writes_the_table(folder, tmp_path):
    arguments = ["score", str(folder / "ours.nc"), str(folder / "cube.zarr")]
    arguments += ["--stable", str(folder / "stable.gpkg")]
    arguments += ["-o", str(tmp_path / "t.csv"), "-o", str(tmp_path / "t.md")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "stable nmad x" in result.output
    assert len(pd.read_csv(tmp_path / "t.csv")) == 2
    assert (tmp_path / "t.md").read_text().count("\n| ") > 8


def test_bad_input_is_one_sentence(folder, tmp_path):
    with pytest.raises(InputError, match="there is nothing at"):
        score_products([folder / "none.nc"])
    with pytest.raises(InputError, match="at least one map"):
        score_products([folder / "ours.nc"], most=0)
    with pytest.raises(InputError, match=r"\*.csv or \*.md"):
        write_scores(pd.DataFrame({"product": ["a"]}), tmp_path / "scores.txt")
    result = CliRunner().invoke(app, ["score", str(folder / "none.nc")])
    assert result.exit_code == 2
