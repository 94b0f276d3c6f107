"""Section: which scenes and pairs were used, which were left out, and why."""

from __future__ import annotations

from collections.abc import Sequence

from cmcrameri import cm
from matplotlib.figure import Figure

from ogive.model import Scene
from ogive.view.document import Section, Table, picture
from ogive.workflow.catalogue import ErrorKind, RegionStatus, SceneUse

from .measured import Measured

__all__ = ["network_section", "scene_rows"]

MOST_SCENES = 500
"""Scenes that are listed one by one."""
_MOST_PAIRS_DRAWN = 20_000
_EXAMPLE_LETTERS = 300
_CAPTION = (
    "Each pair whose velocity was measured, by the middle of its dates and the time between them; "
    "darker where more of its points were measured."
)
Row = tuple[str | int, ...]


def scene_rows(scenes: Sequence[Scene], uses: Sequence[SceneUse]) -> list[Row]:
    """Tell of each scene when it was taken, by what, how cloudy, and what became of its pairs.

    Parameters
    ----------
    scenes
        In the order of their time.
    uses
        Of the same scenes.
    """
    by_name = {use.name: use for use in uses}
    rows: list[Row] = []
    for scene in scenes:
        use = by_name[scene.id]
        satellite = f"{scene.mission} {scene.satellite}".strip()
        cloud = "–" if scene.cloud_cover_percent is None else f"{scene.cloud_cover_percent:.0f}"
        rows.append(
            (
                f"{scene.time:%d %b %Y}", satellite, _track(scene), cloud, use.pairs, use.done,
                use.failed, _fate(use),
            )
        )  # fmt: skip
    return rows


def _track(scene: Scene) -> str:
    if scene.path is not None:
        return f"path {scene.path}, row {scene.row}"
    return "" if scene.relative_orbit is None else f"orbit {scene.relative_orbit}"


def _fate(use: SceneUse) -> str:
    """Say in a few words why a scene is not used."""
    if not use.pairs:
        return "in no pair"
    if not use.done:
        return "all its pairs failed" if use.failed == use.pairs else "not measured yet"
    return "used"


def network_section(status: RegionStatus, rows: Sequence[Row], measured: Measured) -> Section:
    """Tell of scenes and pairs.

    Parameters
    ----------
    status
        Of the region.
    rows
        Of `scene_rows`.
    measured
        Figures of the pairs with a velocity.
    """
    used = sum(row[-1] == "used" for row in rows)
    alone = sum(row[-1] == "in no pair" for row in rows)
    text = [
        f"{used:,} of {status.scenes:,} scenes are in a velocity"
        + (f"; {alone:,} are in no pair, since none is near enough in time" if alone else "")
        + f". {len(measured):,} of {status.pairs:,} pairs have a velocity.",
    ]
    head = ("date", "satellite", "track", "cloud (%)", "pairs", "measured", "failed", "")
    listed = rows[:: len(rows) // MOST_SCENES + 1]
    which = "Each scene" if len(listed) == len(rows) else f"{len(listed)} of {len(rows)} scenes"
    tables = [_failures(status.errors)] if status.errors else []
    tables.append(Table(head, listed, f"{which}, and what became of it", folded=True))
    pictures = [picture(_baselines(measured), _CAPTION)] if len(measured) else []
    return Section("Scenes and pairs", tuple(text), tuple(tables), tuple(pictures))


def _failures(errors: Sequence[ErrorKind]) -> Table:
    rows = [
        (error.step, error.kind, f"{error.count:,}", error.example[:_EXAMPLE_LETTERS])
        for error in errors
    ]
    return Table(("step", "kind", "tasks", "for example"), rows, "What was left out, and why")


def _baselines(measured: Measured) -> Figure:
    """Draw the pairs: middle date, days, and how much of each was measured."""
    drawn = slice(None, None, len(measured) // _MOST_PAIRS_DRAWN + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    share = 100 * measured.measured_share[drawn]
    points = axes.scatter(
        measured.mid_date[drawn], measured.days[drawn], c=share, cmap=cm.batlow_r, vmin=0, vmax=100,
        s=12, alpha=0.8,
    )  # fmt: skip
    figure.colorbar(points, ax=axes, label="Measured points (%)")
    axes.set(ylabel="Days between the images", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
