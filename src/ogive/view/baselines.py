"""The network of pairs, drawn: which scenes are joined, over which time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ogive.model import InputError, Scene
from ogive.scenes.network import PairIndices

__all__ = ["draw_baselines"]

MOST_PAIRS = 20_000

_BINS = 30
_ARC_POINTS = 25
_ARC_HEIGHT = 0.8  # of the distance between two orbits' lines, for the longest pair
_DARKEST_OF_MANY = 400.0
_COLOURS_USED = 0.85  # the palest of the map would be lost on white

Array = NDArray[np.float64]


def draw_baselines(scenes: Sequence[Scene], pairs: PairIndices) -> Figure:
    """Draw a network of pairs, and how often each length of time is in it.

    Scenes stand at their time, one line for each orbit (or path and row); an arc joins the two
    scenes of each pair, as high as the pair is long. Pairs across orbits are straight lines.
    Colours are those of the histogram.

    Parameters
    ----------
    scenes, pairs
        What `ogive.scenes.pair_indices` was given, and what it gave.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels: the network, and the histogram of baselines.

    Raises
    ------
    InputError
        If there is no scene, or there are more pairs than can be told apart (20,000).
    """
    if not scenes:
        raise InputError("there is no scene to draw: search first")
    if pairs.earlier.size > MOST_PAIRS:
        raise InputError(
            f"{pairs.earlier.size} pairs cannot be told apart in a figure: draw a part of the time "
            f"or of the orbits, with {MOST_PAIRS} at the most"
        )
    times = np.array([scene.time for scene in scenes], "datetime64[us]")
    days = (times - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")  # as matplotlib counts
    orbits = [_orbit(scene) for scene in scenes]
    names = sorted(set(orbits))
    height = np.array([names.index(orbit) for orbit in orbits], float)
    figure = Figure(figsize=(9, 1.6 + 0.9 * len(names)), layout="constrained")
    network, histogram = figure.subplots(1, 2, width_ratios=[3, 1])
    baseline = days[pairs.later] - days[pairs.earlier]
    longest = max(float(baseline.max(initial=0.0)), 1.0)
    _draw_network(network, days, height, pairs, longest)
    network.set_yticks(range(len(names)), names)
    network.set_title(f"{len(scenes)} scenes, {baseline.size} pairs", fontsize=10)
    _draw_histogram(histogram, baseline, longest)
    for axes in (network, histogram):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_network(
    axes: Axes, days: Array, height: Array, pairs: PairIndices, longest: float
) -> None:
    share = (days[pairs.later] - days[pairs.earlier]) / longest
    colours = _colours(share)
    colours[:, 3] = np.clip(_DARKEST_OF_MANY / max(share.size, 1), 0.12, 0.9)
    arcs = _arcs(days, height, pairs, share)
    axes.add_collection(LineCollection(arcs, colors=colours, linewidths=1))
    axes.plot(days, height, "o", color="0.15", markersize=3.5, zorder=3)
    axes.set_ylim(-0.4, height.max() + 0.9)
    axes.set_xlabel("time of acquisition")
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _draw_histogram(axes: Axes, baseline: Array, longest: float) -> None:
    edges = np.linspace(0, longest, _BINS + 1)
    counts, _ = np.histogram(baseline, edges)
    middles = (edges[1:] + edges[:-1]) / 2
    axes.bar(middles, counts, width=edges[1], color=_colours(middles / longest))
    axes.set_xlabel("days between images")
    axes.set_ylabel("pairs")


def _colours(share: Array) -> Any:
    return cm.batlow(_COLOURS_USED * share)


def _orbit(scene: Scene) -> str:
    if scene.relative_orbit is not None:
        return f"orbit {scene.relative_orbit:03d}, {scene.tile}".removesuffix(", ")
    if scene.path is not None:
        return f"path {scene.path}, row {scene.row}"
    return scene.mission or "scenes"


def _arcs(days: Array, height: Array, pairs: PairIndices, share: Array) -> list[Array]:
    """Points of the pairs' lines, each (points, 2)."""
    along = np.linspace(0, 1, _ARC_POINTS)
    start, low = days[pairs.earlier], height[pairs.earlier]
    length, climb = days[pairs.later] - start, height[pairs.later] - low
    rise = np.where(climb == 0, _ARC_HEIGHT * share, 0.0)
    x = start[:, None] + length[:, None] * along
    y = low[:, None] + climb[:, None] * along + rise[:, None] * 4 * along * (1 - along)
    return list(np.stack([x, y], axis=-1))
