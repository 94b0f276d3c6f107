"""Physics terms against closed forms, their gradients, and what masks keep out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from ogive.model import InputError  # noqa: E402
from ogive.similarity import physics  # noqa: E402
from ogive.similarity.physics import PHYSICS_TERMS, Evidence, physics_terms  # noqa: E402

SIZE, SPACING = 9, 4.0
torch.manual_seed(0)


def grid(size=SIZE, spacing=SPACING):
    """Coordinates of points round the origin, x to the right and y down, in double precision."""
    axis = spacing * (torch.arange(size, dtype=torch.float64) - (size - 1) / 2)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]


def field(dx, dy):
    return torch.stack([dx, dy], 1)


def everywhere(flow):
    return torch.ones_like(flow[:, 0], dtype=torch.bool)


def rotation(turn=0.01):
    x, y = grid()
    return field(-turn * y, turn * x)


def pure_shear(strain=0.02):
    x, y = grid()
    return field(strain * x, -strain * y)


def margin(fastest=5.0, half_width=30.0):
    """A trunk that flows to the right, parabolic across: U (1 - (y/w)^2)."""
    x, y = grid()
    return field(fastest * (1 - (y / half_width) ** 2), 0 * x)


# ---- soft argmax ---------------------------------------------------------------------------------


def test_soft_argmax_of_a_gaussian_is_its_mean_and_variance():
    """exp(rho / T) is a sampled Gaussian: its moments are the continuous ones to 1e-6."""
    offset = torch.arange(-8, 9, dtype=torch.float64)
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    temperature = 0.05
    surface = -temperature * ((x - 1.3) ** 2 + (y + 0.6) ** 2) / (2 * 1.2**2)
    found = physics.soft_argmax(surface[None, None], temperature=temperature)
    # Poisson's sum: sampling a Gaussian of 1.2 px errs by exp(-2 pi^2 1.2^2) = 5e-13; the sums end
    # at least 5.5 standard deviations from the mean, which leaves 1e-6.
    torch.testing.assert_close(
        found.flow[0, :, 0], torch.tensor([1.3, -0.6], dtype=torch.float64), atol=2e-6, rtol=0
    )
    assert float(found.variance) == pytest.approx(1.44, abs=1e-5)


def test_soft_argmax_on_a_grid_of_points_round_a_prior():
    surface = torch.zeros(2, 3, 4, 5, 7)
    surface[..., 2, 3] = 1.0
    around = torch.arange(2 * 2 * 3 * 4.0).reshape(2, 2, 3, 4)
    found = physics.soft_argmax(surface, temperature=0.02, around=around, step_px=0.5)
    torch.testing.assert_close(found.flow, around)


def test_candidates_that_were_not_judged_take_no_part():
    surface = torch.full((1, 2, 5, 5), -2.0)
    surface[0, 0, 3, 1], surface[0, 0, 3, 2] = 0.4, float("nan")
    surface.requires_grad_()
    found = physics.soft_argmax(surface, temperature=0.1)
    assert found.flow[0, :, 0].tolist() == [-1.0, 1.0]
    assert found.flow[0, :, 1].isnan().all()
    assert found.variance[0, 1].isnan()
    found.flow[0, :, 0].sum().backward()
    assert surface.grad.isfinite().all()
    assert not surface.grad[0, 1].any()


def test_soft_argmax_gradcheck():
    surface = torch.rand(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s: tuple(physics.soft_argmax(s, temperature=0.2)), surface
    )


@pytest.mark.parametrize(
    ("surface", "temperature", "says"),
    [(torch.zeros(5, 5), 0.1, "points"), (torch.zeros(1, 5, 5), 0.0, "above zero")],
)
def test_soft_argmax_refuses(surface, temperature, says):
    with pytest.raises(InputError, match=says):
        physics.soft_argmax(surface, temperature=temperature)


# ---- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flow", "xx", "yy", "xy"),
    [(rotation(), 0, 0, 0), (pure_shear(0.02), 0.02, -0.02, 0)],
    ids=["rotation", "pure shear"],
)
def test_strain_rates(flow, xx, yy, xy):
    found = physics.strain_rates(flow, spacing=SPACING)
    for component, true in zip(found, (xx, yy, xy), strict=True):
        torch.testing.assert_close(component, torch.full_like(component, true))


def test_strain_rates_of_a_shear_margin():
    """U (1 - (y/w)^2) shears by -U y / w^2: central differences are exact on a parabola."""
    _, y = grid()
    found = physics.strain_rates(margin(5.0, 30.0), spacing=SPACING)
    torch.testing.assert_close(found.xy, (-5.0 * y / 30.0**2)[:, 1:-1, 1:-1])


@pytest.mark.parametrize("flow", [rotation(), pure_shear(), rotation() + 3.0], ids=str)
def test_even_strain_is_smooth(flow):
    found = physics.smooth_strain_rate(flow, everywhere(flow), spacing=SPACING, huber=1e-3)
    assert float(found) < 1e-25


def test_smoothness_of_a_shear_margin():
    """Only eps_xy changes, by U / w^2 a length: |grad eps| = sqrt(2) U / w^2."""
    flow = margin(5.0, 30.0)
    bend = math.sqrt(2) * 5.0 / 30.0**2
    everything = everywhere(flow)
    small = physics.smooth_strain_rate(flow, everything, spacing=SPACING, huber=2 * bend)
    large = physics.smooth_strain_rate(flow, everything, spacing=SPACING, huber=bend / 4)
    assert float(small) == pytest.approx(bend**2 / 2, rel=1e-12)
    assert float(large) == pytest.approx(bend / 4 * (bend - bend / 8), rel=1e-12)


@given(st.floats(0, 2 * math.pi))
def test_smoothness_does_not_depend_on_the_axes(angle):
    """A trunk flowing in any direction bends as much; products of differences are exact here."""
    x, y = grid()
    cosine, sine = math.cos(angle), math.sin(angle)
    across = cosine * y - sine * x
    speed = 5.0 * (1 - (across / 30.0) ** 2)
    flow = field(speed * cosine, speed * sine)
    found = physics.smooth_strain_rate(flow, everywhere(flow), spacing=SPACING, huber=1.0)
    bend = math.sqrt(2) * 5.0 / 30.0**2
    assert float(found) == pytest.approx(bend**2 / 2, rel=1e-9)


def test_divergence_beyond_the_limit():
    x, y = grid()
    stretched = torch.cat([field(0.03 * x, 0.01 * y), field(-0.03 * x, 0 * y), rotation()])
    everything = everywhere(stretched)
    found = [
        float(
            physics.bounded_divergence(
                stretched[k : k + 1], everything[k : k + 1], spacing=SPACING, limit=0.025
            )
        )
        for k in range(3)
    ]
    assert found == pytest.approx([0.04 - 0.025, 0.03 - 0.025, 0.0], abs=1e-12)
    limit = torch.tensor([0.04, 0.0, 0.0], dtype=torch.float64)
    together = physics.bounded_divergence(stretched, everything, spacing=SPACING, limit=limit)
    assert float(together) == pytest.approx(0.03 / 3, rel=1e-9)


def test_pure_shear_does_not_diverge():
    flow = pure_shear()
    found = physics.bounded_divergence(flow, everywhere(flow), spacing=SPACING, limit=0.0)
    assert float(found) < 1e-15


def test_stable_ground_is_hubers_penalty():
    flow = field(torch.tensor([[0.06, 3.0, 9.0]]), torch.tensor([[0.08, 4.0, 9.0]]))
    stable = torch.tensor([[True, True, False]])
    found = physics.stable_ground(flow, stable, huber=0.2)
    assert float(found) == pytest.approx((0.1**2 / 2 + 0.2 * (5 - 0.1)) / 2, rel=1e-6)


def test_stable_ground_of_a_shifted_image():
    shift = torch.tensor([[0.5, -0.25], [0.0, 1.0]])
    flow = shift[:, :, None, None].expand(2, 2, 4, 4)
    found = physics.stable_ground(flow, everywhere(flow), shift=shift)
    assert float(found) == 0.0


@pytest.mark.parametrize("degrees", [0, 45, 90, 180])
def test_direction_against_slope(degrees):
    """The surface falls to the right; a flow turned from it by an angle costs 1 - cos."""
    angle = math.radians(degrees)
    x, _ = grid()
    flow = field(0 * x + 2 * math.cos(angle), 0 * x + 2 * math.sin(angle))
    slope = field(0 * x - 0.1, 0 * x)
    weight = physics.direction_weight(flow, slope, speed_scale=2.0, slope_scale=0.1)
    torch.testing.assert_close(weight, torch.full_like(weight, 0.25))
    found = physics.downslope_direction(flow, slope, everywhere(flow), weight=weight)
    assert float(found) == pytest.approx(1 - math.cos(angle), abs=1e-9)


def test_direction_counts_by_its_weight():
    flow = field(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
    slope = field(torch.tensor([[-0.1, -0.1]]), torch.zeros(1, 2))
    found = physics.downslope_direction(
        flow, slope, everywhere(flow), weight=torch.tensor([[3.0, 1.0]])
    )
    assert float(found) == pytest.approx(0.25, abs=1e-6)


def test_standing_still_is_no_way_out_of_a_wrong_direction():
    """Upslope by a little: the gradient turns the flow, and does not shorten it."""
    flow = field(torch.tensor([[-1.0]]), torch.tensor([[0.2]])).requires_grad_()
    slope = field(torch.tensor([[-0.1]]), torch.zeros(1, 1))
    term = physics_terms(
        flow,
        Evidence(slope=slope, interior=torch.tensor([[True]])),
        ["downslope_direction"],
    )["downslope_direction"]
    term.backward()
    along = float((flow.grad * flow.detach()).sum())
    assert float(flow.grad.abs().max()) > 0.1
    assert abs(along) < 1e-6


def test_closure_of_a_rotation():
    """Two rotations make one: R2 R1 x - x, also where points move between those of the grid."""
    x, y = grid()

    def turned(angle):
        return field(
            (math.cos(angle) - 1) * x - math.sin(angle) * y,
            math.sin(angle) * x + (math.cos(angle) - 1) * y,
        )

    first, second, both = turned(0.05), turned(-0.12), turned(-0.07)
    # Linear fields are read exactly between points.
    assert float(physics.closure(first, second, both, spacing=SPACING)) < 1e-25
    wrong = both + torch.tensor([0.3, 0.4], dtype=both.dtype).reshape(1, 2, 1, 1)
    found = physics.closure(first, second, wrong, spacing=SPACING, huber=1.0)
    assert float(found) == pytest.approx(0.5**2 / 2, rel=1e-9)


def test_closure_does_not_judge_what_leaves_the_grid():
    x, _ = grid()
    right = field(0 * x + 1.5 * SPACING, 0 * x)
    wrong = torch.zeros_like(right)
    assert float(physics.closure(right, wrong, right, spacing=SPACING)) == 0.0
    assert float(physics.closure(100 * right, wrong, wrong, spacing=SPACING)) == 0.0


# ---- gradients and masks -------------------------------------------------------------------------


def all_terms():
    """Each term as a function of one flow and a mask, on a random flow."""
    flow = 0.4 * torch.randn(2, 2, 6, 7, dtype=torch.float64)
    slope = 0.1 * torch.randn_like(flow)
    others = 0.4 * torch.randn(2, *flow.shape, dtype=torch.float64)
    weight = torch.rand_like(flow[:, 0])
    return flow, {
        "stable_ground": lambda f, m: physics.stable_ground(f, m),
        "smooth_strain_rate": lambda f, m: physics.smooth_strain_rate(f, m, spacing=2.0, huber=0.1),
        "bounded_divergence": lambda f, m: physics.bounded_divergence(
            f, m, spacing=2.0, limit=0.02
        ),
        "downslope_direction": lambda f, m: physics.downslope_direction(f, slope, m, weight=weight),
        "closure, first": lambda f, m: physics.closure(f, others[0], others[1], m, spacing=2.0),
        "closure, second": lambda f, m: physics.closure(others[0], f, others[1], m, spacing=2.0),
        "closure, direct": lambda f, m: physics.closure(*others, f, m, spacing=2.0),
    }


FLOW, TERMS = all_terms()


@pytest.mark.parametrize("name", TERMS)
def test_gradcheck(name):
    """Analytic gradients against differences, quadratic and linear sides of Huber's penalty."""
    mask = torch.rand(2, 6, 7) > 0.1
    mask[0, :4, :4] = True
    assert TERMS[name](FLOW, mask) > 0
    assert torch.autograd.gradcheck(
        lambda f: TERMS[name](f, mask), FLOW.clone().requires_grad_(), eps=1e-7, atol=1e-6
    )


