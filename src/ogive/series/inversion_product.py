"""The series of an inversion as a dataset: names, dates, CF attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ogive.correction.velocity import speed_error
from ogive.model import ATTRIBUTES, DAYS_PER_YEAR

from .inversion_blocks import PIXEL_OUTPUTS
from .inversion_input import pixel_dims
from .network import Network

__all__ = ["describe"]

_STATUS = (
    "converged", "iteration_limit_reached", "no_usable_observation",
    "no_redundancy_so_not_reweighted", "singular_system",
)  # fmt: skip


def describe(
    cube: xr.Dataset, blocks: list[xr.DataArray], network: Network, weights: bool
) -> xr.Dataset:
    """Name the results, add what follows from them, the dates and CF attributes."""
    vx, vy, vx_error, vy_error, observations = blocks[:5]
    years = xr.DataArray(np.diff(network.edges_days) / DAYS_PER_YEAR, dims="time")
    speed = (vx**2 + vy**2) ** 0.5
    error_of_speed = xr.apply_ufunc(
        speed_error,
        vx,
        vy,
        vx_error**2,
        vy_error**2,
        0.0,
        dask="parallelized",
        output_dtypes=["f8"],
    )
    fields = {
        "dx": vx * years, "dy": vy * years, "dx_error": vx_error * years,
        "dy_error": vy_error * years, "vx": vx, "vy": vy, "v": speed, "vx_error": vx_error,
        "vy_error": vy_error, "v_error": error_of_speed, "observations": observations,
    }  # fmt: skip
    dims = pixel_dims(cube)
    fields = {
        name: field.astype("i4" if name == "observations" else "f4").transpose("time", *dims)
        for name, field in fields.items()
    }
    fields |= dict(zip(PIXEL_OUTPUTS, blocks[5 : 5 + len(PIXEL_OUTPUTS)], strict=True))
    if weights:
        fields["weight"] = blocks[-1].transpose("mid_date", *dims)
    edges = network.edges
    series = xr.Dataset(fields, attrs=dict(cube.attrs))
    for name in (*dims, *_grid_mappings(cube)):
        if name in cube.variables:
            series = series.assign_coords({name: cube[name].variable})
    if weights:
        # Errors of pairs go by the names of those of the series.
        dates = [n for n in cube.variables if cube[n].dims == ("mid_date",) and n not in fields]
        series = series.assign_coords({name: cube[name].variable for name in dates})
    series = series.assign_coords(
        time=("time", edges[:-1] + (edges[1:] - edges[:-1]) / 2),
        time_bounds=(("time", "nv"), np.stack([edges[:-1], edges[1:]], axis=1)),
    )
    _annotate(series, cube)
    return series


def _grid_mappings(cube: xr.Dataset) -> list[str]:
    """Names of the variables that hold the cube's CRS."""
    named = {
        str(where["grid_mapping"])
        for variable in cube.variables.values()
        for where in (variable.attrs, variable.encoding)
        if "grid_mapping" in where
    }
    return [name for name in {*named, "spatial_ref", "mapping"} if name in cube.variables]


def _annotate(series: xr.Dataset, cube: xr.Dataset) -> None:
    mappings = _grid_mappings(cube)
    texts: dict[str, dict[str, Any]] = {
        "dx": {"long_name": "displacement along +x over the period", "units": "m"},
        "dy": {"long_name": "displacement along +y over the period", "units": "m"},
        "dx_error": {"long_name": "standard error of dx", "units": "m"},
        "dy_error": {"long_name": "standard error of dy", "units": "m"},
        "observations": {
            "long_name": "observations that overlap the period with a weight above 0",
            "comment": "0: the value rests on the regularisation alone",
            "units": "1",
        },
        "iterations": {"long_name": "weighted least-squares solutions", "units": "1"},
        "status": {
            "long_name": "how the inversion of the pixel ended",
            "flag_values": np.arange(len(_STATUS), dtype=np.uint8),
            "flag_meanings": " ".join(_STATUS),
        },
        "observations_used": {
            "long_name": "observations, or combinations, whose final weight is above 0",
            "units": "1",
        },
        "observations_valid": {"long_name": "observations with a value and an error", "units": "1"},
        "observations_unusable": {
            "long_name": "observations with a value whose error is not a positive number",
            "units": "1",
        },
        "subnetworks": {"long_name": "groups of dates that no observation links", "units": "1"},
        "error_scale_x": {"long_name": "actual over declared error of vx", "units": "1"},
        "error_scale_y": {"long_name": "actual over declared error of vy", "units": "1"},
        "image_error_x": {"long_name": "error along x that pairs of one image share", "units": "m"},
        "image_error_y": {"long_name": "error along y that pairs of one image share", "units": "m"},
        "weight": {"long_name": "final biweight of the observation", "units": "1"},
    }
    for name in series.data_vars:
        variable = series[name]
        variable.attrs = dict(texts.get(str(name), ATTRIBUTES.get(str(name), {})))
        if mappings:
            variable.attrs["grid_mapping"] = mappings[0]
    series["time"].attrs = {"standard_name": "time", "axis": "T", "bounds": "time_bounds"}
    series["time_bounds"].attrs = {"long_name": "beginning and end of the period"}
