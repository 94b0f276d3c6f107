"""The observations of a cube as the annual maps and trends need them: arrays, dates, checks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DAYS_PER_YEAR, DateError, InputError

__all__ = ["METER_PER_YEAR", "Observations", "Pairs", "check_cube", "pairs_of"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]

EPOCH = np.datetime64("2000-01-01", "ns")

METER_PER_YEAR = ("meter/year", "m/yr", "m/y", "meter/year (365.25 days)")
_IMAGE_PIXEL_M = {"2": 10.0, "4": 30.0, "5": 30.0, "7": 15.0, "8": 15.0, "9": 15.0}


@dataclass(frozen=True, slots=True)
class Pairs:
    """When the pairs of a cube were acquired, in the cube's order.

    Parameters
    ----------
    start_years, end_years
        (n,) acquisition of the two images, in years of 365.25 days since 2000.
    image1, image2
        (n,) numbers of the two images: pairs of the same number share an image.
    image_pixel_m
        (n,) pixel of the images in metres.
    """

    start_years: Doubles
    end_years: Doubles
    image1: Whole
    image2: Whole
    image_pixel_m: Doubles

    @property
    def mid_years(self) -> Doubles:
        """Middle of each pair."""
        return 0.5 * (self.start_years + self.end_years)

    @property
    def span_years(self) -> Doubles:
        """Baseline of each pair."""
        return self.end_years - self.start_years

    def take(self, order: Whole) -> Pairs:
        """Choose pairs by number."""
        return Pairs(*(getattr(self, name)[order] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Observations:
    """Velocities (n, y, x) in meter/year, NaN in both components where there is none.

    Parameters
    ----------
    vx, vy
        float32.
    pairs
        When they were acquired.
    """

    vx: Floats
    vy: Floats
    pairs: Pairs

    def copy(self) -> Observations:
        """Copy the velocities, so that filters may work in place."""
        return replace(self, vx=self.vx.copy(), vy=self.vy.copy())

    @property
    def count(self) -> int:
        """Number of velocities."""
        return int(np.isfinite(self.vx).sum())


def in_years(times: NDArray[np.datetime64]) -> Doubles:
    """Years of 365.25 days since 2000."""
    days = (np.asarray(times).astype("datetime64[ns]") - EPOCH) / np.timedelta64(1, "D")
    return np.asarray(days, np.float64) / DAYS_PER_YEAR


def check_cube(cube: xr.Dataset) -> None:
    """Refuse what is no canonical cube.

    Raises
    ------
    DateError
        No time axis, no acquisition dates, or a pair whose dates are equal or reversed.
    InputError
        No velocities, other dimensions, or units that are missing or not meter/year.
    """
    if "mid_date" not in cube.dims:
        raise DateError(
            "the cube has no time axis 'mid_date' (its dimensions are "
            f"{', '.join(map(str, cube.dims))}): read it by ogive.open_cube, or stack single maps "
            "by ogive.stack"
        )
    if cube.sizes["mid_date"] == 0:
        raise InputError("the cube holds no pair of images")
    for name in ("vx", "vy"):
        if name not in cube:
            raise InputError(f"the cube has no variable '{name}': read it by ogive.open_cube")
        if set(cube[name].dims) != {"mid_date", "y", "x"}:
            raise InputError(f"'{name}' must have the dimensions mid_date, y, x")
        units = cube[name].attrs.get("units")
        if units not in METER_PER_YEAR:
            said = "states no units" if units is None else f"is in {units!r}"
            raise InputError(
                f"'{name}' {said} but must be in meter/year: read the cube by ogive.open_cube, "
                "which converts units and takes units=... where the file does not say"
            )


def pairs_of(cube: xr.Dataset) -> Pairs:
    """Read the dates of a cube's pairs, and number its images.

    Two pairs share an image where a date of acquisition and the satellite are the same.

    Raises
    ------
    DateError
        If dates are missing, equal or reversed.
    """
    times = []
    for name in ("acquisition_date_img1", "acquisition_date_img2"):
        if name not in cube.variables or cube[name].dtype.kind != "M":
            raise DateError(f"the cube has no dates in '{name}': every pair needs both")
        times.append(cube[name].values.astype("datetime64[ns]"))
    first, second = times
    wrong = np.flatnonzero(~(first < second))
    if wrong.size:
        k = int(wrong[0])
        raise DateError(
            f"{wrong.size} pairs do not run forward in time (number {k} from {first[k]} to "
            f"{second[k]}): correct their dates, or leave them out"
        )
    satellites = [_column(cube, f"satellite_img{k}") for k in (1, 2)]
    images = [
        np.char.add(time.astype(str), satellite)
        for time, satellite in zip(times, satellites, strict=True)
    ]
    _, numbers = np.unique(np.concatenate(images), return_inverse=True)
    return Pairs(
        start_years=in_years(first),
        end_years=in_years(second),
        image1=numbers[: first.size].astype(np.int64),
        image2=numbers[first.size :].astype(np.int64),
        image_pixel_m=np.array([_IMAGE_PIXEL_M.get(s[:1], 10.0) for s in satellites[0]]),
    )


def _column(cube: xr.Dataset, name: str) -> NDArray[np.str_]:
    n = cube.sizes["mid_date"]
    if name not in cube.variables:
        return np.full(n, "", dtype=np.str_)
    return np.asarray(cube[name].values).astype(np.str_).reshape(n)


def sorted_velocities(cube: xr.Dataset, order: Whole) -> tuple[Floats, Floats]:
    """Load vx and vy as (n, y, x) float32 in some order of pairs, without a copy if none is due."""
    in_order = bool(np.all(order[1:] > order[:-1])) and order.size == cube.sizes["mid_date"]
    fields = []
    for name in ("vx", "vy"):
        values = cube[name].transpose("mid_date", "y", "x").values
        values = values if in_order else values[order]
        fields.append(np.ascontiguousarray(values, dtype=np.float32))
    return fields[0], fields[1]


def read_velocities(cube: xr.Dataset, order: Whole) -> tuple[Floats, Floats]:
    """Load vx and vy as copies that may be changed, NaN in both where either has no value."""
    vx, vy = (field.copy() for field in sorted_velocities(cube, order))
    for x, y in zip(vx, vy, strict=True):
        gap = ~(np.isfinite(x) & np.isfinite(y))
        x[gap] = np.nan
        y[gap] = np.nan
    return vx, vy
