"""Layers of a Keras file of weights (``.h5``), by the order in which they were made.

Keras names layers by kind and number (``conv2d``, ``conv2d_1``, ...), and its files keep one group
for each layer of the model, which may hold layers of its own. Within a group, layers of one kind
are in the order of their numbers, which is the order in which data pass them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

__all__ = ["KerasLayer", "kind_of", "read_keras_layers"]

_ATTENTION = ("query", "key", "value", "attention_output")


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """A layer and its variables by name (``kernel``, ``query/kernel``, ``moving_mean``, ...)."""

    name: str
    variables: Mapping[str, NDArray[np.float32]]


def kind_of(layer: KerasLayer) -> str:
    """Tell what a layer is, from its variables alone.

    Examples
    --------
    >>> kernel = np.zeros((3, 3, 4, 8), np.float32)
    >>> kind_of(KerasLayer("conv2d", {"kernel": kernel, "bias": np.zeros(8, np.float32)}))
    'convolution 3'
    """
    names = set(layer.variables)
    if "query/kernel" in names:
        return "attention"
    if "moving_mean" in names:
        return "batch normalisation"
    if "gamma" in names:
        return "layer normalisation"
    if "kernel" in names:
        kernel = layer.variables["kernel"]
        if kernel.ndim == 4 and kernel.shape[0] == 1 and "bias" in names:
            return "projection"
        return f"convolution {kernel.shape[0]}" if kernel.ndim == 4 else "dense"
    if len(names) == 1:
        return "position"
    raise InputError(f"the layer {layer.name} has the variables {', '.join(sorted(names))}")


def read_keras_layers(path: str | Path) -> dict[str, list[KerasLayer]]:
    """Read all layers of a file, by the group they are in.

    Raises
    ------
    InputError
        If the file is no file of Keras weights.
    """
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise InputError(f"{path} is no file of Keras weights: it names no layers")
            return {
                name: _layers(root[name])
                for name in _texts(root.attrs["layer_names"])
                if len(_texts(root[name].attrs["weight_names"]))
            }
    except (OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read as Keras weights: {error}") from error


def _texts(names: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _layers(group: Any) -> list[KerasLayer]:
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for full in _texts(group.attrs["weight_names"]):
        *above, variable = full.partition(":")[0].split("/")
        if above and above[-1] in _ATTENTION:
            variable = f"{above.pop()}/{variable}"
        found.setdefault("/".join(above), {})[variable] = np.asarray(group[full], np.float32)
    layers = [KerasLayer(name, variables) for name, variables in found.items()]
    return sorted(layers, key=lambda layer: [_number(part) for part in layer.name.split("/")])


def _number(name: str) -> int:
    """Number of a layer among those of its kind."""
    found = re.search(r"_(\d+)$", name)
    return int(found.group(1)) if found else 0
