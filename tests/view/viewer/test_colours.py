"""The viewer draws a layer as figures do, and its user may choose the scale."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure

from ogive.store.layer_colours import colour_range
from ogive.view.map_parts import draw_layer
from ogive.view.viewer.colours import colours_of

SPEEDS = np.append(np.full(1000, 2.0), np.geomspace(3, 900, 200))


@pytest.mark.parametrize(
    "layer",
    ["v", "vx", "a", "trend", "p_value", "cnt", "correlation", "weight", "v_error", "unheard_of"],
)
def test_a_layer_has_the_colours_of_its_figures(layer: str):
    field = xr.DataArray(SPEEDS.reshape(30, 40), dims=("y", "x"))
    field = field.assign_coords(y=np.arange(30.0), x=np.arange(40.0))
    drawn = draw_layer(Figure().subplots(), field, layer)
    found = colours_of(layer, field.values)
    assert (found.low, found.high) == (drawn.norm.vmin, drawn.norm.vmax)
    assert (found.scale == "log") == isinstance(drawn.norm, LogNorm)
    ends = [to_hex(drawn.cmap(share)) for share in (0.0, 1.0)]
    assert [found.palette[0], found.palette[-1]] == ends


def test_layers_of_all_years_are_drawn_as_those_of_one():
    assert colours_of("vx of all years", SPEEDS) == colours_of("vx", SPEEDS)


def test_the_scale_may_be_chosen_where_the_range_is_not_fixed():
    assert colours_of("v", SPEEDS).scale == "log"
    assert colours_of("v", SPEEDS, scale="linear").scale == "linear"
    for layer in ("v", "cnt", "unheard_of"):
        found = colours_of(layer, SPEEDS, scale="log")
        assert found.scale == "log"
        assert 0 < found.low < found.high
    for layer in ("vx", "a", "weight"):
        assert colours_of(layer, SPEEDS, scale="log") == colours_of(layer, SPEEDS)


@pytest.mark.parametrize("values", [np.full(4, np.nan), np.zeros(4), np.array([-1.0, 2.0])])
def test_a_logarithm_begins_above_zero(values: np.ndarray):
    for kind in ("speed", "positive", "any"):
        low, high, logarithmic = colour_range(values, kind, logarithmic=True)
        assert low < high
        assert low > 0 or not logarithmic


def test_codes_have_a_colour_each():
    found = colours_of("flag", np.array([0.0, 3.0, np.nan]), categories=True)
    assert len(set(found.palette)) == 4
    assert (found.low, found.high) == (-0.5, 3.5)
    assert len(colours_of("flag", np.full(2, np.nan), categories=True).palette) == 2
