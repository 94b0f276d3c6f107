"""What may be hidden on a map: what is not sure, not reliable, not significant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .product import Product, layer_map

__all__ = ["masks_of"]

Mask = Callable[[Product, int], NDArray[np.bool_] | None]


def masks_of(product: Product) -> dict[str, Mask]:
    """Name the masks of a product; each tells where a map is to be hidden.

    The first hides nothing.
    """
    layers = product.layers
    masks: dict[str, Mask] = {"nothing": lambda _product, _frame: None}
    if "v" in layers and ("v_error" in layers or "error" in layers):
        masks["slower than twice its error"] = _unsure
    if product.kind == "annual" and "flag" in layers:
        masks["not reliable (flag)"] = lambda shown, frame: _values(shown, "flag", frame) != 1
    if "trend_mask" in layers:
        masks["trend not significant"] = lambda shown, frame: (
            _values(shown, "trend_mask", frame) != 1
        )
    if "observations" in layers:
        masks["periods without observation"] = lambda shown, frame: (
            _values(shown, "observations", frame) == 0
        )
    if product.kind == "velocity" and "interp_mask" in layers:
        masks["interpolated"] = lambda shown, frame: _values(shown, "interp_mask", frame) == 1
    return masks


def _unsure(product: Product, frame: int) -> NDArray[np.bool_]:
    error = "v_error" if "v_error" in product.layers else "error"
    return np.asarray(~(_values(product, "v", frame) > 2 * _values(product, error, frame)))


def _values(product: Product, key: str, frame: int) -> NDArray[Any]:
    values: NDArray[Any] = layer_map(product, key, frame).values
    return values
