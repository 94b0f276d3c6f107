"""Which colours a layer is drawn in, and over which range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from cmcrameri import cm
from matplotlib.colors import to_hex
from numpy.typing import NDArray

__all__ = ["Colours", "Scale", "colours_of", "palette"]

Scale = Literal["linear", "log"]
Style = Literal["speed", "positive", "symmetric", "circle", "share", "categories"]

_LOG_FROM_RATIO = 20.0
_STYLES: Mapping[str, tuple[str, Style]] = {
    "v": ("batlow", "speed"),
    "vx": ("vik", "symmetric"),
    "vy": ("vik", "symmetric"),
    "dx": ("vik", "symmetric"),
    "dy": ("vik", "symmetric"),
    "a": ("romaO", "circle"),
    "trend": ("vik_r", "symmetric"),
    "correlation": ("bamako_r", "share"),
    "confidence": ("bamako_r", "share"),
    "weight": ("bamako_r", "share"),
    "p_value": ("bamako", "share"),
    "cnt": ("davos", "positive"),
}


@dataclass(frozen=True, slots=True)
class Colours:
    """How values become colours.

    Parameters
    ----------
    palette
        Colours as ``#rrggbb``, from the lowest value to the highest.
    low, high
        The range; values beyond take the colours of its ends.
    scale
        ``"log"`` where values span decades.
    """

    palette: tuple[str, ...]
    low: float
    high: float
    scale: Scale


def palette(name: str, count: int = 256) -> tuple[str, ...]:
    """Colours of one of cmcrameri's perceptual maps.

    Examples
    --------
    >>> palette("batlow", 3)[0]
    '#011959'
    """
    colours = getattr(cm, name)
    return tuple(to_hex(colours(share)) for share in np.linspace(0, 1, count))


def colours_of(
    layer: str, values: NDArray[Any], *, scale: Scale | None = None, categories: bool = False
) -> Colours:
    """Choose colours for a layer's map.

    Parameters
    ----------
    layer
        Its key: speeds are batlow, components and trends diverge from zero, directions go round.
    values
        The map; NaN is left out.
    scale
        ``None`` takes the logarithm of speeds where the fastest are more than twenty times faster
        than the median of what moves.
    categories
        The values are codes.

    Examples
    --------
    >>> round(colours_of("vx", np.array([-50.0, 20.0])).low)
    -50
    """
    name, style = _STYLES.get(layer, ("lajolla", "positive"))
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if categories:
        count = max(int(known.max()) if known.size else 1, 1) + 1
        return Colours(palette("batlowS", count), -0.5, count - 0.5, "linear")
    if style == "circle":
        return Colours(palette(name), -np.pi, np.pi, "linear")
    if style == "share":
        return Colours(palette(name), 0.0, 1.0, "linear")
    if known.size == 0:
        return Colours(palette(name), 0.0, 1.0, "linear")
    if style == "symmetric":
        reach = float(np.percentile(np.abs(known), 99.5)) or 1.0
        return Colours(palette(name), -reach, reach, "linear")
    top = float(np.percentile(known, 99.5))
    top = top if top > 0 else 1.0
    median = float(np.median(known))
    logarithmic = scale == "log" or (
        scale is None and style == "speed" and top > _LOG_FROM_RATIO * median > 0
    )
    if logarithmic:
        return Colours(palette(name), max(min(median / 2, top / 10), top / 1000), top, "log")
    return Colours(palette(name), 0.0, top, "linear")
