"""The steps of a region's road, in its order.

A step plans its tasks in the catalogue, makes jobs of those that are claimed, and performs a job:
three functions. A new product is a file with these three, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ogive.workflow.catalogue import Claim, Planned, Product

from . import annual, calibrate, cube, invert, match, pair, report, search
from .job import Job
from .region import Region

__all__ = ["STEPS", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the road.

    Parameters
    ----------
    plan
        Plans the step's tasks in the catalogue.
    jobs
        Makes jobs of claims.
    perform
        Does a job, and publishes its product.
    of_pairs
        Whether its tasks are pairs, of which many run at once on one machine.
    here
        Whether its jobs are done by the run itself, since they write to the catalogue.
    """

    plan: Callable[[Region], Planned]
    jobs: Callable[[Region, Sequence[Claim]], list[Job]]
    perform: Callable[[Job], Product]
    of_pairs: bool = False
    here: bool = False


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "search": Step(search.plan, search.jobs, search.perform, here=True),
        "pair": Step(pair.plan, pair.jobs, pair.perform, here=True),
        "match": Step(match.plan, match.jobs, match.perform, of_pairs=True),
        "calibrate": Step(calibrate.plan, calibrate.jobs, calibrate.perform, of_pairs=True),
        "cube": Step(cube.plan, cube.jobs, cube.perform),
        "invert": Step(invert.plan, invert.jobs, invert.perform),
        "annual": Step(annual.plan, annual.jobs, annual.perform),
        "report": Step(report.plan, report.jobs, report.perform),
    }
)
"""Each rests on the ones before it."""
