"""The road from two images to a velocity: known motion in, the same motion out."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from pyproj import Transformer
from shapely.geometry import box

import ogive
from ogive.evaluation.motion import score
from ogive.model import DAYS_PER_YEAR, DateError, Flag, GridError, InputError, StableGroundError
from ogive.scenes.read import read_image
from ogive.simulation import simple_pair
from ogive.workflow.acquisition import acquired_pair
from ogive.workflow.ground import windows_inside
from ogive.workflow.prior import prior_displacement, read_prior

UTM = "EPSG:32607"
PIXEL_M = 10.0
DATES = ("2020-07-01", "2020-07-11")
M_YR_PER_PX = PIXEL_M * DAYS_PER_YEAR / 10
PLACE = Affine(PIXEL_M, 0, 560_000, 0, -PIXEL_M, 6_690_000)
SMALL = {"window": 16, "search": 8}


@pytest.fixture(scope="module")
def pair():
    return simple_pair((320, 320), seed=3, max_displacement_px=5.0)


def placed(pixels, *, name=None, place=PLACE, crs=UTM):
    image = wrap_xr(np.asarray(pixels), GeoBox(pixels.shape, place, crs))
    return image.rename(name)


@pytest.fixture(scope="module")
def images(pair):
    return placed(pair.earlier), placed(pair.later)


@pytest.fixture(scope="module")
def measured(images, pair):
    return ogive.velocity(*images, dates=DATES, stable=pair.stable, **SMALL)


def truth_at(pair, velocity):
    """True velocity at the window centres, +y to the north; and where whole windows are seen."""
    columns = (velocity.x.values - PLACE.c) / PIXEL_M - 0.5
    rows = (PLACE.f - velocity.y.values) / PIXEL_M - 0.5
    truth = xr.Dataset(
        {
            "vx": (("y", "x"), M_YR_PER_PX * pair.dx_px),
            "vy": (("y", "x"), -M_YR_PER_PX * pair.dy_px),
        }
    ).interp(x=columns, y=rows)
    whole = windows_inside(~pair.decorrelated, window_px=16, step_px=8)
    return truth, whole


def write(path, pixels, *, crs=UTM, place=PLACE, tags=None, **profile):
    bands = np.atleast_3d(pixels.T).T
    profile = {"crs": crs, "transform": place, "dtype": bands.dtype, **profile}
    with rasterio.open(
        path, "w", "GTiff", bands.shape[2], bands.shape[1], count=len(bands), **profile
    ) as file:
        file.write(bands)
        file.update_tags(**(tags or {}))
    return path


# ---- known motion --------------------------------------------------------------------------------


def test_the_velocity_is_the_true_one(measured, pair):
    truth, whole = truth_at(pair, measured)
    judged = score(measured.vx, measured.vy, truth.vx, truth.vy, whole, outlier_limit=M_YR_PER_PX)
    # The Cramer-Rao bound for windows of 16 px at this noise is 0.057 px; twice that leaves room
    # for the margins, where the motion at the centre is not that of the window.
    assert judged.rmse < 2 * 0.057 * M_YR_PER_PX
    assert judged.outlier_share < 0.01
    assert judged.coverage > 0.9
    assert float(measured.v.max()) > 4 * M_YR_PER_PX
    assert measured.vx.attrs["units"] == "meter/year"


def test_a_misregistration_is_taken_off_and_reported(images, pair, measured):
    """Three pixels right and two down: +x and -y on the map, exactly, on the stable ground."""
    earlier, later = images
    shifted = later.copy(data=np.roll(later.values, (2, 3), axis=(0, 1)))
    found = ogive.velocity(earlier, shifted, dates=DATES, stable=pair.stable, window=16, search=12)
    for name, pixels in (("vx", 3), ("vy", -2)):
        before, after = measured[name].attrs, found[name].attrs
        moved = after["stable_shift"] - before["stable_shift"]
        # Two estimates, each within 1.96 of its errors in 19 of 20 cases; 3 in nearly all.
        assert abs(moved - pixels * M_YR_PER_PX) < 3 * np.hypot(
            before["stable_shift_error"], after["stable_shift_error"]
        )
        difference = (found[name] - measured[name]).where(measured.v.notnull())
        assert abs(float(difference.median())) < 3 * before["stable_shift_error"]
    assert found.attrs["calibration"].startswith("constant on ")


def test_without_stable_ground_it_is_said_that_nothing_is_calibrated(images, caplog):
    with caplog.at_level(logging.WARNING, logger="ogive"):
        found = ogive.velocity(*images, dates=DATES, **SMALL)
    assert "not calibrated" in caplog.text
    assert found.attrs["calibration"] == "none: no stable ground was given"
    assert found.vx.attrs["stable_shift_flag"] == 0
    assert found.vx.attrs["stable_shift"] == 0.0


def test_the_ground_beside_the_ice_is_stable(images, pair, measured):
    found = ogive.velocity(*images, dates=DATES, ice=~pair.stable, **SMALL)
    xr.testing.assert_equal(found.vx, measured.vx)
    assert "beside the ice" in found.attrs["calibration"]


def test_ice_is_left_out_of_stable_ground(images, pair, measured):
    everywhere = np.ones(pair.stable.shape, bool)
    found = ogive.velocity(*images, dates=DATES, stable=everywhere, ice=~pair.stable, **SMALL)
    xr.testing.assert_equal(found.vx, measured.vx)


def test_polygons_are_as_good_as_a_mask(images, tmp_path):
    """Two rectangles of whole pixels; in degrees their edges would bend by less than a metre."""
    rectangle = box(PLACE.c, PLACE.f - 600, PLACE.c + 3200, PLACE.f)
    mask = np.zeros((320, 320), bool)
    mask[:60] = True
    path = tmp_path / "stable.gpkg"
    gpd.GeoDataFrame(geometry=[rectangle], crs=UTM).to_file(path)
    by_file, by_mask = (
        ogive.velocity(*images, dates=DATES, stable=ground, **SMALL) for ground in (path, mask)
    )
    xr.testing.assert_identical(by_file, by_mask)


def test_too_little_stable_ground_is_refused(images):
    stable = np.zeros((320, 320), bool)
    stable[:20, :20] = True
    with pytest.raises(StableGroundError, match="whole window of 16 pixels"):
        ogive.velocity(*images, dates=DATES, stable=stable, **SMALL)


def test_the_result_does_not_depend_on_threads(images, pair, measured):
    found = ogive.velocity(*images, dates=DATES, stable=pair.stable, threads=1, **SMALL)
    xr.testing.assert_equal(found, measured)


def test_it_is_what_is_needed_to_write_a_file(measured, tmp_path):
    path = ogive.write_velocity(measured, tmp_path / "v.nc", pair=None)
    again = ogive.read_velocity(path)
    xr.testing.assert_equal(again.vx.drop_vars("spatial_ref"), measured.vx.drop_vars("spatial_ref"))
    assert again.img_pair_info.attrs["date_dt"] == 10.0
    assert {"coherence", "filter_response"} <= set(again.data_vars)


# ---- windows on stable ground --------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(8, 13), st.integers(1, 9), st.floats(0.9, 1.0))
def test_a_point_is_stable_when_its_whole_window_is(seed, window, step, share):
    pixels = np.random.default_rng(seed).random((31, 37)) < share
    found = windows_inside(pixels, window_px=window, step_px=step)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (window, window))[::step, ::step]
    np.testing.assert_array_equal(found, windows.all(axis=(2, 3)))


# ---- how far is searched -------------------------------------------------------------------------


def test_the_largest_speed_sets_the_search_and_the_limit(images, pair):
    """2 px in 10 days: the search is the least there is, and faster ice is not believed."""
    limit = 2.0 * M_YR_PER_PX
    found = ogive.velocity(*images, dates=DATES, stable=pair.stable, window=16, max_speed=limit)
    assert found.attrs["search_px"] == 4
    assert float(found.v.max()) <= limit
    assert (found.flag == Flag.TOO_FAST).any()


def test_ice_too_fast_for_the_longest_search_is_told(images, caplog):
    with caplog.at_level(logging.WARNING, logger="ogive"):
        found = ogive.velocity(*images, dates=DATES, window=16, max_speed=100 * M_YR_PER_PX)
    assert found.attrs["search_px"] == 64
    assert "cannot be found" in caplog.text


def test_a_prior_leads_to_motion_beyond_the_search(pair, tmp_path):
    """Twenty pixels to the right: beyond a search of six, unless one knows where to look."""
    earlier = placed(pair.earlier)
    noise = 0.02 * pair.earlier.std() * np.random.default_rng(0).standard_normal((320, 320))
    later = placed(np.roll(pair.earlier, 20, axis=1) + noise.astype(np.float32))
    vx = np.full((32, 32), 20 * M_YR_PER_PX, np.float32)
    place = PLACE * Affine.scale(10)
    path = write(tmp_path / "prior.tif", np.stack([vx, 0 * vx]), place=place)
    options = {"dates": DATES, "window": 16, "search": 6}
    found = ogive.velocity(earlier, later, prior=path, **options)
    inner = found.isel(x=slice(5, -5), y=slice(5, -5))
    # Six of the errors that it declares, for the worst of a thousand points and thick tails.
    assert (abs(inner.vx - 20 * M_YR_PER_PX) < 6 * inner.vx_error).where(inner.vx.notnull()).all()
    assert inner.vx.notnull().mean() > 0.95
    lost = ogive.velocity(earlier, later, **options)
    assert not (abs(lost.vx / M_YR_PER_PX - 20) < 1).any()


def test_a_prior_in_another_projection_is_turned():
    """A uniform motion on the UTM grid, told in ITS_LIVE's polar stereographic one."""
    image = placed(np.zeros((120, 160), np.float32))
    move = (700.0, -300.0)
    to_polar = Transformer.from_crs(UTM, "EPSG:3413", always_xy=True)
    centre = to_polar.transform(PLACE.c + 800, PLACE.f - 600)
    place = Affine(120, 0, centre[0] - 3000, 0, -120, centre[1] + 3000)
    prior = placed(np.zeros((50, 50), np.float32), place=place, crs="EPSG:3413")
    x, y = np.meshgrid(prior.x, prior.y)
    here = to_polar.transform(x, y, direction="INVERSE")
    ends = to_polar.transform(here[0] + move[0], here[1] + move[1])
    velocity = xr.Dataset({"vx": prior.copy(data=ends[0] - x), "vy": prior.copy(data=ends[1] - y)})
    assert abs(velocity.vx.values[0, 0] - move[0]) > 100  # the two grids are turned
    moved = prior_displacement(velocity, image, days=DAYS_PER_YEAR, window=16, step=8)
    # Linear interpolation over 120 m of a projection that bends over thousands of kilometres.
    np.testing.assert_allclose(moved.dx, move[0], atol=0.01)
    np.testing.assert_allclose(moved.dy, move[1], atol=0.01)


