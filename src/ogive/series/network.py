"""The network of displacement observations and the regular series it is to explain.

Charrier et al. (2022), section III-A: observations ``Y`` between acquisition dates are linked to
the leap-frog displacements ``X`` between the dates of a series, the *nodes*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ogive.model import DAYS_PER_YEAR, DateError, InputError

__all__ = ["Closure", "Network", "Plan", "build_network"]

Closure = Literal["combined", "dates"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

SAME_DATE_DAYS = 0.5
"""Acquisitions closer than this are one date: neighbouring frames of one pass, say."""


class Plan(NamedTuple):
    """A network as the compiled kernels see it.

    ``first_date`` and ``second_date`` index ``date_days``; ``node_of_date`` is -1 for a date that
    is none of the series' nodes. Edge ``k`` of the output lies ``period_fraction[k]`` of the way
    from node ``period_node[k]`` to the next one; an observation from node ``a`` to node ``b``
    overlaps the periods from ``first_period[a]`` up to, but without, ``end_period[b]``.
    ``roughness[i, q]`` is entry (i, i - q) of G = ΓᵀΓ, where Γ takes the differences of successive
    velocities (m/day) of positions at all nodes, and ``roughness_squared`` that of G².
    """

    first_date: I8
    second_date: I8
    span_years: F8
    date_days: F8
    node_of_date: I8
    node_days: F8
    period_node: I8
    period_fraction: F8
    first_period: I8
    end_period: I8
    roughness: F8
    roughness_squared: F8
    combine: bool


@dataclass(frozen=True, slots=True)
class Network:
    """Dates, nodes and output periods of one cube, in days since ``epoch``."""

    epoch: np.datetime64
    edges_days: F8
    plan: Plan

    @property
    def edges(self) -> NDArray[np.datetime64]:
        """The ``T + 1`` dates between which the series' periods lie."""
        nanoseconds = np.round(self.edges_days * 86_400e9).astype("timedelta64[ns]")
        edges: NDArray[np.datetime64] = self.epoch.astype("datetime64[ns]") + nanoseconds
        return edges


def build_network(
    first: NDArray[np.datetime64],
    second: NDArray[np.datetime64],
    *,
    sampling_days: float,
    closure: Closure,
) -> Network:
    """Arrange the dates of a cube's observations for its inversion.

    Acquisitions less than half a day apart count as one date, at their mean time (or at the
    regular date they belong to); observed *velocities* are kept, displacements are taken over the
    time between the dates so merged.

    Parameters
    ----------
    first, second
        Acquisition times of the earlier and the later image of every observation.
    sampling_days
        Length of the series' periods in days.
    closure
        ``"combined"``: the unknowns lie between regular dates, and observations with other dates
        are combined until they fit (the paper's improved closure). ``"dates"``: the unknowns lie
        between all acquisition dates; the regular series is read off the cumulative displacement.

    Raises
    ------
    DateError
        If a date is missing, if dates are reversed or equal, or if all of them together do not
        span one period.
    InputError
        If the sampling is not positive or the closure unknown.

    Examples
    --------
    >>> days = lambda *d: np.datetime64("2020-01-01") + np.array(d, dtype="timedelta64[D]")
    >>> network = build_network(days(0, 12), days(24, 24), sampling_days=12, closure="dates")
    >>> network.plan.node_days
    array([ 0., 12., 24.])
    """
    if closure not in ("combined", "dates"):
        raise InputError(f'closure {closure!r} is unknown: use "combined" or "dates"')
    if not (np.isfinite(sampling_days) and sampling_days > 2 * SAME_DATE_DAYS):
        raise InputError(
            f"a sampling of {sampling_days:g} days is not usable: give more than "
            f"{2 * SAME_DATE_DAYS:g} days, such as '36D'"
        )
    _check_dates(first, second)
    epoch = np.min(first)
    first_days = (first - epoch) / np.timedelta64(1, "D")
    second_days = (second - epoch) / np.timedelta64(1, "D")
    regular = _regular_edges(float(np.max(second_days)), sampling_days)
    fixed = regular if closure == "combined" else np.empty(0)
    label, date_days = _merge_dates(np.concatenate([first_days, second_days]), fixed)
    first_date, second_date = label[: first.size], label[first.size :]
    if np.any(first_date == second_date):
        bad = int(np.flatnonzero(first_date == second_date)[0])
        raise DateError(
            f"the two images of observation {bad} ({first[bad]} and {second[bad]}) are too close "
            f"in time: dates less than {SAME_DATE_DAYS:g} days apart count as one; leave it out"
        )
    edges = regular if closure == "combined" else date_days[0] + regular
    edges = edges[edges <= date_days[-1] + 1e-9]
    node_days = edges if closure == "combined" else date_days
    node_of_date = _nodes_of_dates(date_days, node_days)
    period_node, period_fraction = _locate(edges, node_days)
    roughness = _roughness(node_days)
    return Network(
        epoch=epoch,
        edges_days=edges,
        plan=Plan(
            first_date=first_date,
            second_date=second_date,
            span_years=(date_days[second_date] - date_days[first_date]) / DAYS_PER_YEAR,
            date_days=date_days,
            node_of_date=node_of_date,
            node_days=node_days,
            period_node=period_node,
            period_fraction=period_fraction,
            first_period=np.searchsorted(edges, node_days + 1e-9, side="right") - 1,
            end_period=np.searchsorted(edges, node_days - 1e-9, side="left"),
            roughness=_bands(roughness, 3),
            roughness_squared=_bands(roughness @ roughness, 5),
            combine=bool(closure == "combined" and np.any(node_of_date < 0)),
        ),
    )


