"""Ice divides of the Mont Blanc massif against those of the French inventory of 2003.

    python benchmarks/outlines_divides.py DATA [--tries 40] [--out FOLDER]

DATA is the folder that holds ``french_alps_alpgm``. All ice is divided as if no divide were known;
distances S7 and S8 are those to the divides of the inventory, in metres. Options are calibrated on
one half of the massif and judged on the other, and, as published, on all of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.warp import transform_bounds
from scipy.ndimage import distance_transform_edt

from ogive.evaluation.mapping import DivideDistances, divide_distances
from ogive.outlines.divides import DivideOptions, calibrate_divides, divide_ice, divide_lines
from ogive.outlines.divides.calibration import SEARCHED
from ogive.outlines.vectors import polygons_of
from ogive.scenes.read import read_on_grid

DEM = "french_alps_alpgm/DEM_MontBlanc_2003_aligned.tif"
INVENTORY = "french_alps_alpgm/GLIMS_glaciers_2003_ID.shp"
CRS = "EPSG:32632"
RIM_M = 400.0
"""Glaciers that are nearer to the edge of the elevation model are left out."""


@dataclass(frozen=True)
class Massif:
    """Ice with its reference divides."""

    geobox: GeoBox
    elevation_m: NDArray[np.float64]
    reference: NDArray[np.int64]

    @property
    def ice(self) -> NDArray[np.bool_]:
        """Where there is ice."""
        return self.reference > 0

    def lines(self) -> list[Any]:
        """Reference divides."""
        return divide_lines(polygons_of(self.reference, self.geobox).geometry.to_list())

    def half(self, *, east: bool) -> Massif:
        """Leave out the complexes of the other half; no complex is cut."""
        from scipy.ndimage import label

        parts, count = label(self.ice, np.ones((3, 3)))
        columns = np.array([np.nonzero(parts == n + 1)[1].mean() for n in range(count)])
        kept = np.r_[False, (columns > np.median(np.nonzero(self.ice)[1])) == east]
        return Massif(self.geobox, self.elevation_m, np.where(kept[parts], self.reference, 0))


def massif(data: Path, cell_m: float) -> Massif:
    """Read elevation and inventory on a grid of square cells."""
    with rasterio.open(data / DEM) as file:
        left, bottom, right, top = transform_bounds(file.crs, CRS, *file.bounds)
    box = tuple(round(each / cell_m) * cell_m for each in (left, bottom, right, top))
    geobox = GeoBox.from_bbox(box, CRS, resolution=cell_m)
    elevation = read_on_grid(data / DEM, geobox, nodata=-32767).values.astype(float)
    inventory = gpd.read_file(data / INVENTORY).cx[left:right, bottom:top]
    reference = rasterize(
        zip(inventory.geometry, range(1, len(inventory) + 1), strict=True),
        geobox.shape, transform=geobox.transform, dtype="int32",
    ).astype(np.int64)  # fmt: skip
    inside_m = distance_transform_edt(np.isfinite(elevation)) * cell_m
    cut = np.unique(reference[inside_m < RIM_M])
    return Massif(geobox, elevation, np.where(np.isin(reference, cut), 0, reference))


def divided(given: Massif, options: DivideOptions) -> NDArray[np.int64]:
    """Divide the ice."""
    cell_m = abs(given.geobox.resolution.x)
    return divide_ice(given.ice, given.elevation_m, cell_m=cell_m, options=options)


def distances(given: Massif, options: DivideOptions) -> DivideDistances:
    """Divide the ice and measure."""
    lines = divide_lines(polygons_of(divided(given, options), given.geobox).geometry.to_list())
    return divide_distances(lines, given.lines())


def _row(name: str, given: Massif, options: DivideOptions) -> None:
    glaciers = int(divided(given, options).max())
    found = distances(given, options)
    reference = len(np.unique(given.reference)) - 1
    print(
        f"| {name} | {glaciers} ({reference}) | {found.to_reference_m:.0f} "
        f"| {found.from_reference_m:.0f} | {found.mean_m:.0f} |",
        flush=True,
    )


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    given = massif(asked.data, 25.0)
    print("| divides | glaciers (reference) | S7 | S8 | mean |\n| --- | --- | --- | --- | --- |")
    plain = DivideOptions()
    _row("published options, 25 m", given, plain)
    _row("published options, 50 m", massif(asked.data, 50.0), plain)
    halves = {name: given.half(east=name == "east") for name in ("west", "east")}
    for name, other in (("west", "east"), ("east", "west")):
        tuned = _calibrated(halves[name], asked.tries)
        _row(f"{other}, published options", halves[other], plain)
        _row(f"{other}, calibrated on the {name}", halves[other], tuned)
    best = _calibrated(given, asked.tries)
    _row("calibrated on all of it, as published", given, best)
    told = {each.name: getattr(best, each.name) for each in fields(best) if each.name in SEARCHED}
    print(", ".join(f"{name} {value:.3g}" for name, value in told.items()))
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        np.savez(
            asked.out / "divides.npz", reference=given.reference, published=divided(given, plain),
            calibrated=divided(given, best), elevation_m=given.elevation_m.astype(np.float32),
        )  # fmt: skip


def _calibrated(given: Massif, tries: int) -> DivideOptions:
    found = calibrate_divides(
        given.ice, given.elevation_m, given.geobox, given.lines(), tries=tries
    )
    return found.options


if __name__ == "__main__":
    main(sys.argv[1:])
