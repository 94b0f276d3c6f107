"""Features picked by hand: as samples of training they are true, as a test they tell the error."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

import ogive
from ogive.model import GridError, InputError
from ogive.scenes.read import read_image
from ogive.similarity.samples.manual import (
    CONFIDENCE_WEIGHTS,
    ManualSamples,
    PickedPair,
    read_picked_pair,
    score,
)
from ogive.simulation import simple_pair
from ogive.store.picked_points import Pick, PickedImages, points_of, write_picked_points

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

# Raised while these tests write files without a reference, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

ROWS, COLUMNS = 200, 240
MOVED = {"dx": 23, "dy": -11}  # whole pixels, so that the later image holds the same numbers
PLACE = Affine(10, 0, 500_000, 0, -10, 6_700_000)
UTM = "EPSG:32607"
NAMES = ("a_20200701.tif", "b_20200711.tif")
TIMES = (datetime(2020, 7, 1), datetime(2020, 7, 11))
NOW = datetime(2024, 5, 1)
PLACES = [(60.0, 70.0, 3), (64.2, 73.4, 2), (150.6, 120.3, 1), (3.0, 190.0, 3)]


def write(path, pixels, crs=UTM):
    georeference = {"crs": crs, "transform": PLACE} if crs else {}
    rows, columns = pixels.shape
    with rasterio.open(
        path, "w", "GTiff", columns, rows, 1, dtype=pixels.dtype, nodata=0, **georeference
    ) as file:
        file.write(pixels, 1)
    return path


def picks_at(places, dx=float(MOVED["dx"]), dy=float(MOVED["dy"])):
    return [
        Pick(k + 1, x, y, x + dx, y + dy, confidence, NOW)
        for k, (x, y, confidence) in enumerate(places)
    ]


def points_at(places, grid, **moved):
    return points_of(picks_at(places, **moved), PickedImages(*NAMES, *TIMES, grid))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two images, the later one moved by whole pixels, and points picked in them."""
    path = tmp_path_factory.mktemp("picked")
    random = np.random.default_rng(0)
    whole = random.integers(1, 9000, (ROWS + 60, COLUMNS + 60)).astype(np.uint16)
    earlier = whole[30 : 30 + ROWS, 30 : 30 + COLUMNS]
    later = whole[
        30 - MOVED["dy"] : 30 - MOVED["dy"] + ROWS, 30 - MOVED["dx"] : 30 - MOVED["dx"] + COLUMNS
    ]
    write(path / NAMES[0], earlier)
    write(path / NAMES[1], later)
    grid = GeoBox((ROWS, COLUMNS), PLACE, UTM)
    write_picked_points(points_at(PLACES, grid), path / "points.gpkg")
    return path


@pytest.fixture(scope="module")
def pair(folder):
    return read_picked_pair(folder / "points.gpkg")


# ---- training ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(index=st.integers(0, 10_000), spread=st.integers(0, 6), search=st.integers(0, 8))
def test_labelled_pixels_are_found_again_where_the_label_says(pair, index, spread, search):
    samples = ManualSamples([pair], size_px=48, search_px=search, spread_px=spread, seed=3)
    sample = samples.sample(index)
    assert int(sample["labelled"].sum()) >= 1
    rows, columns = np.nonzero(sample["labelled"].numpy())
    displacement = sample["displacement"].numpy()[:, rows, columns]
    assert np.abs(displacement).max() <= search + 0.5
    # Moved by whole pixels, and rounding in map coordinates of a thousandth of a micrometre.
    whole = np.rint(displacement)
    np.testing.assert_allclose(displacement, whole, atol=1e-4)
    there = (rows + whole[1].astype(int), columns + whole[0].astype(int))
    inside = np.all([(part >= 0) & (part < 48) for part in there], axis=0)
    there = tuple(part[inside] for part in there)
    assert inside.any()
    seen = sample["valid_later"].numpy()[0][there]
    np.testing.assert_array_equal(
        sample["later"].numpy()[0][there][seen],
        sample["earlier"].numpy()[0][rows[inside], columns[inside]][seen],
    )
    assert sample["valid_earlier"].numpy()[0][rows, columns].all()
    np.testing.assert_array_equal(sample["matchable"], sample["labelled"])


