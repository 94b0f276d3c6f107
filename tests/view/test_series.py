"""The figure of a chosen point."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.dates import date2num
from matplotlib.patches import StepPatch

from ogive.model import InputError
from ogive.series.invert import invert
from ogive.view.series import plot_point


def cube_and_series(**options):
    days = np.datetime64("2020-01-01", "ns") + np.arange(0, 121, 12).astype("timedelta64[D]")
    i, j = np.triu_indices(days.size, 1)
    speed = np.full((i.size, 1, 2), 100.0, "f4")
    speed[3] = 900.0
    cube = xr.Dataset(
        {"vx": (("mid_date", "y", "x"), speed), "vy": (("mid_date", "y", "x"), 0 * speed)},
        {
            "acquisition_date_img1": ("mid_date", days[i]),
            "acquisition_date_img2": ("mid_date", days[j]),
            "x": [0.0, 120.0],
            "y": [0.0],
        },
    )
    return cube, invert(cube, "24D", weights="uniform", closure="dates", threads=1, **options)


def test_bars_span_their_observations_and_the_series_lies_over_them():
    cube, series = cube_and_series(keep_weights=True)
    figure = plot_point(cube, series, x=30, y=10)
    axes = figure.axes[0]
    (bars,) = (c for c in axes.collections if isinstance(c, LineCollection))
    segments = np.array(bars.get_segments())
    np.testing.assert_allclose(segments[:, 0, 0], date2num(cube.acquisition_date_img1.values))
    np.testing.assert_allclose(segments[:, 1, 0], date2num(cube.acquisition_date_img2.values))
    np.testing.assert_allclose(segments[:, 0, 1], cube.vx.values[:, 0, 0])
    np.testing.assert_allclose(bars.get_array(), series.weight.values[:, 0, 0])
    lines = [p for p in axes.patches if isinstance(p, StepPatch) and not p.get_fill()]
    np.testing.assert_allclose(lines[0].get_data().values, series.v.values[:, 0, 0])
    # The wrong observation does not set the scale.
    assert axes.get_ylim()[1] < 300
    assert "m/yr" in axes.get_ylabel()


def test_components_and_missing_weights_are_drawn(tmp_path):
    cube, series = cube_and_series()
    figure = plot_point(cube, series, x=0, y=0, component="vx")
    assert len(figure.axes) == 1
    figure.savefig(tmp_path / "point.png")
    assert (tmp_path / "point.png").stat().st_size > 5000


def test_bad_points_are_told():
    cube, series = cube_and_series()
    with pytest.raises(InputError, match="outside of the grid"):
        plot_point(cube, series, x=500, y=0)
    with pytest.raises(InputError, match="unknown"):
        plot_point(cube, series, x=0, y=0, component="vz")
    with pytest.raises(InputError, match="no observation"):
        plot_point(cube.where(cube.x > 60), series, x=0, y=0)
