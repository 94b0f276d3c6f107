"""The picture of a velocity map says what the numbers say."""

from __future__ import annotations

import math
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.quiver import Quiver
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr, xr_coords

from ogive.model import GridError, InputError, OutputError
from ogive.scenes.read import read_image, read_on_grid
from ogive.view.quicklook import hillshade, quicklook

# Raised inside odc-geo, for its makers: the product of affine maps is told to become `@`.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SHAPE = (60, 80)


def velocity_map(
    vx: float | np.ndarray,
    vy: float | np.ndarray,
    crs: str = "EPSG:32607",
    origin: tuple[float, float] = (465_000.0, 6_681_000.0),
) -> xr.Dataset:
    geobox = GeoBox(SHAPE, Affine(120, 0, origin[0], 0, -120, origin[1]), crs)
    velocity = xr.Dataset(coords=xr_coords(geobox))
    fields = {"vx": vx * np.ones(SHAPE), "vy": vy * np.ones(SHAPE)}
    fields["v"] = np.hypot(fields["vx"], fields["vy"])
    fields["v_error"] = np.full(SHAPE, 10.0)
    for name, values in fields.items():
        velocity[name] = (("y", "x"), values.astype(np.float32), {"units": "meter/year"})
    return velocity


def quiver_of(figure: Figure) -> Quiver:
    return next(artist for artist in figure.axes[0].collections if isinstance(artist, Quiver))


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def test_picture_is_written_and_no_figure_stays(tmp_path: Path) -> None:
    path = tmp_path / "out" / "quicklook.png"
    stable = np.zeros(SHAPE, bool)
    stable[:, :20] = True
    background = wrap_xr(
        np.random.default_rng(0).integers(0, 4000, (480, 640)).astype(np.uint16),
        GeoBox((480, 640), Affine(15, 0, 465_000, 0, -15, 6_681_000), "EPSG:32607"),
    )
    figure = quicklook(velocity_map(-300, 100), path, background=background, stable=stable)
    picture = imread(path)
    assert picture.shape[0] > 500
    assert picture.shape[1] > 1000
    assert picture[..., :3].std() > 0.1
    assert plt.get_fignums() == []
    assert len(figure.axes) == 3  # map, histogram, colour bar
    assert [entry.name for entry in path.parent.iterdir()] == ["quicklook.png"]


@pytest.mark.parametrize(("vx", "vy"), [(-300.0, 100.0), (50.0, 0.0), (0.0, -700.0)])
def test_arrows_point_with_the_flow(vx: float, vy: float) -> None:
    arrows = quiver_of(quicklook(velocity_map(vx, vy)))
    drawn = np.hypot(arrows.U, arrows.V)
    assert drawn.size > 100
    np.testing.assert_allclose(arrows.U / drawn, vx / math.hypot(vx, vy), atol=1e-6)
    np.testing.assert_allclose(arrows.V / drawn, vy / math.hypot(vx, vy), atol=1e-6)


def test_no_arrows_within_the_error() -> None:
    # Half of the map moves by less than twice its error of 10 m/yr.
    vx = np.where(np.arange(SHAPE[1]) < 40, 15.0, 400.0)
    arrows = quiver_of(quicklook(velocity_map(vx, 0.0)))
    half, block = float(velocity_map(0, 0).x[40]), 4 * 120
    drawn = arrows.X[~np.asarray(arrows.Umask)]
    assert drawn.min() > half - block
    assert len(np.unique(drawn)) >= 40 // 4 - 1


def test_scale_is_logarithmic_only_where_speeds_span_decades() -> None:
    even = quicklook(velocity_map(-300, 100))
    assert not isinstance(even.axes[0].images[0].norm, LogNorm)
    across = 5 + 4000 * np.exp(-(((np.arange(SHAPE[1]) - 40) / 5) ** 2))
    glacier = quicklook(velocity_map(across, 0.0))
    norm = glacier.axes[0].images[0].norm
    assert isinstance(norm, LogNorm)
    # The median speed must lie within the bar, and leave its larger part to the glacier.
    assert 0 < norm(np.median(across)) < 0.5


def test_histogram_tells_the_spread_of_the_residuals() -> None:
    random = np.random.default_rng(3)
    sigma = 20.0
    velocity = velocity_map(random.normal(0, sigma, SHAPE), random.normal(8, sigma, SHAPE))
    told = texts(quicklook(velocity, stable=np.ones(SHAPE, bool)))
    count = SHAPE[0] * SHAPE[1]
    assert f"{count} points of stable ground" in told
    medians = [float(number) for number in re.findall(r"median (-?[\d.]+)", told)]
    spreads = [float(number) for number in re.findall(r"NMAD ([\d.]+)", told)]
    # The standard errors of a median and of the NMAD are 1.25 and 1.17 sigma / sqrt(n); four each,
    # and three written digits.
    four_errors = 4 * 1.25 * sigma / math.sqrt(count) + 0.1
    np.testing.assert_allclose(medians, [0, 8], atol=four_errors)
    np.testing.assert_allclose(spreads, sigma, atol=four_errors)


