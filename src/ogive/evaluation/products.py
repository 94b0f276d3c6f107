"""One gridded velocity product against another, and how its speeds and trends are distributed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ogive.correction.robust import nmad
from ogive.model import GridError, InputError
from ogive.series.section import section

__all__ = [
    "Distribution", "ProductComparison", "compare_products", "distribution", "profile",
]  # fmt: skip

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ProductComparison:
    """Product minus reference, in meter/year.

    Parameters
    ----------
    difference
        ``vx, vy, v`` (y, x) on the product's grid, and ``reference_v``.
    count
        Pixels where both have a value.
    bias_x, bias_y, bias_v
        Mean differences.
    rmse_x, rmse_y, rmse_v
        Root-mean-square differences.
    nmad_v
        Robust spread of the differences of speed.
    histogram, edges
        Of the differences of speed: counts, and the edges of their bins in meter/year.
    """

    difference: xr.Dataset
    count: int
    bias_x: float
    bias_y: float
    bias_v: float
    rmse_x: float
    rmse_y: float
    rmse_v: float
    nmad_v: float
    histogram: NDArray[np.int64]
    edges: Array


@dataclass(frozen=True, slots=True)
class Distribution:
    """How the pixels of a map are distributed.

    Parameters
    ----------
    count
        Pixels with a value.
    edges, counts
        Histogram.
    quantiles
        By percent: 5, 25, 50, 75, 95.
    """

    count: int
    edges: Array
    counts: NDArray[np.int64]
    quantiles: dict[int, float]

    def share_below(self, value: float) -> float:
        """Share of pixels in bins that end at or below a value."""
        return float(self.counts[self.edges[1:] <= value].sum() / self.count)


def compare_products(
    product: xr.Dataset,
    reference: xr.Dataset,
    *,
    where: xr.DataArray | None = None,
    bins: int = 81,
) -> ProductComparison:
    """Compare two maps of velocity.

    Parameters
    ----------
    product, reference
        ``vx, vy`` on (y, x) in meter/year, of one coordinate reference system. The reference is
        interpolated (bilinearly) to the pixels of the product.
    where
        True where pixels count, such as on glaciers.
    bins
        Of the histogram, which reaches to the 99th percentile of the differences.

    Raises
    ------
    GridError
        If the systems differ, or the two do not overlap.
    InputError
        If a component is missing or has other dimensions.
    """
    for name, one in (("product", product), ("reference", reference)):
        for component in ("vx", "vy"):
            if component not in one or set(one[component].dims) != {"y", "x"}:
                raise InputError(f"the {name} has no '{component}' on (y, x): choose a year first")
    _check_systems(product, reference)
    on_grid = reference[["vx", "vy"]].interp(x=product["x"], y=product["y"], method="linear")
    fields = {}
    for component in ("vx", "vy"):
        fields[component] = product[component].astype(np.float64) - on_grid[component]
    speeds = [_speed(product), _speed(on_grid)]
    fields["v"] = speeds[0] - speeds[1]
    difference = xr.Dataset(fields)
    difference["reference_v"] = speeds[1]
    if where is not None:
        difference = difference.where(where.astype(bool))
    for field in difference.data_vars.values():
        field.attrs = {"units": "meter/year"}
    known = {n: _known(difference[n]) for n in ("vx", "vy", "v")}
    if known["v"].size == 0:
        raise GridError("the product and the reference have no pixel in common")
    reach = float(np.percentile(np.abs(known["v"]), 99.0)) or 1.0
    histogram, edges = np.histogram(known["v"], bins=bins, range=(-reach, reach))
    return ProductComparison(
        difference=difference,
        count=int(known["v"].size),
        bias_x=float(known["vx"].mean()),
        bias_y=float(known["vy"].mean()),
        bias_v=float(known["v"].mean()),
        rmse_x=_rms(known["vx"]),
        rmse_y=_rms(known["vy"]),
        rmse_v=_rms(known["v"]),
        nmad_v=nmad(known["v"]),
        histogram=histogram,
        edges=edges,
    )


def profile(
    product: xr.Dataset, reference: xr.Dataset, line: ArrayLike, *, spacing_m: float | None = None
) -> xr.Dataset:
    """Speeds of two products along a line, from its head on.

    Parameters
    ----------
    product, reference
        As in `compare_products`.
    line
        (n, 2) x and y of its points.
    spacing_m
        Distance between samples, by default one pixel of the product.

    Returns
    -------
    xarray.Dataset
        Along ``distance`` (m): ``product, reference`` (meter/year), ``x, y``.

    Raises
    ------
    InputError
        If the line is none, or meets no velocity.
    """
    _check_systems(product, reference)
    step = spacing_m or abs(float(product["x"][1] - product["x"][0]))
    result = xr.Dataset()
    for name, one in (("product", product), ("reference", reference)):
        along = section(one[["vx", "vy"]], line, spacing_m=step)
        result[name] = _speed(along)
        result[name].attrs = {"long_name": f"speed of the {name}", "units": "meter/year"}
    return result


def distribution(
    field: xr.DataArray, *, edges: ArrayLike | None = None, where: xr.DataArray | None = None
) -> Distribution:
    """Distribution of the pixels of a map: of speeds (the paper's figure 4), of trends (figure 8).

    Parameters
    ----------
    field
        Any shape.
    edges
        Of the bins; by default 60 between the 0.5th and the 99.5th percentile.
    where
        True where pixels count, such as ``product.trend_mask``.

    Raises
    ------
    InputError
        If no pixel has a value.

    Examples
    --------
    >>> speeds = xr.DataArray([[2.0, 4.0], [12.0, np.nan]], dims=("y", "x"))
    >>> spread = distribution(speeds, edges=[0, 5, 10, 15])
    >>> spread.count, spread.counts.tolist(), round(spread.share_below(10), 3)
    (3, [2, 0, 1], 0.667)
    """
    chosen = field if where is None else field.where(where.astype(bool))
    known = _known(chosen)
    if known.size == 0:
        raise InputError("no pixel has a value whose distribution could be told")
    if edges is None:
        low, high = np.percentile(known, [0.5, 99.5])
        edges = np.linspace(low, high if high > low else low + 1.0, 61)
    counts, at = np.histogram(known, bins=np.asarray(edges, np.float64))
    percents = (5, 25, 50, 75, 95)
    levels = map(float, np.percentile(known, percents))
    return Distribution(int(known.size), at, counts, dict(zip(percents, levels, strict=True)))


def _speed(one: xr.Dataset) -> xr.DataArray:
    speed: xr.DataArray = (
        one["vx"].astype(np.float64) ** 2 + one["vy"].astype(np.float64) ** 2
    ) ** 0.5
    return speed


def _known(field: xr.DataArray) -> Array:
    values = field.values.astype(np.float64).ravel()
    return values[np.isfinite(values)]


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _check_systems(product: xr.Dataset, reference: xr.Dataset) -> None:
    told = [
        one["spatial_ref"].attrs.get("crs_wkt") if "spatial_ref" in one.coords else None
        for one in (product, reference)
    ]
    if None not in told and told[0] != told[1]:
        raise GridError(
            "the product and the reference are in different coordinate reference systems, so that "
            "their components point elsewhere: make both on one"
        )
