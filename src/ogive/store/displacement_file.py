"""The displacement of an image pair as a NetCDF file: for images without a map, in pixels."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from ogive.model import InputError, OutputError, Pair
from ogive.store.atomic import atomic_path
from ogive.store.pair_info import pair_information
from ogive.store.schema import plain_attribute

__all__ = ["write_displacement"]


def write_displacement(
    displacement: xr.Dataset, path: str | Path, *, pair: Pair | None = None
) -> Path:
    """Write a displacement as `ogive.match` gives it, with all of its qualities.

    Parameters
    ----------
    displacement
        ``dx, dy`` on ``(y, x)`` and any further variables.
    path
        Where to write; what is there is replaced in one step.
    pair
        The two scenes, kept as ITS_LIVE's ``img_pair_info``.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    InputError
        If a component is missing or an attribute cannot be written.
    OutputError
        If the file cannot be written. Nothing is left then.
    """
    missing = [name for name in ("dx", "dy") if name not in displacement]
    if missing:
        raise InputError(f"a displacement file needs {', '.join(missing)}: the dataset lacks them")
    product = displacement.copy()
    for variable in product.variables.values():
        variable.encoding.clear()
    if pair is not None:
        product["img_pair_info"] = xr.DataArray(np.int8(0), attrs=pair_information(pair))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    product.attrs = {
        "Conventions": "CF-1.11",
        "title": "ogive surface displacements",
        "history": f"{now}: written by ogive {version('ogive')}",
        **{str(key): plain_attribute(value, key) for key, value in displacement.attrs.items()},
    }
    encoding = {
        str(name): {"zlib": True, "complevel": 2, "shuffle": True}
        for name, variable in product.data_vars.items()
        if variable.dims == ("y", "x")
    }
    with atomic_path(path) as written:
        try:
            product.to_netcdf(written, engine="netcdf4", format="NETCDF4", encoding=encoding)
        except RuntimeError as error:  # NetCDF's library has no other word for a full disk
            raise OutputError(
                f"{path} cannot be written, the disk may be full ({error}); nothing was left there"
            ) from error
    return Path(path)
