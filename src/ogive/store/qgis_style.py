"""Colour styles that QGIS takes up by itself: a ``.qml`` beside a GeoTIFF of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as Xml

import numpy as np
from cmcrameri import cm
from matplotlib.colors import to_hex

from ogive.model import InputError
from ogive.store.atomic import atomic_path

__all__ = ["Category", "write_categories", "write_colour_ramp"]

_STOPS = 17


class Category(NamedTuple):
    """A value of a classified raster, and how it is drawn."""

    value: int
    label: str
    colour: str


def write_colour_ramp(
    path: str | Path, *, low: float, high: float, colours: str = "batlow", units: str = ""
) -> Path:
    """Write a style of continuous colours.

    Parameters
    ----------
    path
        ``<name>.qml`` beside ``<name>.tif``.
    low, high
        Values of the first and the last colour; beyond them colours stay the same.
    colours
        Name of one of Crameri's colour maps.
    units
        Told in the legend.

    Raises
    ------
    InputError
        If the range is empty or the colour map unknown.
    OutputError
        If it cannot be written.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"a colour ramp from {low} to {high} has no range")
    if not hasattr(cm, colours):
        raise InputError(f"colour map {colours!r} is unknown: use one of cmcrameri's")
    colour_map = getattr(cm, colours)
    renderer = Xml.Element("rasterrenderer", _renderer("singlebandpseudocolor"))
    renderer.set("classificationMin", repr(float(low)))
    renderer.set("classificationMax", repr(float(high)))
    shader = Xml.SubElement(
        Xml.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=repr(float(low)),
        maximumValue=repr(float(high)),
    )
    for share in np.linspace(0.0, 1.0, _STOPS):
        value = low + share * (high - low)
        Xml.SubElement(
            shader,
            "item",
            value=repr(float(value)),
            label=f"{value:.3g} {units}".strip(),
            color=to_hex(colour_map(float(share))),
            alpha="255",
        )
    return _write(path, renderer)


def write_categories(path: str | Path, categories: Sequence[Category]) -> Path:
    """Write a style of one colour for each value.

    Raises
    ------
    InputError
        If there is no category.
    OutputError
        If it cannot be written.
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
    return _write(path, renderer)


def _renderer(kind: str) -> dict[str, str]:
    return {"type": kind, "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}


def _write(path: str | Path, renderer: Xml.Element) -> Path:
    root = Xml.Element("qgis", version="3.22", styleCategories="Symbology")
    pipe = Xml.SubElement(root, "pipe")
    pipe.append(renderer)
    Xml.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    Xml.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0")
    Xml.SubElement(pipe, "rasterresampler", maxOversampling="2")
    Xml.SubElement(root, "blendMode").text = "0"
    Xml.indent(root)
    text = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    with atomic_path(path) as written:
        written.write_text(text + Xml.tostring(root, encoding="unicode") + "\n", encoding="utf-8")
    return Path(path)
