"""Observations that several rows of a network share, which correlates these rows, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations
from .lanes import LANES, inner
from .network import Plan
from .rows import Rows
from .solver import Envelope

__all__ = ["add_noise", "pull_of_observation", "rows_of_observations", "sharing"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


class Members(NamedTuple):
    """The rows that each observation is part of: those from ``begin[y]`` to ``begin[y + 1]``."""

    begin: I8
    row: I8
    sign: I8


@inner
def rows_of_observations(links: Combinations, total: int, observations: int) -> Members:
    """List the rows by observation."""
    begin = np.zeros(observations + 1, np.int64)
    for r in range(total):
        for k in range(links.members[r]):
            begin[links.member[r, k] + 1] += 1
    for y in range(observations):
        begin[y + 1] += begin[y]
    place = begin[:-1].copy()
    row, sign = np.zeros(begin[-1], np.int64), np.zeros(begin[-1], np.int64)
    for r in range(total):
        for k in range(links.members[r]):
            y = links.member[r, k]
            row[place[y]], sign[place[y]] = r, links.sign[r, k]
            place[y] += 1
    return Members(begin, row, sign)


@inner
def pull_of_observation(
    links: Combinations, rows: Rows, lane: int, members: Members, y: int, pull: F8, touched: I8
) -> int:
    """Column y of AᵀWB: ``pull`` at the nodes that are listed in ``touched``; returns how many."""
    count = 0
    for k in range(members.begin[y], members.begin[y + 1]):
        r = members.row[k]
        value = members.sign[k] * rows.weight[r, lane]
        if value == 0.0:
            continue
        for node, part in ((links.end[r], value), (links.start[r], -value)):
            known = False
            for p in range(count):
                known |= touched[p] == node
            if not known:
                touched[count] = node
                count += 1
                pull[node] = 0.0
            pull[node] += part
    return count


@inner
def sharing(
    plan: Plan, links: Combinations, rows: Rows, total: int, lane: int, obs_variance: F8,
    shape: Envelope, band: F8,
) -> float:  # fmt: skip
    """By how much more the solution follows rows that share observations than independent ones.

    The residuals of n rows lose tr(N⁻¹AᵀW BΣBᵀ WA) of n degrees of freedom to it. Were the rows
    independent, that trace would be the sum of their leverages (times their biweights).
    """
    n, nodes = plan.first_date.size, plan.node_days.size
    members = rows_of_observations(links, total, n)
    pull, touched = np.zeros(nodes), np.zeros(nodes, np.int64)
    trace, alone = 0.0, 0.0
    for y in range(n):
        count = pull_of_observation(links, rows, lane, members, y, pull, touched)
        for p in range(count):
            for q in range(count):
                i, j = touched[p] - 1, touched[q] - 1
                if i >= 0 and j >= 0:
                    inverse = band[LANES * (i * shape.stride + shape.half_width + j) + lane]
                    trace += obs_variance[y] * pull[touched[p]] * pull[touched[q]] * inverse
    for r in range(total):
        alone += rows.factor[r, lane] * rows.leverage[r, lane]
    return trace / max(alone, 1e-30)


@inner
def add_noise(
    plan: Plan, links: Combinations, rows: Rows, total: int, lane: int, obs_variance: F8,
    step: float, shape: Envelope, envelope: F8,
) -> None:  # fmt: skip
    """Add step · AᵀW B Σ BᵀWA, the noise of rows that share observations."""
    n, nodes = plan.first_date.size, plan.node_days.size
    members = rows_of_observations(links, total, n)
    pull, touched = np.zeros(nodes), np.zeros(nodes, np.int64)
    for y in range(n):
        count = pull_of_observation(links, rows, lane, members, y, pull, touched)
        scale = step * obs_variance[y]
        for p in range(count):
            for q in range(p + 1):
                i, j = max(touched[p], touched[q]) - 1, min(touched[p], touched[q]) - 1
                if j >= 0:
                    value = scale * pull[touched[p]] * pull[touched[q]]
                    envelope[LANES * (shape.at[i] + j) + lane] += value
