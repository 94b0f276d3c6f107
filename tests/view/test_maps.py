"""Every map says where it lies: north, a scale, units; and shows the values it was given."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from affine import Affine
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from ogive.evaluation.reliability import reliability
from ogive.model import GridError, InputError
from ogive.store.qgis_style import polygon_style, write_package_styles
from ogive.view.cube import plot_cube
from ogive.view.elevation_bias import plot_elevation_bias, plot_misregistration
from ogive.view.map_parts import draw_layer, draw_scale_bar, frame_of, layer_norm, upright
from ogive.view.outlines import plot_outlines
from ogive.view.reliability import plot_reliability
from ogive.view.triplet import plot_triplet

# Raised inside odc-geo, for its makers: the product of affine maps is told to become `@`.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SHAPE = (24, 30)
SIDE = 100.0
# In Greenland's polar stereographic map, south-west of the pole: north is up and to the right.
LEFT, TOP = -1_500_000.0, -1_000_000.0
CENTRE = (LEFT + SIDE * SHAPE[1] / 2, TOP - SIDE * SHAPE[0] / 2)
TO_THE_POLE = -np.array(CENTRE) / np.hypot(*CENTRE)


def grid(crs: str = "EPSG:3413") -> GeoBox:
    return GeoBox(SHAPE, Affine(SIDE, 0, LEFT, 0, -SIDE, TOP), crs)


def placed(**fields: tuple[tuple[str, ...], np.ndarray, dict[str, str]]) -> xr.Dataset:
    data = xr.Dataset(coords=xr_coords(grid()))
    for name, (dims, values, attributes) in fields.items():
        data[name] = (dims, values.astype(np.float32), attributes)
    return data


def pointed(arrow: Annotation) -> np.ndarray:
    """Direction of an arrow as it is seen on the page."""
    tip, tail = arrow.xycoords.transform(arrow.xy), arrow.anncoords.transform(arrow.xyann)
    return (tip - tail) / np.hypot(*(tip - tail))


def check_place(axes: Axes, *, metres_per_unit: float = 1.0) -> None:
    """Assert that the arrow points to the pole, and that the bar is as long as it says."""
    (arrow,) = (text for text in axes.texts if isinstance(text, Annotation))
    assert arrow.get_text() == "N"
    # The map projection is conformal; a thousandth of a degree ahead hardly bends.
    np.testing.assert_allclose(pointed(arrow), TO_THE_POLE, atol=1e-4)
    (bar,) = (one for one in axes.artists if isinstance(one, AnchoredSizeBar))
    assert bar.txt_label.get_text() == "500 m"  # the round length below a fifth of 3 km
    (line,) = bar.size_bar.get_children()
    assert line.get_width() * metres_per_unit == pytest.approx(500)
    width = abs(np.subtract(*axes.get_xlim())) * metres_per_unit
    assert width == pytest.approx(SIDE * SHAPE[1], rel=0.1)


def labels(figure: Figure) -> set[str]:
    return {one.get_xlabel() for one in figure.axes} | {one.get_ylabel() for one in figure.axes}


def test_rows_are_drawn_upright_whichever_way_they_run() -> None:
    field = placed(v=(("y", "x"), np.arange(720.0).reshape(SHAPE), {}))["v"]
    turned = field[::-1]
    np.testing.assert_array_equal(upright(turned), field.values)
    assert frame_of(turned) == frame_of(field) == (LEFT, LEFT + 3000, TOP - 2400, TOP)
    axes = Figure().subplots()
    drawn = draw_layer(axes, turned, "v")
    np.testing.assert_array_equal(drawn.get_array(), field.values)
    assert drawn.get_cmap() is cm.batlow


def test_degrees_have_no_scale_bar() -> None:
    box = GeoBox(SHAPE, Affine(0.01, 0, 7, 0, -0.01, 46), "EPSG:4326")
    field = xr.DataArray(np.zeros(SHAPE), xr_coords(box), ("latitude", "longitude"))
    axes = Figure().subplots()
    draw_scale_bar(axes, field.rename(latitude="y", longitude="x"))
    assert len(axes.artists) == 0


def test_norms_are_those_of_the_layer() -> None:
    wide = np.concatenate([np.full(900, 3.0), np.linspace(500, 2000, 100)])
    assert isinstance(layer_norm(wide, "v"), LogNorm)
    assert not isinstance(layer_norm(wide, "v_error"), LogNorm)
    component = layer_norm(wide - 1000, "vx")
    assert component.vmin == -component.vmax


@pytest.mark.parametrize("dim", ["mid_date", "time"])
def test_cube_is_drawn_by_its_median_motion(dim: str) -> None:
    rng = np.random.default_rng(1)
    east, north = np.linspace(0, 300, SHAPE[1]) * np.ones(SHAPE), np.full(SHAPE, 40.0)
    noise = rng.normal(0, 3, (2, 41, *SHAPE))
    noise[:, :4, :5] = 5000.0  # some gross outliers
    dims = (dim, "y", "x")
    units = {"units": "meter/year"}
    cube = placed(vx=(dims, east + noise[0], units), vy=(dims, north + noise[1], units))
    cube["vx"][5:15, 0], cube["vy"][5:15, 0] = np.nan, np.nan
    cube = cube.assign_coords({dim: np.datetime64("2019-03-01", "ns") + np.arange(41) * 10**14})
    figure = plot_cube(cube)
    figure.draw_without_rendering()
    speed, count = figure.axes[:2]
    # The error of a median of 37 and more values is 0.6 m/yr, the outliers shift it by less than
    # a quarter of a standard deviation: five errors and that.
    np.testing.assert_allclose(speed.images[0].get_array(), np.hypot(east, north), atol=4)
    drawn = np.asarray(count.images[0].get_array())
    assert np.unique(drawn[0]) == [31]
    assert np.unique(drawn[1:]) == [41]
    what = {"mid_date": "pairs", "time": "periods"}[dim]
    assert count.get_title("left") == f"41 {what}, 2019-03-01 to 2019-04-16"
    assert {"speed (m/yr)", f"{what} with a value"} < labels(figure)
    for axes in (speed, count):
        check_place(axes)
    with pytest.raises(InputError, match="no cube"):
        plot_cube(cube.isel({dim: 0}))
    with pytest.raises(InputError, match="no value"):
        plot_cube(cube * np.nan)


def test_triplet_is_drawn_with_its_closure_and_support() -> None:
    metres = {"units": "m"}
    flat, deep = ("y", "x"), ("middle", "y", "x")
    support = np.ones((3, *SHAPE))
    support[1:, :10] = -1
    dx = np.full(SHAPE, 30.0)
    dx[0, 0] = np.nan
    moved = placed(
        dx=(flat, dx, metres), dy=(flat, np.full(SHAPE, -40.0), metres),
        closure_residual=(flat, np.full(SHAPE, 2.5), metres), path_support=(deep, support, {}),
    )  # fmt: skip
    figure = plot_triplet(moved)
    figure.draw_without_rendering()
    length, closure, count = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert np.unique(length[~np.isnan(length)].data) == [50]
    assert np.unique(closure) == [2.5]
    assert set(np.unique(count[:10, 1:])) == {1}
    assert set(np.unique(count[10:])) == {3}
    assert {"displacement (m)", "residual (m)", "middle images for it, of 3"} < labels(figure)
    for axes in figure.axes[:3]:
        check_place(axes)
    with pytest.raises(InputError, match="lacks closure_residual"):
        plot_triplet(moved.drop_vars("closure_residual"))
    with pytest.raises(InputError, match="lacks an image in the middle"):
        plot_triplet(moved.isel(middle=slice(0)))


def test_elevation_bias_has_north_and_scale_in_kilometres() -> None:
    bias = np.linspace(-20, 20, 720).reshape(SHAPE)
    fields = {"elevation_bias": (("y", "x"), bias, {"units": "m"})}
    result = placed(**fields)
    figure = plot_elevation_bias(result[["elevation_bias"]].isel(y=slice(None, None, -1)))
    figure.draw_without_rendering()
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), bias, rtol=1e-6)
    assert {"x (km)", "y (km)", "Surface minus elevation model (m)"} < labels(figure)
    check_place(figure.axes[0], metres_per_unit=1000)
    shifted = result.rename(elevation_bias="along").assign(across=-result["elevation_bias"])
    other = plot_misregistration(shifted)
    check_place(other.axes[0], metres_per_unit=1000)


# ---- outlines ------------------------------------------------------------------------------------


def write_outlines(folder: Path, *, band: bool = True) -> Path:
    """Write a product of outlines as `ogive outlines` leaves it."""
    path = folder / "ice.gpkg"
    x, y = CENTRE
    margins = {"glaciers": 0.0, "inner": -200.0, "outer": 200.0}
    for name, margin in margins.items() if band else [("glaciers", 0.0)]:
        west = shapely.box(x - 800 - margin, y - 600 - margin, x, y + 600 + margin)
        east = shapely.box(x, y - 600 - margin, x + 800 + margin, y + 600 + margin)
        shapes = [west, east] if name == "glaciers" else [west.union(east)]
        gpd.GeoDataFrame(geometry=shapes, crs="EPSG:3413").to_file(path, layer=name)
    write_package_styles(path, {"glaciers": polygon_style(line="red")})
    ice = np.zeros(SHAPE)
    ice[6:18, 7:23] = 0.9
    for name, values in (("probability", ice), ("confidence", 0.5 + 0.5 * ice)):
        with rasterio.open(
            folder / f"ice_{name}.tif", "w", driver="GTiff", count=1, dtype="float32",
            height=SHAPE[0], width=SHAPE[1], crs="EPSG:3413", transform=grid().transform,
            nodata=np.nan,
        ) as file:  # fmt: skip
            file.write(values.astype(np.float32), 1)
    return path


def test_outlines_are_drawn_over_probability_and_confidence(tmp_path: Path) -> None:
    path = write_outlines(tmp_path)
    ground = placed(red=(("y", "x"), np.random.default_rng(0).random(SHAPE), {}))["red"]
    figure = plot_outlines(path, background=ground)
    figure.draw_without_rendering()
    lines, probability, confidence = figure.axes[:3]
    assert lines.get_title("left") == "2 glaciers, 1.92 km²"
    assert [text.get_text() for text in lines.get_legend().get_texts()] == [
        "outline", "inner, 95 %", "outer, 95 %",
    ]  # fmt: skip
    np.testing.assert_allclose(lines.images[0].get_array(), ground.values)
    assert probability.images[0].get_array().max() == pytest.approx(0.9)
    assert confidence.images[0].get_clim() == (0.5, 1.0)
    edges = [np.concatenate(one.get_segments()) for one in lines.collections]
    reaches = [np.abs(edge[:, 0] - CENTRE[0]).max() for edge in edges]
    np.testing.assert_allclose(reaches, [800, 600, 1000])
    assert [len(axes.collections) for axes in (lines, probability, confidence)] == [3, 1, 2]
    assert {"probability of glacier (1)", "confidence (1)"} < labels(figure)
    for axes in (lines, probability, confidence):
        check_place(axes)


def test_outlines_that_cannot_be_drawn(tmp_path: Path) -> None:
    path = write_outlines(tmp_path, band=False)
    assert len(plot_outlines(path).axes[0].collections) == 1
    elsewhere = placed(red=(("y", "x"), np.ones(SHAPE), {}))["red"]
    elsewhere = elsewhere.drop_vars("spatial_ref").odc.assign_crs("EPSG:32622")
    with pytest.raises(GridError, match=r"background is in .* zone 22N"):
        plot_outlines(path, background=elsewhere)
    with pytest.raises(InputError, match="cannot be read as outlines"):
        plot_outlines(tmp_path / "nothing.gpkg")
    other = tmp_path / "other.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:3413").to_file(other)
    with pytest.raises(InputError, match="no layer glaciers"):
        plot_outlines(other)


# ---- no map --------------------------------------------------------------------------------------


def test_reliability_is_drawn_bin_by_bin() -> None:
    rng = np.random.default_rng(2)
    said = rng.random(5000)
    found = reliability(said, rng.random(5000) < said)
    figure = plot_reliability({"raw": {"small": found}})
    figure.draw_without_rendering()
    above, below = figure.axes
    np.testing.assert_allclose(above.lines[1].get_xdata(), found.predicted)
    np.testing.assert_allclose(above.lines[1].get_ydata(), found.observed)
    assert "n = 5,000" in above.get_legend().get_texts()[0].get_text()
    assert (below.get_xlabel(), below.get_ylabel()) == ("Confidence", "Share of points")
    assert above.get_ylabel() == "Share right within 1 px"
    with pytest.raises(InputError, match="no reliability"):
        plot_reliability({})
