"""The criteria of Charrier et al. (2022), section IV."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import DAYS_PER_YEAR, InputError, StableGroundError
from ogive.series.coherence import best_sampling, mean_magnitude, stable_rmse, vector_coherence
from ogive.series.invert import invert


def field(vx, vy):
    return xr.Dataset(
        {
            name: (("time", "y", "x"), np.asarray(values, float)[:, None, :])
            for name, values in (("vx", vx), ("vy", vy))
        }
    )


def test_stable_rmse_is_equation_8():
    velocities = field([[3, 0, 9], [0, 4, 9], [np.nan, 0, 9]], [[4, 0, 9], [0, 3, 9], [1, 0, 9]])
    rock = xr.DataArray([[True, True, False]], dims=("y", "x"))
    # First pixel: speeds 5 and 0; second: 0, 5, 0.
    expected = (np.sqrt(25 / 2) + np.sqrt(25 / 3)) / 2
    assert stable_rmse(velocities, rock) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(StableGroundError, match="no pixel on stable ground"):
        stable_rmse(velocities, rock & False)


@given(st.floats(0, 2 * np.pi), st.floats(0.1, 1e4))
def test_coherence_is_one_for_one_direction_whatever_it_is(angle, speed):
    speeds = speed * np.array([[1.0], [0.2], [30.0]])
    velocities = field(speeds * np.cos(angle), speeds * np.sin(angle))
    assert float(vector_coherence(velocities).item()) == pytest.approx(1, abs=1e-12)


def test_coherence_of_opposed_and_of_missing_velocities():
    coherence = vector_coherence(field([[1, 0], [-1, 0]], [[0, 0], [0, np.nan]]))
    assert coherence.values[0, 0] == pytest.approx(0, abs=1e-12)
    assert np.isnan(coherence.values[0, 1])


def cube_of_rock_and_ice(simulate, pairs):
    """Ten pixels of ice at 0.3 m/day and ten of rock, errors of 3 m."""

    def position(days):
        return np.stack([0.3 * days, 0.1 * days])

    first, second = pairs(40, keep=0.9)
    ice = simulate(first, second, pixels=10, error_m=3.0, position=position, seed=1)
    rock = simulate(
        first, second, pixels=10, error_m=3.0, position=lambda d: 0 * np.stack([d, d]), seed=2
    )
    rock = rock.assign_coords(x=rock.x + 1200)
    cube = xr.concat([ice, rock], dim="x", data_vars="minimal")
    return cube, xr.DataArray(cube.x.values >= 1200, dims="x").broadcast_like(cube.vx[0])


def test_best_sampling_flattens_where_noise_is_small_beside_motion(simulate, pairs):
    cube, rock = cube_of_rock_and_ice(simulate, pairs)
    table = best_sampling(
        cube, stable=rock, samplings=("60D", "12D", "24D", "36D", "48D"), closure="dates", threads=1
    )
    np.testing.assert_array_equal(table.sampling, [12, 24, 36, 48, 60])
    # Figure 3 of the paper: longer is calmer, and the inversion calms at every length.
    assert (np.diff(table.vvc_series) > -0.005).all()
    assert (np.diff(table.rmse_series) < 0).all()
    assert (table.rmse_series < table.rmse_observations).all()
    assert (table.vvc_series[:3] >= table.vvc_observations[:3]).all()
    best = np.flatnonzero(table.vvc_series >= table.vvc_series.max() - 0.01)[0]
    assert table.attrs["best_sampling"] == f"{int(table.sampling[best])}D"
    assert table.attrs["best_sampling"] in ("24D", "36D", "48D")


def test_best_sampling_tells_bad_input(simulate, pairs):
    cube, rock = cube_of_rock_and_ice(simulate, pairs)
    with pytest.raises(InputError, match="no sampling"):
        best_sampling(cube, stable=rock, samplings=())
    with pytest.raises(InputError, match="moves"):
        best_sampling(cube, stable=rock | True)
    with pytest.raises(StableGroundError):
        best_sampling(cube, stable=rock & False, samplings=("24D",), threads=1)


def test_mean_magnitude_before_and_after(simulate, pairs):
    cube, rock = cube_of_rock_and_ice(simulate, pairs)
    series = invert(cube, "36D", closure="dates", threads=1)
    means = mean_magnitude(cube, series)
    speed = np.hypot(0.3, 0.1) * DAYS_PER_YEAR
    # The mean of a noisy speed lies above the speed, before more than after.
    ice, ground = ~rock, rock
    assert float(means.after.where(ice).mean()) == pytest.approx(speed, rel=0.05)
    assert float(means.difference.where(ground).mean()) < -5
    np.testing.assert_allclose(means.difference, means.after - means.before)
    with pytest.raises(InputError, match="baseline of 36 days"):
        mean_magnitude(cube.isel(mid_date=[]), series)
