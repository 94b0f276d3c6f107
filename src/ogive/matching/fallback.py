"""Two matches of one pair, with different features: at each point the one more likely right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..model import Flag, InputError
from .field import Field

__all__ = ["more_confident"]


def more_confident(first: Field, second: Field) -> Field:
    """Take the second field's point where it is more confident, or where the first has none.

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
    ours, theirs = first.planes["confidence"], second.planes["confidence"]
    found = second.flag == Flag.MEASURED
    missing = first.flag != Flag.MEASURED
    taken = found & (missing | (np.nan_to_num(theirs) > np.nan_to_num(ours)))
    planes = {
        name: np.where(taken, second.planes[name], plane)
        for name, plane in first.planes.items()
        if name in second.planes
    }
    return replace(
        first,
        planes=planes,
        flag=np.where(taken, second.flag, first.flag),
        features=f"{first.features}; {second.features} where more confident",
        source=taken.astype(np.uint8),
        circumstances=None,
    )
