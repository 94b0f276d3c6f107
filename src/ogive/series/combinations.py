"""The rows of ``B Y = A' X``: observations that are combined until the dates of a series close.

Charrier et al. (2022), section III-A. Every row is kept as one *combination*: up to three
observations with signs, and the two nodes (dates of the series) between which their sum runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .network import Network, Plan

__all__ = ["Combinations", "closure_matrices", "combine", "empty_combinations", "left_out"]

I8 = NDArray[np.int64]


class Combinations(NamedTuple):
    """Rows of ``B Y = A' X``: observations ``member[r]`` with ``sign[r]``, between two nodes."""

    start: I8
    end: I8
    member: I8
    sign: I8
    members: I8


def empty_combinations(size: int) -> Combinations:
    """Room for as many combinations as there are observations."""
    return Combinations(
        start=np.zeros(size, np.int64),
        end=np.zeros(size, np.int64),
        member=np.zeros((size, 3), np.int64),
        sign=np.zeros((size, 3), np.int64),
        members=np.zeros(size, np.int64),
    )


@njit(nogil=True, cache=True)
def combine(plan: Plan, valid: NDArray[np.bool_], rows: Combinations) -> int:
    """Write the rows of ``B Y = A' X`` for those observations that are valid; returns how many.

    A date that is no node of the series is replaced by one of its two *connectors*, the shortest
    valid observation from a node to it (added before, subtracted after) and the shortest one from
    it to a node (subtracted before, added after). Of the ways open to an observation that with the
    shortest connectors is taken, adding before subtracting; equal rows are kept once.
    """
    n = plan.first_date.size
    total = 0
    if not plan.combine:  # every date is a node, and every observation a row
        for y in range(n):
            if valid[y]:
                rows.start[total] = plan.node_of_date[plan.first_date[y]]
                rows.end[total] = plan.node_of_date[plan.second_date[y]]
                rows.member[total, 0], rows.sign[total, 0], rows.members[total] = y, 1, 1
                total += 1
        return total
    into, out = _connectors(plan, valid)
    table = np.zeros(1 << (int(np.ceil(np.log2(max(n, 2)))) + 1), np.int64)
    for y in range(n):
        if not valid[y]:
            continue
        if _write_row(plan, y, into, out, rows, total) and _is_new(rows, total, table):
            total += 1
    return total


@njit(nogil=True, cache=True)
def _connectors(plan: Plan, valid: NDArray[np.bool_]) -> tuple[I8, I8]:
    """Find the shortest valid observation from a node into each date, and from it to a node."""
    into = np.full(plan.date_days.size, -1, np.int64)
    out = np.full(plan.date_days.size, -1, np.int64)
    for y in range(plan.first_date.size):
        if not valid[y]:
            continue
        i, j = plan.first_date[y], plan.second_date[y]
        span = plan.span_years[y]
        if plan.node_of_date[i] >= 0 and (into[j] < 0 or span < plan.span_years[into[j]]):
            into[j] = y
        if plan.node_of_date[j] >= 0 and (out[i] < 0 or span < plan.span_years[out[i]]):
            out[i] = y
    return into, out


@njit(nogil=True, cache=True)
def _write_row(plan: Plan, y: int, into: I8, out: I8, rows: Combinations, row: int) -> bool:
    i, j = plan.first_date[y], plan.second_date[y]
    at_start, at_end = plan.node_of_date[i] >= 0, plan.node_of_date[j] >= 0
    best = np.inf
    for way_i in range(1 if at_start else 2):  # 0: add, 1: subtract
        for way_j in range(1 if at_end else 2):
            before = -1 if at_start else (into[i] if way_i == 0 else out[i])
            after = -1 if at_end else (out[j] if way_j == 0 else into[j])
            if (not at_start and before < 0) or (not at_end and after < 0):
                continue
            a, b, length = i, j, 0.0
            if before >= 0:
                a = plan.first_date[before] if way_i == 0 else plan.second_date[before]
                length += plan.span_years[before]
            if after >= 0:
                b = plan.second_date[after] if way_j == 0 else plan.first_date[after]
                length += plan.span_years[after]
            start, end = plan.node_of_date[a], plan.node_of_date[b]
            if start >= end or length >= best:
                continue
            best = length
            rows.start[row], rows.end[row] = start, end
            rows.member[row, 0], rows.sign[row, 0] = y, 1
            count = 1
            if before >= 0:
                rows.member[row, count] = before
                rows.sign[row, count] = 1 if way_i == 0 else -1
                count += 1
            if after >= 0:
                rows.member[row, count] = after
                rows.sign[row, count] = 1 if way_j == 0 else -1
                count += 1
            rows.members[row] = count
    return best < np.inf


