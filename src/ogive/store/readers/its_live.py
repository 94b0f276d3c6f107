"""ITS_LIVE's datacubes, Zarr 2 or 3 or NetCDF."""

from __future__ import annotations

import xarray as xr

from ogive.store.cube import DIMS, canonical, converted, crs_of

from .place import Found, Request

__all__ = ["DAYS_PER_YEAR", "read", "recognises"]

DAYS_PER_YEAR = 365.0
"""ITS_LIVE's year in days: autoRIFT multiplies meters per second by 365 x 24 x 3600."""

COMPONENTS = ("vx", "vy", "v")
ERRORS = ("error", "error_stationary", "error_modeled", "error_slow")
SHIFTS = ("stable_shift", "stable_shift_stationary", "stable_shift_slow")


def in_meter_per_year() -> list[str]:
    """Name the variables that are velocities and so depend on the length of the year."""
    names = [*COMPONENTS, "v_error"]
    return names + [f"{c}_{what}" for c in ("vx", "vy") for what in (*ERRORS, *SHIFTS)]


def recognises(found: Found) -> bool:
    """Whether a place holds an ITS_LIVE cube."""
    dataset = found.dataset
    return (
        dataset is not None
        and {"vx", "vy", "acquisition_date_img1"} <= set(dataset.variables)
        and set(DIMS) <= set(dataset.dims)
    )


def read(request: Request) -> xr.Dataset:
    """Make it canonical: years of 365 days become years of 365.25, exactly."""
    cube = converted(
        request.dataset,
        units=request.units,
        days_per_year=request.days_per_year or DAYS_PER_YEAR,
        names=in_meter_per_year(),
    )
    return canonical(cube, request.crs or crs_of(request.dataset))
