"""Styles that QGIS takes up by itself: a ``.qml`` beside a GeoTIFF, a table inside a GeoPackage.

Elements and attributes are those that QGIS 3.22 writes; later versions read them too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as Xml

import numpy as np
import pandas as pd
import pyogrio
import xarray as xr
from cmcrameri import cm
from matplotlib.colors import to_hex, to_rgba

from ogive.model import InputError, OutputError
from ogive.store.atomic import atomic_path
from ogive.store.layer_colours import colour_range, layer_colours, short_units

__all__ = [
    "Category",
    "category_style",
    "flag_categories",
    "layer_style",
    "polygon_style",
    "ramp_style",
    "write_package_styles",
    "write_style",
]

_STOPS = 17
_DENSE_BELOW_DECADES = 1.5
_STYLE_TABLE = "layer_styles"  # QGIS's name of the table; so are those of its columns
_TRANSPARENT = {"cnt": (0.0,)}  # what stands for no data in layers of whole numbers


class Category(NamedTuple):
    """A value of a classified raster, and how it is drawn."""

    value: int
    label: str
    colour: str


# ---- styles as text ------------------------------------------------------------------------------


def layer_style(layer: xr.DataArray, key: str) -> str:
    """Style a map by what it is: colours of its layer, a range of its values, its units.

    Parameters
    ----------
    layer
        With the attribute ``units``, or ``flag_values`` or ``flag_masks`` where it holds codes.
    key
        Of the layer, as `ogive.store.layer_colours.layer_colours` has it.

    Returns
    -------
    str
        What a ``.qml`` file holds.

    Examples
    --------
    >>> speed = xr.DataArray(np.array([[10.0, 250.0]]), attrs={"units": "meter/year"})
    >>> "249 m/yr" in layer_style(speed, "v")  # the 99.5th percentile
    True
    """
    if {"flag_values", "flag_masks"} & layer.attrs.keys():
        return category_style(flag_categories(layer))
    name, kind = layer_colours(key)
    low, high, logarithmic = colour_range(layer.values, kind)
    return ramp_style(
        low=low,
        high=high,
        colours=name,
        units=short_units(str(layer.attrs.get("units", ""))),
        logarithmic=logarithmic,
        transparent=_TRANSPARENT.get(key, ()),
    )


def ramp_style(
    *,
    low: float,
    high: float,
    colours: str = "batlow",
    units: str = "",
    logarithmic: bool = False,
    transparent: Sequence[float] = (),
) -> str:
    """Style a raster by continuous colours; where it has no data it stays transparent.

    Parameters
    ----------
    low, high
        Values of the first and the last colour; beyond them colours stay the same.
    colours
        Name of one of Crameri's colour maps.
    units
        Told in the legend.
    logarithmic
        Colours follow the logarithm of the values, by stops at round numbers that the legend
        names: the first at or below `low`, the last at or above `high`.
    transparent
        Values that are not drawn.

    Raises
    ------
    InputError
        If the range is empty or has no logarithm, or the colour map is unknown.

    Examples
    --------
    >>> style = ramp_style(low=2, high=900, units="m/yr", logarithmic=True)
    >>> [stop for stop in ("1 m/yr", "2 m/yr", "1000 m/yr") if f'"{stop}"' in style]
    ['2 m/yr', '1000 m/yr']
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"a colour ramp from {low} to {high} has no range")
    if logarithmic and low <= 0:
        raise InputError(f"a logarithmic colour ramp cannot start at {low}: start above zero")
    if not hasattr(cm, colours):
        raise InputError(f"colour map {colours!r} is unknown: use one of cmcrameri's")
    if logarithmic:
        values = _round_steps(low, high)
        shares = np.log(values / values[0]) / math.log(values[-1] / values[0])
    else:
        shares = np.linspace(0.0, 1.0, _STOPS)
        values = low + shares * (high - low)
    ends = (repr(float(values[0])), repr(float(values[-1])))
    renderer = Xml.Element("rasterrenderer", _renderer("singlebandpseudocolor"))
    renderer.attrib |= {"classificationMin": ends[0], "classificationMax": ends[1]}
    _add_transparent(renderer, transparent)
    shader = Xml.SubElement(
        Xml.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=ends[0],
        maximumValue=ends[1],
        labelPrecision="6",
    )
    labels = [f"{float(f'{value:.3g}'):g} {units}".strip() for value in values]
    for value, share, label in zip(values, shares, labels, strict=True):
        Xml.SubElement(
            shader,
            "item",
            value=repr(float(value)),
            label=label,
            color=to_hex(getattr(cm, colours)(float(share))),
            alpha="255",
        )
    # A continuous legend is linear, so it would not fit logarithmic stops.
    _add_legend(shader, labels[0], labels[-1], continuous=not logarithmic)
    return _raster(renderer)