def test_a_prior_is_read_from_our_own_product(measured, tmp_path):
    path = ogive.write_velocity(measured, tmp_path / "v.nc", pair=None)
    prior = read_prior(path)
    np.testing.assert_array_equal(prior.vx, measured.vx)
    assert prior.odc.crs == UTM


def test_a_prior_in_other_units_is_refused(measured, images):
    prior = measured[["vx", "vy"]].copy()
    prior["vx"].attrs["units"] = "m/day"
    with pytest.raises(InputError, match="m/day"):
        ogive.velocity(*images, dates=DATES, prior=prior, **SMALL)


# ---- images --------------------------------------------------------------------------------------


def test_images_between_each_others_pixels_are_resampled_and_it_is_said(caplog):
    """One landscape on two lattices half a pixel apart has not moved."""
    rng = np.random.default_rng(1)
    fine = np.fft.irfft2(
        np.fft.rfft2(rng.standard_normal((400, 400)))
        * (np.hypot(*np.meshgrid(np.fft.rfftfreq(400), np.fft.fftfreq(400))) < 0.12)
    )
    fine = (1000 * fine / fine.std() + 8000).astype(np.float32)
    half = Affine.translation(0.5, 0.5)
    earlier, later = placed(fine[::2, ::2]), placed(fine[1::2, 1::2], place=PLACE * half)
    with caplog.at_level(logging.WARNING, logger="ogive"):
        found = ogive.velocity(earlier, later, dates=DATES, **SMALL)
    assert "resampled by cubic convolution" in caplog.text
    # Cubic convolution shifts nothing by symmetry; what is left is the noise of the matches.
    for name in ("vx", "vy"):
        assert abs(float(found[name].median())) < 0.01 * M_YR_PER_PX


