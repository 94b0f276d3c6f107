"""What several correlation surfaces say together, against the formulas written out in loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.matching.correlate import NO_CANDIDATE
from ogive.matching.evidence import SEEN, chance_snr, join, unaliased_size

SIDE = 9
RADIUS = SIDE // 2


def chance(rng, number=1, side=SIDE):
    return rng.normal(0, 0.1, (number, side, side)).astype(np.float32)


def scatter(surface):
    """Root mean square beyond the 3 x 3 neighbourhood of the peak."""
    beyond = np.ones(surface.shape, bool)
    i, j = np.unravel_index(surface.argmax(), surface.shape)
    beyond[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] = False
    return np.sqrt((surface[beyond] ** 2).mean())


def log_ratio(surface):
    return np.maximum(surface / scatter(surface), 0.0) ** 2 / 2


def textbook(direct, legs):
    """S of every displacement, with the sum over the first step written as a loop."""
    side = direct.shape[0]
    radius, total = side // 2, np.zeros_like(direct, float)
    for first, second in legs:
        p, q = (np.exp(log_ratio(s)) for s in (first, second))
        p, q = p / p.sum(), q / q.sum()
        ratio = np.zeros_like(total)
        for v in range(-radius, radius + 1):
            for u in range(-radius, radius + 1):
                paths = 0
                for b in range(max(-radius, v - radius), min(radius, v + radius) + 1):
                    for a in range(max(-radius, u - radius), min(radius, u + radius) + 1):
                        paths += 1
                        ratio[v + radius, u + radius] += (
                            p[b + radius, a + radius] * q[v - b + radius, u - a + radius]
                        )
                ratio[v + radius, u + radius] *= side**4 / paths
        total += np.log((1 - SEEN) + SEEN * ratio)
    return 2 * log_ratio(direct) + 4 / (len(legs) + 1) * total


@pytest.mark.parametrize("middles", [0, 1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_joint_surface_is_that_of_the_formulas(middles, seed):
    rng = np.random.default_rng(seed)
    direct = chance(rng)
    legs = [(chance(rng), chance(rng)) for _ in range(middles)]
    for surface, place in ((direct, (6, 5)), *((leg[0], (5, 5)) for leg in legs[:1])):
        surface[0][place] = 0.5
    if legs:
        legs[0][1][0][5, 4] = 0.5  # (1, 1) and then (0, 1) makes (1, 2)
    expected = textbook(direct[0], [(a[0], b[0]) for a, b in legs])
    joint = join(direct, legs)
    inner = expected[1:-1, 1:-1]
    assert joint.snr[0] == pytest.approx(expected.max(), rel=2e-4)
    i, j = np.unravel_index(inner.argmax(), inner.shape)
    if expected.max() == inner.max():
        # A quadratic's peak lies within half a pixel of the highest of its nine values.
        assert abs(joint.u[0] - (j + 1 - RADIUS)) <= 0.75
        assert abs(joint.v[0] - (i + 1 - RADIUS)) <= 0.75


def test_without_a_middle_image_it_is_the_snr_of_one_surface():
    rng = np.random.default_rng(0)
    direct = chance(rng, 50)
    direct[:, 5, 6] += 0.6
    joint = join(direct, [])
    for k, surface in enumerate(direct):
        assert joint.snr[k] == pytest.approx((surface.max() / scatter(surface)) ** 2, rel=1e-4)
        assert joint.correlation[k] == surface.max()


def test_agreement_of_both_steps_adds_what_the_formula_says():
    """Sharp peaks: 2 ln(SEEN n² / m + 1 - SEEN), n candidates, m of them a first step of d."""
    rng = np.random.default_rng(0)
    direct, first, second = (0.1 * chance(rng) for _ in range(3))
    direct[0, 6, 5], first[0, 5, 5], second[0, 5, 4] = 0.9, 0.9, 0.9
    alone, joint = join(direct, []), join(direct, [(first, second)])
    steps = (SIDE - 2) * (SIDE - 1)
    expected = 2 * np.log(1 - SEEN + SEEN * SIDE**4 / steps)
    # The search's own noise has its share of each likelihood: below one in a hundred here.
    assert joint.snr[0] - alone.snr[0] == pytest.approx(expected, rel=1e-2)
    assert joint.paths[0].support[0] == pytest.approx(expected, rel=1e-2)
    assert (joint.paths[0].u[0], joint.paths[0].v[0]) == (1, 1)


def test_disagreement_costs_at_most_the_chance_of_a_hidden_feature():
    rng = np.random.default_rng(0)
    direct, first, second = (0.1 * chance(rng) for _ in range(3))
    direct[0, 6, 5], first[0, 1, 1], second[0, 2, 7] = 0.9, 0.9, 0.9
    joint = join(direct, [(first, second)])
    assert joint.paths[0].support[0] == pytest.approx(2 * np.log(1 - SEEN), abs=1e-3)


def test_middle_images_that_only_repeat_add_less_than_twice_as_much_as_one():
    """They share both ends: what an end looks like by chance all of them confirm."""
    rng = np.random.default_rng(1)
    direct, first, second = (0.1 * chance(rng) for _ in range(3))
    direct[0, 6, 5], first[0, 5, 5], second[0, 5, 4] = 0.9, 0.9, 0.9
    alone, *more = (join(direct, [(first, second)] * number).snr[0] for number in (0, 1, 3, 9, 99))
    gain = np.array(more) - alone
    np.testing.assert_allclose(gain / gain[0], [1.0, 6 / 4, 18 / 10, 198 / 100], rtol=1e-3)


def test_by_chance_alone_two_points_of_a_hundred_pass():
    """20,000 points without a match: 2 % of the best of 81 candidates, to 0.1 % (binomial).

    A path by a middle image leaves the mean likelihood ratio at one, and passes hardly more.
    """
    rng = np.random.default_rng(3)
    number = 20_000
    surfaces = [chance(rng, number) for _ in range(3)]
    least = chance_snr(RADIUS)
    alone = float((join(surfaces[0], []).snr > least).mean())
    # The scatter is that of the same surface without its peak: 3 % smaller, z² 7 % larger.
    assert 0.015 < alone < 0.05
    joint = float((join(surfaces[0], [(surfaces[1], surfaces[2])]).snr > least).mean())
    assert joint < 1.5 * alone


@given(seed=st.integers(0, 500), radius=st.integers(2, 6))
def test_mirrored_surfaces_give_mirrored_displacements(seed, radius):
    rng = np.random.default_rng(seed)
    side = 2 * radius + 1
    direct, first, second = (chance(rng, 3, side) for _ in range(3))
    joint = join(direct, [(first, second)])
    turned = join(*(s[:, ::-1, ::-1].copy() for s in (direct,)),
                  [(first[:, ::-1, ::-1].copy(), second[:, ::-1, ::-1].copy())])  # fmt: skip
    # S is known to some 1e-6 of itself, a quadratic's peak to that over its curvature.
    np.testing.assert_allclose(turned.snr, joint.snr, rtol=1e-4)
    np.testing.assert_allclose(turned.u, -joint.u, atol=2e-3)
    np.testing.assert_allclose(turned.v, -joint.v, atol=2e-3)


@given(seed=st.integers(0, 500))
def test_the_two_steps_may_be_swapped(seed):
    """Addition commutes: the joint surface of q's two steps does not know their order."""
    rng = np.random.default_rng(seed)
    direct, first, second = (chance(rng, 2) for _ in range(3))
    there, back = (join(direct, [legs]) for legs in ((first, second), (second, first)))
    np.testing.assert_allclose(there.snr, back.snr, rtol=1e-4)


def test_what_cannot_be_judged_takes_no_part():
    rng = np.random.default_rng(0)
    direct, first, second = (chance(rng, 2) for _ in range(3))
    direct[0, 2, 2] = 0.9  # the peak, beside a hole: no quadratic through nine values
    direct[0, 2, 3] = NO_CANDIDATE
    direct[1, 5, 5] = 0.9
    first[1] = NO_CANDIDATE  # the middle image sees nothing of the second point
    joint = join(direct, [(first, second)])
    assert np.isnan(joint.u[0])
    assert joint.paths[0].support[1] == 0.0
    assert np.isnan(joint.paths[0].u[1])
    assert joint.snr[1] == pytest.approx(join(direct, []).snr[1], rel=1e-6)


def test_convolutions_do_not_wrap_into_the_search():
    for radius in range(1, 40):
        assert unaliased_size(radius) >= 3 * radius + 1
