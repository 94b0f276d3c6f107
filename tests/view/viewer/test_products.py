"""What the viewer reads: kinds of products, maps, places, sections; and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import InputError
from ogive.view.viewer import view
from ogive.view.viewer.colours import colours_of
from ogive.view.viewer.masks import masks_of
from ogive.view.viewer.opening import open_product
from ogive.view.viewer.point import annual_at, observations_at, series_at
from ogive.view.viewer.product import extent, layer_map, meanings
from ogive.view.viewer.profile import profile
from ogive.view.viewer.project import open_project
from ogive.view.viewer.tables import map_table, points_table, profile_table
from ogive.view.viewer.workspace import Workspace

from .conftest import PAIRS, SIDE
from .simulated import cube, ground, season


@pytest.fixture(scope="module")
def place() -> tuple[float, float]:
    """Where the glacier is fastest."""
    mean = ground(SIDE)
    row, column = np.unravel_index(np.argmax(np.hypot(mean.vx, mean.vy)), mean.vx.shape)
    grid = mean.grid.coordinates
    return float(grid["x"].values[column]), float(grid["y"].values[row])


def test_a_project_lists_what_it_holds_best_first(project):
    found = open_project(project)
    kinds = {name: entry.kind for name, entry in found.products.items()}
    assert kinds == {
        "annual/annual.nc": "annual",
        "series.zarr": "series",
        "cube.zarr": "cube",
        "velocity.nc": "velocity",
    }
    assert next(iter(kinds)) == "annual/annual.nc"
    assert list(found.elevation) == ["dem.tif"]
    assert list(found.scenes) == ["scene.tif"]
    assert found.outlines == (project / "outlines.gpkg").resolve()


def test_links_that_lead_out_are_not_followed(project, tmp_path, caplog):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "linked.nc").symlink_to(project / "velocity.nc")
    (tmp_path / "own" / "folder").symlink_to(project, target_is_directory=True)
    with pytest.raises(InputError, match="holds no cube"):
        open_project(tmp_path / "own")
    assert "leads out of the project" in caplog.text


def test_only_listed_products_are_opened(project):
    workspace = Workspace(open_project(project))
    for name in ("../project/velocity.nc", str(project / "velocity.nc"), "gnss.csv", ""):
        with pytest.raises(InputError, match="has no product"):
            workspace.product(name)
    with pytest.raises(InputError, match="there is no ground"):
        workspace.ground("../../etc/passwd", workspace.product("velocity.nc"))


@pytest.mark.parametrize(
    ("name", "kind", "frames"),
    [
        ("cube.zarr", "cube", PAIRS + 1),
        ("series.zarr", "series", 36),
        ("velocity.nc", "velocity", 1),
    ],
)  # fmt: skip
def test_each_kind_has_its_maps(project, name, kind, frames):
    product = open_product(project / name)
    assert product.kind == kind
    assert len(product.frames) == frames
    assert next(iter(product.layers)) == "v"
    speed = layer_map(product, "v", frames - 1)
    assert speed.dims == ("y", "x")
    mean = ground(SIDE)
    assert np.nanmedian(speed.values[mean.ice]) > 2 * np.nanmedian(speed.values[~mean.ice])
    with pytest.raises(InputError, match="no layer"):
        layer_map(product, "speed")
    with pytest.raises(InputError, match="no number"):
        layer_map(product, "v", frames)


def test_the_first_map_of_a_cube_is_the_median_of_spread_pairs(project):
    product = open_product(project / "cube.zarr")
    pairs = np.unique(np.linspace(0, PAIRS - 1, 25).round().astype(int))
    expected = product.data["vx"].isel(mid_date=pairs).median("mid_date").values
    np.testing.assert_allclose(layer_map(product, "vx", 0).values, expected, rtol=1e-6)
    assert product.frames[0] == f"median of 25 of {PAIRS} pairs"


def test_annual_layers_are_grouped_by_year(project):
    product = open_product(project / "annual" / "annual.nc")
    assert product.frames[0] == "2018–2019"
    assert product.layers["v"].variables[0] == "v2018_2019"
    assert "trend" in " ".join(product.layers)
    reliable = layer_map(product, "flag").values == 1
    hidden = masks_of(product)["not reliable (flag)"](product, 0)
    np.testing.assert_array_equal(hidden, ~reliable)


def test_flags_have_meanings(project):
    product = open_product(project / "velocity.nc")
    told = meanings(product, "flag")
    assert told is not None
    assert told[0] == "measured"
    assert meanings(product, "v") is None


def test_a_place_reads_what_was_simulated(project, place):
    mean = ground(SIDE)
    speed = np.hypot(mean.vx, mean.vy).max()
    pairs = open_product(project / "cube.zarr")
    observed = observations_at(pairs, *place)
    assert 0.4 * PAIRS < len(observed) < PAIRS
    assert set(observed["sensor"]) == {"S2A", "L8"}
    middle = observed["start"] + (observed["end"] - observed["start"]) / 2
    days = (middle - pd.Timestamp("2019-01-01")).dt.total_seconds() / 86_400
    error = observed["v"] - speed * season(days.to_numpy())
    # Errors of the speed are those along the flow: 3 of 1000 exceed three standard errors.
    assert (np.abs(error) < 3 * observed["v_error"]).mean() > 0.95
    inverted = series_at(open_product(project / "series.zarr"), *place)
    np.testing.assert_allclose(inverted["v"].mean(), speed, rtol=0.02)
    years = annual_at(open_product(project / "annual" / "annual.nc"), *place)
    assert str(years["start"][0])[:10] == "2018-10-01"
    np.testing.assert_allclose(years["v"].mean(), speed, rtol=0.1)


def test_points_beside_each_other_make_one_table(project, place):
    workspace = Workspace(
        open_project(project), points=project / "gnss.csv", points_crs="EPSG:32632"
    )
    points = [
        workspace.point(1, *place, shown="annual/annual.nc"),
        workspace.point(2, place[0] - 600, place[1] + 600, shown="annual/annual.nc"),
    ]
    assert list(points[0].stations["name"]) == ["A"]
    assert points[1].stations.empty
    table = points_table(points)
    assert set(table["kind"]) == {"observations", "series", "years", "stations"}
    assert list(table["point"].unique()) == [1, 2]
    with pytest.raises(InputError, match="lies outside of"):
        workspace.point(3, 0, 0, shown="cube.zarr")


def test_a_section_shows_the_seasons(project, place):
    corners = [(place[0] - 900, place[1] + 900), place, (place[0] + 900, place[1] - 900)]
    for name in ("series.zarr", "cube.zarr"):
        cut = profile(open_product(project / name), corners)
        assert cut.edges.size == cut.along.sizes["time"] + 1
        table = profile_table(cut)
        months = table["start"].dt.month
        # The fastest day of the simulation is in the first days of July.
        assert (
            table["v"][months.isin([5, 6, 7])].median() > table["v"][months.isin([11, 12])].median()
        )
    with pytest.raises(InputError, match="no maps in time"):
        profile(open_product(project / "velocity.nc"), corners)
    with pytest.raises(InputError, match="two or more"):
        profile(open_product(project / "series.zarr"), corners[:1])
    with pytest.raises(InputError, match="lies outside"):
        profile(open_product(project / "series.zarr"), [(0, 0), (1, 1)])


def test_the_table_of_a_map_has_its_pixels(project):
    product = open_product(project / "velocity.nc")
    values = layer_map(product, "v").values
    table = map_table(product, "v", values)
    assert len(table) == np.isfinite(values).sum()
    row = table.iloc[100]
    there = product.data["v"].sel(x=row["x"], y=row["y"])
    assert float(there) == pytest.approx(row["v"])
    edges = extent(product)
    assert (table["x"] > edges.left).all()
    assert (table["y"] < edges.top).all()


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=30), st.sampled_from(["v", "vx", "cnt"]))
def test_any_values_have_a_range_of_colours(values, layer):
    numbers = np.abs(values) if layer != "vx" else np.array(values)
    colours = colours_of(layer, np.append(numbers, np.nan))
    assert np.isfinite([colours.low, colours.high]).all()
    assert colours.low < colours.high
    assert colours.scale == "linear" or colours.low > 0
    if layer == "vx":
        assert colours.low == -colours.high


def test_speeds_that_span_decades_are_logarithmic():
    still = np.full(1000, 2.0)
    assert colours_of("v", np.append(still, np.full(50, 900.0))).scale == "log"
    assert colours_of("v", np.append(still, np.full(50, 9.0))).scale == "linear"
    assert colours_of("v", still, scale="log").scale == "log"


def test_other_files_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="there is nothing at"):
        view(tmp_path / "none.zarr")
    with pytest.raises(InputError, match="holds no cube"):
        view(tmp_path)
    xr.Dataset({"t": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputError, match="holds no velocities"):
        open_product(tmp_path / "other.nc")
    (tmp_path / "broken.nc").write_bytes(b"CDF")
    with pytest.raises(InputError, match="cannot be read"):
        open_product(tmp_path / "broken.nc")


def test_pairs_are_simulated_once_each():
    pairs = cube(PAIRS, SIDE)
    dates = set(
        zip(pairs.acquisition_date_img1.values, pairs.acquisition_date_img2.values, strict=True)
    )
    assert len(dates) == PAIRS