def test_a_mask_keeps_what_it_hides_out(images, pair):
    usable = np.ones((320, 320), bool)
    usable[:, 200:] = False
    found = ogive.velocity(*images, dates=DATES, mask=usable, **SMALL)
    hidden = found.x > PLACE.c + 200 * PIXEL_M
    assert (found.flag.where(hidden, Flag.MASKED) == Flag.MASKED).all()
    assert found.v.where(~hidden).notnull().mean() > 0.4


def test_a_mask_in_a_file_is_the_same_as_one_in_memory(images, tmp_path):
    usable = np.ones((320, 320), np.uint8)
    usable[40:90, 200:] = 0
    path = write(tmp_path / "usable.tif", usable)
    by_file, by_array = (
        ogive.velocity(*images, dates=DATES, mask=mask, **SMALL) for mask in (path, usable)
    )
    xr.testing.assert_identical(by_file, by_array)


def test_pixels_that_are_no_numbers_are_left_out(pair, images, measured):
    broken = pair.later.copy()
    broken[100:130, 100:130] = np.nan
    broken[10, 10] = np.inf
    found = ogive.velocity(images[0], placed(broken), dates=DATES, stable=pair.stable, **SMALL)
    assert np.isfinite(found.v.values[found.flag.values == 0]).all()
    middle = found.sel(x=PLACE.c + 1150, y=PLACE.f - 1150, method="nearest")
    assert middle.flag == Flag.MASKED
    # Far from the gap nothing is lost, but for points at the edge of what is believed.
    before, after = (data.v.isel(x=slice(25, None)).notnull() for data in (measured, found))
    assert after.where(before).mean() > 0.98


