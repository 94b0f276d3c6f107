"""GlaViTU's published weights, from Keras to ogive.

The published weights are Keras files of a model whose layers are named ``fusion_block``,
``location_encoding_block``, ``SETR``, ``ResUNet`` and ``output``. Each of their layers is laid into
the layer of the same kind and place here, and every shape is checked. The weights carry a licence
of their own (GPL-2.0) and are not part of ogive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ogive.learning.card import ModelCard
from ogive.learning.weights import save_weights
from ogive.model import InputError

from .bands import TRACKS, bands_in_order, modalities_of
from .keras_layers import KerasLayer, kind_of, read_keras_layers
from .location import REGIONS
from .networks import GlaViTU, build_network, parameter_count
from .networks.transformer import TransformerBlock, VisionTransformer
from .strategies import Told, ToldKind

__all__ = ["convert_keras_weights", "load_keras_weights"]

Array = NDArray[np.float32]
State = dict[str, Tensor]


def convert_keras_weights(
    path: str | Path,
    output: str | Path,
    *,
    bands: Sequence[str] = TRACKS["optical+dem"],
    told: ToldKind = "nothing",
    name: str = "glavitu",
) -> str:
    """Turn a Keras file of the published network into weights of ogive.

    Parameters
    ----------
    path
        The ``.h5`` file.
    output
        Where the ``.safetensors`` file is to be.
    bands
        Of the data track that it was trained on.
    told
        What it was told of the place: its region, its coordinates, or nothing.
    name
        Of the model.

    Returns
    -------
    str
        The SHA-256 of the file.

    Raises
    ------
    InputError
        If the file is no file of Keras weights, or a layer is missing, too many or of another
        shape.
    """
    location = Told(kind=told)
    modalities = {modality: len(names) for modality, names in modalities_of(bands).items()}
    network = build_network("glavitu", modalities=modalities, location_size=location.size)
    assert isinstance(network, GlaViTU)
    load_keras_weights(network, path)
    options = {
        "network": network.options.as_json(),
        "bands": list(bands_in_order(bands)),
        "scale": 1.0,
        "told": told,
        "regions": list(REGIONS),
        "calibration": None,
    }
    card = ModelCard(
        name=name,
        architecture="glavitu",
        parameters=parameter_count(network),
        note=f"Converted from the Keras file {Path(path).name}; the licence of that file holds.",
    )
    return save_weights(
        output, network.state_dict(), architecture="glavitu", options=options, card=card
    )


def load_keras_weights(network: GlaViTU, path: str | Path) -> None:
    """Fill a network with the weights of a Keras file; its auxiliary output stays as it is.

    Raises
    ------
    InputError
        As `convert_keras_weights`; the network is unchanged then.
    """
    groups = read_keras_layers(path)
    state = dict(network.state_dict())
    parts: dict[str, list[tuple[str, nn.Module]]] = {
        "fusion_block": _pixelwise(network.fusion, "fusion"),
        "SETR": _transformer(network),
        "ResUNet": _unet(network),
        "output": [("classify", network.classify)],
    }
    if network.location is not None:
        parts["location_encoding_block"] = _pixelwise(network.location, "location")
    for group, modules in parts.items():
        if group not in groups:
            raise InputError(f"{path} has no layer {group!r}: there are {', '.join(groups)}")
        state |= _filled(modules, groups[group], state, f"{path}, {group}")
    network.load_state_dict(state)


def _filled(
    modules: Sequence[tuple[str, nn.Module]],
    layers: Sequence[KerasLayer],
    state: Mapping[str, Tensor],
    source: str,
) -> State:
    """Give each module the next layer of its kind."""
    waiting: dict[str, list[KerasLayer]] = {}
    for layer in layers:
        waiting.setdefault(kind_of(layer), []).append(layer)
    filled: State = {}
    for name, module in modules:
        kind = _kind(module)
        if kind == "projection" and not waiting.get(kind):
            kind = "dense"  # on each pixel, which is the same
        if not waiting.get(kind):
            raise InputError(f"{source}: there is no {kind} left for {name}")
        layer = waiting[kind].pop(0)
        try:
            tensors = _TO_TORCH[kind](layer.variables, module)
        except (KeyError, ValueError) as error:
            raise InputError(f"{source}: {layer.name} does not fit {name}: {error}") from error
        for key, values in tensors.items():
            full = f"{name}.{key}"
            wanted = tuple(state[full].shape)
            if values.shape != wanted:
                raise InputError(
                    f"{source}: {layer.name} gives {full} the shape {values.shape}, which is "
                    f"{wanted} in the network"
                )
            filled[full] = torch.from_numpy(np.ascontiguousarray(values))
    if left := [layer.name for each in waiting.values() for layer in each]:
        raise InputError(f"{source}: {len(left)} layers are too many, such as {left[0]}")
    return filled


def _kind(module: nn.Module) -> str:
    if isinstance(module, TransformerBlock):
        return "attention"
    if isinstance(module, VisionTransformer):
        return "position"
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return "batch normalisation"
    if isinstance(module, nn.LayerNorm):
        return "layer normalisation"
    if isinstance(module, nn.Conv2d) and module.stride == (1, 1):
        size = module.kernel_size[0]
        return "projection" if size == 1 and module.bias is not None else f"convolution {size}"
    return "dense"


def _pixelwise(part: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    """Modules with weights in the order in which data pass them; here, in which they are listed."""
    return [
        (f"{name}.{inner}", module)
        for inner, module in part.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d)
    ]


def _transformer(network: GlaViTU) -> list[tuple[str, nn.Module]]:
    stage = network.transformer.transformer
    modules: list[tuple[str, nn.Module]] = [
        ("transformer.transformer.tokenise", stage.tokenise),
        ("transformer.transformer", stage),
    ]
    for number, block in enumerate(stage.blocks):
        assert isinstance(block, TransformerBlock)
        name = f"transformer.transformer.blocks.{number}"
        modules += [
            (f"{name}.norm_attention", block.norm_attention),
            (name, block),
            (f"{name}.norm_dense", block.norm_dense),
            (f"{name}.dense.0", block.dense[0]),
            (f"{name}.dense.3", block.dense[3]),
        ]
    return modules + _pixelwise(network.transformer.decoder, "transformer.decoder")


def _unet(network: GlaViTU) -> list[tuple[str, nn.Module]]:
    """Down, then up again: the way of the data, which is not the order of the lists."""

    def in_order() -> Iterator[tuple[str, nn.Module]]:
        unet = network.unet
        for level, encoder in enumerate(unet.encoders):
            yield from _pixelwise(encoder, f"unet.encoders.{level}")
        for level in reversed(range(len(unet.risers))):
            yield from _pixelwise(unet.risers[level], f"unet.risers.{level}")
            yield from _pixelwise(unet.decoders[level], f"unet.decoders.{level}")
        yield "unet.project", unet.project

    return list(in_order())


def _convolution(variables: Mapping[str, Array], module: nn.Module) -> dict[str, Array]:
    """Keras has kernels ``(y, x, input, output)``, PyTorch ``(output, input, y, x)``."""
    made = {"weight": variables["kernel"].transpose(3, 2, 0, 1)}
    return made | ({"bias": variables["bias"]} if "bias" in variables else {})


def _dense(variables: Mapping[str, Array], module: nn.Module) -> dict[str, Array]:
    kernel = variables["kernel"].reshape(-1, variables["kernel"].shape[-1])
    if isinstance(module, nn.Conv2d):
        # A square of pixels was flattened by rows, columns and channels.
        size = module.kernel_size[0]
        square = kernel.reshape(size, size, module.in_channels, -1)
        return {"weight": square.transpose(3, 2, 0, 1), "bias": variables["bias"]}
    return {"weight": kernel.T, "bias": variables["bias"]}


def _batch_normalisation(variables: Mapping[str, Array], module: nn.Module) -> dict[str, Array]:
    return {
        "weight": variables["gamma"],
        "bias": variables["beta"],
        "running_mean": variables["moving_mean"],
        "running_var": variables["moving_variance"],
    }


def _layer_normalisation(variables: Mapping[str, Array], module: nn.Module) -> dict[str, Array]:
    return {"weight": variables["gamma"], "bias": variables["beta"]}


def _attention(variables: Mapping[str, Array], module: nn.Module) -> dict[str, Array]:
    """Keras keeps heads apart: ``(input, head, width)``, at the end ``(head, width, output)``."""
    asked = [variables[f"{name}/kernel"] for name in ("query", "key", "value")]
    biases = [variables[f"{name}/bias"].reshape(-1) for name in ("query", "key", "value")]
    width = asked[0].shape[0]
    output = variables["attention_output/kernel"]
    return {
        "query_key_value.weight": np.concatenate([each.reshape(width, -1).T for each in asked]),
        "query_key_value.bias": np.concatenate(biases),
        "project.weight": output.reshape(-1, output.shape[-1]).T,
        "project.bias": variables["attention_output/bias"],
    }


def _position(variables: Mapping[str, Array], module: nn.Module) -> dict[str, Array]:
    (values,) = variables.values()
    return {"position": values.reshape(-1, values.shape[-1])}


_TO_TORCH: Mapping[str, Callable[[Mapping[str, Array], Any], dict[str, Array]]] = MappingProxyType(
    {
        "attention": _attention,
        "batch normalisation": _batch_normalisation,
        "convolution 1": _convolution,
        "convolution 2": _convolution,
        "convolution 3": _convolution,
        "dense": _dense,
        "layer normalisation": _layer_normalisation,
        "position": _position,
        "projection": _convolution,
    }
)
