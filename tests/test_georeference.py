"""What is placed on a grid lies there, whatever CF can say of its projection."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import CRS

from ogive.georeference import cf_attributes, georeferenced, with_crs
from ogive.store.mapping import grid_mapping

CODES = [2056, 32632, 3413, 3031, 5936]
"""Switzerland, UTM, the poles, and a grid of the north that CF names by another method."""


@pytest.mark.parametrize("code", CODES)
def test_an_array_lies_where_its_grid_does(code: int):
    grid = GeoBox.from_bbox((0, 0, 500, 300), f"EPSG:{code}", resolution=100)
    placed = georeferenced(np.zeros(grid.shape), grid)
    assert placed.odc.geobox == grid
    again = with_crs(
        xr.Dataset(coords={name: placed[name].values for name in ("y", "x")}), grid.crs
    )
    assert again.odc.geobox == grid


@pytest.mark.parametrize("code", CODES)
def test_what_cf_tells_is_the_whole_of_it(code: int):
    wanted = CRS.from_epsg(code)
    assert CRS.from_cf(cf_attributes(wanted)) == wanted
    grid = GeoBox.from_bbox((0, 0, 500, 300), f"EPSG:{code}", resolution=100)
    assert CRS.from_wkt(grid_mapping(grid).attrs["crs_wkt"]).to_epsg() == code
