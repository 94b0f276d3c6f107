"""ogive's own cubes, which say themselves how long their year is."""

from __future__ import annotations

import xarray as xr

from . import its_live
from .place import Found, Request

__all__ = ["read", "recognises"]


def recognises(found: Found) -> bool:
    """Whether a cube in ITS_LIVE's schema states the length of its year."""
    return (
        its_live.recognises(found)
        and found.dataset is not None
        and "days_per_year" in found.dataset.attrs
    )


def read(request: Request) -> xr.Dataset:
    """Read it with the year that it states."""
    stated = float(request.dataset.attrs["days_per_year"])
    return its_live.read(request._replace(days_per_year=request.days_per_year or stated))
