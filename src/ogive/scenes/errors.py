"""Why a scene could not be read: a class for each reason, so that a catalogue can count them.

Every class says whether trying again later may help (``transient``); what went wrong within one
reading (a busy server, a broken connection) has been tried again before any of these is raised.
"""

from __future__ import annotations

from typing import ClassVar

from ogive.model import GridError, OgiveError, OutputError

__all__ = [
    "DamagedImageError",
    "FullDiskError",
    "MissingImageError",
    "NoOverlapError",
    "RefusedError",
    "SceneReadError",
    "SignatureError",
    "UnavailableError",
]


class SceneReadError(OgiveError):
    """A scene could not be read."""

    transient: ClassVar[bool] = False


class MissingImageError(SceneReadError):
    """There is no such file, here or on the server (404, 410)."""


class RefusedError(SceneReadError):
    """The server asks for a login or a key that it was not given (401, 403)."""


class SignatureError(RefusedError):
    """A signed address was refused, and so was the one that was signed afresh."""


class UnavailableError(SceneReadError):
    """The server did not answer, or was busy (429, 5xx), through all attempts."""

    transient: ClassVar[bool] = True


class DamagedImageError(SceneReadError):
    """The file ends too early, or its content cannot be decoded."""


class NoOverlapError(SceneReadError, GridError):
    """The scene shows nothing of the grid that was asked for."""


class FullDiskError(SceneReadError, OutputError):
    """The disk of the cache is full, and nothing in the cache can be given up."""

    transient: ClassVar[bool] = True
