"""Figures in time: the series of a point, the section along a line, the network of pairs."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from .colours import colours_of, palette
from .point import PointData

__all__ = ["COLOUR_BY", "network_figure", "point_figure", "section_figure"]

COLOUR_BY = ("sensor", "baseline", "weight")
_LABELS = {"v": "speed (m/yr)", "vx": "velocity along x (m/yr)", "vy": "velocity along y (m/yr)"}
_SERIES = "#10245c"
_WIDTH_PX, _HEIGHT_PX = 470, 200


def point_figure(point: PointData, *, component: str, colour_by: str) -> Any:
    """Draw a place's observations as bars over their span, and its series over them.

    Parameters
    ----------
    point
        What is known of the place.
    component
        ``"v"``, ``"vx"`` or ``"vy"``.
    colour_by
        What bars are coloured by: ``"sensor"``, ``"baseline"`` or ``"weight"``.

    Returns
    -------
    holoviews.Overlay
    """
    parts = _bars(point.observations, component, colour_by)
    if not point.years.empty:
        parts += _series(point.years, component, "years", "#6b6b6b")
    if not point.series.empty:
        parts += _series(point.series, component, "series", _SERIES)
    if not point.stations.empty:
        parts.append(_stations(point.stations, component))
    title = f"Point {point.number}: x = {point.x:.0f}, y = {point.y:.0f}"
    if point.empty:
        parts.append(hv.Text(0.5, 0.5, "nothing was measured here"))
    overlay = hv.Overlay(parts)
    return overlay.opts(
        hv.opts.Overlay(
            frame_width=_WIDTH_PX, frame_height=_HEIGHT_PX, title=title, xlabel="",
            ylabel=_LABELS[component], ylim=_limits(point, component), legend_position="bottom",
            show_legend=True, active_tools=[], toolbar="above", legend_cols=5,
            legend_opts={"click_policy": "hide"},
        )
    )  # fmt: skip


def _limits(point: PointData, component: str) -> tuple[float, float]:
    """Show the series and nearly all observations, not the outliers."""
    spans = []
    if not point.observations.empty:
        spans.append(np.nanpercentile(point.observations[component], [2, 98]))
    for table in (point.series, point.years, point.stations):
        if not table.empty and np.isfinite(table[component]).any():
            spans.append(np.array([np.nanmin(table[component]), np.nanmax(table[component])]))
    if not spans:
        return 0.0, 1.0
    low, high = float(np.min(spans)), float(np.max(spans))
    if component == "v":
        return 0.0, high + 0.15 * max(high, 1.0)
    margin = 0.15 * max(high - low, 1.0)
    return low - margin, high + margin


def _segments(table: pd.DataFrame, component: str, extra: list[str]) -> hv.Segments:
    columns = {
        "start": table["start"], "value": table[component], "end": table["end"],
        "value_": table[component],
    }  # fmt: skip
    told = pd.DataFrame(columns | {name: table[name] for name in extra})
    return hv.Segments(told, ["start", "value", "end", "value_"], extra)


def _bars(table: pd.DataFrame, component: str, colour_by: str) -> list[Any]:
    if table.empty:
        return []
    told = ["sensor", "baseline_days", "v_error"]
    width = 1.8 if len(table) < 400 else 1.0
    shared = {"line_width": width, "tools": ["hover"], "alpha": 0.75}
    column = {"baseline": "baseline_days", "weight": "weight"}.get(colour_by)
    if column is not None and column in table:
        high = 1.0 if column == "weight" else float(table[column].max())
        bars = _segments(table, component, [*told, *([column] if column not in told else [])])
        name = "weight" if column == "weight" else "baseline (days)"
        return [
            bars.opts(
                color=column, cmap=list(palette("lajolla_r" if column == "weight" else "batlow")),
                clim=(0.0, high), colorbar=True, clabel=name, **shared,
            )
        ]  # fmt: skip
    names = sorted(table["sensor"].unique())
    # batlowS is made for categories: its first colours differ most.
    colours = palette("batlowS", 100)[2 : 2 + len(names)]
    return [
        _segments(table[table["sensor"] == name], component, told)
        .relabel(name)
        .opts(color=colour, **shared)
        for name, colour in zip(names, colours, strict=True)
    ]


def _series(table: pd.DataFrame, component: str, label: str, colour: str) -> list[Any]:
    """Steps over the periods, with the band of 95 %; periods without observation are dotted."""
    edges = np.stack([table["start"], table["end"]], axis=1).ravel()
    values = np.repeat(table[component].to_numpy(np.float64), 2)
    parts: list[Any] = []
    name = f"{component}_error"
    if name in table:
        error = np.repeat(1.96 * table[name].to_numpy(np.float64), 2)
        low = values - error if component != "v" else np.maximum(values - error, 0.0)
        band = hv.Area((edges, low, values + error), "time", ["low", "high"])
        parts.append(
            band.relabel(f"95 % of {label}").opts(
                color=colour, fill_alpha=0.18, line_alpha=0, default_tools=[]
            )
        )
    rests = np.repeat(table["observations"].to_numpy() > 0, 2) if "observations" in table else None
    solid = values if rests is None else np.where(rests, values, np.nan)
    curve = hv.Curve((edges, solid), "time", component).relabel(label)
    parts.append(curve.opts(color=colour, line_width=2.4))
    if rests is not None and np.any(~rests & np.isfinite(values)):
        dotted = hv.Curve((edges, np.where(rests, np.nan, values)), "time", component)
        parts.append(
            dotted.relabel("no observation").opts(color=colour, line_width=1.5, line_dash="dotted")
        )
    return parts


def _stations(table: pd.DataFrame, component: str) -> Any:
    bars = _segments(table, component, ["name", "distance_m"]).relabel("GNSS")
    return bars.opts(color="#c0182b", line_width=4, tools=["hover"])


def section_figure(along: xr.Dataset, edges: NDArray[np.datetime64], title: str) -> Any:
    """Draw speeds along a line in time.

    Parameters
    ----------
    along
        ``v`` (time, distance), with ``distance`` in metres.
    edges
        Ends of the periods, one more than there are.
    title
        Above the figure.
    """
    values = along["v"].transpose("time", "distance").values
    colours = colours_of("v", values)
    distance = along["distance"].values / 1000
    half = 0.5 * (distance[1] - distance[0])
    borders = np.append(distance - half, distance[-1] + half)
    mesh = hv.QuadMesh((borders, edges, values), ["distance", "time"], "v")
    return mesh.opts(
        cmap=list(colours.palette), clim=(colours.low, colours.high), colorbar=True,
        logz=colours.scale == "log", clabel="speed (m/yr)", xlabel="distance along the line (km)",
        ylabel="", frame_width=_WIDTH_PX, frame_height=300, title=title, tools=["hover"],
        active_tools=[], toolbar="above", cformatter="%g",
    )  # fmt: skip


def network_figure(pairs: pd.DataFrame) -> Any:
    """Draw the network: each pair over its span at the height of its baseline, and their number.

    Parameters
    ----------
    pairs
        ``start, end, sensor, baseline_days``.
    """
    table = pairs.assign(v_error=np.nan, height=pairs["baseline_days"])
    bars = hv.Overlay(_bars(table, "height", "sensor")).opts(
        frame_width=_WIDTH_PX, frame_height=260, xlabel="", ylabel="baseline (days)",
        title=f"{len(pairs)} pairs of {_image_count(pairs)} images", legend_position="bottom",
        show_legend=True, active_tools=[], toolbar="above", legend_cols=5,
    )  # fmt: skip
    days, count = _pairs_per_day(pairs)
    depth = hv.Area((days, count), "start", "pairs").opts(
        frame_width=_WIDTH_PX, frame_height=120, xlabel="", ylabel="pairs that span a day",
        color=palette("batlow")[60], line_alpha=0, active_tools=[],
    )  # fmt: skip
    return (bars + depth).cols(1)


def _image_count(pairs: pd.DataFrame) -> int:
    return len(np.unique(np.concatenate([pairs["start"].to_numpy(), pairs["end"].to_numpy()])))


def _pairs_per_day(pairs: pd.DataFrame) -> tuple[NDArray[np.datetime64], NDArray[np.int64]]:
    first, last = (pairs[name].to_numpy("datetime64[D]") for name in ("start", "end"))
    days = np.arange(first.min(), last.max() + 1)
    steps = np.zeros(days.size + 1, np.int64)
    np.add.at(steps, (first - days[0]).astype(int), 1)
    np.add.at(steps, (last - days[0]).astype(int), -1)
    return days.astype("datetime64[ns]"), np.cumsum(steps)[:-1]
