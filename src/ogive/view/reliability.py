"""The reliability diagram: what probabilities said against what came true."""

from __future__ import annotations

from collections.abc import Mapping

from cmcrameri import cm
from matplotlib.figure import Figure

from ogive.evaluation.reliability import Reliability
from ogive.model import InputError

__all__ = ["plot_reliability"]


def plot_reliability(
    panels: Mapping[str, Mapping[str, Reliability]], *, what: str = "right within 1 px"
) -> Figure:
    """Draw reliability diagrams side by side, with the share of points in each bin below.

    Parameters
    ----------
    panels
        By title; in each, by name, what `ogive.evaluation.reliability.reliability` gives.
    what
        What the probability is of.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if not panels or not all(panels.values()):
        raise InputError("no reliability to draw: give at least one in each panel")
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = {
        name: cm.batlow(0.12 + 0.62 * k / max(len(names) - 1, 1)) for k, name in enumerate(names)
    }
    figure = Figure(figsize=(0.6 + 3.5 * len(panels), 5.0), layout="constrained")
    columns = figure.subplots(
        2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=[3, 1]
    )
    for k, (title, panel) in enumerate(panels.items()):
        above, below = columns[:, k]
        above.plot([0, 1], [0, 1], color="0.6", lw=1, zorder=0)
        for name, found in panel.items():
            error, number = found.expected_calibration_error, found.counts.sum()
            label = f"{name}\nECE {error:.3f}, n = {number:,}"
            above.plot(
                found.predicted, found.observed, "o-", ms=4, lw=1.4, color=colours[name],
                label=label,
            )  # fmt: skip
            share = found.counts / found.counts.sum()
            below.stairs(share, found.edges, color=colours[name], lw=1.4)
        above.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        above.set_title(title, loc="left", fontsize=10)
        above.legend(frameon=False, fontsize=7.5, loc="upper left")
        below.set(xlabel="Confidence", ylim=(0, None))
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
    columns[0, 0].set_ylabel(f"Share {what}")
    columns[1, 0].set_ylabel("Share of points")
    return figure
