"""What lies at a path or an address, opened once for all readers to look at."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from ogive.model import InputError

__all__ = ["Found", "Reader", "Request", "is_remote", "opened"]


class Found(NamedTuple):
    """A place: its path, and the dataset there or the files of a folder."""

    path: str
    dataset: xr.Dataset | None
    files: tuple[Path, ...]


class Request(NamedTuple):
    """What was found, and what the user says of it."""

    found: Found
    units: str | None
    days_per_year: float | None
    crs: str | None

    @property
    def dataset(self) -> xr.Dataset:
        """The dataset of a place that is no folder."""
        if self.found.dataset is None:
            raise InputError(f"{self.found.path} is a folder, not a cube")
        return self.found.dataset


class Reader(NamedTuple):
    """One producer's format."""

    recognises: Callable[[Found], bool]
    read: Callable[[Request], xr.Dataset]


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address such as ``s3://...``."""
    return "://" in str(path)


@contextmanager
def opened(path: str | Path, chunks: Any) -> Iterator[Found]:
    """Open a dataset lazily, or list a folder's files; closes it again only on an error."""
    found = _open(path, chunks)
    try:
        yield found
    except BaseException:
        if found.dataset is not None:
            found.dataset.close()
        raise


def _open(path: str | Path, chunks: Any) -> Found:
    if is_remote(path):
        return Found(str(path), _zarr(str(path), chunks, _anonymous(str(path))), ())
    place = Path(path)
    if not place.exists():
        raise InputError(f"there is nothing at {place}")
    if place.is_dir() and not _is_zarr(place):
        return Found(str(place), None, tuple(sorted(p for p in place.rglob("*") if p.is_file())))
    if place.is_dir():
        return Found(str(place), _zarr(str(place), chunks, None), ())
    return Found(str(place), _netcdf(place, chunks), ())


def _is_zarr(place: Path) -> bool:
    return any((place / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))


def _anonymous(address: str) -> dict[str, Any]:
    protocol = address.split("://", 1)[0]
    if protocol != "s3":
        raise InputError(f"{address} is read neither from a disk nor from s3://")
    if importlib.util.find_spec("s3fs") is None:
        raise InputError(f"reading {address} needs the package s3fs: pip install s3fs")
    return {"anon": True}


def _zarr(place: str, chunks: Any, storage: dict[str, Any] | None) -> xr.Dataset:
    """Open a store, by its consolidated metadata if it has them."""
    problem: Exception | None = None
    for consolidated in (True, False):
        try:
            dataset = xr.open_dataset(
                place,
                engine="zarr",
                chunks=None,
                consolidated=consolidated,
                storage_options=storage,
                decode_timedelta=False,
            )
        except (OSError, ValueError, KeyError) as error:
            problem = error
        else:
            return _chunked(dataset, chunks)
    raise InputError(f"{place} cannot be read as Zarr: {problem}") from problem


def _netcdf(place: Path, chunks: Any) -> xr.Dataset:
    try:
        dataset = xr.open_dataset(place, engine="netcdf4", chunks=None, decode_timedelta=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{place} cannot be read, it may be truncated or no NetCDF file: {error}"
        ) from error
    return _chunked(dataset, chunks)


def _chunked(dataset: xr.Dataset, chunks: Any) -> xr.Dataset:
    """Make the maps lazy; what is told per pair is small and read as it is."""
    maps = [name for name, v in dataset.data_vars.items() if {"y", "x"} <= set(v.dims)]
    for name in maps:
        variable = dataset[name]
        wanted = chunks
        if chunks == "auto":
            stored = variable.encoding.get("preferred_chunks", {})
            wanted = {dim: _side(variable, str(dim), stored) for dim in variable.dims}
        dataset[name] = variable.chunk(wanted)
    return dataset


def _side(variable: xr.DataArray, dim: str, stored: dict[Any, int]) -> int:
    """All dates together; along x and y a multiple of the stored chunk, some 32 MB in all."""
    if dim not in ("y", "x"):
        return -1
    depth = variable.size // (variable.sizes["y"] * variable.sizes["x"])
    side = max(int((8e6 / max(depth, 1)) ** 0.5), 1)
    step = stored.get(dim, 1)
    if step >= variable.sizes[dim]:
        return -1
    return min(max(side // step, 1) * step, variable.sizes[dim])