def category_style(categories: Sequence[Category]) -> str:
    """Style a raster by one colour for each value.

    Raises
    ------
    InputError
        If there is no category.
    """
    if not categories:
        raise InputError("a classified style needs categories")
    renderer = Xml.Element("rasterrenderer", _renderer("paletted"))
    palette = Xml.SubElement(renderer, "colorPalette")
    for category in categories:
        Xml.SubElement(
            palette,
            "paletteEntry",
            value=str(category.value),
            label=category.label,
            color=category.colour,
            alpha="255",
        )
    return _raster(renderer)


def flag_categories(layer: xr.DataArray, *, none: str = "none") -> list[Category]:
    """List the codes of a flag variable by its CF attributes, each with a colour of its own.

    Parameters
    ----------
    layer
        With ``flag_meanings`` and ``flag_values``, or ``flag_masks`` for codes made of bits: then
        all combinations that occur are listed.
    none
        The label of 0 in codes made of bits.
    """
    meanings = [meaning.replace("_", " ") for meaning in layer.attrs["flag_meanings"].split()]
    colours = [to_hex(colour) for colour in cm.batlowS(np.arange(100))]
    if "flag_masks" not in layer.attrs:
        values = [int(value) for value in np.atleast_1d(layer.attrs["flag_values"])]
        if len(values) == 2:
            colours = ["#d9d9d9", "#1b6ca8"]
        return [Category(*told) for told in zip(values, meanings, colours, strict=False)]
    masks = [int(mask) for mask in np.atleast_1d(layer.attrs["flag_masks"])]
    known = layer.values[np.isfinite(layer.values)]
    categories = []
    for k, value in enumerate(int(value) for value in np.unique(known)):
        why = [meaning for mask, meaning in zip(masks, meanings, strict=True) if value & mask]
        colour = "#ffffff" if value == 0 else colours[k % len(colours)]
        categories.append(Category(value, ", ".join(why) or none, colour))
    return categories


def polygon_style(
    *, line: str, width_mm: float = 0.5, dashed: bool = False, fill_opacity: float = 0.0
) -> str:
    """Style polygons by their outlines, filled in the same colour as far as asked.

    Parameters
    ----------
    line
        The colour, as matplotlib reads it.
    width_mm
        Of the line on the screen.
    dashed
        Whether the line is dashed.
    fill_opacity
        0 leaves the inside empty.
    """
    rgb = ",".join(str(round(255 * part)) for part in to_rgba(line)[:3])
    options = {
        "color": f"{rgb},{round(255 * fill_opacity)}",
        "style": "solid" if fill_opacity > 0 else "no",
        "outline_color": f"{rgb},255",
        "outline_style": "dash" if dashed else "solid",
        "outline_width": f"{width_mm:g}",
        "outline_width_unit": "MM",
        "joinstyle": "round",
    }
    root = _root()
    renderer = Xml.SubElement(
        root,
        "renderer-v2",
        type="singleSymbol",
        symbollevels="0",
        enableorderby="0",
        forceraster="0",
        referencescale="-1",
    )
    symbol = Xml.SubElement(
        Xml.SubElement(renderer, "symbols"),
        "symbol",
        type="fill",
        name="0",
        alpha="1",
        clip_to_extent="1",
        force_rhr="0",
    )
    layer = Xml.SubElement(
        symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    )
    settings = Xml.SubElement(layer, "Option", type="Map")
    for name, value in options.items():
        Xml.SubElement(settings, "Option", name=name, type="QString", value=value)
    Xml.SubElement(renderer, "rotation")
    Xml.SubElement(renderer, "sizescale")
    for name, value in (("blendMode", "0"), ("featureBlendMode", "0"), ("layerGeometryType", "2")):
        Xml.SubElement(root, name).text = value
    return _text(root)


