"""What a network will cost: arithmetic checked by hand, and refused where it has no sense."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from odc.geo.geobox import GeoBox

from ogive.model import InputError, Scene
from ogive.scenes import Pace, estimate, pair_indices

GRID = GeoBox.from_bbox((0, 0, 40_960, 20_480), "EPSG:32632", resolution=10)
LOOKS = [Scene(f"{k}", datetime(2020, 1, 1) + timedelta(days=10 * k)) for k in range(5)]


def test_the_figures_by_hand() -> None:
    pairs = pair_indices(LOOKS[:4])
    pace = Pace(
        match_s_per_megapixel=1,
        match_us_per_point=10,
        file_bytes_per_pixel=2,
        tile_px=1024,
        product_bytes_per_point=30,
        network_bytes_s=1e6,
    )
    cost = estimate(LOOKS, pairs, GRID, window=32, step=8, wanted_share=0.5, pace=pace)
    pixels, points = 4096 * 2048, 4096 * 2048 // 128
    assert (cost.scenes, cost.pairs, cost.points_per_pair) == (4, 6, points)
    assert cost.core_hours == pytest.approx(6 * (pixels / 1e6 + points * 20e-6) / 3600)
    assert cost.download_bytes == 4 * (4096 + 1024) * (2048 + 1024) * 2
    assert cost.download_hours == pytest.approx(cost.download_bytes / 1e6 / 3600)
    assert cost.requests == 4 * (1 + 2)
    assert cost.cache_bytes == cost.download_bytes + 4 * pixels * 4
    assert cost.product_bytes == 6 * points * 30


def test_it_is_told_in_words() -> None:
    told = str(estimate(LOOKS, pair_indices(LOOKS), GRID))
    assert "pairs             10" in told
    assert "minutes of one core" in told
    assert "requests" in told
    none = estimate(LOOKS, pair_indices(LOOKS, max_days=5), GRID)
    assert (none.scenes, none.pairs, none.download_bytes) == (0, 0, 0)
    assert "0.0 bytes" in str(none)


@pytest.mark.parametrize(
    "wrong", [{"window": 0}, {"step": 0}, {"bands": 0}, {"wanted_share": 0}, {"wanted_share": 2}]
)
def test_impossible_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="no work"):
        estimate(LOOKS, pair_indices(LOOKS), GRID, **wrong)  # type: ignore[arg-type]