@pytest.mark.parametrize("name", TERMS)
def test_masked_points_have_no_gradient(name):
    """What a margin or a front does is nobody's business: any value, no gradient."""
    mask = torch.ones(2, 6, 7, dtype=torch.bool)
    mask[0, 2, 3] = mask[1, :, 5:] = False
    flow = FLOW.clone().requires_grad_()
    TERMS[name](flow, mask).backward()
    kept = flow.grad.movedim(1, -1)
    assert not kept[~mask].any()
    assert kept[mask].any()
    absurd = torch.where(mask[:, None], FLOW, 1e6)
    missing = torch.where(mask[:, None], FLOW, float("nan")).requires_grad_()
    expected = TERMS[name](FLOW, mask)
    torch.testing.assert_close(TERMS[name](absurd, mask), expected)
    found = TERMS[name](missing, mask)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert missing.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in TERMS if not name.startswith("closure")])
def test_points_without_a_flow_do_not_count(name):
    gap = torch.ones(2, 6, 7, dtype=torch.bool)
    gap[0, 2, 3] = False
    missing = torch.where(gap[:, None], FLOW, float("nan"))
    torch.testing.assert_close(TERMS[name](missing, torch.ones_like(gap)), TERMS[name](FLOW, gap))


@pytest.mark.parametrize("which", range(3))
def test_triplets_without_one_of_their_flows_do_not_count(which):
    """Nothing moves but the residual of each point is its own: the mean leaves one point out."""
    residual = 0.1 * torch.rand(1, 2, 4, 5, dtype=torch.float64)
    flows = [torch.zeros_like(residual), torch.zeros_like(residual), residual]
    flows[which] = flows[which].clone()
    flows[which][0, :, 1, 2] = float("nan")
    squared = (residual**2).sum(1)
    expected = (squared.sum() - squared[0, 1, 2]) / 2 / (squared.numel() - 1)
    torch.testing.assert_close(physics.closure(*flows, spacing=SPACING, huber=1.0), expected)


