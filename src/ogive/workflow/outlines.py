"""From a scene to glacier outlines: probability, confidence, polygons and divides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.shutil
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window
from scipy.ndimage import label

from ogive.georeference import georeferenced
from ogive.model import InputError, OutputError
from ogive.outlines.bias import optimise_bias
from ogive.outlines.confidence import band_of_95, confidence, estimated_iou_of_counts
from ogive.outlines.predict import PredictOptions, probability_strips
from ogive.outlines.scene import RasterScene, opened_scene
from ogive.outlines.tiles import GLACIER
from ogive.outlines.trained import OutlineModel, load_outline_model
from ogive.outlines.vectors import on_grid, polygons_of, read_inventory
from ogive.scenes.read import read_on_grid
from ogive.store.atomic import atomic_path
from ogive.store.layer_colours import OUTLINE_COLOURS, layer_colours
from ogive.store.qgis_style import polygon_style, ramp_style, write_package_styles
from ogive.view.map_parts import LARGEST_SIDE_PX
from ogive.view.outlines import draw_outlines

__all__ = ["OutlineOptions", "OutlinesMade", "make_outlines"]

_BLOCK_PX = 512
_INNER, _OUTER, _CERTAIN = 1, 2, 4
"""Bits of what a pixel is: glacier on the map, inside the outer outline, inside the inner one."""
_LINES: Mapping[str, Mapping[str, Any]] = {
    "glaciers": {"width_mm": 0.6, "fill_opacity": 0.15},
    "inner": {"width_mm": 0.4, "dashed": True},
    "outer": {"width_mm": 0.4, "dashed": True},
}
"""How QGIS draws the layers of outlines."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineOptions:
    """How a scene is mapped.

    Attributes
    ----------
    weights
        A file or an address with its checksum; ``None`` for those that ship with ogive.
    bands
        Names of all bands of all files, in their order; by default as the files describe them.
    scale, offset
        What turns the files' numbers into reflectance; by default the scale that the network was
        trained with.
    dem
        Elevation model: divides ice into glaciers, and is seen by networks that take it.
    inventory
        Glaciers whose divides are copied, in place of finding divides in the terrain.
    region
        Told to networks that take one; ``None`` for the unknown region.
    optimise_bias
        Whether the mixture of regions that makes the network surest is found first.
    test_time_augmentation
        Whether the eight ways a patch can lie are averaged.
    dropout_passes
        Passes with Monte-Carlo dropout that are averaged; 0 for one without.
    least_area_km2
        Smaller glaciers are left out.
    device
        Where the network runs.
    overwrite
        Whether files that are there are replaced.
    """

    weights: str | Path | None = None
    bands: Sequence[str] | None = None
    scale: float | None = None
    offset: float = 0.0
    dem: str | Path | None = None
    inventory: str | Path | None = None
    region: str | None = None
    optimise_bias: bool = False
    test_time_augmentation: bool = False
    dropout_passes: int = 0
    least_area_km2: float = 0.01
    device: str = "auto"
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class OutlinesMade:
    """What was made, in figures.

    Attributes
    ----------
    outlines, probability, confidence, figure
        Files that were written.
    glaciers
        How many.
    ice_km2, inner_km2, outer_km2
        Areas of the glaciers, and inside the inner and the outer outline; NaN where the weights
        carry no calibration.
    estimated_iou
        Intersection over union to be expected (equation S5); NaN without a calibration.
    """

    outlines: Path
    probability: Path
    confidence: Path
    figure: Path
    glaciers: int
    ice_km2: float
    inner_km2: float
    outer_km2: float
    estimated_iou: float


