"""The envelope solver against dense linear algebra."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ogive.series.solver import factorise, inverse_in_envelope, shape_rows, solve_two


def system(seed: int, size: int, reach: int):
    """A positive definite matrix with a random skyline, dense and as an envelope."""
    rng = np.random.default_rng(seed)
    first = np.maximum(np.arange(size) - rng.integers(0, reach + 1, size), 0)
    lower = np.tril(rng.normal(size=(size, size)))
    for i in range(size):
        lower[i, : first[i]] = 0
        lower[i, i] = 1 + abs(lower[i, i])
    # N = L Lᵀ fills no more than L's envelope.
    dense = lower @ lower.T
    start, last = np.zeros(size, np.int64), np.zeros(size, np.int64)
    length = shape_rows(first, size, start, last)
    envelope = np.concatenate([dense[i, first[i] : i + 1] for i in range(size)])
    assert envelope.size == length
    return dense, lower, envelope, start, first, last


sizes = st.integers(1, 40)


@given(st.integers(0, 10_000), sizes, st.integers(0, 15))
def test_factor_solution_and_inverse_equal_dense_ones(seed, size, reach):
    dense, lower, envelope, start, first, last = system(seed, size, reach)
    rng = np.random.default_rng(seed + 1)
    right = rng.normal(size=(2, size))
    assert factorise(envelope, start, first, size, np.zeros(size))
    unpacked = np.zeros((size, size))
    for i in range(size):
        unpacked[i, first[i] : i + 1] = envelope[start[i] : start[i] + i - first[i] + 1]
    # Backward stability: errors of a few roundings times the condition number.
    tolerance = 1e-14 * size * np.linalg.cond(dense)
    np.testing.assert_allclose(unpacked, lower, atol=tolerance * np.abs(lower).max(), rtol=0)
    x, y = right.copy()
    solve_two(envelope, start, first, size, x, y)
    expected = np.linalg.solve(dense, right.T).T
    scale = np.abs(expected).max()
    np.testing.assert_allclose([x, y], expected, atol=tolerance * scale, rtol=0)
    half = int((np.arange(size) - first).max())
    band = np.full((size, 2 * half + 1), 7.0)  # what is there from before must not matter
    inverse_in_envelope(
        envelope, start, first, last, size, half, band, np.zeros((2, size)),
        np.zeros(size, np.int64),
    )  # fmt: skip
    inverse = np.linalg.inv(dense)
    for i in range(size):
        for k in range(first[i], i + 1):
            for a, b in ((i, k), (k, i)):
                assert (
                    abs(band[a, half + b - a] - inverse[a, b]) <= tolerance * np.abs(inverse).max()
                )


def test_a_matrix_that_is_not_positive_definite_is_noticed():
    envelope = np.array([1.0, 2.0, 1.0])  # [[1, 2], [2, 1]] has a negative eigenvalue
    assert not factorise(envelope, np.array([0, 1]), np.array([0, 0]), 2, np.zeros(2))
