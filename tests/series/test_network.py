"""The temporal closure BY = A'X of Charrier et al. (2022), section III-A."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import DateError, InputError
from ogive.series.combinations import closure_matrices
from ogive.series.network import build_network

START = np.datetime64("2015-01-01", "ns")


def times(*days: float) -> np.ndarray:
    return START + np.round(np.array(days) * 86_400e9).astype("timedelta64[ns]")


def matrices(pairs, sampling, closure="combined", valid=None):
    first, second = zip(*pairs, strict=True)
    network = build_network(times(*first), times(*second), sampling_days=sampling, closure=closure)
    return closure_matrices(network, None if valid is None else np.array(valid))


def test_the_papers_figure_2_row_for_row():
    # Dates t0, t1, t2, t4; series t0, t2, t4; observations in the figure's order.
    t0, t1, t2, t4 = 0, 12, 24, 48
    y = [(t0, t1), (t0, t2), (t0, t4), (t1, t2), (t1, t4), (t2, t4)]
    B, A = matrices(y, 24)
    expected = [
        # d01 + d12 = x02 ("it can be established that ...")
        ([1, 0, 0, 1, 0, 0], [1, 0]),
        # d02 = x02
        ([0, 1, 0, 0, 0, 0], [1, 0]),
        # d04 = x02 + x24, "the third row"
        ([0, 0, 1, 0, 0, 0], [1, 1]),
        # d12 makes the first row again: removed. d01 + d14 = x02 + x24 (case 2a)
        ([1, 0, 0, 0, 1, 0], [1, 1]),
        # d24 = x24
        ([0, 0, 0, 0, 0, 1], [0, 1]),
    ]
    np.testing.assert_array_equal(B, [row for row, _ in expected])
    np.testing.assert_array_equal(A, [row for _, row in expected])


@pytest.mark.parametrize(
    ("pairs", "row_b", "row_a"),
    [
        # 1: both dates in T
        ([(0, 48)], [1], [1, 1]),
        # 2a: add the smallest preceding displacement
        ([(12, 48), (0, 12)], [1, 1], [1, 1]),
        # 2b: subtract the smallest one starting there
        ([(12, 48), (12, 24)], [1, -1], [0, 1]),
        # 3a: add the smallest consecutive one
        ([(0, 36), (36, 48)], [1, 1], [1, 1]),
        # 3b: subtract the smallest one ending there
        ([(0, 36), (24, 36)], [1, -1], [1, 0]),
        # 4: both
        ([(12, 36), (0, 12), (36, 48)], [1, 1, 1], [1, 1]),
    ],
)  # fmt: skip
def test_each_case(pairs, row_b, row_a):
    B, A = matrices([*pairs, (0, 48)] if (0, 48) not in pairs else pairs, 24)
    found = [
        k for k in range(len(B)) if B[k, 0] == 1 and list(B[k, : len(row_b)]) == row_b
    ]  # fmt: skip
    assert len(found) == 1
    assert list(A[found[0]]) == row_a


def test_the_shortest_connector_is_taken_and_adding_wins_a_tie():
    # Into day 36: from 24 (12 days) and from 0 (36 days); out of it: to 72 (36 days).
    B, A = matrices([(36, 96), (24, 36), (0, 36), (36, 72), (0, 96)], 24)
    row = next(k for k in range(len(B)) if B[k, 0] == 1)
    assert list(B[row]) == [1, 1, 0, 0, 0]
    assert list(A[row]) == [0, 1, 1, 1]


def test_an_observation_without_connectors_gives_no_row():
    B, _ = matrices([(0, 48), (7, 31)], 24)
    np.testing.assert_array_equal(B, [[1, 0]])


def test_gaps_choose_other_connectors():
    y = [(12, 48), (0, 12), (12, 24), (0, 48)]
    B, _ = matrices(y, 24, valid=[True, False, True, True])
    assert [1, 0, -1, 0] in B.tolist()
    assert not B[:, 1].any()


@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from([12.0, 24.0, 36.0]))
def test_every_row_closes(seed, n, sampling):
    """Whatever is combined, the sum of dates on the left is the sum of periods on the right."""
    rng = np.random.default_rng(seed)
    i = rng.integers(0, 30, n)
    j = i + rng.integers(1, 12, n)
    i, j = np.append(i, 0) * 4.0, np.append(j, 41) * 4.0
    network = build_network(times(*i), times(*j), sampling_days=sampling, closure="combined")
    B, A = closure_matrices(network)
    assert len(B) <= n + 1
    assert len({(b.tobytes(), a.tobytes()) for b, a in zip(B, A, strict=True)}) == len(B)
    position = np.cumsum(rng.normal(size=200))  # any motion, known at whole multiples of 4 days

    def at(days):
        return np.interp(days, 4.0 * np.arange(200), position)

    first, second = (i - i.min()), (j - i.min())
    displacement = at(second) - at(first)
    steps = np.diff(at(network.plan.node_days))
    np.testing.assert_allclose(B @ displacement, A @ steps, atol=1e-11)


def test_dates_of_one_day_are_one_date():
    # Two frames of a pass, 25 seconds apart.
    second = 25 / 86_400
    network = build_network(
        times(0, second, 16), times(16, 16 + second, 32), sampling_days=16, closure="dates"
    )
    assert network.plan.node_days.size == 3
    np.testing.assert_array_equal(network.plan.first_date, [0, 0, 1])


def test_dates_near_the_series_are_the_series():
    network = build_network(
        times(0.0, 12.3), times(11.8, 24.1), sampling_days=12, closure="combined"
    )
    np.testing.assert_array_equal(network.plan.node_days, [0, 12, 24])
    assert not network.plan.combine


@pytest.mark.parametrize(
    ("first", "second", "sampling", "closure", "error", "words"),
    [
        ([0], [0], 12, "dates", DateError, "at the same time"),
        ([24], [0], 12, "dates", DateError, "swap the dates"),
        ([0, 0], [0.2, 24], 12, "dates", DateError, "too close"),
        ([0], [10], 12, "dates", DateError, "less than one period"),
        ([0], [10], -1, "dates", InputError, "not usable"),
        ([0], [10], 5, "spline", InputError, "unknown"),
        ([], [], 5, "dates", DateError, "no observation"),
    ],
)
def test_bad_networks_are_told(first, second, sampling, closure, error, words):
    with pytest.raises(error, match=words):
        build_network(times(*first), times(*second), sampling_days=sampling, closure=closure)


def test_missing_dates_are_told():
    first = times(0, 12)
    first[1] = np.datetime64("NaT")
    with pytest.raises(DateError, match="no date"):
        build_network(first, times(12, 24), sampling_days=12, closure="dates")
