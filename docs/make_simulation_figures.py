"""Draw the figures of ``simulation.md`` and print its table.

``python docs/make_simulation_figures.py [FOLDER OF REAL DATA]``: without the folder the table holds
the simulated images only.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from ogive.simulation import ORBITS, Ground, Pass, SimulatedGlacier, SimulatedScene

mpl.use("Agg")
import matplotlib.pyplot as plt
from cmcrameri import cm

FIGURES = Path(__file__).parent / "figures"
WEST, EAST = ORBITS["sentinel-2-west"], ORBITS["sentinel-2-east"]
SUMMER = datetime(2020, 8, 10, 10, 14)
WINTER = datetime(2021, 1, 12, 10, 14)
WINDOW_PX = 32


class Statistics(NamedTuple):
    """Medians over windows; see `statistics`."""

    windows: int
    contrast: float
    gradient: float
    slope: float
    correlation_1: float
    correlation_2: float
    correlation_4: float


def statistics(image: NDArray[np.float64], where: NDArray[np.bool_]) -> Statistics:
    """Describe the texture of an image by medians over windows that lie inside a mask.

    Contrast: standard deviation of what is finer than 8 px, over the mean. Gradient: median length
    of the gradient, per pixel, over the mean. Slope: exponent of the power spectrum from 0.06 to
    0.4 cycles/px. Correlation: of what is finer than 8 px, with itself 1, 2 and 4 px further.
    """
    size, found = WINDOW_PX, []
    taper = np.hanning(size)[:, np.newaxis] * np.hanning(size)
    frequency = np.hypot(np.fft.fftfreq(size)[:, np.newaxis], np.fft.fftfreq(size))
    edges = np.linspace(0.06, 0.4, 10)
    ring = np.digitize(frequency, edges)
    middle = np.log((edges[1:] + edges[:-1]) / 2)
    for row in range(0, image.shape[0] - size + 1, size):
        for column in range(0, image.shape[1] - size + 1, size):
            part = np.s_[row : row + size, column : column + size]
            if not where[part].all():
                continue
            window = image[part]
            mean = window.mean()
            fine = window - ndimage.gaussian_filter(window, 8)
            gradient = np.median(np.hypot(*np.gradient(window))) / mean
            power = np.abs(np.fft.fft2((window - mean) * taper)) ** 2
            level = [np.log(power[ring == k].mean()) for k in range(1, edges.size)]
            slope = -np.polyfit(middle, level, 1)[0]
            lags = [
                ((fine[:, :-k] * fine[:, k:]).mean() + (fine[:-k] * fine[k:]).mean())
                / (2 * fine.var())
                for k in (1, 2, 4)
            ]
            found.append([fine.std() / mean, gradient, slope, *lags])
    return Statistics(len(found), *np.median(found, axis=0))


def simulated_rows(glacier: SimulatedGlacier) -> dict[str, Statistics]:
    """Statistics of simulated scenes on ice and on rock."""
    rows = {}
    for name, scene, offset in (
        ("simulated, Sentinel-2, August", clear(glacier, SUMMER, "sentinel-2-west"), 1000),
        ("simulated, Landsat, August", clear(glacier, SUMMER, "landsat-west"), 5000),
    ):
        image = scene.image - float(offset)
        x, y = np.meshgrid(scene.x, scene.y)
        ice = ndimage.binary_erosion(glacier.is_ice(x, y, scene.scene.time), iterations=5)
        lit = scene.ground != Ground.DARK
        smooth = ndimage.gaussian_filter(image, 6)
        between = np.quantile(image[ice], [0.25, 0.75]).mean()
        bare, snowy = ice & (smooth < between), ice & (smooth >= between)
        rows[f"{name}, bare ice"] = statistics(image, bare)
        rows[f"{name}, snow on ice"] = statistics(image, snowy)
        rows[f"{name}, ground"] = statistics(image, glacier.is_stable(x, y) & lit)
    return rows


def real_rows(data: Path) -> dict[str, Statistics]:
    """Statistics of real images."""
    rows = {}
    with rasterio.open(data / "yahtse_l8_pair/LC80630182016200LGN00_B8_yahtse.TIF") as file:
        yahtse = file.read(1).astype(float) - 5000
    rows["Yahtse, Landsat 8, ice and snow"] = statistics(yahtse, yahtse > 13000)
    rows["Yahtse, Landsat 8, rock"] = statistics(yahtse, yahtse < 12000)
    rows["Yahtse, Landsat 8, all"] = statistics(yahtse, np.ones(yahtse.shape, bool))
    folder = data / "perito_moreno_s2_series"
    with rasterio.open(folder / "20200210.jpg") as file, rasterio.open(folder / "mask.jpg") as mask:
        moreno = file.read([1, 2, 3]).astype(float).mean(axis=0)
        ice = mask.read(1, out_shape=moreno.shape) > 128
    rows["Perito Moreno, Sentinel-2 (8 bit, 6.4 m), ice"] = statistics(moreno, ice)
    name = "S2B_MSIL1C_20200407T044659_N0209_R076_T45RVL_20200407T082519_Visual_clip.tif"
    with rasterio.open(data / "khumbu_s2_dem" / name) as file:
        khumbu = file.read([1, 2, 3]).astype(float).mean(axis=0)
    unsaturated = (khumbu > 0) & (khumbu < 250)
    rows["Khumbu, Sentinel-2 (8 bit), not saturated"] = statistics(khumbu, unsaturated)
    return rows


def print_table(rows: dict[str, Statistics]) -> None:
    """Print statistics as a table in Markdown."""
    print(
        "| image | windows | contrast | gradient | spectrum's slope | correlation at 1, 2, 4 px |"
    )
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        lags = f"{row.correlation_1:.2f}, {row.correlation_2:.2f}, {row.correlation_4:.2f}"
        print(
            f"| {name} | {row.windows} | {row.contrast:.3f} | {row.gradient:.3f} |"
            f" {row.slope:.1f} | {lags} |"
        )


def clear(glacier: SimulatedGlacier, when: datetime, orbit: str) -> SimulatedScene:
    """Take a scene without clouds."""
    chosen = ORBITS[orbit]
    return glacier.look(Pass(when, next(iter(chosen.first_pass_day)), chosen), cloud_cover=0.0)


def show(axes: plt.Axes, scene: SimulatedScene, title: str) -> None:
    """Draw a scene in grey, as a user would stretch it."""
    low, high = np.quantile(scene.image, [0.01, 0.985])
    axes.imshow(scene.image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])


def save(figure: plt.Figure, name: str) -> None:
    """Write a figure beside the text."""
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / f"simulation_{name}.png", dpi=80, bbox_inches="tight")
    plt.close(figure)


def draw_scene(glacier: SimulatedGlacier) -> None:
    """Draw a scene and a piece of it, pixel by pixel."""
    scene = clear(glacier, SUMMER, "sentinel-2-west")
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6.5), layout="constrained")
    show(left, scene, "10 August 2020, Sentinel-2, band 8: 6 x 6 km")
    row, column = 240, 280
    left.add_patch(plt.Rectangle((column, row), 200, 200, fill=False, edgecolor="tab:orange"))
    part = scene.image[row : row + 200, column : column + 200]
    low, high = np.quantile(part, [0.005, 0.995])
    right.imshow(part, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    right.set_title("2 x 2 km below the icefall", fontsize=11, loc="left")
    right.set_xticks([])
    right.set_yticks([])
    save(figure, "scene")


def draw_orbits(glacier: SimulatedGlacier) -> None:
    """Draw the same minute from two orbits, and what the DEM's error makes of it."""
    west, east = (clear(glacier, SUMMER, name) for name in ("sentinel-2-west", "sentinel-2-east"))
    x, y = np.meshgrid(west.x, west.y)
    one, two = glacier.parallax(west, x, y), glacier.parallax(east, x, y)
    figure, axes = plt.subplots(1, 3, figsize=(17, 5.6), layout="constrained")
    show(axes[0], west, f"from the west, {WEST.view_zenith_deg} degrees")
    show(axes[1], east, f"from the east, {EAST.view_zenith_deg} degrees")
    shift = (two.dx_m - one.dx_m) / 10
    limit = np.quantile(np.abs(shift), 0.995)
    image = axes[2].imshow(shift, cmap=cm.vik, vmin=-limit, vmax=limit)
    axes[2].contour(glacier.is_ice(x, y, SUMMER), [0.5], colors="k", linewidths=0.7)
    axes[2].set_title("shift between the two, to the right", fontsize=11, loc="left")
    axes[2].set_xticks([])
    axes[2].set_yticks([])
    figure.colorbar(image, ax=axes[2], label="pixels of 10 m")
    save(figure, "orbits")


