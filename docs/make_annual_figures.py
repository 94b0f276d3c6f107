"""Figures of annual.md: a simulated range, what the tails cost, and Kaskawulsh at its GNSS.

python docs/make_annual_figures.py [FOLDER OF REAL DATA]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from ogive.evaluation.points import compare_points, over_period
from ogive.evaluation.products import distribution
from ogive.series.annual import annual
from ogive.series.filters import PUBLISHED
from ogive.series.trend import trend
from ogive.series.years import Period
from ogive.store.points import read_points
from ogive.store.readers import open_cube
from ogive.view.annual import plot_annual, plot_points, plot_speeds, plot_trends

FIGURES = Path(__file__).resolve().parent / "figures"
DAYS_PER_YEAR = 365.25


def network(rng: np.random.Generator, dates: int, keep: float) -> tuple[np.ndarray, ...]:
    """Days of the images of pairs of 5 to 400 days in six years, and their numbers."""
    days = np.sort(rng.choice(int(6 * DAYS_PER_YEAR), dates, replace=False)).astype(float)
    i, j = np.triu_indices(dates, 1)
    span = days[j] - days[i]
    chosen = (span >= 5) & (span <= 400) & (rng.random(i.size) < keep)
    return days, i[chosen], j[chosen]


def simulated(
    speed: np.ndarray, slope: np.ndarray, angle: np.ndarray, *, dates: int = 60, keep: float = 0.35,
    image_m: float = 0.7, match_m: float = 0.7, seed: int = 0,
) -> xr.Dataset:  # fmt: skip
    """A cube of pairs over ice of known speed, trend and direction (y, x)."""
    rng = np.random.default_rng(seed)
    days, i, j = network(rng, dates, keep)
    years = ((days[j] - days[i]) / DAYS_PER_YEAR)[:, None, None]
    middle = ((days[i] + days[j]) / 2 / DAYS_PER_YEAR - 3)[:, None, None]
    fields = {}
    for name, share in (("vx", np.cos(angle)), ("vy", np.sin(angle))):
        image = image_m * rng.normal(size=(dates, *speed.shape)).astype("f4")
        match = match_m * rng.normal(size=(i.size, *speed.shape)).astype("f4")
        field = share * (speed + slope * middle) + (image[j] - image[i] + match) / years
        fields[name] = (("mid_date", "y", "x"), field.astype("f4"), {"units": "meter/year"})
    epoch = np.datetime64("2015-10-01", "ns")
    height, width = speed.shape
    box = GeoBox.from_bbox(
        (340_000, 5_080_000, 340_000 + 50 * width, 5_080_000 + 50 * height), "EPSG:32632",
        resolution=50,
    )  # fmt: skip
    cube = xr.Dataset(
        fields,
        {
            "acquisition_date_img1": ("mid_date", epoch + days[i].astype("timedelta64[D]")),
            "acquisition_date_img2": ("mid_date", epoch + days[j].astype("timedelta64[D]")),
        },
    )
    places = {axis: box.coordinates[axis].values for axis in ("y", "x")}
    return cube.assign_coords(places).odc.assign_crs("EPSG:32632")


def valley(height: int = 90, width: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Speed, trend and direction of a winding glacier with a tributary."""
    y, x = np.mgrid[:height, :width].astype(float)
    speed, angle = np.zeros((height, width)), np.zeros((height, width))
    for bend, offset, half, top in ((12.0, 45.0, 11.0, 130.0), (-6.0, 70.0, 6.0, 60.0)):
        centre = offset + bend * np.sin(x / 22.0) - 0.12 * (x - 60) * np.sign(bend)
        along = np.clip(1 - ((x - 55) / 52) ** 2, 0, None)
        one = top * np.clip(1 - ((y - centre) / half) ** 2, 0, None) * along
        tilt = np.arctan(bend / 22.0 * np.cos(x / 22.0) - 0.12 * np.sign(bend))
        angle = np.where(one > speed, -tilt, angle)
        speed = np.maximum(speed, one)
    speed = gaussian_filter(speed, 1.0)
    slope = speed / 100 * (-4.0 + 6.0 * (x / width))
    return speed, slope, gaussian_filter(angle, 1.0)