def make_outlines(
    scene: Sequence[str | Path],
    out: str | Path,
    *,
    options: OutlineOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> OutlinesMade:
    """Map the glaciers of a scene (`ogive outlines SCENE… -o OUTLINES.gpkg`).

    Parameters
    ----------
    scene
        One file of several bands, or several files.
    out
        A GeoPackage to be written, with the layers ``glaciers`` and, where the weights know what
        their confidence is worth, ``inner`` and ``outer``: the outlines between which the true one
        runs with 95 % confidence. Beside it appear ``*_probability.tif`` and ``*_confidence.tif``,
        all with the styles that QGIS draws them in, and a picture of them, ``*.png``.
    options
        How it is mapped.
    progress
        Called with rows done and rows in all.

    Raises
    ------
    InputError
        If the scene, the weights, the elevation model or the inventory cannot be used, or a file
        is there already.
    OutputError
        If a file cannot be written; nothing is left then.
    """
    options = options or OutlineOptions()
    read = [*scene, *(each for each in (options.dem, options.inventory) if each is not None)]
    *paths, figure = _paths(Path(out), read, overwrite=options.overwrite)
    if options.inventory is not None and options.dem is None:
        raise InputError("an inventory's divides are copied along an elevation model: give one")
    inventory = read_inventory(options.inventory) if options.inventory is not None else None
    model = load_outline_model(options.weights, device=options.device)
    with ExitStack() as stack:
        opened = stack.enter_context(
            opened_scene(
                scene,
                model.bands,
                names=options.bands,
                scale=model.scale if options.scale is None else options.scale,
                offset=options.offset,
                dem=options.dem,
            )
        )
        # What cannot be used is told before the network takes its time.
        if inventory is not None:
            on_grid(inventory, opened.geobox, options.inventory)
        if options.dem is not None:
            opened.elevation_m()
        location = _location(opened, model, options)
        written = [stack.enter_context(atomic_path(path)) for path in paths]
        raw = [path.with_suffix(".raw.tif") for path in written[1:]]
        mapped = _map(opened, model, location, options, raw, progress)
        glaciers = _glaciers(mapped.marks, opened, options, inventory)
        layers = _layers(glaciers, mapped.marks, opened.geobox, model)
        _write_layers(layers, written[0])
        for source, target, final in zip(raw, written[1:], paths[1:], strict=True):
            _write_cog(source, target)
            source.unlink()
            style = stack.enter_context(atomic_path(final.with_suffix(".qml")))
            calibrated = model.calibration is not None
            style.write_text(_style(_layer_name(final), calibrated=calibrated), encoding="utf-8")
        picture = stack.enter_context(atomic_path(figure))
        _write_figure(layers, written[1:], opened, picture)
    cell_km2 = abs(opened.geobox.resolution.x * opened.geobox.resolution.y) / 1e6
    known = model.calibration is not None
    return OutlinesMade(
        outlines=paths[0],
        probability=paths[1],
        confidence=paths[2],
        figure=figure,
        glaciers=len(glaciers),
        ice_km2=float(glaciers.area_km2.sum()),
        inner_km2=_count(mapped.marks, _CERTAIN) * cell_km2 if known else float("nan"),
        outer_km2=_count(mapped.marks, _OUTER) * cell_km2 if known else float("nan"),
        estimated_iou=mapped.estimated_iou,
    )


def _paths(out: Path, read: Sequence[str | Path], *, overwrite: bool) -> tuple[Path, ...]:
    if out.suffix != ".gpkg":
        raise InputError(f"{out} must end in .gpkg: outlines are written as a GeoPackage")
    found = (
        out,
        *(out.with_name(f"{out.stem}_{name}.tif") for name in ("probability", "confidence")),
        out.with_suffix(".png"),
    )
    for path in found:
        if path.exists() and not overwrite:
            raise InputError(f"{path} is there already: name another, or pass overwrite")
        if any(path.resolve() == Path(each).resolve() for each in read):
            raise InputError(f"{path} is read from: name other outlines, so that it is kept")
    return found


@dataclass(frozen=True)
class _Mapped:
    """What each pixel is, in bits, and how good the map should be."""

    marks: NDArray[np.uint8]
    estimated_iou: float


def _map(
    scene: RasterScene,
    model: OutlineModel,
    location: NDArray[np.float32] | None,
    options: OutlineOptions,
    raw: Sequence[Path],
    progress: Callable[[int, int], None] | None,
) -> _Mapped:
    """Ask the network strip by strip; only one byte a pixel is kept in memory."""
    asked = PredictOptions(
        location=location,
        test_time_augmentation=options.test_time_augmentation,
        dropout_passes=options.dropout_passes,
        device=str(next(model.network.parameters()).device),
    )
    marks = np.zeros((scene.height, scene.width), np.uint8)
    sure, pixels = 0.0, 0
    with ExitStack() as stack:
        files = [stack.enter_context(_created(path, scene.geobox)) for path in raw]
        for strip in probability_strips(scene, model.network, model.bands, asked):
            p = strip.probability[GLACIER]
            told = confidence(p)
            worth = told if model.calibration is None else model.calibration(told)
            known = np.isfinite(p)
            glacier = known & (p > 0.5)
            here = marks[strip.rows]
            here[glacier] |= _INNER
            if model.calibration is not None:
                band = band_of_95(glacier, worth)
                here[band.outer] |= _OUTER
                here[band.inner] |= _CERTAIN
            sure, pixels = sure + float(worth[known].sum()), pixels + int(known.sum())
            window = Window(0, strip.rows.start, scene.width, len(p))
            for file, values in zip(files, (p, worth), strict=True):
                file.write(values.astype(np.float32), 1, window=window)
            if progress is not None:
                progress(strip.rows.stop, scene.height)
    positives = _count(marks, _INNER)
    estimated = float("nan")
    if model.calibration is None:
        _log.warning(
            "the weights %s carry no calibration: confidence is as the network tells it, and no "
            "95 %% band is drawn",
            model.name,
        )
    elif pixels:
        estimated = estimated_iou_of_counts(sure / pixels, positives, pixels - positives)
    return _Mapped(marks, estimated)


def _count(marks: NDArray[np.uint8], bit: int) -> int:
    return int(np.count_nonzero(marks & bit))


def _location(
    scene: RasterScene, model: OutlineModel, options: OutlineOptions
) -> NDArray[np.float32] | None:
    if not options.optimise_bias:
        return model.location(scene.geobox, options.region)
    if model.told.kind != "region":
        raise InputError(f"the network {model.name} is told no region: no bias can be optimised")
    found = optimise_bias(scene, model.network, model.bands)
    _log.info(
        "bias optimised: mean entropy %.4f to %.4f in %d epochs",
        *(found.entropy[0], found.entropy[-1], len(found.entropy)),
    )
    return found.location


def _glaciers(
    marks: NDArray[np.uint8],
    scene: RasterScene,
    options: OutlineOptions,
    inventory: gpd.GeoDataFrame | None,
) -> gpd.GeoDataFrame:
    """Number the glaciers, and draw them."""
    ice = (marks & _INNER) > 0
    least_m2 = options.least_area_km2 * 1e6
    cell_m = abs(scene.geobox.resolution.x)
    numbers, _ = label(ice, np.ones((3, 3), bool))
    # What is too small to be a glacier should not decide where others part.
    cell_m2 = abs(scene.geobox.resolution.x * scene.geobox.resolution.y)
    large = np.bincount(numbers.ravel()) * cell_m2 >= least_m2
    large[0] = False
    ice = large[numbers]
    if options.dem is not None and ice.any():
        numbers = _divided(ice, scene, inventory, cell_m)
    drawn = polygons_of(np.where(ice, numbers, 0), scene.geobox, least_area_m2=least_m2)
    drawn["area_km2"] = drawn.area_m2 / 1e6
    drawn["glacier"] = np.arange(1, len(drawn) + 1)
    return drawn[["glacier", "number", "area_km2", "geometry"]]


def _divided(
    ice: NDArray[np.bool_],
    scene: RasterScene,
    inventory: gpd.GeoDataFrame | None,
    cell_m: float,
) -> NDArray[np.int64]:
    from ogive.outlines.divides import copy_divides, divide_ice

    elevation_m = scene.elevation_m()
    if inventory is None:
        return divide_ice(ice, elevation_m, cell_m=cell_m)
    shapes = on_grid(inventory, scene.geobox, "the inventory")
    markers = rasterize(
        zip(shapes, range(1, len(shapes) + 1), strict=True),
        scene.geobox.shape,
        transform=scene.geobox.transform,
        dtype="int32",
    )
    return copy_divides(ice, elevation_m, markers, cell_m=cell_m)


def _layers(
    glaciers: gpd.GeoDataFrame, marks: NDArray[np.uint8], geobox: GeoBox, model: OutlineModel
) -> dict[str, gpd.GeoDataFrame]:
    layers = {"glaciers": glaciers}
    if model.calibration is not None:
        for name, bit in (("inner", _CERTAIN), ("outer", _OUTER)):
            parts, _ = label((marks & bit) > 0, np.ones((3, 3), bool))
            drawn = polygons_of(parts, geobox)
            drawn["area_km2"] = drawn.area_m2 / 1e6
            layers[name] = drawn[["area_km2", "geometry"]]
    return layers


def _write_layers(layers: dict[str, gpd.GeoDataFrame], path: Path) -> None:
    for name, frame in layers.items():
        try:
            frame.to_file(path, layer=name, driver="GPKG", engine="pyogrio")
        except RuntimeError as error:
            raise OutputError(f"the layer {name} cannot be written: {error}") from error
    write_package_styles(
        path, {name: polygon_style(line=OUTLINE_COLOURS[name], **_LINES[name]) for name in layers}
    )


def _write_figure(
    layers: Mapping[str, gpd.GeoDataFrame], maps: Sequence[Path], scene: RasterScene, path: Path
) -> None:
    """Draw outlines and maps over the scene, no finer than the picture."""
    geobox = scene.geobox
    if not geobox.axis_aligned:
        finest_m = min(abs(geobox.resolution.x), abs(geobox.resolution.y))
        geobox = GeoBox.from_bbox(geobox.extent.boundingbox, resolution=finest_m, tight=True)
    if max(geobox.shape) > LARGEST_SIDE_PX:
        geobox = geobox.zoom_out(max(geobox.shape) / LARGEST_SIDE_PX)
    drawn = {_layer_name(each): read_on_grid(each, geobox, "average") for each in maps}
    ground = _ground(scene, geobox)
    figure = draw_outlines(layers, drawn, background=ground)
    figure.savefig(path, dpi=150, format="png")


def _ground(scene: RasterScene, geobox: GeoBox) -> xr.DataArray | None:
    """Read a band of the scene to draw in grey; ``None`` where it has no data."""
    layer = scene.layers["red" if "red" in scene.layers else next(iter(scene.layers))]
    values = np.full(geobox.shape, np.nan, np.float32)
    reproject(
        rasterio.band(layer.file, layer.index),
        values,
        dst_transform=geobox.transform,
        dst_crs=str(geobox.crs),
        dst_nodata=np.nan,
        resampling=Resampling.average,
    )
    values[values == 0] = np.nan  # no data, whatever the file declares
    return georeferenced(values, geobox) if np.isfinite(values).any() else None


def _layer_name(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _style(layer: str, *, calibrated: bool) -> str:
    # Of two classes one is right in half of the cases by chance.
    low = 0.5 if layer == "confidence" and calibrated else 0.0
    return ramp_style(low=low, high=1.0, colours=layer_colours(layer).name)


def _created(path: Path, geobox: GeoBox) -> Any:
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        dtype="float32",
        height=geobox.height,
        width=geobox.width,
        crs=str(geobox.crs),
        transform=geobox.transform,
        nodata=np.nan,
        tiled=True,
        blockxsize=_BLOCK_PX,
        blockysize=_BLOCK_PX,
        compress="deflate",
        bigtiff="if_safer",
    )


def _write_cog(source: Path, target: Path) -> None:
    name = _layer_name(target)
    with rasterio.open(source, "r+") as file:
        file.set_band_description(1, f"{name} of glacier" if name == "probability" else name)
    rasterio.shutil.copy(
        source,
        target,
        driver="COG",
        compress="deflate",
        predictor="yes",
        blocksize=_BLOCK_PX,
        overview_resampling="average",
        bigtiff="if_safer",
    )