def _check_dates(first: NDArray[np.datetime64], second: NDArray[np.datetime64]) -> None:
    if first.size == 0:
        raise DateError("the cube holds no observation at all: its time axis has length 0")
    missing = np.isnat(first) | np.isnat(second)
    if np.any(missing):
        raise DateError(
            f"{np.count_nonzero(missing)} observations have no date (the first is number "
            f"{int(np.flatnonzero(missing)[0])}): leave them out or give their dates"
        )
    for wrong, what in ((second < first, "after"), (second == first, "at the same time as")):
        if np.any(wrong):
            k = int(np.flatnonzero(wrong)[0])
            raise DateError(
                f"{np.count_nonzero(wrong)} observations have their earlier image {what} the "
                f"later one (the first is number {k}: {first[k]} and {second[k]}): "
                "swap the dates and the sign of the velocity, or leave them out"
            )


def _regular_edges(last_day: float, sampling_days: float) -> F8:
    periods = int(np.floor((last_day + SAME_DATE_DAYS) / sampling_days))
    if periods < 1:
        raise DateError(
            f"the observations span {last_day:.1f} days, less than one period of "
            f"{sampling_days:g} days: choose a shorter sampling"
        )
    return sampling_days * np.arange(periods + 1, dtype=np.float64)


def _merge_dates(days: F8, fixed: F8) -> tuple[I8, F8]:
    """Label times by date: those near a fixed date take it, the others group by nearness."""
    merged = days.copy()
    free = np.ones(days.size, dtype=bool)
    if fixed.size:
        nearest = fixed[np.clip(np.searchsorted(fixed, days), 1, fixed.size - 1)]
        before = fixed[np.clip(np.searchsorted(fixed, days), 1, fixed.size - 1) - 1]
        nearest = np.where(np.abs(before - days) <= np.abs(nearest - days), before, nearest)
        free = np.abs(nearest - days) >= SAME_DATE_DAYS
        merged[~free] = nearest[~free]
    times = np.unique(days[free])
    position = 0
    while position < times.size:
        end = int(np.searchsorted(times, times[position] + SAME_DATE_DAYS, side="left"))
        group = times[position:end]
        merged[free & (days >= group[0]) & (days <= group[-1])] = group.mean()
        position = end
    dates, label = np.unique(merged, return_inverse=True)
    return label.astype(np.int64), dates


def _nodes_of_dates(date_days: F8, node_days: F8) -> I8:
    position = np.clip(np.searchsorted(node_days, date_days), 0, node_days.size - 1)
    return np.where(node_days[position] == date_days, position, -1).astype(np.int64)


def _locate(edges: F8, node_days: F8) -> tuple[I8, F8]:
    """Find the node before each edge, and how far the edge lies on the way to the next one."""
    node = np.clip(np.searchsorted(node_days, edges, side="right") - 1, 0, node_days.size - 2)
    fraction = (edges - node_days[node]) / (node_days[node + 1] - node_days[node])
    return node.astype(np.int64), np.clip(fraction, 0.0, 1.0)


def _roughness(node_days: F8) -> sparse.csr_array:
    """G = ΓᵀΓ, whose quadratic form sums the squares of the changes of velocity between nodes."""
    step = np.diff(node_days)
    velocity = sparse.diags_array(
        [-1 / step, 1 / step], offsets=[0, 1], shape=(step.size, step.size + 1)
    )
    change = sparse.csr_array(velocity)[1:] - sparse.csr_array(velocity)[:-1]
    return sparse.csr_array(change.T @ change)


def _bands(matrix: sparse.csr_array, count: int) -> F8:
    """Entries (i, i - q) of a symmetric matrix for q below ``count``; zero before column 0."""
    bands = np.zeros((matrix.shape[0], count))
    for q in range(min(count, matrix.shape[0])):
        bands[q:, q] = matrix.diagonal(-q)
    return bands
