"""The envelope solver against dense linear algebra."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ogive.series.lanes import LANES, aligned
from ogive.series.solver import (
    BLOCK,
    factorise,
    inverse_in_envelope,
    shape_envelope,
    solve_two,
)


def system(rng, reach):
    """A positive definite matrix with a skyline, and its Cholesky factor."""
    size = reach.size
    lower = np.tril(rng.normal(size=(size, size)))
    for i in range(size):
        lower[i, : reach[i]] = 0
        lower[i, i] = 1 + abs(lower[i, i])
    # N = L Lᵀ fills no more than L's envelope.
    return lower @ lower.T, lower


def pack(shape, matrices):
    """Matrices into the lanes of an envelope, its unused rows with a diagonal of one."""
    envelope = aligned(shape.length).reshape(-1, LANES)
    for i, at in enumerate(shape.at):
        begin = BLOCK * shape.first[i // BLOCK]
        if i < matrices.shape[1]:
            envelope[at + begin : at + i + 1] = matrices[:, i, begin : i + 1].T
        else:
            envelope[at + i] = 1.0
    return envelope.reshape(-1)


sizes = st.integers(1, 40)


@given(st.integers(0, 10_000), sizes, st.integers(0, 15))
def test_factor_solution_and_inverse_equal_dense_ones(seed, size, reach):
    rng = np.random.default_rng(seed)
    first = np.maximum(np.arange(size) - rng.integers(0, reach + 1, size), 0)
    systems = [system(rng, first) for _ in range(LANES)]
    denses, lowers = (np.stack(part) for part in zip(*systems, strict=True))
    shape = shape_envelope(first)
    rows = shape.at.size
    envelope, reciprocal = pack(shape, denses), aligned(rows)
    right = rng.normal(size=(2, size, LANES))
    sound = np.zeros(LANES, bool)
    factorise(shape, envelope, reciprocal, sound)
    assert sound.all()
    solution = np.zeros((2, rows, LANES))
    solution[:, :size] = right
    x, y = (part.reshape(-1) for part in solution)
    solve_two(shape, envelope, reciprocal, x, y)
    band = np.full((rows * (shape.stride + 1) + 1) * LANES, 7.0)  # what was there must not matter
    inverse_in_envelope(shape, envelope, reciprocal, band, aligned(BLOCK * rows))
    factor, band = envelope.reshape(-1, LANES), band.reshape(-1, LANES)
    for lane, (dense, lower) in enumerate(zip(denses, lowers, strict=True)):
        # Backward stability: errors of a few roundings times the condition number.
        tolerance = 1e-14 * size * np.linalg.cond(dense)
        expected = np.linalg.solve(dense, right[..., lane].T).T
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            solution[:, :size, lane], expected, atol=tolerance * scale, rtol=0
        )
        inverse = np.linalg.inv(dense)
        for i in range(size):
            begin = first[i]
            found = factor[shape.at[i] + begin : shape.at[i] + i + 1, lane]
            np.testing.assert_allclose(
                found, lower[i, begin : i + 1], atol=tolerance * np.abs(lower).max(), rtol=0
            )
            k = np.arange(begin, i + 1)
            for places in (
                i * shape.stride + shape.half_width + k,
                k * shape.stride + shape.half_width + i,
            ):
                np.testing.assert_allclose(
                    band[places, lane], inverse[i, k],
                    atol=tolerance * np.abs(inverse).max(), rtol=0,
                )  # fmt: skip


def test_a_matrix_that_is_not_positive_definite_is_noticed():
    matrices = np.stack([np.eye(2)] * LANES)
    matrices[3] = [[1, 2], [2, 1]]  # has a negative eigenvalue
    matrices[5] = [[1, 1], [1, 1]]  # is singular
    matrices[6, 0, 0] = np.nan
    shape = shape_envelope(np.array([0, 0]))
    envelope, sound = pack(shape, matrices), np.zeros(LANES, bool)
    factorise(shape, envelope, aligned(shape.at.size), sound)
    assert sound.tolist() == [True, True, True, False, True, False, False, True]


@given(st.integers(0, 10_000))
def test_neighbours_and_a_wider_envelope_change_no_bit(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 30))
    first = np.maximum(np.arange(size) - rng.integers(0, 6, size), 0)
    wider = np.maximum(first - 9, 0)
    one = system(rng, first)[0]
    results = []
    for reach, lane in ((first, 0), (wider, 5)):
        matrices = np.stack([system(rng, reach)[0] for _ in range(LANES)])
        matrices[lane] = one
        shape = shape_envelope(reach)
        envelope, reciprocal = pack(shape, matrices), aligned(shape.at.size)
        factorise(shape, envelope, reciprocal, np.zeros(LANES, bool))
        band = aligned(shape.at.size * (shape.stride + 1) + 1)
        inverse_in_envelope(shape, envelope, reciprocal, band, aligned(BLOCK * shape.at.size))
        places = np.arange(size) * (shape.stride + 1) + shape.half_width
        results.append(band.reshape(-1, LANES)[places, lane])
    np.testing.assert_array_equal(*results)
