"""What tests do with the simulated regions of ``conftest.py``: run, change and read them."""

from __future__ import annotations

import hashlib

import numpy as np
import xarray as xr
from sqlalchemy import select
from typer.testing import CliRunner

from ogive.cli import app
from ogive.workflow.catalogue import open_catalogue
from ogive.workflow.catalogue.tables import TaskRow

REGION = "simulated"
PAIRS = 10
"""Of the five scenes of the archive, all with all."""


def folder_of(path):
    """The folder of a run file's region."""
    return path.parent / REGION


def catalogue_of(path):
    """An engine of the region's catalogue, to be disposed of."""
    return open_catalogue(folder_of(path) / "catalogue.sqlite", region=REGION)


def tasks_of(path, *columns):
    """Columns of all tasks, in the order in which they were planned."""
    engine = catalogue_of(path)
    with engine.connect() as connection:
        rows = connection.execute(select(*columns).order_by(TaskRow.id)).all()
    engine.dispose()
    return rows


def run(path, *words):
    """Run a region by its command, in this process."""
    told = ["run", str(path), "--cluster", "threads", *words]
    return CliRunner().invoke(app, told, catch_exceptions=False)


def change(path, old, new):
    """Replace words that a run file holds once; tell the number of their line, from one."""
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))
    return text[: text.index(old)].count("\n") + 1


def contents(path):
    """Tell what all products of a region hold, bit for bit, but for when they were written."""
    folder = folder_of(path)
    files = [*folder.glob("match/*/*/*.nc"), *folder.glob("velocity/*/*/*.nc")]
    files += [*folder.glob("annual/*.nc"), *folder.glob("report/*/annual.nc")]
    stores = [*folder.glob("cube/*.zarr"), *folder.glob("series/*.zarr")]
    told = {}
    for file in files:
        with xr.open_dataset(file, engine="netcdf4", decode_times=False) as opened:
            told[file.relative_to(folder).as_posix()] = digest(opened)
    for store in stores:
        with xr.open_dataset(store, engine="zarr", decode_times=False) as opened:
            told[store.relative_to(folder).as_posix()] = digest(opened)
    return told


def digest(dataset):
    """Sum up the bytes of all variables, and all attributes that do not tell the hour."""
    found = hashlib.blake2b()
    for name in sorted(map(str, dataset.variables)):
        values = dataset[name].values
        found.update(f"{name} {values.dtype} {values.shape} {attributes(dataset[name])}".encode())
        found.update(
            np.ascontiguousarray(values).tobytes()
            if values.dtype.kind != "O"
            else repr(values.tolist()).encode()
        )
    found.update(attributes(dataset).encode())
    return found.hexdigest()


def attributes(thing):
    kept = {k: v for k, v in thing.attrs.items() if k not in ("date_created", "history")}
    return repr(sorted((k, np.asarray(v).tolist()) for k, v in kept.items()))
