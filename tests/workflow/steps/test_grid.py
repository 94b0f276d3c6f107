"""The pixels of a pair: windows on the cells of the region's grid, images never resampled."""

from __future__ import annotations

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from ogive.scenes.errors import NoOverlapError
from ogive.workflow.runfile import template
from ogive.workflow.steps.grid import EDGE_PX, pair_grid
from ogive.workflow.steps.region import outline_of, zone_grid

UTM = "EPSG:32632"


@pytest.fixture
def settings():
    """Some ten kilometres of the Alps; windows of 32 pixels every 80 m."""
    return template()


def box(left, bottom, right, top, pixel_m=10.0, crs=UTM):
    return GeoBox.from_bbox((left, bottom, right, top), crs, resolution=pixel_m)


@pytest.fixture
def zone(settings):
    return zone_grid(outline_of(settings), UTM, settings.match.spacing_m)


@pytest.fixture
def tile(zone):
    """A tile that holds the whole region, twenty kilometres round it, on Sentinel-2's pixels."""
    bounds = zone.boundingbox
    return box(bounds.left - 20e3, bounds.bottom - 20e3, bounds.right + 20e3, bounds.top + 20e3)


def centres(grid, settings):
    """Coordinates of the windows' centres along x and y."""
    rows, columns = grid.pixels.shape
    window, step, place = settings.match.window, grid.step_px, grid.pixels.affine
    x, y = (np.arange((size - window) // step + 1) * step + window / 2 for size in (columns, rows))
    return place.c + place.a * x, place.f + place.e * y


def test_windows_of_sentinel_2_lie_on_the_cells(settings, zone, tile):
    grid = pair_grid(tile, tile, settings)
    assert grid.step_px == 8
    x, y = centres(grid, settings)
    for found, wanted in ((x, zone.coordinates["x"].values), (y, zone.coordinates["y"].values)):
        assert set(wanted) <= set(found)
        # Beyond the region no farther than the edge that its outermost points need.
        assert len(found) - len(wanted) <= 2 * np.ceil((EDGE_PX + 16) / 8)


def test_pixels_are_those_of_the_image(settings, tile):
    moved = box(*(edge + 4.0 for edge in tile.boundingbox.bbox))
    for image in (tile, moved):
        offset = ~image.affine * (pair_grid(image, image, settings).pixels.affine * (0, 0))
        np.testing.assert_allclose(offset, np.rint(offset), atol=1e-6)


def test_landsat_reaches_the_far_edges_of_the_region(settings, zone):
    """Fifteen metres do not divide eighty: the points are 75 m apart, and as many more."""
    bounds = zone.boundingbox
    left, bottom = (np.floor(edge / 15) * 15 - 20_002.5 for edge in (bounds.left, bounds.bottom))
    image = box(left, bottom, left + 60_000, bottom + 60_000, pixel_m=15.0)
    grid = pair_grid(image, image, settings)
    assert grid.step_px == 5
    x, y = centres(grid, settings)
    assert np.abs((x[0] - zone.coordinates["x"].values[0] + 40) % 80 - 40) <= 7.5
    assert x.min() <= bounds.left + 40
    assert x.max() >= bounds.right - 75
    assert y.max() >= bounds.top - 40
    assert y.min() <= bounds.bottom + 75


def test_all_pairs_of_a_place_have_one_grid(settings, tile):
    """So that a scene is read and kept once for all its pairs."""
    wider = tile.pad(100)
    assert pair_grid(tile, tile, settings) == pair_grid(wider, tile, settings)


def test_only_what_both_see(settings, zone, tile):
    bounds = zone.boundingbox
    middle = round((bounds.left + bounds.right) / 20) * 10
    west = box(tile.boundingbox.left, tile.boundingbox.bottom, middle, tile.boundingbox.top)
    for images in ((west, tile), (tile, west)):
        seen = pair_grid(*images, settings).pixels.boundingbox
        assert middle - 80 < seen.right <= middle


def test_a_later_image_of_the_neighbouring_zone(settings, tile):
    """The pair is matched on the earlier image's pixels."""
    neighbour = tile.to_crs("EPSG:32631")
    grid = pair_grid(tile, neighbour, settings)
    assert grid == pair_grid(tile, tile, settings)


def test_images_of_other_places_share_nothing(settings, zone, tile):
    bounds = zone.boundingbox
    beside = box(bounds.right + 1e3, bounds.bottom, bounds.right + 9e3, bounds.top)
    with pytest.raises(NoOverlapError, match="too little of the region for a window of 32 pixels"):
        pair_grid(tile, beside, settings)