def test_samples_are_as_the_contract_has_them_and_stack(pair):
    from ogive.similarity.embedding import CONDITION_LENGTH
    from ogive.similarity.samples.sample import stacked

    samples = ManualSamples([pair], size_px=64)
    assert len(samples) == len(PLACES)
    assert samples.left_out == 0
    batch = stacked([samples.sample(index) for index in range(6)])
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in batch.items()}
    bit, number = torch.bool, torch.float32
    assert shapes == {
        "earlier": ((6, 1, 64, 64), number),
        "later": ((6, 1, 64, 64), number),
        "valid_earlier": ((6, 1, 64, 64), bit),
        "valid_later": ((6, 1, 64, 64), bit),
        "displacement": ((6, 2, 64, 64), number),
        "matchable": ((6, 64, 64), bit),
        "labelled": ((6, 64, 64), bit),
        "stable": ((6, 64, 64), bit),
        "condition_earlier": ((6, CONDITION_LENGTH), number),
        "condition_later": ((6, CONDITION_LENGTH), number),
        "weight": ((6,), number),
        "years": ((6,), number),
    }
    expected = [CONFIDENCE_WEIGHTS[PLACES[index % 4][2]] for index in range(6)]
    np.testing.assert_allclose(batch["weight"], expected)
    np.testing.assert_allclose(batch["years"], 10 / 365.25)
    for name, value in batch.items():
        assert torch.isfinite(value.float()).all(), name
    # The place near the edge: what lies beyond the image is marked.
    edge = samples.sample(3)
    assert not edge["valid_earlier"].all()
    assert (edge["earlier"][~edge["valid_earlier"]] == 0).all()