@pytest.mark.parametrize(
    ("crs", "origin", "expected"),
    [
        # In a polar stereographic map of the north, the pole is the origin.
        ("EPSG:3413", (-300_000.0, -2_000_000.0), None),
        # On the central meridian of a UTM zone, north is up.
        ("EPSG:32607", (500_000.0 - 40 * 120, 6_681_000.0), (0.0, 1.0)),
    ],
)
def test_north_arrow_points_to_the_pole(
    crs: str, origin: tuple[float, float], expected: tuple[float, float] | None
) -> None:
    figure = quicklook(velocity_map(-300, 100, crs, origin))
    arrow = next(text for text in figure.findobj(mpl.text.Annotation) if text.get_text() == "N")
    # As it is seen on the page: the map is no square.
    tip, tail = arrow.xycoords.transform(arrow.xy), arrow.anncoords.transform(arrow.xyann)
    direction = (tip - tail) / np.hypot(*(tip - tail))
    if expected is None:
        centre = np.array([origin[0] + 40 * 120, origin[1] - 30 * 120])
        expected = tuple(-centre / np.hypot(*centre))
    # A thousandth of a degree ahead is 110 m on a curved meridian: 1e-4 is far above its bend.
    np.testing.assert_allclose(direction, expected, atol=1e-4)


def test_scale_bar_is_a_round_fifth_of_the_map() -> None:
    # 80 points of 120 m are 9.6 km; the round length below a fifth of it is 1 km.
    assert "1 km" in texts(quicklook(velocity_map(-300, 100)))


def test_light_falls_from_where_it_is_said() -> None:
    rows, columns = np.mgrid[0.0:9.0, 0.0:9.0]
    geobox = GeoBox((9, 9), Affine(10, 0, 500_000, 0, -10, 6_700_000), "EPSG:32607")
    downwards_to = {
        "north": (wrap_xr(10 * rows, geobox), 0.0),  # row 0 is the northernmost
        "south": (wrap_xr(-10 * rows, geobox), 180.0),
        "east": (wrap_xr(-10 * columns, geobox), 90.0),
        "west": (wrap_xr(10 * columns, geobox), 270.0),
    }
    for side, (slope, azimuth) in downwards_to.items():
        lit = float(hillshade(slope, azimuth_deg=azimuth)[4, 4])
        shaded = float(hillshade(slope, azimuth_deg=azimuth + 180)[4, 4])
        assert lit > shaded, side
    holed = wrap_xr(np.where(rows == 4, np.nan, rows), geobox)
    assert np.isnan(hillshade(holed)[4]).all()


def test_empty_map_is_drawn_as_such(tmp_path: Path) -> None:
    velocity = velocity_map(np.nan, np.nan)
    figure = quicklook(velocity, tmp_path / "empty.png", stable=np.ones(SHAPE, bool))
    told = texts(figure)
    assert "0 % of points measured" in told
    assert "no points" in told


def test_map_in_pixels_has_its_rows_downwards() -> None:
    velocity = velocity_map(-300, 100).drop_vars("spatial_ref")
    velocity = velocity.assign_coords(x=np.arange(80.0), y=np.arange(60.0))
    axes = quicklook(velocity).axes[0]
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert axes.get_xlabel() == "x (pixel)"


def test_what_cannot_be_drawn_is_a_sentence(tmp_path: Path) -> None:
    velocity = velocity_map(-300, 100)
    with pytest.raises(InputError, match="needs vy"):
        quicklook(velocity.drop_vars("vy"))
    with pytest.raises(InputError, match=r"shape \(3, 3\)"):
        quicklook(velocity, stable=np.ones((3, 3), bool))
    elsewhere = velocity_map(0, 0, "EPSG:32608")["v"]
    with pytest.raises(GridError, match=r"zone 7N but the background is in .* zone 8N"):
        quicklook(velocity, background=elsewhere)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        quicklook(velocity, tmp_path / "folder.png")


def test_real_ground_below_the_map(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "yahtse_l8_pair"
    image = read_image(folder / "LC80630182016200LGN00_B8_yahtse.TIF")
    relief = hillshade(read_on_grid(folder / "yahtse_srtm_dem.tif", image.odc.geobox))
    for name, ground in (("image", image), ("relief", relief)):
        quicklook(velocity_map(-300, 100), tmp_path / f"{name}.png", background=ground)
    pictures = [imread(tmp_path / f"{name}.png") for name in ("image", "relief")]
    # Under one veil of uniform speed, what differs is the ground: most of the map.
    assert (np.abs(pictures[0] - pictures[1]).max(axis=-1) > 0.02).mean() > 0.3
