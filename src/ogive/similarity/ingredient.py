"""Something that samples are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ogive.learning.split import Source

__all__ = ["Ingredient"]


@dataclass(frozen=True, slots=True)
class Ingredient:
    """Something that samples are made of.

    Attributes
    ----------
    source
        Its name, place and dates.
    content
        Whatever its kind makes samples of.
    """

    source: Source
    content: Any
