"""Figures of annual maps: against points, how speeds and trends are distributed, the maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from cmcrameri import cm
from matplotlib.figure import Figure

from ogive.evaluation.points import PointComparison
from ogive.evaluation.products import Distribution, ProductComparison
from ogive.model import InputError
from ogive.store.layer_colours import layer_colours

from .map_parts import draw_bar, draw_north, draw_scale_bar, layer_norm

__all__ = [
    "plot_annual", "plot_comparison", "plot_points", "plot_speeds", "plot_trends",
]  # fmt: skip


def plot_points(comparison: PointComparison) -> Figure:
    """Draw points against the product: speeds, and errors along and across the flow.

    Parameters
    ----------
    comparison
        Of `ogive.compare_points`.
    """
    used = comparison.table[comparison.table["left_out"] == ""]
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes, beside = figure.subplots(1, 2)
    names = list(dict.fromkeys(used["name"]))
    reach = 1.08 * max(used["v"].max(), used["product_v"].max())
    axes.plot([0, reach], [0, reach], color="0.6", lw=1, zorder=0)
    for k, name in enumerate(names):
        one = used[used["name"] == name]
        colour = cm.batlow(0.1 + 0.75 * k / max(len(names) - 1, 1))
        label = str(name) if len(names) <= 8 else None
        axes.scatter(one["v"], one["product_v"], s=26, color=colour, label=label, alpha=0.85)
        beside.scatter(one["along_error"], one["across_error"], s=26, color=colour, alpha=0.85)
    speed = comparison.statistics["v"]
    axes.set(xlim=(0, reach), ylim=(0, reach), aspect="equal")
    axes.set(xlabel="Speed at the points (m/yr)", ylabel="Speed of the product (m/yr)")
    axes.set_title(
        f"n = {speed.count}, RMSE {speed.rmse:.1f} m/yr, bias {speed.bias:+.1f} m/yr, "
        f"r² = {comparison.r2:.2f}",
        loc="left", fontsize=10,
    )  # fmt: skip
    beside.axhline(0, color="0.6", lw=1, zorder=0)
    beside.axvline(0, color="0.6", lw=1, zorder=0)
    along, across = (comparison.statistics[n] for n in ("along", "across"))
    beside.set(xlabel="Error along the flow (m/yr)", ylabel="Error across the flow (m/yr)")
    title = f"RMSE along {along.rmse:.1f}, across {across.rmse:.1f} m/yr"
    beside.set_title(title, loc="left", fontsize=10)
    # Not the equal aspect: errors along are often many times those across.
    if any(axes.get_legend_handles_labels()[1]):
        axes.legend(frameon=False, loc="upper left")
    _plain(axes, beside)
    return figure


def plot_speeds(speeds: Distribution) -> Figure:
    """Draw the distribution of speeds, counted and summed (figure 4 of Rabatel et al. 2023)."""
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.stairs(speeds.counts, speeds.edges, fill=True, color=cm.batlow(0.25))
    axes.set(xlabel="Speed (m/yr)", ylabel="Pixels", xlim=(speeds.edges[0], speeds.edges[-1]))
    summed = axes.twinx()
    share = 100 * np.cumsum(speeds.counts) / speeds.count
    summed.plot(speeds.edges[1:], share, color="0.2", lw=1.4)
    summed.set(ylim=(0, 100), ylabel="Pixels that are slower (%)")
    for percent in (50, 75):
        axes.axvline(speeds.quantiles[percent], color="0.2", ls=":", lw=1)
    axes.set_title(
        f"{speeds.count:,} pixels; half below {speeds.quantiles[50]:.1f} m/yr, three quarters "
        f"below {speeds.quantiles[75]:.1f} m/yr",
        loc="left", fontsize=10,
    )  # fmt: skip
    for one in (axes, summed):
        one.spines["top"].set_visible(False)
    return figure


def plot_trends(trends: Distribution) -> Figure:
    """Draw the distribution of trends with median and quartiles (the paper's figure 8)."""
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.stairs(trends.counts, trends.edges, fill=True, color="0.75")
    for percent, colour, name in (
        (25, "#e07b00", "lower quartile"), (50, "#c0182b", "median"), (75, "#1a8a3c",
        "upper quartile"),
    ):  # fmt: skip
        value = trends.quantiles[percent]
        axes.axvline(value, color=colour, lw=1.6, label=f"{name} {value:+.2f} m/yr²")
    axes.axvline(0, color="0.3", lw=0.8)
    axes.set(xlabel="Trend of the velocity (m/yr²)", ylabel="Pixels")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def plot_comparison(comparison: ProductComparison) -> Figure:
    """Draw the map of differences between two products, and their histogram."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axes, beside = figure.subplots(1, 2, width_ratios=[1.4, 1])
    difference = comparison.difference["v"]
    reach = float(np.nanpercentile(np.abs(difference), 98)) or 1.0
    drawn = _map(axes, difference, cmap=cm.vik, vmin=-reach, vmax=reach)
    figure.colorbar(drawn, ax=axes, label="Difference of speed (m/yr)", shrink=0.8, extend="both")
    draw_scale_bar(axes, difference, metres_per_unit=1000)
    draw_north(axes, difference)
    beside.stairs(comparison.histogram, comparison.edges, fill=True, color="0.7")
    beside.axvline(0, color="0.3", lw=0.8)
    beside.axvline(comparison.bias_v, color="#c0182b", lw=1.4)
    beside.set(xlabel="Difference of speed (m/yr)", ylabel="Pixels")
    beside.set_title(
        f"bias {comparison.bias_v:+.1f}, RMSE {comparison.rmse_v:.1f} m/yr", loc="left", fontsize=10
    )
    _plain(beside)
    return figure


def plot_annual(product: xr.Dataset, year: str | None = None) -> Figure:
    """Draw what a product holds: speed of a year, spread, direction, count, flag, trend.

    Parameters
    ----------
    product
        Of `ogive.annual`.
    year
        Name of the year, by default the last one with data.

    Raises
    ------
    InputError
        If there is no such year, or none with data.
    """
    names = [str(name) for name in product["year"].values]
    if year is None:
        seen = product["v"].notnull().any(("y", "x")).values
        if not seen.any():
            raise InputError("there is no year with data to draw")
        year = names[int(np.flatnonzero(seen)[-1])]
    if year not in names:
        raise InputError(f"there is no year {year!r}: there are {', '.join(names)}")
    figure = Figure(figsize=_size(product), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    shown = year.replace("_", "–")
    panels = [
        (f"Speed {shown} (m/yr)", "v", product["v"].sel(year=year)),
        ("Standard deviation (m/yr)", "stdev", product["stdev"]),
        ("Direction (rad)", "a", product["a"]),
        ("Image pairs", "cnt", product["cnt"].where(product["cnt"] > 0)),
        ("Reliable (1) or not (0)", "flag", product["flag"]),
        ("Significant trend (m/yr²)", "trend", product["trend"].where(product["trend_mask"] == 1)),
    ]
    for one, (title, layer, field) in zip(axes, panels, strict=True):
        _draw_panel(figure, one, field, layer)
        one.set_title(title, loc="left", fontsize=10)
    draw_scale_bar(axes[0], product["a"], metres_per_unit=1000)
    draw_north(axes[0], product["a"])
    return figure


def _size(product: xr.Dataset) -> tuple[float, float]:
    """Three maps beside each other, and room for colours and titles."""
    tall = product.sizes["y"] / product.sizes["x"]
    return 13.0, 2 * (4.0 * min(max(tall, 0.3), 2.0) + 1.4)


def _draw_panel(figure: Figure, axes: Any, field: xr.DataArray, layer: str) -> None:
    if layer == "flag":
        options: dict[str, Any] = {"cmap": cm.grayC_r, "vmin": 0, "vmax": 1}
    else:
        colours = getattr(cm, layer_colours(layer).name)
        options = {"cmap": colours, "norm": layer_norm(field.values, layer)}
    drawn = _map(axes, field, **options)
    draw_bar(figure, axes, drawn, "", location="bottom", shrink=0.8, aspect=30)


def _map(axes: Any, field: xr.DataArray, **options: Any) -> Any:
    x, y = field["x"].values / 1000, field["y"].values / 1000
    axes.set(aspect="equal", xlabel="x (km)", ylabel="y (km)")
    return axes.pcolormesh(x, y, field.values, shading="nearest", rasterized=True, **options)


def _plain(*axes: Any) -> None:
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
