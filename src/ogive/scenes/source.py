"""The file of a scene's band: here, or on a server as if it lay here."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ogive.model import Asset, Scene

from . import landsat, sentinel2
from .bands import asset_of
from .cache import Cache
from .errors import DamagedImageError, MissingImageError, RefusedError
from .remote_file import RemoteFile
from .signing import Signer
from .transport import Retries

__all__ = ["Source", "local_path", "opened", "source_of"]

QUALITY_BANDS = frozenset((*sentinel2.QUALITY_BANDS, *landsat.QUALITY_BANDS))

_REMOTE = {"http", "https"}
_LEFT_TO_GDAL = {"s3", "gs", "az"}
_SAID_OF_MISSING = ("404", "does not exist", "NoSuchKey", "No such file")
_SAID_OF_REFUSED = ("403", "AccessDenied", "AccessKey", "credentials", "AWS_SECRET")
# A folder afar need not be listed, and files beside an image need not be looked for.
_GDAL_AFAR = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


@dataclass(frozen=True, slots=True)
class Source:
    """A band of a scene, and how to get at it.

    Parameters
    ----------
    scene, band
        Their names, for messages.
    asset
        The file.
    outline
        Of the scene in longitude and latitude, as well-known text; "" where it is not known.
    """

    scene: str
    band: str
    asset: Asset
    outline: str
    cache: Cache | None
    signer: Signer
    retries: Retries

    @property
    def is_quality(self) -> bool:
        """Whether its numbers are codes, between which nothing can be interpolated."""
        return self.band in QUALITY_BANDS

    @property
    def fill(self) -> float:
        """What stands where the scene has no pixel."""
        return (self.asset.nodata or 0) if self.is_quality else np.nan


def source_of(
    scene: Scene,
    band: str,
    *,
    cache: Cache | str | Path | None,
    signer: Signer,
    retries: Retries | None,
) -> Source:
    """Find the file of a band; see `read_window` for the parameters and errors."""
    asset = asset_of(scene, band)
    return Source(
        scene=scene.id,
        band=next(name for name, known in scene.assets.items() if known is asset),
        asset=asset,
        outline=scene.footprint,
        cache=cache if isinstance(cache, Cache) or cache is None else Cache(Path(cache)),
        signer=signer,
        retries=retries or Retries(),
    )


def local_path(href: str) -> Path | None:
    """The path of a file that lies here, ``None`` of one that lies elsewhere."""
    parts = urlsplit(href)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme in _REMOTE | _LEFT_TO_GDAL else Path(href)


@contextmanager
def opened(source: Source) -> Iterator[Any]:
    """Open the file of a band; what fails while it is open is told by the class that fits.

    Raises
    ------
    SceneReadError
        Of the class that tells why.
    """
    href = source.asset.href
    remote = None
    if urlsplit(href).scheme in _REMOTE:
        remote = RemoteFile(href, cache=source.cache, signer=source.signer, retries=source.retries)
    path = local_path(href)
    if path is not None and not path.exists():
        raise MissingImageError(f"there is no file {path}")
    try:
        settings = {} if path is not None else _GDAL_AFAR
        with rasterio.Env(**settings), _dataset(href, path, remote) as file:
            yield file
        if remote is not None and remote.failure is not None:
            raise remote.failure
    except RasterioError as error:
        raise _reason(href, remote, _first_line(error)) from error


def _dataset(href: str, path: Path | None, remote: RemoteFile | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        if remote is None:
            return rasterio.open(href if path is None else path)
        name = f"{secrets.token_hex(8)}/{Path(urlsplit(href).path).name}"
        return rasterio.open(name, opener=_Opener(name, remote).open)


def _reason(href: str, remote: RemoteFile | None, said: str) -> Exception:
    """Tell why GDAL could not read: what the server did, or what GDAL says of the file."""
    if remote is not None:
        if remote.failure is not None:
            return remote.failure
        remote.forget()
    elif urlsplit(href).scheme in _LEFT_TO_GDAL:
        if any(mark in said for mark in _SAID_OF_MISSING):
            return MissingImageError(f"there is no file {href} ({said})")
        if any(mark in said for mark in _SAID_OF_REFUSED):
            return RefusedError(f"{href} is refused: it wants keys that GDAL has not ({said})")
    return DamagedImageError(f"{href} cannot be read, it ends early or is no image: {said}")


@dataclass(frozen=True, slots=True)
class _Opener:
    """Gives GDAL the one file that there is, and none of those it looks for beside it."""

    name: str
    remote: RemoteFile

    def open(self, name: str, mode: str = "rb") -> RemoteFile:
        if name != self.name or mode not in {"r", "rb"}:
            raise FileNotFoundError(name)
        return self.remote


def _first_line(error: BaseException) -> str:
    return (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