def test_bright_uint16_images_do_not_overflow(pair):
    """The same scene at the upper end of uint16 moves as it does in float."""
    bright = [
        np.clip(np.rint(image / image.max() * 20000 + 45535), 0, 65535).astype(np.uint16)
        for image in (pair.earlier, pair.later)
    ]
    assert min(image.max() for image in bright) == 65535
    options = {"dates": DATES, "stable": pair.stable, "features": "sobel", **SMALL}
    as_integers = ogive.velocity(*(placed(image) for image in bright), **options)
    as_floats = ogive.velocity(*(placed(image.astype(np.float32)) for image in bright), **options)
    xr.testing.assert_allclose(as_integers.vx, as_floats.vx, atol=0.01)


def test_arrays_without_a_map_need_the_size_of_a_pixel(pair):
    with pytest.raises(GridError, match="pass pixel_size"):
        ogive.velocity(pair.earlier, pair.later, dates=DATES, **SMALL)
    found = ogive.velocity(
        pair.earlier, pair.later, dates=DATES, pixel_size=PIXEL_M, stable=pair.stable, **SMALL
    )
    assert float(found.v.max()) > 4 * M_YR_PER_PX
    with pytest.raises(GridError, match="leave the pixel size out"):
        ogive.velocity(
            placed(pair.earlier), placed(pair.later), dates=DATES, pixel_size=PIXEL_M, **SMALL
        )


def test_coordinates_of_an_unknown_unit_are_refused(images):
    """Ten metres apart without a reference system: taken for pixels, speeds would be ten-fold."""
    unknown = [
        xr.DataArray(image.values, {axis: image[axis].values for axis in ("y", "x")}, ("y", "x"))
        for image in images
    ]
    with pytest.raises(GridError, match="do not count pixels"):
        ogive.velocity(*unknown, dates=DATES, pixel_size=PIXEL_M, **SMALL)


def test_arrays_as_readers_of_rasters_give_them(images, measured, pair):
    """One band along a dimension, and the time as a coordinate."""
    stacked = [
        image.expand_dims(band=[8]).assign_coords(time=np.datetime64(date, "ns"))
        for image, date in zip(images, DATES, strict=True)
    ]
    found = ogive.velocity(*stacked, stable=pair.stable, **SMALL)
    xr.testing.assert_equal(found.vx.drop_vars("time", errors="ignore"), measured.vx)
    two = [xr.concat([image, image.assign_coords(band=[9])], "band") for image in stacked]
    with pytest.raises(InputError, match="2 bands"):
        ogive.velocity(*two, **SMALL)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_speed": -1.0}, "largest speed"),
        ({"search": 0}, "search of 0 pixels"),
        ({"threads": 0}, "0 threads"),
        ({"calibration": "cubic"}, "no calibration 'cubic'"),
        ({"calibration": "along_track"}, "direction of flight"),
        ({"window": 400}, "window of 400 pixels"),
        ({"features": "magic"}, "no features 'magic'"),
    ],
)
def test_options_that_make_no_sense_are_refused(images, options, sentence):
    with pytest.raises(InputError, match=sentence):
        ogive.velocity(*images, dates=DATES, **{**SMALL, **options})


