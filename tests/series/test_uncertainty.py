"""Declared errors of series: against dense algebra, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from ogive.model import InputError
from ogive.series.combinations import closure_matrices
from ogive.series.invert import invert
from ogive.series.network import build_network

NO_REWEIGHTING = {"tukey_c": 1e6, "threads": 1}


def dense_errors(cube, closure, sampling_days, regularisation, image_error_m):
    """The errors of x and y of one pixel, weights W0 held, with dense matrices."""
    network = build_network(
        cube.acquisition_date_img1.values,
        cube.acquisition_date_img2.values,
        sampling_days=sampling_days,
        closure=closure,
    )
    plan = network.plan
    years = plan.span_years
    B, steps = (m.astype(float) for m in closure_matrices(network))
    nodes = plan.node_days.size
    between = np.diff(np.eye(nodes), axis=0)
    A = steps @ between  # on cumulative displacements, node 0 included
    velocity = between / np.diff(plan.node_days)[:, None]
    change = np.diff(velocity, axis=0)
    G = change.T @ change
    positions = np.array(
        [np.interp(network.edges_days, plan.node_days, row) for row in np.eye(nodes)]
    )
    C = np.diff(positions.T, axis=0)
    y = np.stack([cube[v].values[:, 0, 0].astype(float) * years for v in ("vx", "vy")])
    variance = (cube.vx_error.values.astype(float) * years) ** 2
    typical = np.sort(variance)[variance.size // 2]
    spread = (np.abs(B) @ variance) / typical
    # By the QR factors of the system: the square of its condition would be too much.
    root = 1 / np.sqrt(spread)[:, None]
    system = np.vstack([root * A, np.sqrt(regularisation) * change])[:, 1:]
    orthogonal, triangle = np.linalg.qr(system)
    back = np.linalg.inv(triangle)
    inverse, H = np.zeros((nodes, nodes)), np.zeros((nodes, spread.size))
    inverse[1:, 1:] = back @ back.T
    H[1:] = back @ orthogonal[: spread.size].T * root.T
    count = spread.size
    # The trace of the hat matrix A H, or more where rows share observations.
    bound = np.trace((A @ H @ B * (variance / typical)) @ B.T / spread[:, None])
    residual = B @ y.T - A @ (H @ B @ y.T)
    residual = (residual**2 / spread[:, None]).sum(axis=0) / (count - bound)
    # What images leave in the residuals: the square of AS, by the mean of its bounds.
    share = 0.5 * np.einsum("ij,jk,ik->i", A, regularisation * inverse @ G, A)
    left = count / (count - bound) * np.mean(2 * share**1.5 / spread) * 2 * image_error_m**2
    own = max(residual.sum() - left, 0.1 * residual.sum())
    freedom = 2 * (count - bound)
    wider = freedom / (freedom - 2)
    noise = np.einsum("ij,j,ij->i", C @ H @ B, variance / typical, C @ H @ B)
    images = ((C @ (np.eye(nodes) - regularisation * inverse @ G)) ** 2).sum(axis=1)
    pulled = regularisation**2 * np.einsum("ij,jk,ik->i", C @ inverse, G, C @ inverse)
    # What the solution keeps of velocity changes and of noise, by the trace of the hat matrix.
    modes, kept = len(change), max(np.trace(A @ H) - 1, 1.0)
    squares = kept * (0.75 + 0.25 * kept / modes)
    shown = ((change @ H @ B @ y.T) ** 2).sum()
    true = shown - own * wider * (kept - squares) / regularisation
    pulled *= max(true / squares, shown / modes)
    shared = 2 * image_error_m**2
    square = own * wider * noise + shared * images + pulled
    return np.sqrt(square[None] * residual[:, None] / residual.sum())


@pytest.mark.parametrize("closure", ["dates", "combined"])
@pytest.mark.parametrize("regularisation", [1.0, 1000.0])
@pytest.mark.parametrize("image_error", [0.0, 0.8])
def test_errors_are_those_of_dense_algebra(simulate, pairs, closure, regularisation, image_error):
    first, second = pairs(40, keep=0.8)
    errors = 0.5 + np.random.default_rng(3).random(first.size)
    # Off the regular dates, so that periods end between nodes.
    second = second + 3.0 * (np.arange(first.size) % 4 == 0) * (closure == "dates")
    cube = simulate(first, second, error_m=errors, seed=5)
    series = invert(
        cube, "30D" if closure == "dates" else "24D", regularisation, closure,
        image_error_m=image_error, **NO_REWEIGHTING,
    )  # fmt: skip
    days = 30.0 if closure == "dates" else 24.0
    expected = dense_errors(cube, closure, days, regularisation, image_error)
    found = np.stack([series.dx_error.values[:, 0, 0], series.dy_error.values[:, 0, 0]])
    # The difference quotient leaves out parts of 1e-5; what images leave in the residuals is not
    # asked of the longest pairs.
    np.testing.assert_allclose(found, expected, rtol=1e-4 if image_error == 0 else 2e-3)
    np.testing.assert_array_equal(series.observations.values > 0, True)


@pytest.mark.parametrize("closure", ["dates", "combined"])
@pytest.mark.parametrize("image_error", [0.0, 0.8])
def test_errors_of_weakly_bound_networks_are_solved_for(simulate, closure, image_error):
    """Two groups of dates that only a faint regularisation holds together."""
    group = np.array([[0, 12], [0, 24], [12, 24], [12, 36], [24, 36], [6, 12], [6, 24], [0, 6]])
    first, second = np.concatenate([group, group + 180.0]).T
    cube = simulate(first, second, error_m=0.5, seed=1)
    faint = 1e-4
    series = invert(cube, "12D", faint, closure, image_error_m=image_error, **NO_REWEIGHTING)
    assert series.subnetworks.item() == 2
    observed = series.observations.values[:, 0, 0] > 0
    assert 0 < observed.sum() < observed.size
    expected = dense_errors(cube, closure, 12.0, faint, image_error)
    for c, name in enumerate(("dx_error", "dy_error")):
        found = series[name].values[:, 0, 0]
        np.testing.assert_allclose(found[observed], expected[c, observed], rtol=1e-3)
        # To what nothing covers the variability in time is added.
        own = series[name.removesuffix("_error")].values[observed, 0, 0].var(ddof=1)
        both = np.sqrt(expected[c, ~observed] ** 2 + own)
        np.testing.assert_allclose(found[~observed], both, rtol=1e-3)


@pytest.mark.parametrize("declared", ["pairs", "all"])
@pytest.mark.parametrize("image_error", [0.0, 0.7, 2.0])
@pytest.mark.parametrize(
    ("dates", "closure", "sampling", "regularisation"),
    [(60, "dates", "12D", 1.0), (60, "dates", "36D", 100.0), (60, "combined", "24D", 1.0),
     (25, "dates", "36D", 100.0)],
)  # fmt: skip
def test_95_percent_intervals_hold_with_errors_that_images_share(
    simulate, with_images, pairs, truth, dates, closure, sampling, regularisation, image_error,
    declared,
):  # fmt: skip
    """Whether the declared errors know of them (from stable ground, say) or of the match alone."""
    first, second = pairs(dates, keep=0.7)
    cube = simulate(first, second, pixels=150, outliers=0.05, seed=11)
    cube = with_images(cube, image_error, seed=7, declared=declared == "all")
    series = invert(cube, sampling, regularisation, closure, threads=1)
    inside = []
    for name, true in zip(("dx", "dy"), truth(series), strict=True):
        misfit = np.abs(series[name].values[:, 0] - true[:, None])
        inside.append(misfit <= 1.96 * series[f"{name}_error"].values[:, 0])
    # Pixels are independent: of their mean four standard errors, and 0.03 for what is estimated
    # pixel by pixel (variances of images and of flattened velocities have no sign: they err
    # upwards) and for the asymptotic formulas.
    of_pixels = np.mean(inside, axis=(0, 1))
    spread = of_pixels.std() / np.sqrt(of_pixels.size)
    assert of_pixels.mean() == pytest.approx(0.95, abs=0.03 + 4 * spread)
    # Without their part of the error the intervals would hold far less.
    if image_error == 2.0:
        alone = invert(cube, sampling, regularisation, closure, image_error_m=0, threads=1)
        misfit = np.abs(alone.dx.values[:, 0] - truth(alone)[0][:, None])
        assert (misfit <= 1.96 * alone.dx_error.values[:, 0]).mean() < 0.7


@pytest.mark.parametrize("image_error", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("regularisation", [1.0, 100.0])
def test_the_images_errors_are_found(simulate, with_images, pairs, image_error, regularisation):
    cube = simulate(*pairs(60, keep=0.7), pixels=100, outliers=0.05, seed=12)
    cube = with_images(cube, image_error, seed=8, declared=False)
    series = invert(cube, "12D", regularisation, "dates", threads=1)
    # Some 40 independent differences per pixel: a spread of sqrt(1 / 80), of 100 pixels' median a
    # tenth of it. The rest is left to the approximations, and to what noise adds where there is
    # none.
    found = float(series.image_error_x.median())
    assert found == pytest.approx(image_error, rel=0.1, abs=0.15)
    plain = invert(cube, "12D", regularisation, "dates", image_error_m=0, threads=1)
    for name in ("dx", "vy", "error_scale_x", "iterations"):
        np.testing.assert_array_equal(series[name], plain[name])
    assert (plain.image_error_x == 0).all()


def test_declared_errors_are_not_believed_against_positions_that_hardly_scatter(simulate, pairs):
    cube = simulate(*pairs(60, keep=0.7), pixels=50, noise=0.1, seed=13)
    series = invert(cube, "12D", closure="dates", threads=1)
    # Declared are 1 m; noise of 0.1 m leaves nodes of some ten pairs within 0.04 m.
    assert float(series.image_error_x.median()) < 0.15


def test_a_chain_of_pairs_tells_nothing_of_its_images(simulate):
    first = np.arange(0, 120, 12.0)
    series = invert(simulate(first, first + 12), "12D", 1.0, "dates", threads=1)
    assert np.isnan(series.image_error_x.item())


def test_a_known_error_of_images_is_taken_as_it_is(simulate, pairs):
    cube = simulate(*pairs(30), pixels=5, seed=14)
    series = invert(cube, "12D", 1.0, "dates", image_error_m=3.0, threads=1)
    both = np.hypot(series.image_error_x.values, series.image_error_y.values)
    np.testing.assert_allclose(both, np.hypot(3.0, 3.0), rtol=1e-5)
    # Displacements between two images: what both add, and a little of the pairs' own noise.
    assert 3.9 < float(series.dx_error.median()) < 4.7


@pytest.mark.parametrize("image_error", [-1, np.nan, np.inf, "guessed", None])
def test_errors_of_images_that_cannot_be_are_told(simulate, pairs, image_error):
    with pytest.raises(InputError, match="image_error"):
        invert(simulate(*pairs(20)), image_error_m=image_error)