def test_the_same_index_is_the_same_sample_and_others_are_not(pair):
    one, other = (ManualSamples([pair], size_px=64, seed=5).sample(7) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    elsewhere = ManualSamples([pair], size_px=64, seed=6).sample(7)
    assert not torch.equal(one["earlier"], elsewhere["earlier"])
    again = ManualSamples([pair], size_px=64, seed=5).sample(7 + len(PLACES))
    assert not torch.equal(one["earlier"], again["earlier"])


def test_surer_picks_are_labelled_beside_unsure_ones_but_not_the_other_way_round(pair):
    samples = ManualSamples([pair], size_px=64, spread_px=1)
    # The first two picks lie 4 px from each other; the first is surer.
    assert int(samples.sample(0)["labelled"].sum()) == 9
    assert int(samples.sample(1)["labelled"].sum()) == 18


def test_the_loss_finds_windows_in_them(pair):
    from ogive.similarity.loss import LossConfig, draw_windows
    from ogive.similarity.samples.sample import stacked

    samples = ManualSamples([pair], size_px=96)
    batch = stacked([samples.sample(index) for index in range(8)])
    windows = draw_windows(
        batch, size_px=16, config=LossConfig(), generator=torch.Generator().manual_seed(0)
    )
    assert len(windows.x) > 0
    # Of a window inside a label, the true offset is that of whole pixels.
    np.testing.assert_allclose(windows.offset_x, windows.offset_x.round(), atol=1e-4)


def test_points_on_pixels_without_data_are_left_out_and_counted(folder, pair):
    holed = pair.later.copy()
    holed[50:65, 70:90] = 0  # where the first two went
    samples = ManualSamples([PickedPair(pair.points, pair.earlier, holed, pair.scenes)])
    assert (len(samples), samples.left_out) == (2, 2)
    empty = pair.earlier * 0
    empty.attrs.update(pair.earlier.attrs)
    with pytest.raises(InputError, match="none of 4 picked points is usable"):
        ManualSamples([PickedPair(pair.points, empty, pair.later, pair.scenes)])


def test_images_without_a_map_are_read_in_pixels(tmp_path, folder):
    for name in NAMES:
        write(tmp_path / name, read_image(folder / name).values, crs=None)
    grid = GeoBox((ROWS, COLUMNS), Affine.identity(), None)
    write_picked_points(points_at(PLACES, grid), tmp_path / "points.gpkg")
    bare = ManualSamples([read_picked_pair(tmp_path / "points.gpkg")], seed=1).sample(0)
    mapped = ManualSamples([read_picked_pair(folder / "points.gpkg")], seed=1).sample(0)
    for name in ("earlier", "later", "labelled"):
        assert torch.equal(bare[name], mapped[name])
    assert not torch.equal(bare["condition_earlier"], mapped["condition_earlier"])  # pixel size


def test_wrong_input_is_a_sentence(tmp_path, folder, pair):
    with pytest.raises(InputError, match="there is no file"):
        read_picked_pair(tmp_path / "none.gpkg")
    (tmp_path / "points.gpkg").write_bytes((folder / "points.gpkg").read_bytes())
    with pytest.raises(InputError, match=r"there is no file .*a_20200701\.tif"):
        read_picked_pair(tmp_path / "points.gpkg")
    write(tmp_path / NAMES[0], np.ones((50, 60), np.uint16), crs="EPSG:32608")
    write(tmp_path / NAMES[1], np.ones((50, 60), np.uint16), crs="EPSG:32608")
    with pytest.raises(GridError, match=r"the images in .* zone 8N"):
        read_picked_pair(tmp_path / "points.gpkg")
    grid = GeoBox((ROWS, COLUMNS), PLACE, UTM)
    write_picked_points(points_at([], grid), tmp_path / "empty.gpkg")
    with pytest.raises(InputError, match="points of 0 pairs"):
        read_picked_pair(tmp_path / "empty.gpkg")
    for options, told in (
        ({"size_px": 8}, "at least 16"),
        ({"search_px": 40, "size_px": 64}, "a search of 40"),
        ({"spread_px": -1}, "spreads by -1"),
        ({"weights": {1: 1.0, 2: 1.0}}, "each of the confidences"),
        ({"weights": {1: 1.0, 2: -1.0, 3: 1.0}}, "each of the confidences"),
    ):
        with pytest.raises(InputError, match=told):
            ManualSamples([pair], **options)


# ---- testing -------------------------------------------------------------------------------------


def field_of(dx, dy, *, step=4, units="metre", crs=UTM):
    """A displacement field on every fourth pixel of the grid of 10 m."""
    rows, columns = dx.shape
    sign = -1 if units == "metre" else 1
    size = 10.0 if units == "metre" else 1.0
    x = np.arange(columns) * step * size + (500_005 if units == "metre" else 0)
    y = sign * np.arange(rows) * step * size + (6_699_995 if units == "metre" else 0)
    field = xr.Dataset(
        {"dx": (("y", "x"), dx * size), "dy": (("y", "x"), sign * dy * size)},
        {"x": x, "y": y},
        attrs={"pixel_size_x": size, "pixel_size_y": size},
    )
    for name in ("dx", "dy"):
        field[name].attrs["units"] = units
    if crs:
        from pyproj import CRS

        wkt = CRS.from_user_input(crs).to_wkt()
        field = field.assign_coords(spatial_ref=xr.DataArray(0, attrs={"crs_wkt": wkt}))
    return field


GRID = GeoBox((ROWS, COLUMNS), PLACE, UTM)
LINE_X, LINE_Y = np.meshgrid(np.arange(60) * 4.0, np.arange(50) * 4.0)


def test_a_linear_field_is_interpolated_exactly_and_errors_are_in_pixels():
    field = field_of(0.02 * LINE_X + 1, -0.01 * LINE_Y)
    places = [(37.3, 51.9, 3), (120.0, 99.5, 2), (200.25, 10.0, 1)]
    off = [(0.3, 0.4), (0.0, -0.75), (-1.2, 1.6)]  # lengths 0.5, 0.75, 2
    picks = [
        Pick(k, x, y, x + 0.02 * x + 1 + ex, y - 0.01 * y + ey, confidence, NOW)
        for k, ((x, y, confidence), (ex, ey)) in enumerate(zip(places, off, strict=True))
    ]
    points = points_of(picks, PickedImages(*NAMES, *TIMES, GRID))
    found = score(field, points, thresholds_px=(0.4999, 0.5001, 1, 2.001))
    # Coordinates of 7e6 m in doubles.
    np.testing.assert_allclose(found.table["error_px"], [0.5, 0.75, 2.0], atol=1e-8)
    assert (found.points, found.measured) == (3, 3)
    assert found.median_error_px == pytest.approx(0.75)
    assert found.median_error == pytest.approx(7.5)
    assert found.share_within_px == {0.4999: 0, 0.5001: 1 / 3, 1: 2 / 3, 2.001: 1}
    surer = score(field, points, min_confidence=2)
    assert surer.table["confidence"].tolist() == [3, 2]


def test_points_without_a_value_are_not_right_and_points_outside_do_not_count():
    dx = np.zeros((50, 60))
    dx[:, 30:] = np.nan
    field = field_of(dx, np.zeros((50, 60)))
    places = [(20.0, 20.0, 3), (60.0, 90.0, 3), (180.0, 20.0, 3), (239.9, 20.0, 3)]
    found = score(field, points_at(places, GRID, dx=0.0, dy=0.0))
    assert (found.points, found.measured) == (3, 2)
    assert found.share_within_px[1.0] == pytest.approx(2 / 3)
    assert found.median_error_px == 0
    assert found.table["left_out"].tolist() == ["", "", "no value there", "outside of the field"]


def test_matching_is_scored_as_well_as_the_picks_are():
    """Of a field far better than the picks, the score is the error of the picking."""
    pair = simple_pair((240, 240), seed=11, max_displacement_px=4.0)
    random = np.random.default_rng(2)
    count, sigma_px = 150, 0.4
    x, y = random.uniform(40, 200, (2, count))
    true = [
        plane[np.rint(y).astype(int), np.rint(x).astype(int)] for plane in (pair.dx_px, pair.dy_px)
    ]
    picks = [
        Pick(k, x[k], y[k], x[k] + true[0][k] + e[0], y[k] + true[1][k] + e[1], 2, NOW)
        for k, e in enumerate(random.normal(0, sigma_px, (count, 2)))
    ]
    bare = GeoBox((240, 240), Affine.identity(), None)
    points = points_of(picks, PickedImages(*NAMES, *TIMES, bare))
    found = score(ogive.match(pair.earlier, pair.later, window=24, step=4, search=8), points)
    assert found.measured / found.points > 0.9
    # Rayleigh's median is 1.177 sigma; a median of n has the standard error 0.72 sigma/sqrt(n) at
    # this density. Four of them, and what matching (0.1 px) adds in quadrature.
    median = 1.177 * np.hypot(sigma_px, 0.1)
    assert found.median_error_px == pytest.approx(median, abs=4 * 0.72 * sigma_px / count**0.5)
    within = 1 - np.exp(-0.5 * (1 / sigma_px) ** 2)
    assert found.share_within_px[1.0] > within * found.measured / found.points - 0.1


def test_fields_that_do_not_belong_to_the_points_are_refused():
    points = points_at(PLACES, GRID)
    still = np.zeros((50, 60))
    lacking = field_of(still, still).drop_vars("dy")
    del lacking.attrs["pixel_size_x"]
    with pytest.raises(InputError, match="no dy, pixel_size_x"):
        score(lacking, points)
    with pytest.raises(InputError, match="field is in pixels"):
        score(field_of(still, still, units="pixel", crs=None), points)
    with pytest.raises(GridError, match=r"zone 8N, the picked points in .* zone 7N"):
        score(field_of(still, still, crs="EPSG:32608"), points)
    away = GeoBox((ROWS, COLUMNS), Affine.translation(1e5, 0) @ PLACE, UTM)
    with pytest.raises(InputError, match="none of 2 picked points"):
        score(field_of(still, still), points_at(PLACES, away), min_confidence=3)
    with pytest.raises(InputError, match="single row or column"):
        score(field_of(still[:1], still[:1]), points)


def test_smooth_images_give_the_same_by_map_and_by_pixel():
    """The sign of dy: up on the map, down in pixels."""
    image = gaussian_filter(np.random.default_rng(1).normal(size=(160, 160)), 1.2)
    later = np.roll(image, (5, -3), (0, 1))
    bare = GeoBox((160, 160), Affine.identity(), None)
    mapped = GeoBox((160, 160), PLACE, UTM)
    places = [(60.0, 70.0, 3), (90.5, 80.25, 3)]
    from odc.geo.xr import wrap_xr

    fields = {
        "pixel": ogive.match(image, later, window=24, step=8, search=8),
        "metre": ogive.match(wrap_xr(image, mapped), wrap_xr(later, mapped), window=24, search=8),
    }
    for unit, grid in (("pixel", bare), ("metre", mapped)):
        found = score(fields[unit], points_at(places, grid, dx=-3.0, dy=5.0))
        # Matching is exact to some hundredths of a pixel here.
        assert found.median_error_px < 0.05, unit