def test_a_window_larger_than_what_the_images_share_is_refused(images):
    earlier, later = images
    with pytest.raises(InputError, match="larger than the image"):
        ogive.velocity(earlier[:, :200], later[:, 190:], dates=DATES, **SMALL)


# ---- dates ---------------------------------------------------------------------------------------


def test_dates_are_read_from_names_and_tags(tmp_path):
    image = np.zeros((20, 20), np.uint16)
    named = write(tmp_path / "LC80630182016200LGN00_B8.TIF", image)
    tagged = write(tmp_path / "later.tif", image, tags={"ACQUISITION_DATE": "2016-08-03"})
    pair = acquired_pair(named, tagged)
    assert pair.days == 16.0
    assert pair.earlier.satellite == "8"
    assert pair.later.properties["date_source"] == "tag ACQUISITION_DATE"


def test_given_dates_count_and_what_they_overrule_is_told(tmp_path, caplog):
    image = np.zeros((20, 20), np.uint16)
    paths = [
        write(tmp_path / f"LC8063018{day}LGN00_B8.TIF", image) for day in ("2016200", "2016216")
    ]
    with caplog.at_level(logging.WARNING, logger="ogive"):
        pair = acquired_pair(*paths, ["2016-07-18", "2016-08-04T00:00:00+00:00"])
    assert pair.days == 17.0
    assert pair.later.satellite == "8"
    assert "is dated 2016-08-03" in caplog.text
    assert "LC80630182016200LGN00 is dated" not in caplog.text


def test_times_with_a_zone_are_utc():
    arrays = np.zeros((2, 2)), np.zeros((2, 2))
    pair = acquired_pair(*arrays, ["2020-01-01T02:00:00+02:00", np.datetime64("2020-01-02")])
    assert pair.earlier.time == datetime(2020, 1, 1)
    assert pair.days == 1.0


def test_a_lost_time_of_day_is_told(caplog):
    with caplog.at_level(logging.WARNING, logger="ogive"):
        acquired_pair(
            np.zeros((2, 2)), np.zeros((2, 2)), ["2020-01-01", datetime(2020, 1, 11, 10, 30)]
        )
    assert "time of day of only one image" in caplog.text


@pytest.mark.parametrize(
    ("dates", "sentence"),
    [
        (None, "array without a date"),
        (("2020-01-01", "2020-01-01"), "both images are dated"),
        (("2020-01-02", "2020-01-01"), "swap"),
        (("first", "2020-01-01"), "is no date"),
        (("2020-01-01",), "two dates"),
        ("2020-01-01", "two dates"),
        ((3, 4), "is no date"),
    ],
)
def test_dates_that_cannot_be_used_are_refused(dates, sentence):
    with pytest.raises(DateError, match=sentence):
        acquired_pair(np.zeros((2, 2)), np.zeros((2, 2)), dates)


# ---- a real glacier ------------------------------------------------------------------------------


def test_yahtse_glacier(data_dir: Path):
    """A tidewater glacier that ends at more than 10 m/d, beside mountains that stand still."""
    folder = data_dir / "yahtse_l8_pair"
    paths = [folder / f"LC8063018{day}LGN00_B8_yahtse.TIF" for day in ("2016200", "2016216")]
    stable = np.zeros(read_image(paths[0]).shape, bool)
    stable[:, 1100:] = True
    found = ogive.velocity(*paths, stable=stable, max_speed=7000)
    assert found.img_pair_info.attrs["date_dt"] == 16.0
    # The right part holds slow glaciers too, so its spread bounds that of the ground from above;
    # 0.088 px is asked of the best 82 % of its points.
    pixel = 15.0 * DAYS_PER_YEAR / 16
    assert found.vx.attrs["nmad_stationary"] < 0.12 * pixel
    assert found.attrs["measured_share"] > 0.88
    terminus = found.v.sel(x=slice(478_500, 480_500), y=slice(6_670_500, 6_667_500))
    assert float(terminus.quantile(0.75)) > 10 * DAYS_PER_YEAR


def test_bands_of_a_prior_are_taken_by_their_names(tmp_path):
    """vy comes first in this file, which its descriptions say."""
    path = write(tmp_path / "prior.tif", np.stack([np.full((9, 9), v, "f4") for v in (2, 1)]))
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("vy", "vx")
    prior = read_prior(path)
    assert float(prior.vx[0, 0]) == 1
    assert float(prior.vy[0, 0]) == 2
