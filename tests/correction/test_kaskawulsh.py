"""Calibration and outlier removal on real velocity maps, with bedrock outlines beside them."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import xarray as xr

from ogive.correction.calibrate import calibrate
from ogive.correction.outliers import remove_outliers
from ogive.evaluation.motion import stable_ground_statistics

MAPS = {  # days, image pixel in meters
    "LS8-062017_20180412-20180428": (16, 15.0),
    "Sen2-Orb14_20180508-20180518": (10, 10.0),
}


@pytest.fixture(params=MAPS)
def real(request, data_dir):
    """Displacement in meters and bedrock of one Kaskawulsh map."""
    folder = data_dir / "kaskawulsh_2018"
    days, pixel = MAPS[request.param]
    components = {}
    for name in ("dx", "dy"):
        (path,) = folder.glob(f"velocity/{request.param}*_v{name[1]}_*.tif")
        with rasterio.open(path) as source:
            components[name] = source.read(1, masked=True).astype(float).filled(np.nan) * days
            transform, crs, shape = source.transform, source.crs, source.shape
    outlines = gpd.read_file(folder / "outlines" / "bedrock_V2.shp").to_crs(crs)
    bedrock = rasterio.features.geometry_mask(outlines.geometry, shape, transform, invert=True)
    displacement = xr.Dataset(
        {name: (("y", "x"), values.astype(np.float32)) for name, values in components.items()},
        {
            "x": transform.c + transform.a * (np.arange(shape[1]) + 0.5),
            "y": transform.f + transform.e * (np.arange(shape[0]) + 0.5),
        },
        {"pixel_size_x": pixel, "pixel_size_y": pixel, "step_px": 120 / pixel, "window_px": 32},
    )
    return displacement, bedrock


def test_an_imposed_shift_is_found_again_on_real_ground(real):
    displacement, bedrock = real
    residual = calibrate(displacement, bedrock)
    moved = displacement.assign(dx=displacement.dx + 5.2, dy=displacement.dy - 3.7)
    found = calibrate(moved, bedrock)
    for name, imposed in (("dx", 5.2), ("dy", -3.7)):
        before, after = residual[name].attrs, found[name].attrs
        assert after["stable_shift"] - before["stable_shift"] == pytest.approx(imposed, abs=1e-3)
        # These maps were corrected on the same bedrock before: what is left is small, and known.
        assert abs(before["stable_shift"]) < 3 * before["stable_shift_error"]
        assert before["stable_shift_error"] > before["nmad_stationary"] / bedrock.sum() ** 0.5


def test_one_half_of_the_bedrock_foretells_the_other(real):
    displacement, bedrock = real
    halves = (
        bedrock & (np.arange(bedrock.shape[1]) < 170),
        bedrock & (np.arange(bedrock.shape[1]) >= 170),
    )
    west, east = (calibrate(displacement, half) for half in halves)
    for name in ("dx", "dy"):
        one, other = west[name].attrs, east[name].attrs
        error = np.hypot(one["stable_shift_error"], other["stable_shift_error"])
        # Four comparisons in all: three standard errors are passed once in a hundred runs.
        assert abs(one["stable_shift"] - other["stable_shift"]) < 3 * error


def test_few_points_of_a_filtered_map_are_rejected(real):
    # The maps were filtered by their producers; the glacier's own fast centre must stay.
    displacement, bedrock = real
    result = remove_outliers(displacement)
    before, after = (np.isfinite(d.dx.values) for d in (displacement, result))
    assert 0.98 < after.sum() / before.sum() < 1.0
    speed = np.hypot(displacement.dx, displacement.dy).values
    fast = before & (speed > np.nanquantile(speed, 0.9)) & ~bedrock
    assert (fast & after).sum() / fast.sum() > 0.9
    statistics = [stable_ground_statistics(d, bedrock) for d in (displacement, result)]
    assert statistics[1].x.std <= statistics[0].x.std
