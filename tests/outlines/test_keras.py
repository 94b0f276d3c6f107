"""Keras weights of the published layout become ours, layer by layer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ogive.model import InputError
from ogive.outlines.keras import convert_keras_weights, load_keras_weights
from ogive.outlines.networks import GlaViTU, build_network
from ogive.outlines.trained import load_outline_model

WIDTH, HEADS, DEPTH, TOKEN = 8, 2, 2, 16
RNG = np.random.default_rng(0)

Variables = dict[str, np.ndarray]


class Layers:
    """Makes layers as Keras names and lays them out, with numbers that go on over the model."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def name(self, kind: str) -> str:
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        return f"{kind}_{number}" if number else kind

    def conv(self, size: int, inputs: int, outputs: int, *, bias: bool = True) -> Variables:
        name = self.name("conv2d")
        made = {f"{name}/kernel:0": random(size, size, inputs, outputs)}
        return made | ({f"{name}/bias:0": random(outputs)} if bias else {})

    def dense(self, inputs: int, outputs: int) -> Variables:
        name = self.name("dense")
        return {f"{name}/kernel:0": random(inputs, outputs), f"{name}/bias:0": random(outputs)}

    def norm(self, width: int, *, batch: bool = True) -> Variables:
        name = self.name("batch_normalization" if batch else "layer_normalization")
        made = {f"{name}/gamma:0": random(width), f"{name}/beta:0": random(width)}
        if batch:
            made |= {f"{name}/moving_mean:0": random(width),
                     f"{name}/moving_variance:0": abs(random(width)) + 0.1}  # fmt: skip
        return made

    def attention(self, width: int) -> Variables:
        name, head = self.name("multi_head_attention"), width // HEADS
        made: Variables = {}
        for part in ("query", "key", "value"):
            made[f"{name}/{part}/kernel:0"] = random(width, HEADS, head)
            made[f"{name}/{part}/bias:0"] = random(HEADS, head)
        made[f"{name}/attention_output/kernel:0"] = random(HEADS, head, width)
        made[f"{name}/attention_output/bias:0"] = random(width)
        return made

    def pair(self, inputs: int, outputs: int) -> Variables:
        return (
            self.conv(3, inputs, outputs) | self.norm(outputs)
            | self.conv(3, outputs, outputs) | self.norm(outputs)
        )  # fmt: skip

    def residual(self, inputs: int, outputs: int) -> Variables:
        return self.pair(inputs, outputs) | self.conv(1, inputs, outputs, bias=False)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.1, shape).astype(np.float32)


def keras_model(width: int = WIDTH, tokens: int = 4) -> dict[str, Variables]:
    """A model as published, but narrow: its groups, and their weights in the order of a file."""
    make = Layers()
    groups: dict[str, Variables] = {"optical": {}}
    groups["location_encoding_block"] = {
        k: v
        for part in range(2)
        for k, v in (make.dense((12, width)[part], width) | make.norm(width)).items()
    }
    fusion: Variables = {}
    for bands in (6, 2):
        fusion |= make.pair(bands, width) | make.dense(width, width) | make.dense(width, width)
    groups["fusion_block"] = fusion
    setr = make.dense(TOKEN * TOKEN * width, width)
    setr["embedding/embeddings:0"] = random(tokens, width)
    for _ in range(DEPTH):
        setr |= make.norm(width, batch=False) | make.attention(width)
        setr |= (
            make.norm(width, batch=False)
            | make.dense(width, 4 * width)
            | make.dense(4 * width, width)
        )
    for _ in range(4):
        setr |= make.conv(3, width, width) | make.norm(width)
    groups["SETR"] = setr | make.conv(1, width, width)
    unet: Variables = {}
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    for inputs, outputs in pairwise(widths):
        unet |= make.residual(inputs, outputs)
    for below, here in ((8, 4), (4, 2), (2, 1)):
        unet |= make.conv(2, below * width, here * width, bias=False) | make.norm(here * width)
        unet |= make.residual(2 * here * width, here * width)
    groups["ResUNet"] = unet | make.conv(1, width, width)
    groups["output"] = {"output/kernel:0": random(width, 2), "output/bias:0": random(2)}
    return groups


