r"""Published weights of DeepSim-Nets (Chebbi et al. 2023) made weights of ogive.

The authors publish their networks as TorchScript files, one for the features (31, 38 and 4 MB) and
one for the perceptron (1.4 MB). `convert_deepsim` writes one of them as ogive's safetensors::

    convert_deepsim("UNET_FEATURES_AERIAL.pt", "unet-aerial.safetensors")
    convert_deepsim("UNET_DECISION_NET_AERIAL.pt", "unet-decision.safetensors", part="decision")

Nothing of the file is executed or unpickled (see `torchscript`). Every tensor is put to its place
by name and its shape is compared; one that lacks, is left over or has another shape is told.

**What is assumed.** The files themselves were not at hand when this was written; the layout is that
of the training code that the authors publish beside them, and the sizes of the files fit it:

====================== =========================== ==============================================
network                here                        there
====================== =========================== ==============================================
U-Net, both            ``encoders.0`` to ``.3``    ``encoder1`` to ``encoder4``
\                      ``bottleneck``              ``bottleneck``
\                      ``risers.0`` to ``.3``      ``upconv1`` to ``upconv4``
\                      ``decoders.0`` to ``.2``    ``decoder2`` to ``decoder4``
\                      ``head``                    ``decoder1``
with attention         ``signal``                  ``gating.conv1``
\                      ``gates.0`` to ``.2``       ``attentionblock2`` to ``4``, in each of which
\                      ``.gates.0``, ``.gates.1``  ``.gate_block_1``, ``.gate_block_2``, of
\                      ``.from_skip``, ``.score``  ``.theta``, ``.psi``,
\                      ``.from_signal, .output``   ``.phi``, ``.W``, and
\                      ``.mix``                    ``.combine_gates``
\                      ``sides.0``, ``sides.1`` …  ``dsv1``, ``dsv2.dsv`` …
multi-scale            ``stem``, ``head``          ``firstconv``, ``common``
\                      ``scales.0.0`` …            ``layer1.0`` …, in each of which
\                      ``.first``, ``.second``     ``.conv1.0``, ``.conv2``,
\                      ``.shortcut``               ``.downsample`` (1 x 1)
\                      ``fusions.0``               ``MultiScaleFeatureFuser1_2_3_4``
\                      ``fusions.1``, ``.2``       ``MultiScaleFeatureFuser2_3_4``, ``…3_4``
\                      ``.first``, ``.second``     ``.local_attention``, ``.global_attention``
perceptron             ``layers``                  ``fl_blocks``
====================== =========================== ==============================================

inside of which the order of layers is the same. A common prefix (``feature.``, ``decisionNet.``) is
allowed; modules must not be frozen. One thing differs in use: there, sizes are padded with zeros
above and to the right, here by reflection below and to the right, so that features agree where
sizes are multiples of 16 (or 8) pixels. Weights keep the licence that their authors give them, so
ogive ships none.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from ogive.learning.card import DataSource, ModelCard
from ogive.learning.weights import save_weights
from ogive.model import InputError

from .decision import Decision
from .networks import PUBLISHED, build_network
from .torchscript import read_torchscript

__all__ = ["Converted", "convert_deepsim", "read_deepsim"]

_log = logging.getLogger(__name__)

_PARTS = ("features", "decision")

_UNET: Mapping[str, str] = MappingProxyType(
    {
        **{f"encoders.{level}": f"encoder{level + 1}" for level in range(4)},
        "bottleneck": "bottleneck",
        **{f"risers.{level}": f"upconv{level + 1}" for level in range(4)},
        **{f"decoders.{level}": f"decoder{level + 2}" for level in range(3)},
        "head": "decoder1",
    }
)
_GATE = {"from_skip": "theta", "from_signal": "phi", "score": "psi", "output": "W"}
_ATTENTION: Mapping[str, str] = MappingProxyType(
    {
        **_UNET,
        "signal": "gating.conv1",
        **{
            f"gates.{level}.gates.{gate}.{here}": (
                f"attentionblock{level + 2}.gate_block_{gate + 1}.{there}"
            )
            for level in range(3)
            for gate in range(2)
            for here, there in _GATE.items()
        },
        **{f"gates.{level}.mix": f"attentionblock{level + 2}.combine_gates" for level in range(3)},
        "sides.0": "dsv1",
        **{f"sides.{level}": f"dsv{level + 1}.dsv" for level in range(1, 4)},
    }
)
_RESIDUAL = {"first": "conv1.0", "second": "conv2", "shortcut": "downsample"}
_MS_AFF: Mapping[str, str] = MappingProxyType(
    {
        "stem": "firstconv",
        **{
            f"scales.{scale}.{block}.{here}": f"layer{scale + 1}.{block}.{there}"
            for scale in range(4)
            for block in range(3)
            for here, there in _RESIDUAL.items()
        },
        **{
            f"fusions.{scale}.{here}": f"MultiScaleFeatureFuser{scales}.{there}_attention"
            for scale, scales in enumerate(("1_2_3_4", "2_3_4", "3_4"))
            for here, there in {"first": "local", "second": "global"}.items()
        },
        "head": "common",
    }
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Names there for names here, the first layer, and the tensor by which a file is known."""

    modules: Mapping[str, str]
    first: str
    known_by: str


