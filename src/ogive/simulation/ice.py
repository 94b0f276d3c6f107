"""The body of the ice: where its margins are and how thick it is."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .noise import FloatArray
from .terrain import BoolArray, Terrain

__all__ = ["ice_thickness", "margin_position", "surface_slope"]

ICE_DENSITY_KG_M3 = 900.0
GRAVITY_M_S2 = 9.81
THINNEST_M = 6.0


def margin_position(ice: BoolArray) -> FloatArray:
    """Place across the glacier: 0 on the centre line, 1 at the margin and beyond.

    The half width at a place is the radius of the largest disc that holds it and fits into the
    glacier (the local thickness of porous media: Hildebrand & Rüegsegger 1997, J. Microsc. 185,
    67-75), which a rough margin does not disturb.

    Parameters
    ----------
    ice
        ``(y, x)``.
    """
    depth = ndimage.distance_transform_edt(np.pad(ice, 1))[1:-1, 1:-1]
    half_width = depth.copy()
    for radius in np.linspace(1, depth.max(), 24):
        reach = ndimage.distance_transform_edt(depth < radius)
        half_width = np.where(reach <= radius, np.maximum(half_width, radius), half_width)
    weight = ndimage.gaussian_filter(ice.astype(np.float64), depth.max() / 3)
    smooth = ndimage.gaussian_filter(np.where(ice, half_width, 0.0), depth.max() / 3)
    half_width = np.maximum(smooth / np.maximum(weight, 1e-9), depth)
    across = 1 - np.maximum(depth - 0.5, 0) / np.maximum(half_width - 0.5, 0.5)
    return np.where(ice, np.clip(ndimage.gaussian_filter(across, 1.0), 0, 1), 1.0)


def surface_slope(terrain: Terrain, *, smoothing_m: float) -> FloatArray:
    """Slope (rise over run) of the smoothed ice surface; what is not ice has no say in it."""
    sigma = smoothing_m / terrain.step_m
    weight = ndimage.gaussian_filter(terrain.ice.astype(np.float64), sigma)
    height = np.where(terrain.ice, terrain.elevation_m, 0).astype(np.float64)
    smooth = ndimage.gaussian_filter(height, sigma) / np.maximum(weight, 1e-6)
    return np.asarray(np.hypot(*np.gradient(smooth, terrain.step_m)))


def ice_thickness(
    terrain: Terrain, *, yield_stress_pa: float = 1.1e5, thickest_m: float = 350.0
) -> FloatArray:
    """Thickness of a perfectly plastic glacier with a parabolic cross section, in metres.

    ``h = tau / (rho g sin(slope))`` on the centre line (Nye 1952; Cuffey & Paterson 2010, section
    8.5), thinner towards the margins, and never more than half as deep as half wide. So the ice is
    thin where it is steep, and there continuity makes it fast: the icefall.

    Parameters
    ----------
    terrain
        Surface and ice mask.
    yield_stress_pa
        Basal drag the ice can bear.
    thickest_m
        Limit for flat ground.
    """
    slope = surface_slope(terrain, smoothing_m=140.0)
    sine = slope / np.hypot(1, slope)
    weight_n_m3 = ICE_DENSITY_KG_M3 * GRAVITY_M_S2
    centre = np.minimum(yield_stress_pa / (weight_n_m3 * np.maximum(sine, 1e-3)), thickest_m)
    depth = ndimage.distance_transform_edt(np.pad(terrain.ice, 1))[1:-1, 1:-1] * terrain.step_m
    across = margin_position(terrain.ice)
    half_width = depth / np.maximum(1 - across, 0.15)
    centre = np.minimum(centre, 0.5 * np.maximum(half_width, 40.0))
    sigma = 130.0 / terrain.step_m
    weight = ndimage.gaussian_filter(terrain.ice.astype(np.float64), sigma)
    centre = ndimage.gaussian_filter(np.where(terrain.ice, centre, 0.0), sigma) / np.maximum(
        weight, 1e-6
    )
    thickness = THINNEST_M + centre * (1 - across**2)
    return np.where(terrain.ice, thickness, 0.0)
