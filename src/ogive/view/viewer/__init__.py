"""The viewer: a project, a cube, a series, annual maps or a velocity map in the browser.

Click on the map for the series of a place, draw a line for its section in time. The page is made of
Panel and HoloViews; everything in it is read from disk as far as it is looked at.
"""

from __future__ import annotations

import logging
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ogive.model import InputError

__all__ = ["view"]

_log = logging.getLogger(__name__)
_NEEDED = ("panel", "holoviews", "bokeh")


def view(
    path: str | Path,
    *,
    beside: Sequence[str | Path] = (),
    background: str | Path | None = None,
    outlines: str | Path | None = None,
    points: str | Path | None = None,
    points_crs: str | None = None,
    units: str | None = None,
    port: int = 0,
    host: str | None = None,
    open_browser: bool = True,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Show velocities in the browser, until interrupted.

    Parameters
    ----------
    path
        The folder of a run, a cube, a series, annual maps, or a velocity file; ogive's or another
        producer's.
    beside
        Further products: the series of a cube, or the cube of a series.
    background
        A scene, or an elevation model that is drawn as a hillshade.
    outlines
        Polygons of the ice.
    points
        Stakes or GNSS, as `ogive.read_points` reads them.
    points_crs
        Where their positions lie, if the file does not say.
    units
        Of the velocities, where the files do not say.
    port
        Port on this computer; 0 takes a free one.
    host
        Name or address of this computer in a network whose other computers may look too; by default
        only this one may.
    open_browser
        Show the page in the default browser.
    ready
        Told the page's address once it can be opened.

    Raises
    ------
    InputError
        If there is nothing to show, a file cannot be read, the port is taken, or the packages of
        the extra ``view`` are missing.
    GridError
        If the background lies elsewhere.

    Examples
    --------
    >>> view("cube.zarr", beside=["series.zarr"], background="dem.tif")  # doctest: +SKIP
    """
    try:
        from .page import Page
        from .server import serve
        from .workspace import Workspace
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] not in _NEEDED:
            raise
        raise InputError(
            f"the viewer needs the package {error.name}: pip install 'ogive[view]'"
        ) from error
    from .project import Entry, open_project

    project = open_project(path)
    also = {Path(p).name: Entry(Path(p).resolve(), None) for p in beside}
    project = replace(project, products={**project.products, **also})
    workspace = Workspace(
        project,
        background=None if background is None else Path(background),
        outlines=None if outlines is None else Path(outlines),
        points=None if points is None else Path(points),
        points_crs=points_crs,
        units=units,
    )
    workspace.check()
    served = serve(
        lambda: Page(workspace).layout(), title=f"ogive: {project.name}", port=port, host=host
    )
    if ready is not None:
        ready(served.url)
    if open_browser and not webbrowser.open(served.url):
        _log.warning("no browser could be started here: open %s in one", served.url)
    try:
        served.server.start()
        served.server.io_loop.start()
    except KeyboardInterrupt:
        _log.info("interrupted")
    finally:
        served.server.stop()
