"""A displacement field beside features picked by hand, which no correlation had a part in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from scipy.ndimage import map_coordinates

from ogive.model import GridError, InputError

__all__ = ["PickScore", "score"]

THRESHOLDS_PX = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class PickScore:
    """A displacement field beside features picked by hand.

    Parameters
    ----------
    points
        How many picks lie within the field.
    measured
        How many of these the field has a value at.
    median_error_px, median_error
        Median distance of field and pick, over the picks that were measured, in pixels and in the
        unit of the field.
    share_within_px
        Distance in pixels, and the share of *all* picks within the field that it is right by: a
        point without a value is not right.
    table
        One line a pick: ``id, confidence, error_px, left_out`` (why it has no error, else empty).
    """

    points: int
    measured: int
    median_error_px: float
    median_error: float
    share_within_px: Mapping[float, float]
    table: pd.DataFrame


def score(
    field: xr.Dataset,
    points: gpd.GeoDataFrame,
    *,
    thresholds_px: Sequence[float] = THRESHOLDS_PX,
    min_confidence: int = 1,
) -> PickScore:
    """Score a displacement field by features that a person picked.

    The field is interpolated between the four points round a pick; those without a value do not
    count, and half of the weight must have one. The error holds the picking error too, half a pixel
    or so: fields are compared by it, it is no measure of the best of them.

    Parameters
    ----------
    field
        ``dx, dy`` on ``(y, x)`` as `ogive.match` gives them, between the two images.
    points
        As `ogive.store.picked_points.read_picked_points` gives them.
    thresholds_px
        Distances in pixels that shares are told for.
    min_confidence
        Leave out picks below: 2 keeps fair and sure ones, 3 the sure ones.

    Returns
    -------
    PickScore

    Raises
    ------
    InputError
        If the field lacks a component or its pixel size, is in another unit than the points, or
        no point lies in it.
    GridError
        If field and points are in different coordinate reference systems.
    """
    _check_field(field, points)
    used = points[points["confidence"] >= min_confidence]
    x, y = used.geometry.x.to_numpy(np.float64), used.geometry.y.to_numpy(np.float64)
    at = np.stack([_index(field["y"], y), _index(field["x"], x)])
    sizes = np.array([field.sizes["y"], field.sizes["x"]])[:, None]
    inside = ((at >= -0.5) & (at <= sizes - 0.5)).all(axis=0)
    if not inside.any():
        raise InputError(
            f"none of {len(used)} picked points (confidence {min_confidence} and more) lies in the "
            "field"
        )
    errors = {
        axis: _interpolated(field[axis], at) - used[axis].to_numpy(np.float64)
        for axis in ("dx", "dy")
    }
    pixel = (float(field.attrs["pixel_size_x"]), float(field.attrs["pixel_size_y"]))
    error = np.where(inside, np.hypot(errors["dx"], errors["dy"]), np.nan)
    error_px = np.where(inside, np.hypot(errors["dx"] / pixel[0], errors["dy"] / pixel[1]), np.nan)
    measured = np.isfinite(error_px)
    why = np.where(inside, np.where(measured, "", "no value there"), "outside of the field")
    table = pd.DataFrame(
        {
            "id": used["id"].to_numpy() if "id" in used else np.arange(1, len(used) + 1),
            "confidence": used["confidence"].to_numpy(int),
            "error_px": error_px,
            "left_out": why,
        }
    )
    count = int(inside.sum())
    return PickScore(
        points=count,
        measured=int(measured.sum()),
        median_error_px=_median(error_px[measured]),
        median_error=_median(error[measured]),
        share_within_px={
            float(limit): float((error_px[measured] <= limit).sum() / count)
            for limit in thresholds_px
        },
        table=table,
    )


def _check_field(field: xr.Dataset, points: gpd.GeoDataFrame) -> None:
    missing = [name for name in ("dx", "dy") if name not in field]
    lacking = [name for name in ("pixel_size_x", "pixel_size_y") if name not in field.attrs]
    if missing or lacking:
        raise InputError(
            f"the field has no {', '.join(missing + lacking)}: give a displacement of ogive.match"
        )
    in_pixels = str(field["dx"].attrs.get("units", "")) in ("pixel", "")
    if in_pixels != bool((points["unit"] == "pixel").all()):
        raise InputError(
            f"the field is in {'pixels' if in_pixels else 'metres'}, the picked points are not: "
            "match the images that they were picked in"
        )
    if "spatial_ref" in field.coords:
        own = CRS.from_wkt(field["spatial_ref"].attrs["crs_wkt"])
        if own != points.crs:
            raise GridError(f"the field is in {own.name}, the picked points in {points.crs.name}")


def _index(axis: xr.DataArray, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fractional index on a regular axis."""
    values = axis.values.astype(np.float64)
    if values.size < 2:
        raise InputError("the field is a single row or column: nothing lies between its points")
    step = (values[-1] - values[0]) / (values.size - 1)
    index: NDArray[np.float64] = (at - values[0]) / step
    return index


def _interpolated(plane: xr.DataArray, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear values over the neighbours that have one; NaN where less than half have."""
    values = plane.transpose("y", "x").values.astype(np.float64)
    known = np.isfinite(values)
    weight = map_coordinates(known.astype(np.float64), at, order=1, mode="nearest")
    total = map_coordinates(np.where(known, values, 0.0), at, order=1, mode="nearest")
    enough = weight >= 0.5
    return np.where(enough, total / np.where(enough, weight, 1.0), np.nan)


def _median(errors: NDArray[np.float64]) -> float:
    return float(np.median(errors)) if errors.size else float("nan")
