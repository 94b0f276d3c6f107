"""The prediction: which coarse displacements are believed, and what fills the rest."""

from __future__ import annotations

import numpy as np
import pytest

from ogive.matching.prediction import (
    coarse_nodes,
    displacement_gradient,
    fill,
    neighbours_agree,
    predict,
)


def random_field(rng, shape, reach=32):
    return rng.uniform(-reach, reach, shape), rng.uniform(-reach, reach, shape)


def test_chance_does_not_agree():
    u, v = random_field(np.random.default_rng(0), (200, 200))
    kept = neighbours_agree(u, v, spacing_px=20)
    # The docstring's 3 in 10,000, with Poisson's spread of 12 +- 3.5 among 40,000 nodes.
    assert kept.mean() < 8e-4


def test_a_shear_margin_is_kept():
    y = np.arange(60)[:, None] * 20.0
    u = np.broadcast_to(6 * (1 + np.tanh((y - 600) / 60)), (60, 60)).copy()
    assert neighbours_agree(u, np.zeros_like(u), spacing_px=20).all()


def test_a_glacier_two_nodes_wide_is_kept_among_still_rock():
    u = np.zeros((40, 40))
    u[19:21] = 9.0
    assert neighbours_agree(u, np.zeros_like(u), spacing_px=25).all()


def test_blunders_go_and_good_nodes_stay():
    rng = np.random.default_rng(2)
    u = np.full((80, 80), 3.0) + 0.2 * rng.standard_normal((80, 80))
    v = 0.2 * rng.standard_normal((80, 80))
    bad = rng.random(u.shape) < 0.4
    wrong_u, wrong_v = random_field(rng, u.shape)
    u[bad], v[bad] = wrong_u[bad], wrong_v[bad]
    # The farthest neighbour, at 57 px, agrees within 1 + 0.05 x 57 = 3.8 px, plus the noise of two.
    near = np.hypot(u - 3, v) < 3.8 + 3 * 0.2 * np.sqrt(2)
    kept = neighbours_agree(u, v, spacing_px=20)
    assert kept[~bad].mean() > 0.999
    # Among 24 neighbours 14 tell the truth; a false one is kept only when it comes near them.
    assert kept[bad & ~near].mean() < 0.002


def test_fill_keeps_what_is_kept_and_reaches_everywhere():
    values = np.full((50, 50), np.nan)
    kept = np.zeros(values.shape, bool)
    kept[10:20, 10:20] = True
    values[kept] = 4.0
    filled = fill(values, kept)
    np.testing.assert_allclose(filled, 4.0)
    assert np.all(fill(values, np.zeros_like(kept)) == 0.0)


@pytest.mark.parametrize("shape", [(40, 40), (3, 200), (1, 1), (2, 2)])
def test_a_single_node_fills_all(shape):
    kept = np.zeros(shape, bool)
    kept[shape[0] // 2, shape[1] // 2] = True
    values = np.where(kept, 7.0, np.nan)
    np.testing.assert_allclose(fill(values, kept), 7.0)


def test_gradient_of_a_plane_and_none_of_noise():
    rows, columns = coarse_nodes(100, 4), coarse_nodes(120, 4)
    y, x = np.meshgrid(rows * 5.0, columns * 5.0, indexing="ij")
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(x.shape)
    inner = np.s_[3:-3, 3:-3]
    along_x, along_y = displacement_gradient(0.03 * x - 0.02 * y + noise, rows, columns, 5)
    # Noise of 0.1 px on nodes 20 px apart leaves 0.22 x 0.1 / 20 = 0.0011 in each gradient.
    assert np.abs(along_x[inner] - 0.03).max() < 5 * 0.0011
    assert np.abs(along_y[inner] + 0.02).max() < 5 * 0.0011
    # Shrunk with three times its own level, normal noise keeps 26 % of its spread.
    still_x, _ = displacement_gradient(noise, rows, columns, 5)
    assert still_x[inner].std() == pytest.approx(0.26 * 0.0011, rel=0.25)


def test_points_know_their_place_among_nodes():
    rows, columns = coarse_nodes(11, 4), coarse_nodes(9, 4)
    assert rows.tolist() == [0, 4, 8, 10]
    u = np.zeros((rows.size, columns.size))
    prediction = predict(u, u, np.ones_like(u, bool), rows, columns, step=5, points=(11, 9))
    assert prediction.row[[0, 2, 4, 9, 10]] == pytest.approx([0, 0.5, 1, 2.5, 3])
    assert prediction.planes.shape == (6, 4, 3)
