"""The switch: what `ogive invert` does with pairs across orbits."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from tests.workflow.orbits import cube_of_two_orbits
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import InputError
from ogive.store.cube import write_cube
from ogive.store.readers import open_cube
from ogive.workflow.across_orbits import join_orbits
from ogive.workflow.inversion import Point, make_series
from ogive.workflow.views import cube_views, pairs_across_orbits, views_on_grid

# Kaskawulsh Glacier.
BOX = GeoBox.from_bbox((580e3, 6.72e6, 582e3, 6.7216e6), "EPSG:32607", resolution=200)
VX, VY = 60.0, -300.0
NETWORK = {
    "images": 30, "vx_m_yr": VX, "vy_m_yr": VY, "bias_m": 60.0, "span_days": 300.0,
    "longest_days": 50.0, "seed": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    cube, made = cube_of_two_orbits(BOX, **NETWORK)
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    write_cube(cube, path)
    return path, np.abs(made.elevation_bias_m)


def rmse(series, high):
    """Of both components, where the model is 30 to 60 m wrong."""
    off = np.stack([series["vx"].values - VX, series["vy"].values - VY])[:, :, high]
    return float(np.sqrt(np.nanmean(off**2)))


@pytest.fixture(scope="module")
def inverted(stored, tmp_path_factory):
    """The series by each way, and what it is worth."""
    folder = tmp_path_factory.mktemp("series")
    found = {}
    for how in ("keep", "drop", "project", "correct", "joint"):
        # Rows that are combined within and across orbits carry the offsets undiminished.
        closure = {} if how == "joint" else {"closure": "combined"}
        made = make_series(
            stored[0], folder / f"{how}.nc", sampling="15D", across_orbits=how, **closure
        )
        with xr.open_dataset(made.series) as series:
            found[how] = series.load()
        assert found[how].attrs["pairs_across_orbits"] == how
    return found


@pytest.mark.parametrize("how", ["project", "correct", "joint"])
def test_pairs_across_orbits_join_without_their_offsets(stored, inverted, how):
    """Offsets of up to 11 m in pairs of weeks are hundreds of m/yr; freed, a sixth or less.

    The flow is steady here, and all ways may be tried: projecting leaves the error of the prior's
    direction; correcting, the bias's error of a metre and some.
    """
    high = stored[1] > 30
    assert rmse(inverted[how], high) < rmse(inverted["keep"], high) / 6


@pytest.mark.parametrize("how", ["project", "correct", "joint"])
def test_both_orbits_are_worth_more_than_one(stored, inverted, how):
    """No jump: the error stays as small as without pairs across orbits, or is smaller."""
    high = stored[1] > 30
    for name in ("keep", "drop", how):
        print(f"\n{name}: RMSE {rmse(inverted[name], high):.1f} m/yr", end="")
    assert rmse(inverted[how], high) < 1.1 * rmse(inverted["drop"], high)


def test_a_joint_series_holds_the_bias_too(inverted):
    bias = inverted["joint"]["elevation_bias"]
    assert bias.attrs["units"] == "m"
    assert float(abs(bias).max()) > 30
    assert "elevation_bias" not in inverted["correct"]


def test_on_disk_and_in_memory_give_the_same(stored):
    on_disk = open_cube(stored[0])
    assert on_disk["vx"].chunks is not None
    for how in ("project", "correct"):
        lazy = join_orbits(on_disk, how)
        assert lazy["vx"].chunks is not None
        eager = join_orbits(on_disk.compute(), how)
        np.testing.assert_allclose(lazy["vx"], eager["vx"], rtol=1e-6)
        np.testing.assert_allclose(lazy["vx_error"], eager["vx_error"], rtol=1e-6)


def test_what_is_kept_is_said(stored, caplog):
    cube = open_cube(stored[0])
    across = int((cube["relative_orbit_img1"] != cube["relative_orbit_img2"]).sum())
    assert pairs_across_orbits(cube) == across > 50
    with caplog.at_level(logging.WARNING):
        assert join_orbits(cube) is cube
    assert f"{across} of {cube.sizes['mid_date']} pairs are across orbits" in caplog.text
    within = join_orbits(cube, "drop")
    assert within.sizes["mid_date"] == cube.sizes["mid_date"] - across
    caplog.clear()
    join_orbits(within)
    assert "across orbits" not in caplog.text
    # A cube that does not tell its orbits is taken as it is.
    bare = cube.drop_vars(["relative_orbit_img1", "relative_orbit_img2"])
    assert pairs_across_orbits(bare) is None
    join_orbits(bare)
    assert "across orbits" not in caplog.text


def test_the_command(stored, tmp_path):
    runner = CliRunner()
    out = tmp_path / "series.nc"
    call = ["invert", str(stored[0]), "-o", str(out), "--sampling", "15"]
    kept = runner.invoke(app, call)
    assert kept.exit_code == 0, kept.output
    assert "are across orbits and carry the offsets" in kept.output
    done = runner.invoke(
        app, [*call, "--across-orbits", "joint", "--overwrite", "--point", "581000,6720800"]
    )
    assert done.exit_code == 0, done.output
    with xr.open_dataset(out) as series:
        assert "elevation_bias" in series
    assert (tmp_path / "series_1.png").stat().st_size > 10_000
    for options, sentence in (
        (["--across-orbits", "glue"], "are unknown"),
        (["--across-orbits", "joint", "--closure", "dates"], "closure has no meaning"),
        (["--across-orbits", "project", "--angles", str(tmp_path / "none")], "does not exist"),
    ):
        refused = runner.invoke(app, [*call, "--overwrite", *options])
        assert refused.exit_code == 2
        assert sentence in " ".join(refused.output.split())


def test_points_are_drawn_of_what_was_inverted(stored, tmp_path):
    made = make_series(
        stored[0], tmp_path / "s.nc", sampling="15D", across_orbits="drop",
        points=[Point(581_000, 6_720_800)],
    )  # fmt: skip
    assert made.pairs == join_orbits(open_cube(stored[0]), "drop").sizes["mid_date"]
    assert len(made.figures) == 1


def test_bad_input_is_told(stored):
    cube = open_cube(stored[0])
    with pytest.raises(InputError, match="are unknown"):
        join_orbits(cube, "joint")
    only = cube.isel(
        mid_date=np.flatnonzero(cube["relative_orbit_img1"] != cube["relative_orbit_img2"])
    )
    with pytest.raises(InputError, match="no pair of the cube is of one orbit"):
        join_orbits(only, "drop")
    with pytest.raises(InputError, match="no direction of flow is known"):
        join_orbits(only.compute(), "project")
    bare = cube.drop_vars(["relative_orbit_img1", "relative_orbit_img2"])
    with pytest.raises(InputError, match="neither an angle file nor an orbit"):
        join_orbits(bare, "correct")


def test_a_model_that_ends_on_the_grid_is_told(stored, tmp_path, caplog):
    cube = open_cube(stored[0])
    views, found = cube_views(cube)
    x, _ = np.meshgrid(BOX.coordinates["x"].values, BOX.coordinates["y"].values)
    height = xr.DataArray((0.2 * (x - x.min())).astype("f4"), dims=("y", "x"))
    height = height.assign_coords({n: BOX.coordinates[n].values for n in ("y", "x")})
    height.isel(x=slice(0, 5)).odc.assign_crs(BOX.crs).rio.to_raster(tmp_path / "half.tif")
    with caplog.at_level(logging.WARNING):
        views_on_grid(views, found, cube, tmp_path / "half.tif")
    assert "has no slope on" in caplog.text
    away = height.assign_coords(x=height["x"] + 1e5).odc.assign_crs(BOX.crs)
    away.rio.to_raster(tmp_path / "away.tif")
    with pytest.raises(InputError, match=r"away\.tif"):
        views_on_grid(views, found, cube, tmp_path / "away.tif")