_LAYOUTS: Mapping[str, _Layout] = MappingProxyType(
    {
        # The attention network has all the names of the plain one, so it is looked for first.
        "unet-attention": _Layout(_ATTENTION, "encoder1.0.weight", "gating.conv1.0.weight"),
        "unet": _Layout(_UNET, "encoder1.0.weight", "encoder1.0.weight"),
        "ms-aff": _Layout(_MS_AFF, "firstconv.0.0.weight", "firstconv.0.0.weight"),
    }
)
_DECISION = _Layout(
    MappingProxyType({"layers": "fl_blocks"}), "fl_blocks.0.weight", "fl_blocks.0.weight"
)


@dataclass(frozen=True, slots=True)
class Converted:
    """Published weights in ogive's names.

    Attributes
    ----------
    architecture
        Name for `build_network`; ``"decision"`` for the perceptron.
    options
        What its builder needs.
    state
        A ``state_dict``.
    """

    architecture: str
    options: Mapping[str, Any]
    state: Mapping[str, Tensor]


def read_deepsim(path: str | Path, *, part: str = "features") -> Converted:
    """Read a TorchScript file of DeepSim-Nets.

    Parameters
    ----------
    path
        The file; which of the three networks it holds is seen from its names.
    part
        ``"features"`` or ``"decision"``: a file may hold both.

    Returns
    -------
    Converted
        In the order of the network here, 32-bit floats.

    Raises
    ------
    InputError
        If the file is no TorchScript archive, or its layout is not the published one: which tensor
        lacks, is left over, or has another shape.
    """
    if part not in _PARTS:
        raise InputError(f"part is {part!r}: choose among {', '.join(_PARTS)}")
    tensors = read_torchscript(path)
    architecture, prefix = _recognised(path, tensors, part)
    layout = _DECISION if part == "decision" else _LAYOUTS[architecture]
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    if len(inside) < len(tensors):
        _log.info("%s: %d tensors outside of %r are left", path, len(tensors) - len(inside), prefix)
    options = _options(architecture, inside[layout.first])
    state = _renamed(path, architecture, options, layout, inside)
    return Converted(architecture, options, state)


def convert_deepsim(
    source: str | Path, target: str | Path, *, part: str = "features", note: str = ""
) -> str:
    """Write the weights of a TorchScript file of DeepSim-Nets as ogive's own.

    Parameters
    ----------
    source
        The TorchScript file.
    target
        A ``.safetensors`` file.
    part
        As for `read_deepsim`.
    note
        For the model card: where the file came from.

    Returns
    -------
    str
        The SHA-256 of the file written.

    Raises
    ------
    InputError
        As `read_deepsim`.
    OutputError
        If the target cannot be written.
    """
    converted = read_deepsim(source, part=part)
    card = ModelCard(
        name=f"DeepSim-Nets {converted.architecture}",
        architecture=converted.architecture,
        parameters=sum(
            tensor.numel()
            for name, tensor in converted.state.items()
            if not name.rpartition(".")[2].startswith(("running_", "num_batches_"))
        ),
        data=(
            DataSource(
                "Aerial stereo pairs (Dublin, Vaihingen, Enschede)",
                "as stated where the weights are published",
                "Chebbi et al. 2023, CVPR Workshops (EarthVision), 2097-2105",
            ),
        ),
        note=f"converted from {Path(source).name}" + (f"; {note}" if note else ""),
    )
    return save_weights(
        target,
        converted.state,
        architecture=converted.architecture,
        options=converted.options,
        card=card,
    )


def _recognised(path: str | Path, tensors: Mapping[str, Tensor], part: str) -> tuple[str, str]:
    """Which network a file holds, and what stands before the names of its layout."""
    candidates = {"decision": _DECISION} if part == "decision" else _LAYOUTS
    for architecture, layout in candidates.items():
        for name in tensors:
            if name == layout.known_by or name.endswith(f".{layout.known_by}"):
                return architecture, name.removesuffix(layout.known_by)
    raise InputError(
        f"{path} holds no {part} of DeepSim-Nets: none of its {len(tensors)} tensors ends in "
        + " or ".join(layout.known_by for layout in candidates.values())
    )


def _options(architecture: str, first: Tensor) -> dict[str, Any]:
    """What the first layer's shape says of the network."""
    if architecture == "decision":
        return {"channels": first.shape[1] // 2, "hidden": first.shape[0]}
    return {**PUBLISHED, "bands": first.shape[1], "width": first.shape[0]}


def _renamed(
    path: str | Path,
    architecture: str,
    options: Mapping[str, Any],
    layout: _Layout,
    tensors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    if architecture == "decision":
        wanted = Decision(**options).state_dict()
    else:
        wanted = build_network(architecture, **options).state_dict()
    where = f"{path} is not laid out as the published network {architecture!r}"
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    for name, placeholder in wanted.items():
        there = _name_there(name, layout)
        if there not in tensors:
            raise InputError(f"{where}: it lacks {there} (here {name})")
        tensor = tensors[there]
        if tensor.shape != placeholder.shape:
            raise InputError(
                f"{where}: {there} is {_shape(tensor)}, where {name} is {_shape(placeholder)}"
            )
        if tensor.is_floating_point() != placeholder.is_floating_point():
            raise InputError(f"{where}: {there} is {tensor.dtype}, not {placeholder.dtype}")
        state[name] = tensor.to(placeholder.dtype)
        used.add(there)
    if left := [name for name in tensors if name not in used]:
        raise InputError(f"{where}: it has {left[0]}, which has no place here ({len(left)} such)")
    return state


def _name_there(name: str, layout: _Layout) -> str:
    inner = name.removeprefix("body.")
    # Of "gates.0.gates.1.output.0.weight" the longest known beginning is the module's name.
    module = inner
    while module not in layout.modules:
        module = module.rpartition(".")[0]
    return layout.modules[module] + inner.removeprefix(module)


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