@pytest.mark.parametrize("name", TERMS)
def test_nothing_to_judge_is_zero(name):
    flow = FLOW.clone().requires_grad_()
    found = TERMS[name](flow, torch.zeros(2, 6, 7, dtype=torch.bool))
    found.backward()
    assert found.item() == 0.0
    assert not flow.grad.any()


# ---- masks and slopes ----------------------------------------------------------------------------


def test_away_from_margins_and_front():
    ice = torch.zeros(1, 9, 12, dtype=torch.bool)
    ice[:, 1:8] = True
    front = torch.zeros_like(ice)
    front[:, :, 9] = True
    found = physics.away_from_margins(ice, points=2, terminus=front)
    rows, columns = torch.nonzero(found[0], as_tuple=True)
    assert (rows.min(), rows.max()) == (3, 5)
    assert (columns.min(), columns.max()) == (2, 6)
    with pytest.raises(InputError, match="negative"):
        physics.away_from_margins(ice, points=-1)


def test_surface_gradient_of_a_plane_and_of_a_wave():
    """A Gaussian damps a wave by exp(-2 (pi s / L)^2); central differences by sinc."""
    spacing, length, smoothing = 20.0, 800.0, 100.0
    axis = spacing * torch.arange(200, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    plane = physics.surface_gradient((0.1 * x - 0.2 * y)[None], spacing_m=spacing, smoothing_m=0)
    torch.testing.assert_close(plane[0, 0], torch.full_like(x, 0.1))
    torch.testing.assert_close(plane[0, 1], torch.full_like(x, -0.2))
    wave = 2 * math.pi / length
    found = physics.surface_gradient(
        torch.sin(wave * x)[None], spacing_m=spacing, smoothing_m=smoothing
    )
    damped = math.exp(-((wave * smoothing) ** 2) / 2) * math.sin(wave * spacing) / spacing
    inner = (slice(None), slice(40, -40))
    # Taps end at four standard deviations, which leaves 6e-5 of their sum.
    torch.testing.assert_close(
        found[0, 0][inner], (damped * torch.cos(wave * x))[inner], atol=2e-4 * damped, rtol=0
    )


# ---- by name -------------------------------------------------------------------------------------


def full_evidence(flow):
    return Evidence(
        spacing_px=SPACING,
        stable=everywhere(flow),
        interior=everywhere(flow),
        years=torch.full((len(flow),), 0.5, dtype=flow.dtype),
        slope=field(0 * flow[:, 0] - 0.1, 0 * flow[:, 0]),
        later=torch.zeros_like(flow),
        direct=flow,
    )


def test_terms_by_name_are_the_functions_in_pixels():
    flow = margin()
    found = physics_terms(flow, full_evidence(flow), PHYSICS_TERMS)
    assert list(found) == list(PHYSICS_TERMS)
    everything = everywhere(flow)
    huber = math.sqrt(6) * physics.MATCH_ERROR_PX / SPACING**2
    assert float(found["stable_ground"]) == float(physics.stable_ground(flow, everything))
    assert float(found["smooth_strain_rate"]) == pytest.approx(
        float(physics.smooth_strain_rate(flow, everything, spacing=SPACING, huber=huber)) / huber**2
    )
    assert float(found["downslope_direction"]) == pytest.approx(0.0, abs=1e-9)
    assert float(found["closure"]) == 0.0
    assert float(found["bounded_divergence"]) == 0.0
    x, y = grid()
    thick = field(0.06 * x, 0.04 * y)
    found = physics_terms(thick, full_evidence(thick), ["bounded_divergence"])
    assert float(found["bounded_divergence"]) == pytest.approx(0.1 - 0.1 * 0.5)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gravity", "no physics term 'gravity'"),
        *((name, f"{name!r} needs Evidence") for name in PHYSICS_TERMS),
    ],
)
def test_terms_say_what_is_missing(name, says):
    with pytest.raises(InputError, match=says):
        physics_terms(torch.zeros(1, 2, 4, 4), Evidence(), [name])


