"""The catalogue of a region: which scenes, pairs and products there are, and who works on what.

`open_catalogue` gives an engine, which the functions here take: scenes and pairs are entered
(`enter_scenes`, `enter_pairs`), tasks planned (`plan_pairs`, `plan_units`), claimed under a lease
(`claim`, `renew`, `give_back`), and their results recorded (`record`), each in one transaction, so
that many runs on many machines share the work and none is done twice or lost.
"""

from .again import begin_again
from .claims import Claim, claim, give_back, give_back_dead, renew, unfinished
from .database import CatalogueError
from .entries import (
    Entered,
    KnownScenes,
    count_pairs,
    enter_pairs,
    enter_scenes,
    known_scenes,
    scenes_of,
)
from .owner import is_dead, new_owner
from .plan import Planned, plan_pairs, plan_units
from .products import Published, all_paths, bytes_by_step, paths_of, products_of
from .results import Failure, Product, Result, record
from .schema import open_catalogue
from .status import ErrorKind, RegionStatus, StepStatus, region_status
from .uses import SceneUse, uses_of_scenes

__all__ = [
    "CatalogueError",
    "Claim",
    "Entered",
    "ErrorKind",
    "Failure",
    "KnownScenes",
    "Planned",
    "Product",
    "Published",
    "RegionStatus",
    "Result",
    "SceneUse",
    "StepStatus",
    "all_paths",
    "begin_again",
    "bytes_by_step",
    "claim",
    "count_pairs",
    "enter_pairs",
    "enter_scenes",
    "give_back",
    "give_back_dead",
    "is_dead",
    "known_scenes",
    "new_owner",
    "open_catalogue",
    "paths_of",
    "plan_pairs",
    "plan_units",
    "products_of",
    "record",
    "region_status",
    "renew",
    "scenes_of",
    "unfinished",
    "uses_of_scenes",
]
