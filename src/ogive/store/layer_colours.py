"""Which colours a layer is drawn in, and over which range: one choice for maps, viewer, QGIS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from cmcrameri import cm
from matplotlib.colors import to_hex
from numpy.typing import NDArray

__all__ = [
    "OUTLINE_COLOURS",
    "ColourRange",
    "LayerColours",
    "colour_range",
    "layer_colours",
    "short_units",
]

Kind = Literal["speed", "positive", "symmetric", "circle", "share", "any"]

_LOG_FROM_RATIO = 20.0
_SPREAD = {"speed": 99.5}  # percentile at which colours end; glaciers' fastest ice is a small part
_SPREAD_OF_OTHERS = 98.0


class LayerColours(NamedTuple):
    """One of cmcrameri's perceptual colour maps, and what kind of values it is spread over."""

    name: str
    kind: Kind


class ColourRange(NamedTuple):
    """Values of the first and the last colour, and whether colours follow their logarithm."""

    low: float
    high: float
    logarithmic: bool = False


_SPEED = LayerColours("batlow", "speed")
_COMPONENT = LayerColours("vik", "symmetric")
_ERROR = LayerColours("lajolla", "positive")
_SHARE = LayerColours("bamako_r", "share")
_LAYERS: Mapping[str, LayerColours] = {
    "v": _SPEED,
    "vx": _COMPONENT,
    "vy": _COMPONENT,
    "dx": _COMPONENT,
    "dy": _COMPONENT,
    "vxvy_cov": _COMPONENT,
    "elevation_bias": _COMPONENT,
    "error": _ERROR,
    "v_error": _ERROR,
    "vx_error": _ERROR,
    "vy_error": _ERROR,
    "elevation_bias_error": _ERROR,
    "trend_error": _ERROR,
    "stdev": _ERROR,
    "stdeva": _ERROR,
    "a": LayerColours("romaO", "circle"),
    "trend": LayerColours("vik_r", "symmetric"),
    "p_value": LayerColours("bamako", "share"),
    "cnt": LayerColours("imola", "positive"),
    "correlation": _SHARE,
    "confidence": _SHARE,
    "weight": _SHARE,
    "probability": LayerColours("devon_r", "share"),
}
OUTLINE_COLOURS: Mapping[str, str] = {
    "glaciers": to_hex(cm.batlow(0.1)),
    "inner": to_hex(cm.batlow(0.42)),
    "outer": to_hex(cm.batlow(0.75)),
}
"""Lines of glacier outlines and of the band that holds the true ones with 95 % confidence."""
_UNKNOWN = LayerColours("batlow", "any")
_SHORT_UNITS = {"meter/year": "m/yr", "meter/year2": "m/yr²", "meter2/year2": "m²/yr²",
                "meter": "m", "radian": "rad", "1": ""}  # fmt: skip


def layer_colours(layer: str) -> LayerColours:
    """Colours of a layer: speeds are batlow, what has a sign diverges from zero, angles go round.

    Parameters
    ----------
    layer
        Its key, such as ``"v"``, ``"vx_error"`` or ``"probability"``; others are drawn in batlow.

    Examples
    --------
    >>> layer_colours("vx")
    LayerColours(name='vik', kind='symmetric')
    """
    return _LAYERS.get(layer, _UNKNOWN)


def colour_range(
    values: NDArray[Any], kind: Kind, *, logarithmic: bool | None = None
) -> ColourRange:
    """Choose the range of a layer's colours, so that a few extreme values do not decide it.

    Speeds are logarithmic where the fastest (99.5th percentile) are more than twenty times faster
    than the median. Other ranges end at the 98th percentile of the absolute values.

    Parameters
    ----------
    values
        Of the layer; what is not finite is left out.
    kind
        ``"symmetric"`` is centred on zero, ``"circle"`` runs from -π to π, ``"share"`` from 0 to 1,
        ``"any"`` between the 2nd and the 98th percentile, the others from zero.
    logarithmic
        Whether colours follow the logarithm, in place of the choice that is made for speeds; only
        of kinds that have no fixed range, and of values above zero.

    Examples
    --------
    >>> colour_range(np.array([-50.0, 20.0, np.nan]), "symmetric").high.__round__()
    49
    """
    if kind == "circle":
        return ColourRange(-np.pi, np.pi)
    known = np.asarray(values)
    known = known[np.isfinite(known)].astype(np.float64)
    if kind == "share" or known.size == 0:
        return ColourRange(-1.0 if kind == "symmetric" else 0.0, 1.0)
    if kind == "any":
        low, high = (float(value) for value in np.percentile(known, [2, _SPREAD_OF_OTHERS]))
        return ColourRange(low, high if high > low else low + 1.0, bool(logarithmic) and low > 0)
    top = float(np.percentile(np.abs(known), _SPREAD.get(kind, _SPREAD_OF_OTHERS)))
    top = top if top > 0 else 1.0
    if kind == "symmetric":
        return ColourRange(-top, top)
    median = float(np.median(known))
    if logarithmic is None:
        logarithmic = kind == "speed" and top > _LOG_FROM_RATIO * median > 0
    if logarithmic:
        return ColourRange(max(min(median / 2, top / 10), top / 1000), top, logarithmic=True)
    return ColourRange(0.0, top)


def short_units(units: str) -> str:
    """Shorten units as they stand in attributes to what a legend has room for.

    Examples
    --------
    >>> short_units("meter/year")
    'm/yr'
    """
    return _SHORT_UNITS.get(units, units)
