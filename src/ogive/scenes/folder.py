"""A folder of images as a source of scenes: products as distributed, or any dated images."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import rasterio
import shapely
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from ogive.model import Asset, DateError, InputError, Scene

from . import landsat, sentinel2
from .bands import COMMON_NAMES
from .mtl import mtl_item
from .names import fill_value_from_name, scene_from_name
from .outline import geographic_outline
from .safe import is_product, safe_item

__all__ = ["local"]

_IMAGES = {".tif", ".tiff", ".jp2"}
_BAND = re.compile(
    r"(?<![A-Za-z0-9])(B(?:8A|\d{1,2})|SCL|QA60|QA_PIXEL|QA_RADSAT)(?=(?:_\d\dm)?(?![A-Za-z0-9]))"
)
_OUTLINE_DIGITS = 6
_NAMED = 3  # of the images that are left out, in one warning

_log = logging.getLogger(__name__)


def local(folder: str | Path) -> list[Scene]:
    """Find the scenes in a folder and the folders in it.

    Products of Sentinel-2 (SAFE) and of Landsat (``*_MTL``) are read by their metadata. Every other
    GeoTIFF or JPEG 2000 is taken as an image whose name tells its date (see
    `ogive.scenes.names`); files of one acquisition, such as ``…_B04.tif`` and ``…_B08.tif``, are
    bands of one scene. Of these the numbers are kept as they are, unless the file itself has a
    scale and an offset.

    Parameters
    ----------
    folder
        Is searched with all folders in it.

    Returns
    -------
    list of Scene
        In the order of time. Images whose names tell no date are left out, and logged.

    Raises
    ------
    InputError
        If there is no such folder, nothing in it is a scene, or metadata cannot be read.

    Examples
    --------
    >>> scenes = local("clips")  # doctest: +SKIP
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    products = [path for path in _folders(folder) if is_product(path)]
    metadata = _metadata_of_landsat(folder)
    taken = {*products, *(path.parent for path in metadata)}
    scenes = [
        *_without_copies(
            [
                *(sentinel2.scene_of_item(safe_item(path)) for path in products),
                *(landsat.scene_of_item(mtl_item(path)) for path in metadata),
            ]
        ),
        *_of_images(path for path in _images(folder) if taken.isdisjoint(path.parents)),
    ]
    if not scenes:
        raise InputError(
            f"{folder} holds no scene: no product of Sentinel-2 or Landsat, and no GeoTIFF or JPEG "
            "2000 with a date in its name"
        )
    return sorted(scenes, key=lambda scene: (scene.time, scene.id))


def _without_copies(products: list[Scene]) -> list[Scene]:
    """Leave out products that lie there a second time."""
    scenes = {scene.id: _with_files(scene) for scene in reversed(products)}
    if len(scenes) < len(products):
        _log.warning("%d products are copies of others and left out", len(products) - len(scenes))
    return list(scenes.values())


def _with_files(product: Scene) -> Scene:
    """Leave out the bands that were not downloaded."""
    here = {name: asset for name, asset in product.assets.items() if Path(asset.href).exists()}
    if len(here) < len(product.assets):
        absent = sorted(product.assets.keys() - here.keys())
        _log.info("%s lies there without %s", product.id, ", ".join(absent))
    return replace(product, assets=here)


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and all in it, but none within a product."""
    yield folder
    if not is_product(folder):
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                yield from _folders(path)


def _metadata_of_landsat(folder: Path) -> list[Path]:
    """One metadata file of each product, whichever of its three forms is there."""
    found: dict[str, Path] = {}
    for suffix in ("json", "xml", "txt"):
        for path in sorted(folder.rglob(f"*_MTL.{suffix}")):
            found[str(path.with_suffix(""))] = path
    return [found[name] for name in sorted(found)]


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _IMAGES)


def _of_images(paths: Iterator[Path]) -> list[Scene]:
    scenes: dict[tuple[Path, str], Scene] = {}
    undated: list[Path] = []
    for path in paths:
        try:
            scene = _scene(path)
        except DateError as error:
            _log.info("%s", error)
            undated.append(path)
            continue
        known = scenes.get((path.parent, scene.id))
        if known is not None:
            scene = replace(known, assets={**known.assets, **scene.assets})
        scenes[path.parent, scene.id] = scene
    if undated:
        _log.warning(
            "%d images are left out, for their names do not tell when they were acquired: %s%s",
            len(undated), ", ".join(map(str, undated[:_NAMED])),
            ", ..." if len(undated) > _NAMED else "",
        )  # fmt: skip
    return list(scenes.values())


def _scene(path: Path) -> Scene:
    with warnings.catch_warnings():
        # What is not georeferenced has no grid to be read on, and reading it says so.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as file:
                tags = {**file.tags(ns="IMAGERY"), **file.tags()}
                scene = scene_from_name(path.absolute(), tags)
                code = file.crs.to_epsg() if file.crs else None
                crs = f"EPSG:{code}" if code else file.crs.to_wkt() if file.crs else ""
                return replace(
                    scene,
                    crs=crs,
                    footprint=_outline(file) if file.crs else "",
                    assets=_assets(path, file, scene),
                )
        except RasterioError as error:
            raise InputError(
                f"{path} cannot be read, it may be truncated or no image: {error}"
            ) from error


def _assets(path: Path, file: DatasetReader, scene: Scene) -> dict[str, Asset]:
    """The bands of one file, by the band in its name, or by what the file calls them."""
    match = _BAND.search(path.stem)
    sensor = scene.sensor + scene.satellite if scene.sensor == "M" else scene.sensor
    fill = fill_value_from_name(path)
    assets = {}
    for index in file.indexes:
        described = file.descriptions[index - 1] or (f"band {index}" if file.count > 1 else "image")
        name = match[1] if match and file.count == 1 else described
        declared = file.nodatavals[index - 1]
        nodata = fill if declared is None else declared
        assets[name] = Asset(
            href=str(path.absolute()),
            common_name=COMMON_NAMES.get(sensor, {}).get(name, ""),
            scale=float(file.scales[index - 1]),
            offset=float(file.offsets[index - 1]),
            nodata=None if nodata is None or math.isnan(nodata) else float(nodata),
            pixel_size_m=abs(file.transform.a) if file.crs and file.crs.is_projected else None,
            index=index,
        )
    return assets


def _outline(file: DatasetReader) -> str:
    """Outline in longitude and latitude, with points along its sides, which are not straight."""
    box = GeoBox(file.shape, file.transform, file.crs.to_wkt())
    return str(shapely.to_wkt(geographic_outline(box), rounding_precision=_OUTLINE_DIGITS))