def draw_seasons(glacier: SimulatedGlacier) -> None:
    """Draw summer, autumn with clouds, and winter."""
    figure, axes = plt.subplots(1, 3, figsize=(17, 5.9), layout="constrained")
    show(axes[0], clear(glacier, SUMMER, "sentinel-2-west"), "10 August: bare ice, high sun")
    autumn = glacier.look(Pass(datetime(2020, 10, 1, 10, 16), "2B", EAST), cloud_cover=0.15)
    show(axes[1], autumn, "1 October: first snow, fair-weather clouds")
    show(axes[2], clear(glacier, WINTER, "sentinel-2-west"), "12 January: snow, long shadows")
    save(figure, "seasons")


def draw_speed(glacier: SimulatedGlacier) -> None:
    """Draw the true speed and its course over two years."""
    flow, terrain = glacier.flow, glacier.terrain
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5.8), layout="constrained")
    extent = (0, (terrain.x[-1] - terrain.x[0]) / 1e3, 0, (terrain.y[0] - terrain.y[-1]) / 1e3)
    down, east = np.gradient(terrain.elevation_m.astype(float), terrain.step_m)
    left.imshow(-east - down, cmap="gray", extent=extent, vmin=-2, vmax=2)
    speed = np.ma.masked_where(~flow.ice, flow.speed_m_yr)
    image = left.imshow(speed, cmap=cm.batlow, extent=extent)
    step = 9
    rows, columns = np.nonzero(flow.ice[::step, ::step])
    rows, columns = rows * step, columns * step
    left.quiver(
        (terrain.x[columns] - terrain.x[0]) / 1e3,
        (terrain.y[rows] - terrain.y[-1]) / 1e3,
        flow.vx_m_yr[rows, columns],
        flow.vy_m_yr[rows, columns],
        color="w",
        width=0.002,
        scale=4000,
    )
    left.set_xlabel("km")
    left.set_title("mean speed, and its direction", fontsize=11, loc="left")
    figure.colorbar(image, ax=left, label="m/yr")
    fastest = np.unravel_index(flow.speed_m_yr.argmax(), flow.speed_m_yr.shape)
    tongue = np.where(flow.speed_m_yr > 60, terrain.elevation_m, np.inf)
    lowest = np.unravel_index(tongue.argmin(), tongue.shape)
    days = np.datetime64("2020-01-01") + np.arange(0, 730, 5)
    for (row, column), label in ((fastest, "icefall"), (lowest, "tongue")):
        x, y = np.array([flow.x[column]]), np.array([flow.y[row]])
        speeds = [
            np.hypot(*glacier.velocity(x, y, day.astype(datetime)))[0]
            for day in days.astype("datetime64[us]")
        ]
        right.plot(days, speeds, label=label)
    right.set_ylabel("speed, m/yr")
    right.set_ylim(0)
    right.legend(frameon=False)
    right.set_title("two places through two years", fontsize=11, loc="left")
    save(figure, "speed")


def main() -> None:
    """Make all."""
    glacier = SimulatedGlacier.build()
    rows = simulated_rows(glacier)
    if len(sys.argv) > 1:
        rows = {**real_rows(Path(sys.argv[1])), **rows}
    print_table(rows)
    draw_scene(glacier)
    draw_orbits(glacier)
    draw_seasons(glacier)
    draw_speed(glacier)


if __name__ == "__main__":
    main()
