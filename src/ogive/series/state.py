"""What the pixel in each lane is at, while its network is solved again and again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations
from .lanes import LANES, aligned, inner
from .network import Plan
from .rows import Rows
from .solver import BLOCK

__all__ = [
    "CONVERGED",
    "ERRORS",
    "FIRST",
    "FURTHER",
    "LAST",
    "NOT_CONVERGED",
    "NO_OBSERVATION",
    "NO_REDUNDANCY",
    "SINGULAR",
    "Options",
    "PixelLanes",
    "empty_pixel_lanes",
    "links_of",
    "restart",
]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

CONVERGED, NOT_CONVERGED, NO_OBSERVATION, NO_REDUNDANCY, SINGULAR = 0, 1, 2, 3, 4
"""How the inversion of a pixel ended."""

# What a lane waits for: its first solution, a further one, the leverages of its last weights, the
# system whose inverse gives its errors.
FIRST, FURTHER, LAST, ERRORS = 0, 1, 2, 3


class Options(NamedTuple):
    """What the user chose; lengths in metres, times in days.

    ``image_error_m`` below 0 asks for an estimate.
    """

    regularisation: float
    tukey_c: float
    tolerance_m: float
    max_iterations: int
    literal: bool
    smoothing_days: float
    declared: bool
    image_error_m: float


class PixelLanes(NamedTuple):
    """What each lane is at; the last axis of its numbers are the lanes.

    ``pixel`` is -1 where no pixel is left. ``links`` hold the rows of pixels with gaps whose
    observations are combined, lane by lane; the others have those of ``Rows.common``.
    """

    pixel: I8
    phase: I8
    iterations: I8
    total: I8
    present: I8
    own: NDArray[np.bool_]
    held: NDArray[np.bool_]
    settled: NDArray[np.bool_]
    expects: NDArray[np.bool_]
    direct: NDArray[np.bool_]
    sound: NDArray[np.bool_]
    active: F8
    fresh: F8
    strength: F8
    image_strength: F8
    stretch: F8
    newton: F8
    freedom: F8
    checked: F8
    smaller: F8
    limit: F8
    step: F8
    pulled: F8
    shared: F8
    rounding: F8
    scale: F8
    typical: F8
    unit: F8
    spread: F8
    telescoped: F8
    solution: F8
    before: F8
    expected: F8
    right: F8
    obs_variance: F8
    links: Combinations


@inner
def empty_pixel_lanes(plan: Plan) -> PixelLanes:
    """Lanes without a pixel."""
    n, nodes = plan.first_date.size, plan.node_days.size
    rows = BLOCK * ((nodes - 1 + BLOCK - 1) // BLOCK)
    kept = n if plan.combine else 0
    return PixelLanes(
        pixel=np.full(LANES, -1),
        phase=np.zeros(LANES, np.int64),
        iterations=np.zeros(LANES, np.int64),
        total=np.zeros(LANES, np.int64),
        present=np.zeros(LANES, np.int64),
        own=np.zeros(LANES, np.bool_),
        held=np.zeros(LANES, np.bool_),
        settled=np.zeros(LANES, np.bool_),
        expects=np.zeros(LANES, np.bool_),
        direct=np.zeros(LANES, np.bool_),
        sound=np.zeros(LANES, np.bool_),
        active=np.zeros(LANES),
        fresh=np.zeros(LANES),
        strength=np.zeros(LANES),
        image_strength=np.zeros(LANES),
        stretch=np.zeros(LANES),
        newton=np.ones(LANES),
        freedom=np.zeros(LANES),
        checked=np.zeros(LANES),
        smaller=np.zeros((2, LANES)),
        limit=np.zeros((2, LANES)),
        step=np.zeros(LANES),
        pulled=np.zeros(LANES),
        shared=np.zeros(LANES),
        rounding=np.zeros(LANES),
        scale=np.ones((2, LANES)),
        typical=np.ones((2, LANES)),
        unit=np.zeros((2, LANES)),
        spread=np.zeros((LANES, plan.period_node.size - 1)),
        telescoped=np.zeros((LANES, plan.period_node.size - 1)),
        solution=aligned(2 * nodes).reshape(2, nodes, LANES),
        before=aligned(2 * nodes).reshape(2, nodes, LANES),
        expected=aligned(2 * nodes).reshape(2, nodes, LANES),
        right=aligned(2 * rows).reshape(2, rows, LANES),
        obs_variance=np.zeros((LANES, kept)),
        links=Combinations(
            start=np.zeros((LANES, kept), np.int64),
            end=np.zeros((LANES, kept), np.int64),
            member=np.zeros((LANES, kept, 3), np.int64),
            sign=np.zeros((LANES, kept, 3), np.int64),
            members=np.zeros((LANES, kept), np.int64),
        ),
    )


@inner
def links_of(lanes: PixelLanes, rows: Rows, lane: int) -> Combinations:
    """Tell the rows of one lane."""
    if not lanes.own[lane]:
        return rows.common
    return Combinations(
        lanes.links.start[lane],
        lanes.links.end[lane],
        lanes.links.member[lane],
        lanes.links.sign[lane],
        lanes.links.members[lane],
    )


@inner
def restart(lanes: PixelLanes, lane: int) -> None:
    """Begin to look for the residuals' scale."""
    lanes.held[lane] = False
    lanes.scale[0, lane] = np.inf
    lanes.scale[1, lane] = np.inf
