"""A velocity field that carries away what falls on the glacier: mass is conserved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from ..model import InputError
from .ice import ice_thickness, margin_position
from .noise import FloatArray
from .terrain import BoolArray, Terrain

__all__ = ["MODES", "Flow", "balance_flow"]

MODES = ("season", "trend", "surge")
"""What may change the flow with time; see `rhythm.Rhythm`."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The mean flow of a glacier and what belongs to it, ``(y, x)`` on the terrain's grid.

    Attributes
    ----------
    x, y
        Cell centres in metres; ``y`` decreases.
    vx_m_yr, vy_m_yr
        Mean velocity to the east and to the north, averaged over depth and equal to the surface
        velocity (the ice slides). It continues a little beyond the margin, for interpolation.
    thickness_m
        Ice thickness.
    mass_balance_m_yr
        What the surface gains in a year, in metres of ice.
    thinning_m_yr
        Mean rate of elevation change (negative where it thins); the flux divergence is
        ``mass_balance_m_yr - thinning_m_yr``.
    mode_weight
        ``(mode, y, x)``: how strongly each of `MODES` acts at a place.
    mode_divergence_m_yr
        ``(mode, y, x)``: divergence of the mean flux times ``mode_weight``.
    ice
        Ice mask at the reference date.
    """

    x: FloatArray
    y: FloatArray
    vx_m_yr: FloatArray
    vy_m_yr: FloatArray
    thickness_m: FloatArray
    mass_balance_m_yr: FloatArray
    thinning_m_yr: FloatArray
    mode_weight: FloatArray
    mode_divergence_m_yr: FloatArray
    ice: BoolArray

    @property
    def step_m(self) -> float:
        """Distance between neighbouring cells."""
        return float(self.x[1] - self.x[0])

    @property
    def speed_m_yr(self) -> FloatArray:
        """Magnitude of the mean velocity."""
        return np.asarray(np.hypot(self.vx_m_yr, self.vy_m_yr))


def balance_flow(
    terrain: Terrain,
    *,
    max_speed_m_yr: float = 350.0,
    profile_exponent: float = 4.0,
    thinning_at_terminus_m_yr: float = 1.5,
    calving_share: float = 0.0,
) -> Flow:
    """Find the flow that balances mass balance and thinning everywhere.

    The flux ``q = h u`` must satisfy ``div q = b - dh/dt`` (Cuffey & Paterson 2010, equation 8.75)
    and stay inside the glacier. Among all such fluxes the one is taken that is the gradient of a
    potential times a conductivity, ``q = -D grad(phi)`` with ``D = h (1 - w**n)``, w being the
    place across the glacier. In a channel grad(phi) is nearly uniform across, so that the speed has
    the power-law profile ``1 - w**n`` of ice between valley walls, tributaries merge without
    mixing, and thin ice runs fast. The equation is linear: a mass balance that grows linearly with
    height is scaled until the fastest ice has ``max_speed_m_yr``.

    Parameters
    ----------
    terrain
        Surface and ice mask.
    max_speed_m_yr
        99.5 % of the ice is slower than this.
    profile_exponent
        Exponent n of the transverse profile; 3 to 8 in nature.
    thinning_at_terminus_m_yr
        Mean thinning at the lowest ice; it fades linearly to zero at the highest.
    calving_share
        Share of the balance flux that leaves over the front, the lowest ice, instead of melting.

    Raises
    ------
    InputError
        If the parameters are outside of what a glacier can do.
    """
    if max_speed_m_yr <= 0 or profile_exponent < 1 or not 0 <= calving_share < 1:
        raise InputError(
            "a glacier needs max_speed_m_yr above 0, profile_exponent of 1 or more and"
            f" calving_share from 0 to below 1, but they are {max_speed_m_yr},"
            f" {profile_exponent} and {calving_share}"
        )
    ice = terrain.ice
    thickness = ice_thickness(terrain)
    across = margin_position(ice)
    height = terrain.elevation_m.astype(np.float64)
    low, high = height[ice].min(), height[ice].max()
    upward = np.clip((height - low) / max(high - low, 1.0), 0, 1)
    source = np.where(ice, upward - upward[ice].mean() * (1 - 0.6 * calving_share), 0.0)
    front = ice & (upward <= np.quantile(upward[ice], 0.02)) if calving_share > 0 else None

    conductivity = np.where(ice, thickness * (1 - across**profile_exponent), 0.0)
    conductivity = np.where(ice, np.maximum(conductivity, 1e-3 * conductivity.max()), 0.0)
    right, down = _fluxes(source, conductivity, ice, front, terrain.step_m)
    vx, vy = _cell_velocity(right, down, thickness)
    scale = max_speed_m_yr / float(np.quantile(np.hypot(vx, vy)[ice], 0.995))
    divergence = _divergence(right, down, terrain.step_m) * scale
    divergence = np.where(ice, divergence, 0.0)

    thinning = np.where(ice, -thinning_at_terminus_m_yr * (1 - upward), 0.0)
    weight = np.stack([1 - 0.6 * upward, np.ones_like(upward), _surge_zone(upward)])
    weight = _continued(weight, ice)
    changes = np.stack(
        [
            _divergence(
                right * _between(layer, axis=1), down * _between(layer, axis=0), terrain.step_m
            )
            * scale
            for layer in weight
        ]
    )
    velocity = _continued(np.stack([vx, vy]) * scale, ice, fade=True)
    return Flow(
        x=terrain.x,
        y=terrain.y,
        vx_m_yr=velocity[0],
        vy_m_yr=velocity[1],
        thickness_m=thickness,
        mass_balance_m_yr=divergence + thinning,
        thinning_m_yr=thinning,
        mode_weight=weight,
        mode_divergence_m_yr=np.where(ice, changes, 0.0),
        ice=ice,
    )


def _fluxes(
    source: FloatArray,
    conductivity: FloatArray,
    ice: BoolArray,
    front: BoolArray | None,
    step_m: float,
) -> tuple[FloatArray, FloatArray]:
    """Flux through the cells' right and lower faces (m2/yr), by finite volumes.

    Where there is no front nothing leaves the glacier; then the sources must sum to zero over each
    piece of connected ice, which is seen to here.
    """
    labels, pieces = ndimage.label(ice)
    open_pieces = np.zeros(pieces + 1, bool)
    if front is not None:
        open_pieces[np.unique(labels[front])] = True
    means = np.asarray(ndimage.mean(source, labels, np.arange(pieces + 1)))
    means[open_pieces] = 0
    source = np.where(ice, source - means[labels], 0.0)
    face_right = _face(conductivity, axis=1)
    face_down = _face(conductivity, axis=0)
    number = np.full(ice.shape, -1)
    number[ice] = np.arange(int(ice.sum()))
    links = []
    for face, first, second in (
        (face_right, number[:, :-1], number[:, 1:]),
        (face_down, number[:-1], number[1:]),
    ):
        used = face > 0
        links.append((first[used], second[used], face[used]))
    start, end, strength = (np.concatenate(parts) for parts in zip(*links, strict=True))
    size = int(ice.sum())
    diagonal = np.bincount(start, strength, size) + np.bincount(end, strength, size)
    # A potential is known but for a constant in each closed piece: hold one cell there.
    closed = np.flatnonzero(~open_pieces[1:]) + 1
    first_cells = np.array([number[labels == piece][0] for piece in closed], dtype=int)
    held = first_cells if front is None else np.concatenate([first_cells, number[front]])
    diagonal[held] += 1e3 * strength.max()
    matrix = sparse.coo_matrix(
        (
            np.concatenate([diagonal, -strength, -strength]),
            (
                np.concatenate([np.arange(size), start, end]),
                np.concatenate([np.arange(size), end, start]),
            ),
        ),
        shape=(size, size),
    )
    potential = np.zeros(ice.shape)
    potential[ice] = spsolve(matrix.tocsc(), source[ice] * step_m**2, permc_spec="MMD_AT_PLUS_A")
    right = -face_right * np.diff(potential, axis=1) / step_m
    down = -face_down * np.diff(potential, axis=0) / step_m
    return right, down


def _between(values: FloatArray, *, axis: int) -> FloatArray:
    """Mean of neighbours along an axis."""
    if axis == 1:
        return np.asarray((values[:, :-1] + values[:, 1:]) / 2)
    return np.asarray((values[:-1] + values[1:]) / 2)


def _face(conductivity: FloatArray, *, axis: int) -> FloatArray:
    """Conductivity of the faces between cells; none where one of the two is not ice."""
    first = conductivity[:, :-1] if axis == 1 else conductivity[:-1]
    second = conductivity[:, 1:] if axis == 1 else conductivity[1:]
    both = (first > 0) & (second > 0)
    return np.where(both, (first + second) / 2, 0.0)


def _divergence(right: FloatArray, down: FloatArray, step_m: float) -> FloatArray:
    """Sum up what leaves each cell over its faces, per area."""
    wide = np.pad(right, ((0, 0), (1, 1)))
    tall = np.pad(down, ((1, 1), (0, 0)))
    return np.asarray((np.diff(wide, axis=1) + np.diff(tall, axis=0)) / step_m)


def _cell_velocity(
    right: FloatArray, down: FloatArray, thickness: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Velocity at the centres, to the east and to the north, from the flux through the faces."""
    u = np.pad(right / np.maximum(_between(thickness, axis=1), 1.0), ((0, 0), (1, 1)))
    v = np.pad(down / np.maximum(_between(thickness, axis=0), 1.0), ((1, 1), (0, 0)))
    return _between(u, axis=1), -_between(v, axis=0)


def _surge_zone(upward: FloatArray) -> FloatArray:
    """Where a surge acts: the lower half of the glacier, fading out."""
    return np.asarray(np.exp(-((upward / 0.55) ** 4)))


def _continued(layers: FloatArray, ice: NDArray[np.bool_], *, fade: bool = False) -> FloatArray:
    """Continue layers beyond the margin from the nearest ice, fading within three cells."""
    distance, nearest = ndimage.distance_transform_edt(~ice, return_indices=True)
    outside = layers[:, nearest[0], nearest[1]]
    if fade:
        outside = outside * np.clip(1 - (distance - 1) / 3, 0, 1)
    return np.where(ice, layers, outside)