def write(path: Path, groups: dict[str, Variables]) -> Path:
    """Write a file as Keras does: what is trained first, what is not behind it."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        for name, variables in groups.items():
            group = file.create_group(name)
            order = sorted(variables, key=lambda each: "moving" in each)
            group.attrs["weight_names"] = [each.encode() for each in order]
            for each in order:
                group.create_dataset(each, data=variables[each])
    return path


def network(**changes: Any) -> GlaViTU:
    sizes = {"patch_px": 32, "width": WIDTH, "token_width": WIDTH, "heads": HEADS, "depth": DEPTH}
    made = build_network("glavitu", **{**sizes, "location_size": 12, **changes})
    assert isinstance(made, GlaViTU)
    return made.eval()


def test_all_weights_find_their_place(tmp_path: Path):
    groups = keras_model()
    made = network()
    load_keras_weights(made, write(tmp_path / "w.h5", groups))
    state = made.state_dict()
    wanted = sorted(float(v.sum()) for each in groups.values() for v in each.values())
    # Every number once: queries, keys and values lie in one tensor here.
    total = sum(t.double().sum() for n, t in state.items()
                if t.is_floating_point() and "auxiliary" not in n)  # fmt: skip
    assert float(total) == pytest.approx(sum(wanted), abs=1e-3)
    fusion = groups["fusion_block"]
    np.testing.assert_array_equal(
        state["fusion.branches.dem.0.0.weight"], fusion["conv2d_2/kernel:0"].transpose(3, 2, 0, 1)
    )
    unet = groups["ResUNet"]
    # The lowest riser is passed first.
    kernels = [k for k, v in unet.items() if v.shape[:2] == (2, 2)]
    np.testing.assert_array_equal(
        state["unet.risers.2.convolution.weight"], unet[kernels[0]].transpose(3, 2, 0, 1)
    )


def test_dense_layers_on_squares_and_attention_compute_as_keras_does(tmp_path: Path):
    groups = keras_model()
    made = network()
    load_keras_weights(made, write(tmp_path / "w.h5", groups))
    setr = groups["SETR"]
    stack = random(1, WIDTH, 32, 32)
    tokens = made.transformer.transformer.tokenise(torch.from_numpy(stack)).detach().numpy()
    square = stack[0, :, 16:32, :16].transpose(1, 2, 0).reshape(-1)
    kernel, bias = next(v for k, v in setr.items() if "dense" in k and "kernel" in k), None
    bias = next(v for k, v in setr.items() if "dense" in k and "bias" in k)
    np.testing.assert_allclose(tokens[0, :, 1, 0], square @ kernel + bias, atol=1e-4)

    rows = random(3, WIDTH)
    block = made.transformer.transformer.blocks[0]
    found = block._attend(torch.from_numpy(rows)[None]).detach().numpy()[0]
    name = "multi_head_attention"
    q, k, v = (
        np.einsum("tw,whd->htd", rows, setr[f"{name}/{p}/kernel:0"])
        + setr[f"{name}/{p}/bias:0"][:, None]
        for p in ("query", "key", "value")
    )
    scores = np.exp(np.einsum("hqd,hkd->hqk", q, k) / np.sqrt(WIDTH / HEADS))
    mixed = np.einsum("hqk,hkd->qhd", scores / scores.sum(-1, keepdims=True), v)
    wanted = np.einsum("qhd,hdw->qw", mixed, setr[f"{name}/attention_output/kernel:0"])
    wanted = wanted + setr[f"{name}/attention_output/bias:0"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def without(groups: dict[str, Variables], group: str, part: str) -> dict[str, Variables]:
    return {**groups, group: {k: v for k, v in groups[group].items() if part not in k}}


def test_layers_that_do_not_fit(tmp_path: Path):
    groups = keras_model()
    made = network()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}

    def refused(changed: dict[str, Variables], told: str) -> None:
        with pytest.raises(InputError, match=told):
            load_keras_weights(made, write(tmp_path / "w.h5", changed))

    refused({k: v for k, v in groups.items() if k != "SETR"}, "no layer 'SETR'")
    refused(without(groups, "output", "bias"), "does not fit classify")
    refused(without(groups, "ResUNet", "batch_normalization_26/"), "no batch normalisation left")
    refused(keras_model(width=12), "which is")
    refused(keras_model(tokens=9), "position the shape")
    more = groups["fusion_block"] | {
        "dense_99/kernel:0": random(8, 8),
        "dense_99/bias:0": random(8),
    }
    refused({**groups, "fusion_block": more}, "too many, such as dense_99")
    (tmp_path / "no.h5").write_text("no")
    with pytest.raises(InputError, match="cannot be read as Keras weights"):
        load_keras_weights(made, tmp_path / "no.h5")
    h5py.File(tmp_path / "e.h5", "w").close()
    with pytest.raises(InputError, match="names no layers"):
        load_keras_weights(made, tmp_path / "e.h5")
    assert all(torch.equal(before[name], t) for name, t in made.state_dict().items())


@pytest.mark.slow
def test_the_published_size_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(globals(), "HEADS", 4)
    monkeypatch.setitem(globals(), "DEPTH", 12)
    path = write(tmp_path / "w.h5", keras_model(width=64, tokens=576))
    convert_keras_weights(path, tmp_path / "g.safetensors", told="region")
    model = load_outline_model(tmp_path / "g.safetensors", device="cpu")
    assert model.told.kind == "region"
    assert model.network.options.location_size == 12
    assert model.calibration is None
