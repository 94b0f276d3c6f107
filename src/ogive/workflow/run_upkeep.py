"""Upkeep of a region: another try for what failed, room on the disk, and whether all is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ogive.model import InputError
from ogive.workflow.catalogue import (
    CatalogueError,
    Published,
    all_paths,
    begin_again,
    give_back_dead,
    products_of,
    region_status,
)
from ogive.workflow.fingerprint import file_fingerprint
from ogive.workflow.steps import NAMES
from ogive.workflow.steps.job import size_of
from ogive.workflow.steps.region import CACHE, Region, open_region

__all__ = ["Cleaned", "broken_products", "clean_region", "retry_region"]

PRODUCTS = ("search", "pair", "match", "velocity", "cube", "series", "annual")
"""Folders of which all content is products, or what is left of their making."""
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed, or would be: how many files and folders, and how large they were."""

    count: int
    bytes: int


def retry_region(
    path: str | Path,
    *,
    steps: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    done: bool = False,
) -> int:
    """Let tasks that failed be done again by the next run (`ogive retry region.yaml`).

    Parameters
    ----------
    path
        The run file.
    steps, kinds
        Only of these steps, only those that failed for an error of these kinds.
    done
        Those that are done, instead: their products are removed.

    Returns
    -------
    int
        How many tasks.

    Raises
    ------
    InputError
        If there is no such step, or `done` is asked for without naming a step.
    CatalogueError
        If the catalogue cannot be used.
    """
    unknown = [name for name in steps or () if name not in NAMES]
    if unknown:
        raise InputError(f"there is no step {unknown[0]!r}: take {', '.join(NAMES)}")
    if done and not steps:
        raise InputError("which step shall be done again? Name it by --step")
    with open_region(path) as region:
        paths = begin_again(region.engine, steps=steps, kinds=kinds, done=done)
        for product in filter(None, paths):
            _remove(region.folder / product)
    return len(paths)


def clean_region(path: str | Path, *, cache: bool = False, dry_run: bool = False) -> Cleaned:
    """Remove what nothing refers to any more (`ogive clean region.yaml`).

    That is: products of parameters and scenes that are no longer wanted, and what runs that died
    have left unfinished.

    Parameters
    ----------
    path
        The run file.
    cache
        Also remove the images that are kept.
    dry_run
        Remove nothing, only count.

    Raises
    ------
    CatalogueError
        If a run is at work, whose products are not yet recorded.
    """
    with open_region(path) as region:
        give_back_dead(region.engine)
        runs = region_status(region.engine, NAMES).runs
        if runs:
            raise CatalogueError(f"a run is at work ({', '.join(runs)}): clean when it has ended")
        wanted = {region.folder / product for product in all_paths(region.engine)}
        unwanted = list(_unwanted(region, wanted))
    if cache and (region.folder / CACHE).is_dir():
        unwanted.append(region.folder / CACHE)
    count, size = len(unwanted), sum(size_of(one) for one in unwanted)
    if not dry_run:
        for one in unwanted:
            _remove(one)
        for name in PRODUCTS:
            _remove_empty_folders(region.folder / name)
    return Cleaned(count, size)


def broken_products(path: str | Path) -> list[str]:
    """Read every product of a region, and name those that are missing or have changed.

    Parameters
    ----------
    path
        The run file.
    """
    with open_region(path) as region:
        return [
            product.path
            for step in NAMES
            for product in products_of(region.engine, step)
            if not _is_whole(region.folder, product)
        ]


def _is_whole(folder: Path, product: Published) -> bool:
    path = folder / product.path
    return path.exists() and file_fingerprint(path) == product.checksum


def _unwanted(region: Region, wanted: set[Path]) -> Iterator[Path]:
    """Find products that the catalogue does not know, and unfinished ones."""
    for name in PRODUCTS:
        yield from _unwanted_in(region.folder / name, wanted)
    yield from region.folder.glob(f".*{_PARTIAL}")


def _unwanted_in(folder: Path, wanted: set[Path]) -> Iterator[Path]:
    """Go down to the products: files, and the folders that are cubes and series."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path in wanted:
            continue
        if path.is_dir() and path.suffix not in (".zarr", _PARTIAL):
            yield from _unwanted_in(path, wanted)
        else:
            yield path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty_folders(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and path.suffix != ".zarr" and not any(path.iterdir()):
            path.rmdir()
