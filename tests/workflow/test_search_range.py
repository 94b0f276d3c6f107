"""How far a pair is searched: enough for the ice there is, and round a prior where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from pyproj import Transformer
from scipy import ndimage

from ogive import match
from ogive.model import DAYS_PER_YEAR, GridError, InputError
from ogive.workflow.prior import read_prior
from ogive.workflow.search_range import search_range

GRID = GeoBox.from_bbox((500000, 5200000, 503000, 5202400), "EPSG:32632", resolution=10)
OPTIONS = {"window": 16, "step": 8}


def blank(grid: GeoBox = GRID) -> xr.DataArray:
    return wrap_xr(np.zeros(grid.shape, np.float32), grid)


def uniform(vx: float, vy: float, grid: GeoBox = GRID) -> xr.Dataset:
    return xr.Dataset(
        {
            name: wrap_xr(np.full(grid.shape, value, np.float32), grid)
            for name, value in (("vx", vx), ("vy", vy))
        }
    )


@pytest.mark.parametrize(
    ("speed_m_yr", "days", "radius_px"),
    [(3000, 16, 14), (10, 5, 4), (3000, 400, 64), (600 * DAYS_PER_YEAR / 16, 16, 60)],
)
def test_without_a_prior_the_fastest_ice_counts(
    speed_m_yr: float, days: float, radius_px: int
) -> None:
    found = search_range(blank(), days=days, max_speed_m_yr=speed_m_yr, **OPTIONS)
    assert (found.search.radius_px, found.prior) == (radius_px, None)


def test_ice_that_is_too_fast_is_told(caplog: pytest.LogCaptureFixture) -> None:
    search_range(blank(), days=400, max_speed_m_yr=3000, **OPTIONS)
    assert "ice above 584 m/yr cannot be found in 400.0 days" in caplog.text


@pytest.mark.parametrize(("speed_m_yr", "radius_px"), [(20, 4), (400, 20), (1000, 50), (9000, 64)])
def test_round_a_prior_its_variation_counts(speed_m_yr: float, radius_px: int) -> None:
    prior = uniform(0.6 * speed_m_yr, 0.8 * speed_m_yr)
    found = search_range(blank(), days=DAYS_PER_YEAR, max_speed_m_yr=100, prior=prior, **OPTIONS)
    assert found.search.prior_radius_px == radius_px
    assert found.search.radius_px == 10
    assert found.prior is not None
    np.testing.assert_allclose(found.prior.dx.values[5:-5, 5:-5], 0.6 * speed_m_yr, rtol=1e-6)


def test_a_pair_that_moved_beyond_any_search_is_found_round_a_prior() -> None:
    """80 pixels of motion, of which the prior knows 72: alone, the search ends at 64."""
    rng = np.random.default_rng(3)
    ground = ndimage.gaussian_filter(rng.standard_normal((240, 380)), 1).astype(np.float32)
    earlier, later = (wrap_xr(ground[:, x : x + 300].copy(), GRID) for x in (80, 0))
    prior = uniform(720 * DAYS_PER_YEAR / 100, 0)
    chosen = search_range(earlier, days=100, max_speed_m_yr=3000, prior=prior, **OPTIONS)
    found = match(earlier, later, search=chosen.search, prior=chosen.prior, **OPTIONS)
    assert float(found.dx.median()) == pytest.approx(800, abs=0.5)
    alone = search_range(earlier, days=100, max_speed_m_yr=3000, **OPTIONS)
    lost = match(earlier, later, search=alone.search, **OPTIONS)
    assert not np.isclose(lost.dx, 800, atol=5).any()


def test_a_mosaic_of_its_live(data_dir: Path) -> None:
    """Columbia Glacier: vx and vy in two files, on another map than the images."""
    path = data_dir / "oggm_sample/shop/crop_ALA_G0120_0000_vx.tif"
    prior = read_prior(path)
    assert float(np.hypot(prior.vx, prior.vy).max()) > 2000
    image = blank(GeoBox.from_bbox((492000, 6775000, 502000, 6785000), "EPSG:32606", resolution=30))
    found = search_range(image, days=16, max_speed_m_yr=4000, prior=prior, **OPTIONS)
    assert found.prior is not None
    assert 4 <= found.search.prior_radius_px <= 64
    speed = (np.hypot(found.prior.dx, found.prior.dy) * DAYS_PER_YEAR / 16).values
    x, y = np.meshgrid(found.prior.x, found.prior.y)
    there = Transformer.from_crs("EPSG:32606", "EPSG:3413", always_xy=True).transform(x, y)
    at = {name: xr.DataArray(values, dims=("j", "i")) for name, values in zip("xy", there)}  # noqa: B905
    known = np.hypot(prior.vx.interp(at), prior.vy.interp(at)).values
    fast = known > 100
    assert fast.sum() > 100
    # The polar map is drawn for 70 degrees: at 61 it shows lengths 1.9397 / 1.8746 times as long.
    assert np.nanmedian(speed[fast] / known[fast]) == pytest.approx(0.9664, abs=2e-3)


def test_a_component_alone_is_no_prior(tmp_path: Path) -> None:
    path = tmp_path / "speed.tif"
    blank().odc.write_cog(path, overviews=[])
    with pytest.raises(InputError, match="has one band"):
        read_prior(path)
    blank().odc.write_cog(tmp_path / "a_vx.tif", overviews=[])
    blank(GRID.pad(1)).odc.write_cog(tmp_path / "a_vy.tif", overviews=[])
    with pytest.raises(GridError, match="different grids"):
        read_prior(tmp_path / "a_vx.tif")
    (tmp_path / "a_vy.tif").unlink()
    with pytest.raises(InputError, match="no file"):
        read_prior(tmp_path / "a_vx.tif")


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"variation": 0}, InputError, "variation"),
        ({"days": 0}, InputError, "above zero"),
        ({"max_speed_m_yr": -1}, InputError, "above zero"),
    ],
)
def test_impossible_ranges_are_refused(
    changed: dict[str, float], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        search_range(blank(), **{"days": 16, "max_speed_m_yr": 100, **OPTIONS, **changed})  # type: ignore[arg-type]


def test_images_without_a_map_are_refused() -> None:
    image = xr.DataArray(np.zeros((50, 50)), dims=("y", "x"))
    with pytest.raises(GridError, match="coordinate reference system"):
        search_range(image, days=16, max_speed_m_yr=100, **OPTIONS)
