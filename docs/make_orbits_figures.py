"""Figures of orbits.md: view angles, an elevation bias against the truth, a series that jumps.

python docs/make_orbits_figures.py [FOLDER OF REAL DATA]

The simulated archive is kept in a temporary folder; all takes some minutes.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr
from affine import Affine
from cmcrameri import cm
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox
from scipy.ndimage import uniform_filter

import ogive
from ogive.correction.orthorectification import elevation_bias
from ogive.scenes.geometry import scene_of_angles, view_geometry
from ogive.scenes.geometry_orbit import flight_azimuth_deg
from ogive.scenes.geometry_sentinel2 import read_tile_angles
from ogive.series.elevation import invert_with_elevation_bias
from ogive.simulation.orbits import displacement_network
from ogive.store.cube import write_cube
from ogive.view.elevation_bias import plot_elevation_bias
from ogive.workflow.elevation_bias import make_elevation_bias
from ogive.workflow.simulate import SimulationSettings, simulate_archive

FIGURES = Path(__file__).resolve().parent / "figures"
WINDOW, STEP, LONGEST_DAYS = 32, 6, 40


def save(figure: Figure, name: str) -> None:
    """Write a figure and say where."""
    figure.savefig(FIGURES / f"{name}.png", dpi=110)
    print(FIGURES / f"{name}.png")


def draw_geometry(data: Path) -> None:
    """A tile under the track: angles per pixel, the file's nodes, and the nominal orbit."""
    root = data / "s2_metadata_stactools" / "tests" / "data-files"
    path = next(p for p in sorted(root.rglob("MTD_TL.xml")) if "T01LAC" in str(p))
    tile = read_tile_angles(path)
    box = GeoBox((366, 366), Affine(300, 0, tile.left_m, 0, -300, tile.top_m), "EPSG:32701")
    view = view_geometry(path, box)
    nominal = view_geometry({"mission": "sentinel-2", "relative_orbit": tile.relative_orbit}, box)
    turn = np.deg2rad(view["flight_azimuth"].values)
    along, across = (
        np.rad2deg(np.arctan(view["sight_x"].values * a + view["sight_y"].values * b))
        for a, b in ((np.sin(turn), np.cos(turn)), (np.cos(turn), -np.sin(turn)))
    )
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    extent = (0, 109.8, 0, 109.8)
    drawn = left.imshow(along, extent=extent, cmap=cm.vik, vmin=-1, vmax=1)
    figure.colorbar(drawn, ax=left, label="View angle along the track (°)", shrink=0.85)
    left.set(xlabel="km", ylabel="km", title="Detectors look ahead and back in turn")
    row = 183
    x = np.arange(366) * 0.3
    right.plot(x, across[row], color=cm.batlow(0.1), lw=2, label="across the track")
    right.plot(x, along[row], color=cm.batlow(0.75), lw=2, label="along the track")
    for k, part in enumerate(
        np.rad2deg(np.arctan(nominal["sight_x"].values * a + nominal["sight_y"].values * b))
        for a, b in ((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn)))
    ):
        label = "nominal orbit" if k == 0 else None
        right.plot(x, part[row], color="0.25", lw=1, ls="--", label=label)
    right.axhline(0, color="0.6", lw=0.7)
    right.set(xlabel="km from the western edge", ylabel="View angle (°)")
    right.set_title("One line of pixels, and the nominal orbit", loc="left")
    right.legend(frameon=False)
    right.spines[["top", "right"]].set_visible(False)
    flight = float(flight_azimuth_deg("sentinel-2", np.array(-15.8)))
    print(f"flight {flight:.1f}°, detectors {tile.detectors}")
    save(figure, "orbits_geometry")


def simulate(folder: Path) -> Path:
    """Sixteen scenes of two orbits in four months."""
    settings = SimulationSettings(
        rows=300, columns=300, scene_count=16, mean_cloud_cover=0.05, seed=3,
        start=datetime(2020, 6, 1), end=datetime(2020, 10, 1), seasonal_amplitude=0.1,
    )  # fmt: skip
    archive = folder / "archive"
    simulate_archive(archive, settings=settings)
    return archive


def match(archive: Path, folder: Path) -> Path:
    """A cube of all pairs of up to forty days, within orbits and across."""
    items = sorted((archive / "sentinel-2-l2a").glob("*/*.json"))
    scenes = sorted(((scene_of_angles(item), item.parent) for item in items),
                    key=lambda pair: pair[0].time)  # fmt: skip
    maps = []
    for k, (earlier, here) in enumerate(scenes):
        for later, there in scenes[k + 1 :]:
            if (later.time - earlier.time).days <= LONGEST_DAYS:
                images = [next(place.glob("*_B08_10m.tif")) for place in (here, there)]
                maps.append(
                    ogive.velocity(
                        *images, window=WINDOW, step=STEP, max_speed=900,
                        ice=archive / "outlines.gpkg",
                    )
                )  # fmt: skip
    keep = ("vx", "vy", "vx_error", "vy_error", "vxvy_cov", "img_pair_info")
    cube = ogive.stack([one[[name for name in keep if name in one]] for one in maps])
    return write_cube(cube, folder / "cube.nc")


