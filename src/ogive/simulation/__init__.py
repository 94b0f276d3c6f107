"""Glaciers whose motion is known, seen by simulated satellites."""

from .glacier import (
    Displacement,
    Ground,
    Place,
    SimulatedGlacier,
    SimulatedScene,
    Weather,
)
from .pair import SimplePair, simple_pair
from .rhythm import Rhythm
from .satellite import ORBITS, Orbit, Pass, Sensor
from .scenery import Front
from .surface import SurfaceChange
from .terrain import Terrain, Valley, given_terrain, valley_terrain

__all__ = [
    "ORBITS",
    "Displacement",
    "Front",
    "Ground",
    "Orbit",
    "Pass",
    "Place",
    "Rhythm",
    "Sensor",
    "SimplePair",
    "SimulatedGlacier",
    "SimulatedScene",
    "SurfaceChange",
    "Terrain",
    "Valley",
    "Weather",
    "given_terrain",
    "simple_pair",
    "valley_terrain",
]
