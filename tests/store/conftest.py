"""A velocity map with everything that a map can have."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from ogive.model import ATTRIBUTES, Flag, Pair, Scene, flag_attributes
from ogive.scenes.names import scene_from_name

# Run by the Python that QGIS belongs to.
collect_ignore = ["ask_qgis.py"]


@pytest.fixture
def landsat_pair() -> Pair:
    return Pair(
        scene_from_name("LC08_L1TP_063018_20160718_20200906_02_T1"),
        scene_from_name("LC08_L1TP_063018_20160803_20200906_02_T1"),
    )


@pytest.fixture
def sentinel_pair() -> Pair:
    tile = "N0204_R137_T29QKF"
    return Pair(
        scene_from_name(f"S2A_MSIL1C_20160616T112217_{tile}_20160617T193500"),
        scene_from_name(f"S2A_MSIL1C_20160626T112217_{tile}_20160627T193500"),
    )


@pytest.fixture
def bare_pair() -> Pair:
    return Pair(Scene("a", datetime(2016, 7, 18)), Scene("b", datetime(2016, 8, 3)))


@pytest.fixture
def make_velocity() -> Callable[..., xr.Dataset]:
    return velocity_map


def velocity_map(
    crs: str = "EPSG:32607", shape: tuple[int, int] = (30, 40), top_speed: float = 4000.0
) -> xr.Dataset:
    """A glacier that flows south-west through its valley, with holes."""
    geobox = GeoBox(shape, Affine(120, 0, 465_000, 0, -120, 6_681_000), crs)
    random = np.random.default_rng(7)
    across = np.linspace(-1, 1, shape[1])
    speed = top_speed * np.clip(1 - (across / 0.6) ** 2, 0, None) * np.ones((shape[0], 1))
    vx, vy = (
        (-np.sqrt(0.5) * speed + random.normal(0, 20, shape)).astype(np.float32) for _ in "xy"
    )
    flag = np.full(shape, Flag.MEASURED, np.uint8)
    flag[random.random(shape) < 0.1] = Flag.OUTLIER
    flag[:3] = Flag.OUTSIDE
    fields = {
        "vx": vx,
        "vy": vy,
        "v": np.hypot(vx, vy),
        "vx_error": random.gamma(4, 5, shape),
        "vy_error": random.gamma(4, 5, shape),
        "v_error": random.gamma(4, 5, shape),
        "vxvy_cov": random.normal(0, 50, shape),
        "correlation": random.random(shape),
    }
    velocity = xr.Dataset(coords=xr_coords(geobox))
    for name, values in fields.items():
        holed = np.where(flag == Flag.MEASURED, values, np.nan).astype(np.float32)
        velocity[name] = (("y", "x"), holed, dict(ATTRIBUTES[name]))
    velocity["flag"] = (("y", "x"), flag, flag_attributes())
    velocity["coherence"] = ("frequency", np.linspace(1, 0, 33, dtype=np.float32))
    velocity["coherence"].attrs = {"long_name": "coherence of the two images", "units": "1"}
    velocity["frequency"] = ("frequency", np.linspace(0, 0.5, 33))
    velocity["frequency"].attrs = {"long_name": "spatial frequency per pixel", "units": "1"}
    for axis, shift in (("x", 12.5), ("y", -7.25)):
        velocity[f"v{axis}"].attrs |= {
            "stable_shift": shift,
            "stable_shift_flag": 1,
            "stable_shift_stationary": shift,
            "stable_count_stationary": 345,
            "stable_shift_error": 1.5,
            "error": 22.5,
            "error_stationary": 22.5,
        }
    velocity.attrs = {
        "window_px": 32,
        "step_px": 8,
        "features": "adaptive",
        "pixel_size_x": 15.0,
        "pixel_size_y": 15.0,
    }
    return velocity
