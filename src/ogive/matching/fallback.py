"""Two matches of one pair, with different features: at each point the better of the two.

Where they disagree, at most one is right, and the one more likely to be is taken. Where they agree,
what is left to choose by is how precise each is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..model import Flag, InputError
from .confidence import RIGHT_PX
from .field import Field

__all__ = ["more_confident"]


def more_confident(first: Field, second: Field) -> Field:
    """Take the second field's point where it is more certain, or where the first has none.

    Two displacements within a pixel of each other count as the same one: then the one of the
    smaller variance is taken, with the larger of both confidences.

    Parameters
    ----------
    first, second
        Matches at the same points, both with the plane ``"confidence"``.

    Returns
    -------
    Field
        All planes, flags and confidences of the one taken, and ``source``: 0 where it is the first,
        1 where it is the second. What belongs to the pair as a whole (spectra, notes) is the
        first's.

    Raises
    ------
    InputError
        If one of them knows no confidence.
    """
    for field in (first, second):
        if "confidence" not in field.planes:
            raise InputError(
                f"no confidence is known for the features {field.features!r} with these options: "
                "leave the fallback out"
            )
    ours, theirs = (np.nan_to_num(field.planes["confidence"]) for field in (first, second))
    found = second.flag == Flag.MEASURED
    missing = first.flag != Flag.MEASURED
    apart = np.hypot(*(first.planes[name] - second.planes[name] for name in ("u", "v")))
    same = found & ~missing & (apart < RIGHT_PX)
    mine, others = (field.planes["u_var"] + field.planes["v_var"] for field in (first, second))
    taken = found & (missing | np.where(same, others < mine, theirs > ours))
    planes = {
        name: np.where(taken, second.planes[name], plane)
        for name, plane in first.planes.items()
        if name in second.planes
    }
    planes["confidence"] = np.where(same, np.maximum(ours, theirs), planes["confidence"])
    return replace(
        first,
        planes=planes,
        flag=np.where(taken, second.flag, first.flag),
        features=f"{first.features}; {second.features} where more certain",
        source=taken.astype(np.uint8),
        circumstances=None,
    )