def draw_bias(archive: Path, cube: Path, folder: Path) -> None:
    """The estimate beside the truth, both as a window sees them."""
    made = make_elevation_bias(
        cube, folder / "bias.nc", angles=[archive / "sentinel-2-l2a"], image_error_m=0.5,
        dem=archive / "dem.tif",
    )  # fmt: skip
    (FIGURES / "orbits_baselines.png").write_bytes(made.figures[0].read_bytes())
    result = xr.open_dataset(made.product).load()
    with xr.open_dataset(archive / "truth.nc") as truth:
        rise = truth["surface_elevation"].values
        bias = -truth["dem_error"].values + 0.5 * (rise[-1] - rise[0])
        cells = round(WINDOW * 10 / 20)
        seen = xr.DataArray(
            uniform_filter(bias, cells + 1), {"y": truth.y, "x": truth.x}, ("y", "x")
        )
        seen = seen.interp(x=result.x, y=result.y)
        ice = truth["ice"].isel(time=0).interp(x=result.x, y=result.y, method="nearest") > 0
    off = (result["elevation_bias"] - seen).values
    for name, where in (("ice", ice.values), ("rock", ~ice.values)):
        one = off[where & np.isfinite(off)]
        spread = 1.4826 * np.median(np.abs(one - np.median(one)))
        print(f"{name}: bias {np.median(one):+.2f}, RMSE {np.sqrt(np.mean(one**2)):.2f}, "
              f"NMAD {spread:.2f} m of {one.size}")  # fmt: skip
    figure = plot_elevation_bias(result, ice=ice, limit_m=30)
    save(figure, "orbits_map")
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=[1, 1, 1.05])
    extent = (0, 2.7, 0, 2.7)
    for one, values, title in (
        (axes[0], seen.values, "Truth, averaged over a window"),
        (axes[1], result["elevation_bias"].values, "Estimate from 60 pairs"),
    ):
        drawn = one.imshow(values, extent=extent, cmap=cm.vik, vmin=-30, vmax=30)
        one.contour(ice.values[::-1], [0.5], extent=extent, colors="0.3", linewidths=0.8)
        one.set(title=title, xlabel="km")
    figure.colorbar(drawn, ax=axes[:2], label="Surface minus model (m)", shrink=0.85)
    x, y = seen.values, result["elevation_bias"].values
    axes[2].scatter(x[ice.values], y[ice.values], s=6, color=cm.batlow(0.7), label="ice")
    axes[2].scatter(
        x[~ice.values], y[~ice.values], s=6, color=cm.batlow(0.1), label="rock", alpha=0.5
    )
    axes[2].plot([-40, 30], [-40, 30], color="0.3", lw=0.8)
    axes[2].set(xlabel="Truth (m)", ylabel="Estimate (m)", aspect="equal")
    axes[2].legend(frameon=False)
    axes[2].spines[["top", "right"]].set_visible(False)
    save(figure, "orbits_truth")


def draw_series() -> None:
    """A pixel 40 m above the model: offsets taken for motion, and the joint series."""

    def worth(day: np.ndarray) -> np.ndarray:
        return day / 365.25 + 0.3 * (1 - np.cos(2 * np.pi * day / 365.25)) / 2 / np.pi

    made = displacement_network(
        (10, 10), images=40, pairs=None, span_days=365.0, longest_days=60.0, years_worth=worth,
        image_error_m=0.5, bias_m=60.0, seed=0,
    )  # fmt: skip
    level = made.views.copy(deep=True)
    level["sight_x"][:], level["sight_y"][:] = 0.1, 0.0
    joint = invert_with_elevation_bias(made.cube, made.views, "10D", image_error_m=0.5)
    plain = invert_with_elevation_bias(made.cube, level, "10D", image_error_m=0.5)
    place = np.unravel_index(np.argmin(np.abs(made.elevation_bias_m - 40)), (10, 10))
    day = (joint["time"].values - np.datetime64("2020-06-01")) / np.timedelta64(1, "D")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots()
    for series, colour, name in (
        (plain, cm.batlow(0.8), "offsets taken for motion"),
        (joint, cm.batlow(0.1), "jointly with the elevation bias"),
    ):
        at = series.isel(y=place[0], x=place[1])
        axes.plot(at["time"], at["vx"], "o-", ms=4, lw=1.2, color=colour, label=name)
        if series is joint:
            error = 1.96 * at["vx_error"]
            axes.fill_between(
                at["time"], at["vx"] - error, at["vx"] + error, color=colour, alpha=0.2
            )
    true = 200 * (1 + 0.3 * np.sin(2 * np.pi * day / 365.25))
    axes.plot(joint["time"], true, color="0.2", lw=1, ls="--", label="truth")
    bias, error = (float(joint[name][place]) for name in ("elevation_bias", "elevation_bias_error"))
    axes.set_title(f"40 m above the model: found {bias:.1f} ± {1.96 * error:.1f} m", loc="left")
    axes.set_ylabel("Velocity along x (m/yr)")
    axes.legend(frameon=False, ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "orbits_series")
    single = elevation_bias(made.cube, made.views)
    print(f"constant velocity: unit variance {float(single.unit_variance.median()):.1f}")


def main() -> None:
    """Draw all of them."""
    given = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data"
    )
    FIGURES.mkdir(exist_ok=True)
    draw_series()
    if given.is_dir():
        draw_geometry(given)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = simulate(folder)
        draw_bias(archive, match(archive, folder), folder)


if __name__ == "__main__":
    main()
