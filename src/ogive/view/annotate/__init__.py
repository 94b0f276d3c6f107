"""Pick features in two images by hand: a page in the browser, and a GeoPackage of points.

The points are an independent test of any matcher, and training data
(`ogive.similarity.samples.manual`). The page is plain HTML and JavaScript without a library: its
two canvases draw raw pixels, so that contrast, magnification and flicker between the dates are
immediate, and places are known to a fraction of a pixel.
"""

from __future__ import annotations

import logging
import webbrowser
from collections.abc import Callable
from pathlib import Path

from ogive.model import Pair
from ogive.scenes.pyramid import open_pair
from ogive.view.annotate.server import AnnotationServer
from ogive.view.annotate.session import Session

__all__ = ["annotate"]

_log = logging.getLogger(__name__)


def annotate(
    earlier: str | Path,
    later: str | Path,
    output: str | Path,
    *,
    pair: Pair,
    band: int | str | None = None,
    allow_no_crs: bool = False,
    port: int = 0,
    open_browser: bool = True,
    ready: Callable[[str], None] | None = None,
) -> int:
    """Show two images in the browser and keep the features that a person picks in both.

    Returns when the person finishes the session in the page, or on Ctrl+C. Every change is written
    at once; a session on the same file goes on where the last one stopped.

    Parameters
    ----------
    earlier, later
        Image files on one coordinate reference system; they are read as far as they are looked at.
    output
        The GeoPackage (see `ogive.store.picked_points`).
    pair
        When the images were acquired.
    band
        Number of the band, from 1, or its name; may be left out when there is just one.
    allow_no_crs
        Accept images without a georeference; the points are saved in pixels.
    port
        Port on this computer; 0 takes a free one.
    open_browser
        Show the page in the default browser.
    ready
        Told the page's address once it can be opened.

    Returns
    -------
    int
        The number of points in the file.

    Raises
    ------
    InputError
        If an image cannot be read, the output is no GeoPackage of points of these images, or the
        port is taken.
    GridError
        If the images have no, unsuitable or different coordinate reference systems, or do not
        overlap.
    OutputError
        If the output cannot be written.
    """
    with open_pair(earlier, later, band=band, allow_no_crs=allow_no_crs) as images:
        session = Session(images, output, earlier=earlier, later=later, pair=pair)
        if images.message:
            _log.warning("%s", images.message)
        if images.grid.crs is None:
            _log.warning(
                "the images have no coordinate reference system: points are saved in pixels, x to "
                "the right and y downwards from the centre of the first one"
            )
        with AnnotationServer(session, port=port) as server:
            if ready is not None:
                ready(server.url)
            if open_browser and not webbrowser.open(server.url):
                _log.warning("no browser could be started here: open %s in one", server.url)
            try:
                server.serve_forever(poll_interval=0.1)
            except KeyboardInterrupt:
                _log.info("interrupted; every point is saved")
            return session.end()
