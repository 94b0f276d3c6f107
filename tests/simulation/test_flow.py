"""Does the simulated flow conserve mass, and does it look like that of a valley glacier?"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ogive.model import DateError, GridError, InputError
from ogive.simulation.flow import balance_flow
from ogive.simulation.glacier import SimulatedGlacier
from ogive.simulation.history import principal_strain, strain_rates
from ogive.simulation.ice import margin_position
from ogive.simulation.rhythm import Rhythm, years_since_epoch
from ogive.simulation.terrain import given_terrain
from ogive.simulation.trajectories import Trajectories

PIXEL_M = 10.0
STEADY = Rhythm(seasonal_amplitude=0, trend_per_year=0)


@pytest.fixture(scope="module")
def glacier():
    return SimulatedGlacier.build(
        (400, 400), rhythm=Rhythm(surge_amplitude=0.8, surge_peak=datetime(2020, 9, 1))
    )


def channel(width_cells=41, length_cells=160):
    """A straight glacier in a straight valley, flowing to the east."""
    shape = (width_cells + 20, length_cells + 20)
    x, y = np.arange(shape[1]) * 20.0, -np.arange(shape[0]) * 20.0
    ice = np.zeros(shape, bool)
    ice[10:-10, 10:-10] = True
    height = 3000 - 0.12 * np.broadcast_to(x, shape)
    return given_terrain(x, y, height + 50.0 * ~ice, ice)


def interpolated(flow, values, x, y):
    places = [(flow.y[0] - y) / flow.step_m, (x - flow.x[0]) / flow.step_m]
    return ndimage.map_coordinates(values, places, order=3, mode="mirror")


def outflow(flow, x0, x1, y0, y1):
    """Net and gross flux (m3/yr) out of a rectangle, by quadrature along its sides."""
    mover = Trajectories(flow, STEADY)
    count = 400
    share = (np.arange(count) + 0.5) / count
    sides = [
        (x0 + share * (x1 - x0), np.full(count, y0), 0, -1, x1 - x0),
        (x0 + share * (x1 - x0), np.full(count, y1), 0, 1, x1 - x0),
        (np.full(count, x0), y0 + share * (y1 - y0), -1, 0, y1 - y0),
        (np.full(count, x1), y0 + share * (y1 - y0), 1, 0, y1 - y0),
    ]
    net = gross = 0.0
    for x, y, right, up, length in sides:
        velocity = mover.velocity(x, y, 20.0)
        thickness = interpolated(flow, flow.thickness_m, x, y)
        flux = thickness * (velocity.x * right + velocity.y * up)
        net += flux.mean() * length
        gross += np.abs(flux).mean() * length
    return net, gross


def test_divergence_matches_mass_balance_and_thinning(glacier):
    """What leaves a box in a year is what falls on it, less what it thickens."""
    flow = glacier.flow
    inside = ndimage.distance_transform_edt(flow.ice) * flow.step_m
    rows, columns = np.nonzero(inside > 190)
    rng = np.random.default_rng(0)
    picked = rng.choice(rows.size, 40, replace=False)
    source = flow.mass_balance_m_yr - flow.thinning_m_yr
    half, misfits = 100.0, []
    for row, column in zip(rows[picked], columns[picked], strict=True):
        x, y = flow.x[column], flow.y[row]
        net, gross = outflow(flow, x - half, x + half, y - half, y + half)
        fine = np.arange(-half + 2.5, half, 5.0)
        grid_x, grid_y = np.meshgrid(x + fine, y + fine)
        expected = interpolated(flow, source, grid_x, grid_y).sum() * 25
        misfits.append(abs(net - expected) / gross)
    # Velocities and thickness are known at cells of 20 m, and the box spans ten of them: products
    # of cell means differ from the flux through faces by (20 m / length of the flow's variation of
    # some 150 m)^2 / 8, 0.2 %; icefall and shear margins vary faster.
    assert np.median(misfits) < 0.005
    assert max(misfits) < 0.02


def test_flux_through_cross_sections_is_the_balance_above_them():
    terrain = channel()
    flow = balance_flow(terrain, max_speed_m_yr=100)
    source = (flow.mass_balance_m_yr - flow.thinning_m_yr) * flow.step_m**2
    for column in (40, 80, 120, 150):
        between = (flow.x[column] + flow.x[column + 1]) / 2
        y = np.linspace(flow.y[0], flow.y[-1], 4001)
        velocity = Trajectories(flow, STEADY).velocity(np.full_like(y, between), y, 20.0)
        thickness = interpolated(flow, flow.thickness_m, np.full_like(y, between), y)
        flux = np.sum(np.maximum(thickness, 0) * velocity.x) * abs(y[1] - y[0])
        assert flux == pytest.approx(source[:, : column + 1].sum(), rel=0.02)


def test_nothing_is_lost_over_the_whole_glacier(glacier):
    flow = glacier.flow
    source = flow.mass_balance_m_yr - flow.thinning_m_yr
    # The finite volumes close to rounding; a single cell's source is the scale.
    assert abs(source.sum()) < 1e-6 * np.abs(source).sum()


@pytest.mark.parametrize("exponent", [3.0, 5.0, 8.0])
def test_transverse_profile_is_the_power_law(exponent):
    terrain = channel()
    flow = balance_flow(terrain, max_speed_m_yr=100, profile_exponent=exponent)
    middle = flow.vx_m_yr[:, 80]
    across = margin_position(terrain.ice)[:, 80]
    inside = terrain.ice[:, 80] & (across < 0.95)
    expected = 1 - across**exponent
    measured = middle / middle.max()
    # The potential's gradient is uniform across a channel but for the mass that the surface adds,
    # which turns the flow by width/length of the way to the divide: some per cent.
    np.testing.assert_allclose(measured[inside], expected[inside], atol=0.06)


def test_ice_speeds_up_over_the_icefall(glacier):
    flow = glacier.flow
    core = margin_position(flow.ice) < 0.3
    fast = flow.speed_m_yr[core & (flow.speed_m_yr > np.quantile(flow.speed_m_yr[core], 0.97))]
    assert 2 < fast.mean() / np.median(flow.speed_m_yr[core]) < 12
    thin = flow.thickness_m[core & (flow.speed_m_yr > np.quantile(flow.speed_m_yr[core], 0.97))]
    assert thin.mean() < flow.thickness_m[core].mean()


def test_flow_is_downhill(glacier):
    """On the scale of some ice thicknesses the ice flows down its surface slope."""
    flow = glacier.flow
    smooth = ndimage.gaussian_filter(glacier.terrain.elevation_m.astype(float), 8)
    down, right = np.gradient(smooth)
    core = (margin_position(flow.ice) < 0.6) & (flow.speed_m_yr > 20)
    along = -(flow.vx_m_yr * right - flow.vy_m_yr * down)
    assert (along[core] > 0).mean() > 0.97


@settings(max_examples=25)
@given(days=st.lists(st.floats(1, 900), min_size=2, max_size=2), seed=st.integers(0, 99))
def test_displacements_close(glacier, days, seed):
    """d12 + d23 = d13, through seasons, trend and surge, to 0.01 px."""
    start = 20.1
    middle, end = start + days[0] / 365.25, start + sum(days) / 365.25
    rows, columns = np.nonzero(glacier.flow.ice)
    picked = np.random.default_rng(seed).choice(rows.size, 50)
    x = glacier.flow.x[columns[picked]] + 3.3
    y = glacier.flow.y[rows[picked]] + 4.4
    mover = glacier.scenery.trajectories
    once = mover.move(x, y, start, end)
    first = mover.move(x, y, start, middle)
    twice = mover.move(first.x, first.y, middle, end)
    assert np.hypot(twice.x - once.x, twice.y - once.y).max() < 0.01 * PIXEL_M
    back = mover.move(once.x, once.y, end, start)
    assert np.hypot(back.x - x, back.y - y).max() < 0.01 * PIXEL_M


def test_displacement_is_the_integral_of_the_velocity_along_the_way(glacier):
    """Against ten thousand small Euler steps, and unlike velocity times time."""
    flow = glacier.flow
    fastest = np.unravel_index(flow.speed_m_yr.argmax(), flow.speed_m_yr.shape)
    x, y = np.array([flow.x[fastest[1]]]), np.array([flow.y[fastest[0]]])
    earlier, later = datetime(2020, 3, 1), datetime(2021, 3, 1)
    start, end = years_since_epoch(earlier), years_since_epoch(later)
    px, py, count = x.copy(), y.copy(), 10_000
    mover = glacier.scenery.trajectories
    for step in range(count):
        velocity = mover.velocity(px, py, start + (step + 0.5) * (end - start) / count)
        px = px + velocity.x * (end - start) / count
        py = py + velocity.y * (end - start) / count
    gone = glacier.displacement(x, y, earlier, later)
    # Euler's error is half a step times the strain rate times the path: 1e-4 yr/2 * 1/yr * 400 m.
    assert np.hypot(gone.dx_m - (px - x), gone.dy_m - (py - y))[0] < 0.03
    instant = glacier.velocity(x, y, earlier)
    assert np.hypot(gone.dx_m - instant.dx_m, gone.dy_m - instant.dy_m)[0] > PIXEL_M


def test_rhythm_integrals_are_the_integrals_of_the_factors():
    rhythm = Rhythm(surge_amplitude=1.5)
    times = np.linspace(19.6, 21.9, 20_001)
    for mode in range(3):
        values = np.array([rhythm.factors(t)[mode] for t in times])
        expected = np.trapezoid(values, times)
        found = rhythm.integrals(times[-1])[mode] - rhythm.integrals(times[0])[mode]
        assert found == pytest.approx(expected, abs=1e-5)


def test_surface_rises_by_what_the_flow_does_not_carry_away(glacier):
    """The change over a year against the sum of b - div(q) over small steps."""
    flow, scenery = glacier.flow, glacier.scenery
    start, end = 20.2, 21.3
    times = start + (np.arange(400) + 0.5) / 400 * (end - start)
    mean_divergence = flow.mass_balance_m_yr - flow.thinning_m_yr
    total = np.zeros_like(mean_divergence)
    for time in times:
        extra = np.tensordot(
            np.asarray(glacier.rhythm.factors(time)), flow.mode_divergence_m_yr, axes=1
        )
        total += (flow.mass_balance_m_yr - mean_divergence - extra) * (end - start) / times.size
    found = scenery.elevation_change_m(end) - scenery.elevation_change_m(start)
    thick = flow.thickness_m > 30
    np.testing.assert_allclose(found[thick], total[thick], atol=2e-3)


def test_seasons_make_the_speed_swing(glacier):
    flow = glacier.flow
    tongue = flow.ice & (flow.speed_m_yr > 50)
    x, y = np.meshgrid(flow.x, flow.y)
    dates = [datetime(2019, month, 15) for month in range(1, 13)]
    speeds = [np.hypot(*glacier.velocity(x[tongue], y[tongue], date)).mean() for date in dates]
    assert dates[int(np.argmax(speeds))].month in (5, 6, 7)
    assert 1.2 < max(speeds) / min(speeds) < 2


def test_surge_passes(glacier):
    flow = glacier.flow
    lowest = np.where(flow.speed_m_yr > 60, glacier.terrain.elevation_m, np.inf)
    row, column = np.unravel_index(lowest.argmin(), lowest.shape)
    x, y = np.array([flow.x[column]]), np.array([flow.y[row]])
    before, during, after = (
        np.hypot(*glacier.velocity(x, y, datetime(year, 9, 1)))[0] for year in (2019, 2020, 2021)
    )
    assert during / before > 1.5
    assert after / before < 1


def test_principal_strain_of_known_fields():
    x, y = np.meshgrid(np.arange(20) * 10.0, -np.arange(20) * 10.0)
    stretched = principal_strain(strain_rates(0.3 * x, -0.1 * y, step_m=10.0))
    np.testing.assert_allclose(stretched.rate_per_yr, 0.3, atol=1e-12)
    np.testing.assert_allclose(np.sin(stretched.direction), 0, atol=1e-12)
    # Simple shear, faster to the north: extension at 45 degrees, half the shear.
    sheared = principal_strain(strain_rates(0.2 * y, 0 * y, step_m=10.0))
    np.testing.assert_allclose(sheared.rate_per_yr, 0.1, atol=1e-12)
    np.testing.assert_allclose(np.rad2deg(sheared.direction), 45, atol=1e-9)


def test_dates_out_of_order_are_refused(glacier):
    x = y = np.zeros(1)
    with pytest.raises(DateError, match="swap"):
        glacier.displacement(x, y, datetime(2021, 1, 1), datetime(2020, 1, 1))


def test_outline_beside_the_dem_is_refused():
    x, y = np.arange(60) * 20.0, -np.arange(60) * 20.0
    with pytest.raises(GridError, match="do not overlap"):
        given_terrain(x, y, np.zeros((60, 60)), np.zeros((60, 60), bool))


def test_glacier_too_small_for_its_grid_is_refused():
    x, y = np.arange(60) * 20.0, -np.arange(60) * 20.0
    ice = np.zeros((60, 60), bool)
    ice[20:24, 10:50] = True
    with pytest.raises(InputError, match="finer grid"):
        given_terrain(x, y, np.zeros((60, 60)), ice)


def test_dem_with_holes_is_refused():
    terrain = channel()
    height = terrain.elevation_m.copy()
    height[3, 4] = np.nan
    with pytest.raises(InputError, match="1 cells"):
        given_terrain(terrain.x, terrain.y, height, terrain.ice)


@pytest.mark.parametrize(
    "options", [{"max_speed_m_yr": 0}, {"profile_exponent": 0.5}, {"calving_share": 1.0}]
)
def test_impossible_flow_is_refused(options):
    with pytest.raises(InputError, match="max_speed_m_yr"):
        balance_flow(channel(), **options)


@pytest.mark.parametrize(
    "options",
    [{"seasonal_amplitude": 1.0}, {"surge_amplitude": -1}, {"surge_duration_days": 0}],
)
def test_impossible_rhythm_is_refused(options):
    with pytest.raises(InputError, match="amplitude"):
        Rhythm(**options)