def draw_simulated() -> None:
    """The product of a simulated valley, and its distributions."""
    speed, slope, angle = valley()
    maps = annual(simulated(speed, slope, angle))
    plot_annual(maps).savefig(FIGURES / "annual_product.png", dpi=110)
    last = maps["v"].isel(year=-1)
    ice = xr.DataArray(speed > 5, dims=("y", "x"), coords={"y": maps.y, "x": maps.x})
    plot_speeds(distribution(last, where=ice)).savefig(FIGURES / "annual_speeds.png", dpi=110)
    chosen = ice & (maps["trend_mask"] == 1)
    plot_trends(distribution(maps["trend"], where=chosen)).savefig(
        FIGURES / "annual_trends.png", dpi=110
    )
    error = (maps["trend"].values - slope)[speed > 20]
    print(f"valley: trend RMSE {np.sqrt(np.mean(error**2)):.2f} m/yr2 on ice above 20 m/yr")


def draw_tails() -> None:
    """What cutting the tails first does to a trend."""
    slopes = np.array([-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0])
    shape = (20, 20)
    found: dict[str, list[float]] = {"after": [], "first": []}
    for slope in slopes:
        field = np.full(shape, slope)
        cube = simulated(np.full(shape, 100.0), field, np.full(shape, 0.6), dates=50)
        found["after"].append(float(annual(cube)["trend"].mean()))
        paper = annual(
            cube, filters=PUBLISHED, trim_levels=True,
            filter_options={"percentiles": {"about": "level"}},
        )  # fmt: skip
        found["first"].append(float(paper["trend"].mean()))
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([-8, 8], [-8, 8], color="0.6", lw=1)
    axes.plot(slopes, found["first"], "o-", color="#c0182b", label="tails of speed cut first")
    axes.plot(slopes, found["after"], "o-", color="#1b6ca8", label="trend before the tails are cut")
    axes.set(xlabel="True trend (m/yr²)", ylabel="Trend found (m/yr²)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURES / "annual_tails.png", dpi=110)
    for slope, first, after in zip(slopes, found["first"], found["after"], strict=True):
        print(f"tails: true {slope:+.0f}, cut first {first:+.2f}, after {after:+.2f} m/yr2")


def tell_rates() -> None:
    """Coverage of the trend's error and false alarms of the test, over twenty networks."""
    print("image m, match m: coverage of 1.96 errors, false alarms (20 networks of 20 x 20 pixels)")
    for image_m, match_m in ((0.0, 1.0), (1.0, 0.0), (0.7, 0.7)):
        covered, alarms = [], []
        for seed in range(20):
            still = np.zeros((20, 20))
            cube = simulated(
                still + 100, still, still + 0.6, dates=100, keep=0.3, image_m=image_m,
                match_m=match_m, seed=seed,
            )  # fmt: skip
            result = trend(cube)
            covered.append(float((np.abs(result.trend) < 1.96 * result.trend_error).mean()))
            alarms.append(float(result.trend_mask.mean()))
        print(f"{image_m}, {match_m}: {np.mean(covered):.3f}, {np.mean(alarms):.3f}")


def draw_kaskawulsh(data: Path) -> None:
    """The melt season of 2018 and what GNSS says of it."""
    folder = data / "kaskawulsh_2018"
    cube = open_cube(folder / "velocity", units="meter/day").load()
    gnss = read_points(folder / "gnss_displacements.csv", crs="EPSG:32607", to_crs="EPSG:32607")
    for season in (("2018-05-01", "2018-10-06"), ("2018-03-04", "2018-10-06")):
        for method in ("ols", "median", "weighted_mean"):
            maps = annual(cube, method=method, periods=[Period.of(*season)])
            whole = compare_points(maps, over_period(gnss, *season)).statistics
            lines = compare_points(maps, gnss, min_share=0.9).statistics
            told = [
                f"{s[c].rmse / DAYS_PER_YEAR:.3f}" for s in (whole, lines) for c in ("vx", "vy")
            ]
            print(f"Kaskawulsh {season} {method}: stations {told[:2]}, surveys {told[2:]} m/d RMSE")
    maps = annual(
        cube, method="median", periods=[Period.of("2018-05-01", "2018-10-06")],
        max_direction_std_deg=15.0,
    )  # fmt: skip
    plot_annual(maps).savefig(FIGURES / "annual_kaskawulsh.png", dpi=75)
    plot_points(compare_points(maps, gnss, min_share=0.9)).savefig(
        FIGURES / "annual_gnss.png", dpi=110
    )


if __name__ == "__main__":
    FIGURES.mkdir(exist_ok=True)
    draw_simulated()
    draw_tails()
    tell_rates()
    if len(sys.argv) > 1:
        draw_kaskawulsh(Path(sys.argv[1]))
