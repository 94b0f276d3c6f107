"""Cubes of pairs within and across two real orbits, by the orbits' nominal geometry."""

from __future__ import annotations

import numpy as np

from ogive.correction.orthorectification.views import stack_views
from ogive.scenes.geometry import view_geometry
from ogive.simulation.orbits import displacement_network
from ogive.store.cube import canonical

ORBITS = (14, 114)
"""Of Sentinel-2 over Kaskawulsh Glacier: their epipolar line runs to 106°."""


def cube_of_two_orbits(box, **options):
    """A cube whose offsets are those of the two orbits, which take turns, and what is true.

    The simulated network has geometries of its own: the offsets of its elevation bias are taken
    off, and those of the real orbits put in their place.
    """
    made = displacement_network(tuple(box.shape), **{"pairs": None, "noise_m": 1.0} | options)
    times = made.views["time"].values
    sides = [view_geometry({"mission": "sentinel-2", "relative_orbit": o}, box) for o in ORBITS]
    real = stack_views([sides[k % 2] for k in range(times.size)], times)
    cube, index = made.cube, {t: k for k, t in enumerate(times)}
    first, last = (
        np.array([index[t] for t in cube[f"acquisition_date_img{k}"].values]) for k in (1, 2)
    )
    years = (times[last] - times[first]) / np.timedelta64(31_557_600, "s")
    for axis in "xy":
        old, new = (views[f"sight_{axis}"].values for views in (made.views, real))
        moved = (old[last] - old[first])[:, None, None] - (new[last] - new[first])
        d = moved * made.elevation_bias_m / years[:, None, None]
        cube[f"v{axis}"] = (cube[f"v{axis}"] + d).assign_attrs(units="meter/year")
    cube = cube.assign_coords(x=box.coordinates["x"].values, y=box.coordinates["y"].values)
    for k, image in ((1, first), (2, last)):
        cube[f"mission_img{k}"] = ("mid_date", np.full(years.size, "S"))
        cube[f"satellite_img{k}"] = ("mid_date", np.full(years.size, "2A"))
        cube[f"relative_orbit_img{k}"] = ("mid_date", np.array(ORBITS, float)[image % 2])
    return canonical(cube, box.crs), made
