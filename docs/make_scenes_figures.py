"""Figures of scenes.md: the network of two orbits over one tile, and the masks of a region.

python docs/make_scenes_figures.py FOLDER_OF_REAL_DATA
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import LightSource, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from odc.geo.geobox import GeoBox

from ogive import scenes
from ogive.scenes.read import read_on_grid
from ogive.view.baselines import draw_baselines

FIGURES = Path(__file__).resolve().parent / "figures"
ICE, STABLE, STRIP = "#4a90c2", "#c98b4b", "#e8d9b5"


def draw_network(data: Path) -> None:
    """Eighteen real items of one tile, seen from two adjacent orbits."""
    found = scenes.search(
        (30, -5, 40, 0),
        start="2020-07-01",
        end="2020-08-31",
        archive=data / "stac_items/intake-stac/earthsearch_v0_single-file-stac.json",
    )
    pairs = scenes.pair_indices(found, same_orbit=False, nearest=4)
    draw_baselines(found, pairs).savefig(FIGURES / "scenes_network.png", dpi=130)


def draw_masks(data: Path) -> None:
    """Glaciers of the Oetztal by RGI 6, on the relief."""
    folder = data / "oggm_sample/test-workflow"
    grid = GeoBox.from_bbox((632000, 5178000, 655000, 5195000), "EPSG:32632", resolution=30)
    masks = scenes.ground(folder / "rgi/rgi_oetztal.shp", grid, beside_m=1500, margin_m=150)
    height = read_on_grid(folder / "srtm_oetztal.tif", grid, "cubic").values
    shade = LightSource(315, 40).hillshade(height, dx=30, dy=30, vert_exag=1.2)
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    axes = figure.subplots()
    left, bottom, right, top = (limit / 1000 for limit in grid.boundingbox.bbox)
    frame = (left, right, bottom, top)
    axes.imshow(shade, cmap="gray", vmin=-0.2, vmax=1.1, extent=frame)
    strip = masks.wanted & ~masks.ice & ~masks.stable
    for mask, colour in ((masks.stable, STABLE), (strip, STRIP), (masks.ice, ICE)):
        shown = np.ma.masked_equal(mask.values, False)
        axes.imshow(shown, cmap=ListedColormap([colour]), alpha=0.6, extent=frame)
    axes.set_xlabel("x (km, UTM zone 32N)")
    axes.set_ylabel("y (km)")
    names = {"ice": ICE, "strip that is neither": STRIP, "stable ground": STABLE}
    handles = [Patch(color=colour, alpha=0.7, label=name) for name, colour in names.items()]
    axes.legend(handles=handles, loc="lower right", fontsize=8)
    figure.savefig(FIGURES / "scenes_ground.png", dpi=130)


def main() -> None:
    """Draw all."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    data = Path(sys.argv[1])
    draw_network(data)
    draw_masks(data)


if __name__ == "__main__":
    main()