@pytest.mark.parametrize(
    ("shape", "mask", "says"),
    [
        ((1, 3, 4, 4), (1, 4, 4), r"\(batch, 2"),
        ((1, 2, 4, 4), (1, 4, 5), "mask"),
        ((1, 2, 2, 4), (1, 2, 4), "3 x 3"),
        ((1, 2, 9), (1, 9), "3 x 3"),
    ],
)
def test_terms_refuse_shapes(shape, mask, says):
    with pytest.raises(InputError, match=says):
        physics.smooth_strain_rate(
            torch.zeros(shape), torch.ones(mask, dtype=torch.bool), spacing=1.0, huber=1.0
        )
    with pytest.raises(InputError, match="different shapes"):
        physics.closure(*(torch.zeros(1, 2, 3, n) for n in (3, 3, 4)), spacing=1.0)


def test_masks_must_be_bool():
    with pytest.raises(InputError, match="bool"):
        physics.stable_ground(torch.zeros(1, 2, 3, 3), torch.ones(1, 3, 3))


def test_stable_ground_pulls_a_correlation_to_rest():
    """Through the soft argmax: a few steps along the gradient move the peak to zero."""
    surface = torch.zeros(1, 1, 7, 7)
    surface[0, 0, 3, 5] = 0.2
    surface.requires_grad_()
    stable = torch.ones(1, 1, dtype=torch.bool)
    lengths = []
    for _ in range(60):
        flow = physics.soft_argmax(surface, temperature=0.05).flow
        (gradient,) = torch.autograd.grad(physics.stable_ground(flow, stable), surface)
        lengths.append(float(flow.detach().norm()))
        surface = (surface - 0.05 * gradient).detach().requires_grad_()
    assert lengths[0] > 1.0
    assert lengths[-1] < 0.1
