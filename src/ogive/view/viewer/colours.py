"""Which colours a layer is drawn in, and over which range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from cmcrameri import cm
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from ogive.store.layer_colours import colour_range, layer_colours

__all__ = ["Colours", "Scale", "colours_of", "palette"]

Scale = Literal["linear", "log"]


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
        Its key: colours and their range are those of `ogive.store.layer_colours`, as in figures.
    values
        The map; NaN is left out.
    scale
        ``None`` takes the logarithm of speeds that span decades, as
        `ogive.store.layer_colours.colour_range` has it.
    categories
        The values are codes.

    Examples
    --------
    >>> round(colours_of("vx", np.array([-50.0, 20.0])).low)
    -49
    """
    if categories:
        codes = np.asarray(values, np.float64)
        count = max(int(codes[np.isfinite(codes)].max(initial=0)), 1) + 1
        return Colours(palette("batlowS", count), -0.5, count - 0.5, "linear")
    # Keys of what spans all years carry words after the layer's name.
    name, kind = layer_colours(layer.partition(" ")[0])
    low, high, logarithmic = colour_range(
        values, kind, logarithmic=None if scale is None else scale == "log"
    )
    return Colours(palette(name), low, high, "log" if logarithmic else "linear")
