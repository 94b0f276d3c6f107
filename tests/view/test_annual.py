"""Figures of annual maps show what they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from ogive.evaluation.points import compare_points
from ogive.evaluation.products import compare_products, distribution
from ogive.model import InputError
from ogive.series.annual import annual
from ogive.view.annual import (
    plot_annual,
    plot_comparison,
    plot_points,
    plot_speeds,
    plot_trends,
)


@pytest.fixture(scope="module")
def maps() -> xr.Dataset:
    rng = np.random.default_rng(0)
    first = np.sort(rng.integers(0, 800, 60))
    epoch = np.datetime64("2017-10-01", "ns")
    dims = ("mid_date", "y", "x")
    level = 60 - 0.03 * first[:, None, None] + 3 * np.arange(10.0)
    fields = {
        name: (dims, (share * level + rng.normal(0, 2, (60, 8, 10))).astype("f4"),
               {"units": "meter/year"})
        for name, share in (("vx", 0.8), ("vy", 0.6))
    }  # fmt: skip
    return annual(
        xr.Dataset(
            fields,
            {
                "acquisition_date_img1": ("mid_date", epoch + first.astype("timedelta64[D]")),
                "acquisition_date_img2": (
                    "mid_date",
                    epoch + (first + 90).astype("timedelta64[D]"),
                ),
                "y": 50.0 * np.arange(8)[::-1],
                "x": 50.0 * np.arange(10),
            },
        )
    )


def test_annual_maps_have_a_panel_each(maps):
    figure = plot_annual(maps, "2018_2019")
    figure.draw_without_rendering()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "Speed 2018–2019 (m/yr)"
    drawn = figure.axes[0].collections[0].get_array()
    np.testing.assert_allclose(drawn, maps.v.sel(year="2018_2019").values)
    with pytest.raises(InputError, match="no year '2030'"):
        plot_annual(maps, "2030")
    with pytest.raises(InputError, match="no year with data"):
        plot_annual(maps.assign(v=maps.v * np.nan))


def test_annual_maps_say_where_they_lie(maps):
    assert not plot_annual(maps).axes[0].texts  # without a place there is no north
    placed = maps.assign_coords(x=maps.x - 1_500_000, y=maps.y - 1_000_000)
    axes = plot_annual(placed.odc.assign_crs("EPSG:3413")).axes
    (arrow,) = axes[0].texts
    tip, tail = arrow.xycoords.transform(arrow.xy), arrow.anncoords.transform(arrow.xyann)
    direction = tip - tail
    # The pole is the origin of this map; half a kilometre matters little from so far.
    np.testing.assert_allclose(
        direction / np.hypot(*direction), np.array([1.5, 1.0]) / np.hypot(1.5, 1.0), atol=1e-3
    )
    (bar,) = axes[0].artists
    assert bar.txt_label.get_text() == "100 m"  # a fifth of the map, which is drawn in kilometres
    assert bar.size_bar.get_children()[0].get_width() == pytest.approx(0.1)
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("x (km)", "y (km)")
    trend = axes[5].collections[0]
    assert trend.norm.vmin == -trend.norm.vmax


def test_points_are_where_their_speeds_are(maps):
    points = pd.DataFrame(
        {
            "name": ["a", "b"], "start": pd.Timestamp("2018-01-01"),
            "end": pd.Timestamp("2018-12-31"), "x": [125.0, 325.0], "y": [100.0, 150.0],
            "vx": [45.0, 52.0], "vy": [34.0, 40.0],
        }
    )  # fmt: skip
    comparison = compare_points(maps, points)
    figure = plot_points(comparison)
    figure.draw_without_rendering()
    shown = np.concatenate([c.get_offsets() for c in figure.axes[0].collections])
    np.testing.assert_allclose(shown, comparison.table[["v", "product_v"]].values)
    assert "n = 2" in figure.axes[0].get_title(loc="left")


def test_distributions_and_differences_are_drawn(maps):
    speeds = distribution(maps.v.isel(year=0))
    for figure in (
        plot_speeds(speeds),
        plot_trends(distribution(maps.trend)),
        plot_comparison(compare_products(maps.isel(year=0), maps.isel(year=1))),
    ):
        figure.draw_without_rendering()
    assert f"half below {speeds.quantiles[50]:.1f}" in plot_speeds(speeds).axes[0].get_title("left")
    summed = plot_speeds(speeds).axes[1].lines[0].get_ydata()
    # The ends of the axis leave out one per cent of the pixels.
    assert 97 < summed[-1] <= 100
