"""Section: what each step took in time and on disk, and which versions did it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from ogive.view.document import Section, Table
from ogive.workflow.catalogue import RegionStatus

__all__ = ["cost_section", "versions"]

PACKAGES = ("ogive", "numpy", "numba", "scipy", "xarray", "rasterio", "torch")


def versions() -> dict[str, str]:
    """Tell the versions of what decides results.

    Examples
    --------
    >>> "numpy" in versions()
    True
    """
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed was not used
    return found


def cost_section(
    status: RegionStatus, sizes: Mapping[str, int], written_by: Sequence[str] = ()
) -> Section:
    """Tell of time, disk and versions.

    Parameters
    ----------
    status
        Of the region.
    sizes
        Bytes of each step's products.
    written_by
        Versions of ogive that some of the products name.
    """
    rows = [
        (
            step.step, f"{step.done:,}", f"{step.failed:,}", f"{step.pending + step.running:,}",
            f"{step.wall_s:.2f}", f"{step.done * step.wall_s / 3600:.2f}",
            f"{step.done * step.cpu_s / 3600:.2f}", f"{sizes.get(step.step, 0) / 1e6:,.1f}",
        )
        for step in status.steps
    ]  # fmt: skip
    head = (
        "step", "done", "failed", "left", "seconds each", "hours in all", "of them computing", "MB",
    )  # fmt: skip
    hours = sum(step.done * step.wall_s for step in status.steps) / 3600
    text = (
        f"{hours:.2f} hours of work, {sum(sizes.values()) / 1e6:,.1f} MB of products (the images "
        "that are kept not counted).",
        "Seconds are the mean of the two hundred tasks of a step that ended last; hours are that, "
        "times the tasks that are done.",
        *([f"The velocities were written by {' and '.join(written_by)}."] if written_by else []),
        "This page was made by "
        + ", ".join(f"{name} {number}" for name, number in versions().items())
        + ".",
    )
    return Section("Time, disk and versions", text, (Table(head, rows),))
