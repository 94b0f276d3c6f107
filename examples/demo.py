"""A glacier through the whole road: simulate, run the command, draw it beside the truth.

A simulated satellite looks twice at a simulated glacier, through clouds, and lays each image a few
metres beside where it belongs, as satellites do. The command measures the velocity from the two
GeoTIFFs, and `demo/demo.png` shows what it found.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape as as_polygon

import ogive
from ogive.evaluation.motion import interval_coverage, score
from ogive.simulation import Ground, SimulatedGlacier, SimulatedScene, Weather

FOLDER = Path("demo")
WINDOW_PX, STEP_PX = 24, 6
MAX_SPEED_M_YR = 1500
CRS = "EPSG:32632"
COMMAND = [sys.executable, "-c", "from ogive.cli import main; main()"]


@dataclass(frozen=True)
class Truth:
    """The true velocity in the middle of each window, meter/year, and where it can be seen.

    Of each window, ``clouded_share`` lies under cloud in one of the images, ``hidden_share`` under
    cloud or in shadow.
    """

    vx: np.ndarray
    vy: np.ndarray
    ice: np.ndarray
    hidden_share: np.ndarray
    clouded_share: np.ndarray


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    print("simulating a glacier, and a satellite that looks at it twice ...")
    glacier = SimulatedGlacier.build(
        (400, 560), seed=1, max_speed_m_yr=700, weather=Weather(misregistration_px=(0.2, 0.4))
    )
    passes = glacier.passes(datetime(2020, 7, 20), datetime(2020, 8, 7))
    earlier, later = (
        glacier.look(passes[index], cloud_cover=cover) for index, cover in ((0, 0.04), (-1, 0.06))
    )
    files = [write_image(earlier), write_image(later)]
    stable = write_stable_ground(glacier, earlier)

    arguments = [
        *("velocity", *map(str, files), "-o", str(FOLDER / "velocity")),
        *("--stable", str(stable), "--max-speed", str(MAX_SPEED_M_YR)),
        *("--window", str(WINDOW_PX), "--step", str(STEP_PX), "--overwrite"),
    ]
    print("$ ogive", *arguments)
    started = time.perf_counter()
    subprocess.run([*COMMAND, *arguments], check=True)
    print(f"the command took {time.perf_counter() - started:.1f} s\n")

    (product,) = (FOLDER / "velocity").glob("*.nc")
    measured = ogive.read_velocity(product)
    truth = truth_on_points(glacier, earlier, later, measured)
    report(measured, truth)
    draw(earlier, measured, truth).savefig(FOLDER / "demo.png", dpi=110)
    print(f"look at {FOLDER / 'demo.png'}")


def write_image(scene: SimulatedScene) -> Path:
    """Write an image with its date in its name."""
    path = FOLDER / f"simulated_{scene.scene.time:%Y%m%dT%H%M%S}.tif"
    height, width = scene.image.shape
    profile = {"crs": CRS, "transform": place_of(scene), "count": 1, "dtype": scene.image.dtype}
    with rasterio.open(path, "w", "GTiff", width, height, **profile) as file:
        file.write(scene.image, 1)
    return path


def place_of(scene: SimulatedScene) -> Affine:
    pixel = scene.x[1] - scene.x[0]
    return Affine(pixel, 0, scene.x[0] - pixel / 2, 0, -pixel, scene.y[0] + pixel / 2)


def write_stable_ground(glacier: SimulatedGlacier, scene: SimulatedScene) -> Path:
    """Write polygons of the rock beside the glacier."""
    rock = glacier.is_stable(*np.meshgrid(scene.x, scene.y))
    outlines = shapes(rock.astype(np.uint8), rock, transform=place_of(scene))
    path = FOLDER / "stable.gpkg"
    gpd.GeoDataFrame(geometry=[as_polygon(outline) for outline, _ in outlines], crs=CRS).to_file(
        path
    )
    return path


def truth_on_points(
    glacier: SimulatedGlacier, earlier: SimulatedScene, later: SimulatedScene, measured: xr.Dataset
) -> Truth:
    x, y = np.meshgrid(measured.x.values, measured.y.values)
    moved = glacier.displacement(x, y, earlier.scene.time, later.scene.time)
    years = later.years - earlier.years
    rows, columns = (
        np.arange(size) * STEP_PX + WINDOW_PX // 2 for size in (y.shape[0], x.shape[1])
    )

    def share_of_windows(kinds: list[Ground]) -> np.ndarray:
        there = np.isin(earlier.ground, kinds) | np.isin(later.ground, kinds)
        share = ndimage.uniform_filter(there.astype(float), WINDOW_PX)
        return share[np.ix_(rows, columns)].round(6)

    return Truth(
        vx=moved.dx_m / years,
        vy=moved.dy_m / years,
        ice=glacier.is_ice(x, y, earlier.scene.time),
        hidden_share=share_of_windows([Ground.CLOUD, Ground.CLOUD_SHADOW, Ground.DARK]),
        clouded_share=share_of_windows([Ground.CLOUD]),
    )


def report(measured: xr.Dataset, truth: Truth) -> None:
    """Judge the measurement where both images show the whole window."""
    seen = truth.hidden_share == 0
    pixel = 10.0 * ogive.DAYS_PER_YEAR / float(measured.img_pair_info.date_dt)
    for name, where in (("everywhere", seen), ("on the ice", seen & truth.ice)):
        judged = score(measured.vx, measured.vy, truth.vx, truth.vy, where, outlier_limit=pixel)
        held = interval_coverage(
            (measured.vx.values - truth.vx)[where],
            (measured.vy.values - truth.vy)[where],
            measured.vx_error.values[where] ** 2,
            measured.vy_error.values[where] ** 2,
            measured.vxvy_cov.values[where],
        )
        print(f"Where both images are clear, {name}:")
        print(f"  points kept                   {100 * judged.coverage:.1f} %")
        print(
            f"  RMSE of a component           {judged.rmse:.1f} m/yr "
            f"({judged.rmse / pixel:.3f} pixels)"
        )
        print(f"  wrong by more than a pixel    {100 * judged.outlier_share:.2f} %")
        print(f"  truth within 95 % intervals   {100 * held.x:.1f} % (x), {100 * held.y:.1f} % (y)")
    lost = np.isnan(measured.v.values[truth.clouded_share > 0.9]).mean()
    print(f"Under cloud, {100 * lost:.0f} % of the points were left out.")


def draw(scene: SimulatedScene, measured: xr.Dataset, truth: Truth) -> Figure:
    """Draw the image, the truth, the measurement, and how they differ."""
    figure = Figure(figsize=(15, 10.2), layout="constrained")
    panels = figure.subplots(2, 2)
    image, true, found, wrong = panels.flat
    for panel in panels.flat:
        draw_image(panel, scene)
    image.set_title("The earlier image")

    colours = {"cmap": cm.batlow, "norm": LogNorm(20, 700), "alpha": 0.8}
    speed = np.hypot(truth.vx, truth.vy)
    draw_map(true, measured, np.where(truth.ice, speed, np.nan), **colours)
    true.set_title("The truth: how fast the ice flows")
    drawn = draw_map(found, measured, measured.v.values, **colours)
    draw_arrows(found, measured)
    found.set_title("What ogive measured; gaps where it does not trust itself")
    bar = figure.colorbar(drawn, ax=[image, found], shrink=0.5, extend="both", location="left")
    bar.set_label("speed (m/yr)")
    bar.set_ticks([20, 50, 100, 200, 500], labels=["20", "50", "100", "200", "500"])
    bar.minorticks_off()

    off = np.hypot(measured.vx.values - truth.vx, measured.vy.values - truth.vy)
    declared = np.hypot(measured.vx_error.values, measured.vy_error.values)
    drawn = draw_map(wrong, measured, off / declared, cmap=cm.lajolla_r, norm=Normalize(0, 4))
    figure.colorbar(drawn, ax=[true, wrong], label="true error over declared error", shrink=0.5,
                    extend="max")  # fmt: skip
    wrong.set_title("How far off it is, in units of the error it declares")
    return figure


def draw_image(panel: Axes, scene: SimulatedScene) -> None:
    dark, bright = np.percentile(scene.image, [0.5, 99.5])
    panel.imshow(scene.image, cmap="gray", vmin=dark, vmax=bright, extent=frame(scene.x, scene.y))
    panel.set(xticks=[], yticks=[], aspect="equal")
    start = scene.x[0] + 200, scene.y[-1] + 250
    panel.plot([start[0], start[0] + 1000], [start[1], start[1]], color="white", linewidth=4)
    panel.text(start[0] + 500, start[1] + 60, "1 km", color="white", ha="center", va="bottom")


def draw_map(panel: Axes, measured: xr.Dataset, values: np.ndarray, **colours: object):
    extent = frame(measured.x.values, measured.y.values)
    return panel.imshow(values, extent=extent, interpolation="nearest", **colours)


def frame(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    half = (x[1] - x[0]) / 2
    return x[0] - half, x[-1] + half, y[-1] - half, y[0] + half


def draw_arrows(panel: Axes, measured: xr.Dataset) -> None:
    every = slice(2, None, 4)
    arrows = measured.isel(x=every, y=every)
    arrows = arrows.where(arrows.v > 4 * arrows.v_error)
    shrink = np.sqrt(arrows.v) / arrows.v
    panel.quiver(
        *np.meshgrid(arrows.x, arrows.y), arrows.vx * shrink, arrows.vy * shrink,
        color="white", edgecolor="black", linewidth=0.4, width=0.003, angles="xy",
        scale_units="xy", scale=0.07,
    )  # fmt: skip


if __name__ == "__main__":
    main()
