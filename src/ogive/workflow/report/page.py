"""The report as one page, and the command that makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from ogive.model import InputError
from ogive.store.atomic import atomic_path
from ogive.view.document import document
from ogive.workflow.runfile_settings import ReportSettings, RunFile
from ogive.workflow.steps.region import folder_of, open_region

from .asked import asked_section, run_file_section
from .cost import cost_section
from .gathered import Gathered, gather
from .glaciers import glaciers_section
from .ground import told_by_pairs
from .maps import annual_maps, maps_section
from .network import network_section
from .points import Place, chosen_places, fast_places, points_section
from .quality import closure_rows, quality_section
from .tiles import TileFiles, tile_scores, tiles_section

__all__ = ["make_report", "report_page", "run_file_of"]

Degrees = tuple[float, float]


def make_report(project: str | Path, out: str | Path, *, points: Sequence[Degrees] = ()) -> Path:
    """Write the report of a region as it is now: one HTML file that needs nothing else.

    Parameters
    ----------
    project
        The run file, or the folder of the region.
    out
        The page.
    points
        Longitude and latitude of places whose series are shown; none: as the run file says, or
        else places where ice is fast and slow.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    InputError
        If there is no region, or a product cannot be read.
    OutputError
        If the page cannot be written.

    Examples
    --------
    >>> make_report("region.yaml", "region.html", points=[(6.985, 45.951)])  # doctest: +SKIP
    """
    path = run_file_of(project)
    with open_region(path) as region:
        told, settings = gather(region), region.settings
    if points:
        settings = settings.model_copy(update={"report": ReportSettings(points=tuple(points))})
    maps = annual_maps(told, folder_of(settings))
    text = report_page(settings, told, maps)
    out = Path(out)
    with atomic_path(out) as written:
        written.write_text(text, encoding="utf-8")
    return out


def run_file_of(project: str | Path) -> Path:
    """Find the run file of a project that is named by its run file or its folder.

    Raises
    ------
    InputError
        If there is none.
    """
    path = Path(project)
    found = path / "run.yaml" if path.is_dir() else path
    if not found.is_file():
        raise InputError(
            f"{project} is no region: name its run file, or the folder that `ogive run` has made"
        )
    return found


def report_page(
    settings: RunFile,
    told: Gathered,
    maps: Mapping[str, xr.Dataset],
    *,
    beside: bool = False,
) -> str:
    """Write the page.

    Parameters
    ----------
    settings
        The run file.
    told
        What was done.
    maps
        Annual maps, by projection.
    beside
        Whether the maps lie in folders beside the page, under the names of their projections.
    """
    folder, search = folder_of(settings), settings.search
    files = {
        name: TileFiles(tile, folder / cube.path, folder / series.path, int(cube.figures["layers"]))
        for name, (tile, cube, series, _) in told.tiles.items()
    }
    pairs = [(folder / moved, folder / made) for moved, made in told.displacements]
    some = told_by_pairs(settings, pairs)
    scores = tile_scores(settings, files, window_m=some.window_m)
    sections = [
        asked_section(settings),
        *(maps_section(zone, own, folder=zone if beside else None) for zone, own in maps.items()),
        points_section(_places(settings, maps), files),
        glaciers_section(settings, {zone: str(own.odc.crs) for zone, own in maps.items()}),
        quality_section(told.measured, some.scores, closure_rows(scores)),
        tiles_section(scores, files, maps),
        network_section(told.status, told.scenes, told.measured),
        cost_section(told.status, told.sizes, some.written_by),
        run_file_section(settings),
    ]
    lead = (
        f"How the ice flowed from {search.start} to {search.end}, measured in "
        f"{len(told.measured):,} pairs of {told.status.scenes:,} satellite images."
    )
    return document(settings.name, lead, [section for section in sections if section])


def _places(settings: RunFile, maps: Mapping[str, xr.Dataset]) -> dict[str, list[Place]]:
    """Choose the places of series: those asked for, or of each zone some fast and slow ones."""
    asked = settings.report.points
    places = {}
    for zone, own in maps.items():
        crs = own.odc.crs.to_wkt()
        places[zone] = chosen_places(asked, crs) if asked else fast_places(own, crs)
    return places
