"""The figure of a network: every scene and every pair is in it, in its place."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from matplotlib.dates import num2date

from ogive.model import InputError, Scene
from ogive.scenes import PairIndices, pair_indices
from ogive.view.baselines import draw_baselines

LOOKS = [
    Scene(
        f"{day}/{orbit}",
        datetime(2020, 1, 1) + timedelta(days=day),
        "sentinel-2",
        relative_orbit=orbit,
        tile="T32TLS",
    )
    for day, orbit in [(0, 65), (3, 108), (5, 65), (8, 108), (15, 65)]
]


def test_scenes_and_arcs_lie_where_they_were_acquired() -> None:
    pairs = pair_indices(LOOKS, same_orbit=False)
    figure = draw_baselines(LOOKS, pairs)
    network, histogram = figure.axes
    (dots,) = network.get_lines()
    times = [num2date(x).replace(tzinfo=None) for x in dots.get_xdata()]
    assert times == [scene.time for scene in LOOKS]
    assert [label.get_text() for label in network.get_yticklabels()] == [
        "orbit 065, T32TLS", "orbit 108, T32TLS",
    ]  # fmt: skip
    arcs = network.collections[0].get_segments()
    assert len(arcs) == pairs.earlier.size
    longest = max(arcs, key=lambda arc: arc[-1, 0] - arc[0, 0])
    assert longest[-1, 0] - longest[0, 0] == 15
    assert longest[:, 1].max() - longest[0, 1] == pytest.approx(0.8)
    counted = sum(bar.get_height() for bar in histogram.patches)
    assert counted == pairs.earlier.size


def test_networks_that_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="no scene"):
        draw_baselines([], pair_indices([]))
    many = np.zeros(20_001, np.int64)
    with pytest.raises(InputError, match="cannot be told apart"):
        draw_baselines(LOOKS, PairIndices(many, many + 1))
    assert len(draw_baselines(LOOKS[:1], pair_indices(LOOKS[:1])).axes) == 2