# ---- where styles lie ----------------------------------------------------------------------------


def write_style(path: str | Path, style: str) -> Path:
    """Write a style as ``<name>.qml`` beside ``<name>.tif``, where QGIS looks for it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with atomic_path(path) as written:
        written.write_text(style, encoding="utf-8")
    return Path(path)


def write_package_styles(package: str | Path, styles: Mapping[str, str]) -> None:
    """Write default styles into a GeoPackage, one for each of its layers.

    QGIS looks for them in the table ``layer_styles``; a ``.qml`` beside the file would dress all
    layers alike.

    Parameters
    ----------
    package
        Holds the layers, and no styles yet.
    styles
        By the name of the layer.

    Raises
    ------
    InputError
        If there is no such layer.
    OutputError
        If they cannot be written.
    """
    try:
        columns = {name: pyogrio.read_info(package, layer=name)["geometry_name"] for name in styles}
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise InputError(f"{package} has no such layer to be styled: {error}") from error
    table = pd.DataFrame(
        {
            "f_table_catalog": "",
            "f_table_schema": "",
            "f_table_name": list(styles),
            "f_geometry_column": list(columns.values()),
            "styleName": list(styles),
            "styleQML": list(styles.values()),
            "styleSLD": "",
            "useAsDefault": True,
            "description": "as ogive draws it",
            "owner": "",
            "ui": None,
            "update_time": pd.Timestamp.now(tz="UTC"),
        }
    )
    try:
        pyogrio.write_dataframe(table, package, layer=_STYLE_TABLE, driver="GPKG")
    except RuntimeError as error:
        raise OutputError(f"styles cannot be written into {package}: {error}") from error


# ---- parts of QGIS's files -----------------------------------------------------------------------


def _round_steps(low: float, high: float) -> np.ndarray:
    """List round numbers from the one at or below `low` to the one at or above `high`."""
    near = math.log10(high / low) < _DENSE_BELOW_DECADES
    steps = (1, 1.5, 2, 3, 5, 7) if near else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = np.array([float(f"{step}e{power}") for power in powers for step in steps])
    first = np.flatnonzero(values <= low * (1 + 1e-9))[-1]
    last = np.flatnonzero(values >= high * (1 - 1e-9))[0]
    return values[first : last + 1]


def _renderer(kind: str) -> dict[str, str]:
    return {"type": kind, "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}


def _add_transparent(renderer: Xml.Element, values: Sequence[float]) -> None:
    if not values:
        return
    pixels = Xml.SubElement(Xml.SubElement(renderer, "rasterTransparency"), "singleValuePixelList")
    for value in values:
        told = repr(float(value))
        Xml.SubElement(pixels, "pixelListEntry", min=told, max=told, percentTransparent="100")


def _add_legend(shader: Xml.Element, first: str, last: str, *, continuous: bool) -> None:
    Xml.SubElement(
        shader,
        "rampLegendSettings",
        minimumLabel=first,
        maximumLabel=last,
        prefix="",
        suffix="",
        direction="0",
        orientation="2",
        useContinuousLegend="1" if continuous else "0",
    )


def _root() -> Xml.Element:
    return Xml.Element("qgis", version="3.22", styleCategories="Symbology")


def _raster(renderer: Xml.Element) -> str:
    root = _root()
    pipe = Xml.SubElement(root, "pipe")
    pipe.append(renderer)
    Xml.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    Xml.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0")
    Xml.SubElement(pipe, "rasterresampler", maxOversampling="2")
    Xml.SubElement(root, "blendMode").text = "0"
    return _text(root)


def _text(root: Xml.Element) -> str:
    Xml.indent(root)
    head = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return head + Xml.tostring(root, encoding="unicode") + "\n"