@njit(nogil=True, cache=True)
def _is_new(rows: Combinations, row: int, table: I8) -> bool:
    """Whether no earlier row has the same observations with the same signs."""
    a, b, c = np.int64(0), np.int64(0), np.int64(0)
    count = rows.members[row]
    a = 2 * rows.member[row, 0] + (1 if rows.sign[row, 0] < 0 else 0) + 2
    if count > 1:
        b = 2 * rows.member[row, 1] + (1 if rows.sign[row, 1] < 0 else 0) + 2
    if count > 2:
        c = 2 * rows.member[row, 2] + (1 if rows.sign[row, 2] < 0 else 0) + 2
    low, high = min(a, min(b, c)), max(a, max(b, c))
    middle = a + b + c - low - high
    key = (high << 42) | (middle << 21) | low
    mask = table.size - 1
    slot = ((key ^ (key >> 23)) * 0x9E3779B97F4A7C1 >> 20) & mask
    while table[slot] != 0:
        if table[slot] == key:
            return False
        slot = (slot + 1) & mask
    table[slot] = key
    return True


def closure_matrices(
    network: Network, valid: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Write out the dense matrices B (rows x observations) and A' (rows x periods between nodes).

    For teaching and tests: the inversion itself never forms them.

    Examples
    --------
    The network of the paper's figure 2, dates t0, t1, t2, t4 and a series t0, t2, t4:

    >>> days = lambda *d: np.datetime64("2020-01-01") + np.array(d, dtype="timedelta64[D]")
    >>> from ogive.series.network import build_network
    >>> network = build_network(
    ...     days(0, 0, 0, 12, 12), days(12, 24, 48, 24, 48), sampling_days=24, closure="combined"
    ... )
    >>> combination, closure = closure_matrices(network)
    >>> combination[0], closure[0]  # d01 + d12 = x02
    (array([1, 0, 0, 1, 0], dtype=int8), array([1, 0], dtype=int8))
    """
    plan = network.plan
    if valid is None:
        valid = np.ones(plan.first_date.size, dtype=bool)
    rows = empty_combinations(plan.first_date.size)
    total = combine(plan, valid, rows)
    combination = np.zeros((total, plan.first_date.size), np.int8)
    closure = np.zeros((total, plan.node_days.size - 1), np.int8)
    for row in range(total):
        closure[row, rows.start[row] : rows.end[row]] = 1
        for k in range(rows.members[row]):
            combination[row, rows.member[row, k]] = rows.sign[row, k]
    return combination, closure


def left_out(network: Network) -> NDArray[np.bool_]:
    """Tell which observations are part of no row, even where all are valid.

    Examples
    --------
    Nothing links the day 30 to a series of 24 days:

    >>> from ogive.series.network import build_network
    >>> days = lambda *d: np.datetime64("2020-01-01") + np.array(d, dtype="timedelta64[D]")
    >>> left_out(build_network(days(0, 12), days(48, 30), sampling_days=24, closure="combined"))
    array([False,  True])
    """
    size = network.plan.first_date.size
    rows = empty_combinations(size)
    total = combine(network.plan, np.ones(size, dtype=bool), rows)
    unused = np.ones(size, dtype=bool)
    for place in range(rows.member.shape[1]):
        unused[rows.member[:total, place][rows.members[:total] > place]] = False
    return unused
