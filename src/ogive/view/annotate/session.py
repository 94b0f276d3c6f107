"""The state of one annotation: two images, the points picked so far, and the file they lie in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from pyproj import CRS

from ogive.model import InputError, OutputError, Pair
from ogive.scenes.pyramid import PyramidPair
from ogive.store.picked_points import (
    CONFIDENCES,
    Pick,
    PickedImages,
    picks_of,
    points_of,
    read_picked_points,
    write_picked_points,
)

__all__ = ["TILE_PX", "Session", "StaleError"]

TILE_PX = 256
_MOST_POINTS = 100_000


class StaleError(OutputError):
    """Points that were changed elsewhere in the meantime: nothing is overwritten."""


class Session:
    """Two images and the features picked in them; safe to use from several threads.

    Every change is on the disk before it is answered for.

    Parameters
    ----------
    images
        The open images.
    output
        The GeoPackage; what it holds is taken up, if it is of the same two images.
    earlier, later
        The images' files, for their names.
    pair
        When they were acquired.

    Raises
    ------
    InputError
        If the file there is none of picked points, or of other images.
    OutputError
        If the file cannot be written.
    """

    def __init__(
        self,
        images: PyramidPair,
        output: str | Path,
        *,
        earlier: str | Path,
        later: str | Path,
        pair: Pair,
    ) -> None:
        self.images = images
        self.output = Path(output)
        self.picked_images = PickedImages(
            earlier=Path(earlier).name,
            later=Path(later).name,
            earlier_time=pair.earlier.time,
            later_time=pair.later.time,
            grid=images.grid,
        )
        self.picks = self._taken_up()
        self.revision = 0
        self._lock = Lock()
        self._ended = False
        self._written: tuple[int, int] | None = None
        # At once, so that a place that cannot be written is told before the first click.
        self._write(self.picks)

    def description(self) -> dict[str, Any]:
        """Tell the page what it shows."""
        images, grid = self.picked_images, self.images.grid
        place = grid.transform
        height, width = self.images.earlier.shape
        return {
            "earlier": {"name": images.earlier, "time": images.earlier_time.isoformat()},
            "later": {"name": images.later, "time": images.later_time.isoformat()},
            "width": width,
            "height": height,
            "tile": TILE_PX,
            "levels": self.images.earlier.levels,
            "crs": None if grid.crs is None else _short_name(CRS.from_user_input(str(grid.crs))),
            "unit": "px" if grid.crs is None else "m",
            "transform": [place.a, place.c, place.e, place.f] if grid.crs else None,
            "message": self.images.message,
            "output": self.output.name,
            "confidences": CONFIDENCES,
        }

    def tile(
        self, which: Literal["earlier", "later"], level: int, column: int, row: int
    ) -> bytes | None:
        """Pixels of one tile, little-endian float32 row by row; ``None`` where there is no tile."""
        image = self.images.earlier if which == "earlier" else self.images.later
        if not 0 <= level < image.levels:
            return None
        height, width = image.size(level)
        top, left = row * TILE_PX, column * TILE_PX
        if not (0 <= top < height and 0 <= left < width):
            return None
        rows, columns = slice(top, top + TILE_PX), slice(left, left + TILE_PX)
        pixels = image.read(level, rows, columns)
        return np.ascontiguousarray(pixels, "<f4").tobytes()

    def points(self) -> dict[str, Any]:
        """Points as the page takes them, with the revision that a change has to name."""
        with self._lock:
            return {"revision": self.revision, "points": [_as_json(pick) for pick in self.picks]}

    def replace(self, message: Any) -> dict[str, Any]:
        """Take the page's points in place of those so far, and write them.

        Parameters
        ----------
        message
            ``{"revision": the revision they were made from, "points": [...]}``.

        Returns
        -------
        dict
            The new ``revision``, the ``count``, and when it was ``saved`` (UTC).

        Raises
        ------
        InputError
            If a point is none.
        StaleError
            If the points were changed elsewhere since that revision.
        OutputError
            If the file cannot be written. The points stay as they were.
        """
        revision, picks = self._read_message(message)
        with self._lock:
            if self._ended:
                raise OutputError("the session has ended: start ogive annotate again")
            if revision != self.revision:
                raise StaleError(
                    "these points were changed in another window of the browser: reload the page"
                )
            self._check_untouched()
            self._write(picks)
            self.picks = picks
            self.revision += 1
            return {
                "revision": self.revision,
                "count": len(picks),
                "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            }

    def end(self) -> int:
        """Wait for a change that is being written, take no more, and tell how many points are."""
        with self._lock:
            self._ended = True
            return len(self.picks)

    def _taken_up(self) -> list[Pick]:
        """Read the points of an earlier session."""
        if self.output.suffix.lower() != ".gpkg":
            raise InputError(f"{self.output} is no name of a GeoPackage: let it end in .gpkg")
        if not self.output.is_file():
            return []
        points = read_picked_points(self.output)
        own = (self.picked_images.earlier, self.picked_images.later)
        for earlier, later in zip(points["earlier"], points["later"], strict=True):
            if (earlier, later) != own:
                raise InputError(
                    f"{self.output} holds points of {earlier} and {later}, not of {own[0]} and "
                    f"{own[1]}: choose another output"
                )
        return picks_of(points, self.picked_images.grid)

    def _check_untouched(self) -> None:
        if self._written != _state(self.output):
            raise StaleError(
                f"{self.output} was changed by another program: nothing was overwritten; move it "
                "away or end this session"
            )

    def _write(self, picks: Sequence[Pick]) -> None:
        write_picked_points(points_of(picks, self.picked_images), self.output)
        self._written = _state(self.output)

    def _read_message(self, message: Any) -> tuple[int, list[Pick]]:
        try:
            revision, points = message["revision"], message["points"]
            picks = [_as_pick(point) for point in points]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no list of points ({error})") from error
        height, width = self.images.earlier.shape
        if type(revision) is not int or len(picks) > _MOST_POINTS:
            raise InputError(f"no revision, or more than {_MOST_POINTS} points")
        for pick in picks:
            inside = all(
                -0.5 <= value <= length - 0.5
                for value, length in (
                    (pick.x, width), (pick.x2, width), (pick.y, height), (pick.y2, height),
                )
            )  # fmt: skip
            if not inside or pick.confidence not in CONFIDENCES:
                raise InputError(f"point {pick.id} lies outside of the images or has no confidence")
        if len({pick.id for pick in picks}) < len(picks):
            raise InputError("two points have the same number")
        return revision, picks


def _short_name(crs: CRS) -> str:
    known = crs.to_authority()
    return ":".join(known) if known else str(crs.name)


def _state(path: Path) -> tuple[int, int] | None:
    """When a file was written last, and its size; ``None`` where there is none."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return None
    return told.st_mtime_ns, told.st_size


def _as_json(pick: Pick) -> dict[str, Any]:
    return {
        "id": pick.id,
        "x": pick.x,
        "y": pick.y,
        "x2": pick.x2,
        "y2": pick.y2,
        "confidence": pick.confidence,
        "picked": pick.picked_at.isoformat(timespec="milliseconds") + "Z",
    }


def _as_pick(point: Mapping[str, Any]) -> Pick:
    numbers = {name: float(point[name]) for name in ("x", "y", "x2", "y2")}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError("a coordinate is not finite")
    if type(point["id"]) is not int or type(point["confidence"]) is not int:
        raise ValueError("a number or a confidence is no whole number")
    time = datetime.fromisoformat(point["picked"])
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return Pick(
        id=point["id"],
        **numbers,
        confidence=point["confidence"],
        picked_at=time.astimezone(UTC).replace(tzinfo=None),
    )
