"""A training of outlines runs, is the same again, goes on, starts from others, and tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import default_collate
from typer.testing import CliRunner

from ogive.cli import app
from ogive.learning.card import ModelCard
from ogive.learning.settings import read_settings, settings_yaml
from ogive.learning.weights import load_weights
from ogive.model import InputError
from ogive.outlines.networks import GlaViTU, members_of
from ogive.outlines.sides import split_tiles
from ogive.outlines.tile_geotiff import geotiff_tiles
from ogive.outlines.tile_hdf5 import write_hdf5_tiles
from ogive.outlines.train import OutlinesModule, TrainingConfig, _samples, train
from ogive.outlines.trained import load_outline_model
from ogive.outlines.training_config import template

from .conftest import SCALE, write_tile

TINY = {"patch_px": 32, "width": 8, "token_width": 8, "depth": 1, "heads": 2}


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks are slower on several threads, and not the same to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(folder: Path, **changes: Any) -> TrainingConfig:
    told: dict[str, Any] = {
        "name": "tiny",
        "network": {"name": "mini", "options": TINY},
        "data": {
            "bands": ["blue", "green", "red", "nir"],
            "tiles": [
                {
                    "kind": "geotiff", "images": str(folder / "images" / "*.tif"),
                    "masks": str(folder / "masks"), "scale": SCALE, "region": "ALP",
                    "name": "discs", "licence": "CC0-1.0",
                }
            ],
        },
        "split": {"seed": 1},
        "optimiser": {"learning_rate": 3e-3},
        "training": {
            "max_steps": 4, "batch_size": 2, "validate_every_steps": 2, "validation_samples": 4,
            "checkpoint_every_steps": 2, "schedule": "cosine", "warm_up_steps": 0,
        },
    }  # fmt: skip
    for key, value in changes.items():
        told[key] = {**told.get(key, {}), **value} if isinstance(value, dict) else value
    return TrainingConfig.model_validate(told)


def test_it_learns_discs(tiles_folder: Path, tmp_path: Path):
    steps = {"max_steps": 40, "batch_size": 4, "validate_every_steps": 20}
    given = config(tiles_folder, training={**config(tiles_folder).training.model_dump(), **steps})
    trained = train(given, tmp_path / "run")
    assert trained.fitted.scores["validation/iou"] > 0.9
    model = load_outline_model(trained.weights, device="cpu")
    assert isinstance(model.network, GlaViTU)
    assert not model.network.training
    assert model.bands == ("blue", "green", "red", "nir")
    assert model.scale == SCALE
    assert model.calibration is not None
    # Discs are easy: what the network is sure of is right.
    assert float(model.calibration(1.0)) > 0.97
    card = ModelCard.from_markdown((tmp_path / "run" / "model.md").read_text())
    assert card.data[0].licence == "CC0-1.0"
    assert set(card.split) == {"train", "validation", "test"}
    assert not any("/" in value for value in card.config["data"]["tiles"][0].values()
                   if isinstance(value, str))  # fmt: skip


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_weights_are_judged_in_the_precision_that_maps_are_made_in(
    tiles_folder: Path, tmp_path: Path, precision: str
):
    plain = config(tiles_folder)
    fit = {**plain.training.model_dump(), "precision": precision, "ema_decay": None}
    given = config(tiles_folder, training=fit)
    trained = train(given, tmp_path / "run")
    network = load_outline_model(trained.weights, device="cpu").network
    module = OutlinesModule(network, loss=given.loss, optimiser=given.optimiser)
    tiles = split_tiles(given)[0]["validation"]
    samples = _samples(given, tiles, "validation", patch_px=network.options.patch_px)
    with torch.no_grad():
        for first in (0, 2):
            batch = default_collate([samples(first), samples(first + 1)])
            module.validation_step(batch, 0)
    found, whole = module._counted["loss"]
    # Single precision sums the same numbers in the same order.
    assert float(found / whole) == pytest.approx(trained.fitted.scores["validation/loss"], rel=1e-6)


def test_it_is_the_same_again_and_after_an_interruption(tiles_folder: Path, tmp_path: Path):
    whole = train(config(tiles_folder), tmp_path / "whole")
    first = {**config(tiles_folder).training.model_dump(), "max_steps": 2}
    # Its schedule would end with it; a constant rate tells nothing of the end.
    given = {"schedule": "constant"}
    one = train(config(tiles_folder, training={**first, **given}), tmp_path / "one")
    assert one.fitted.steps == 2
    last = {**config(tiles_folder).training.model_dump(), **given}
    resumed = train(config(tiles_folder, training=last), tmp_path / "one", resume=True)
    again = train(config(tiles_folder, training=last), tmp_path / "again")
    states = [load_weights(each.weights).state for each in (resumed, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    twice = train(config(tiles_folder), tmp_path / "twice")
    assert whole.fitted.scores == twice.fitted.scores


def test_members_of_an_ensemble_learn_each_by_itself(tiles_folder: Path, tmp_path: Path):
    # Activations are dropped by draws in turn, gradients clipped by the length of all together, and
    # the best of several validations kept: without these, members know nothing of each other.
    still = {**TINY, "dropout": 0.0}
    whole = config(tiles_folder).training.model_dump()
    training = {**whole, "gradient_clip": None, "validate_every_steps": whole["max_steps"]}
    two = {"name": "mini", "options": {**still, "members": 2}}
    trained = train(config(tiles_folder, network=two, training=training), tmp_path / "two")
    model = load_outline_model(trained.weights, device="cpu")
    one = {"name": "mini", "options": still}
    alone = train(config(tiles_folder, network=one, training=training), tmp_path / "one")
    state = load_weights(alone.weights).state
    for name, tensor in members_of(model.network)[0].state_dict().items():
        # The first member begins from the same draws as a network alone and sees the same samples.
        torch.testing.assert_close(tensor, state[name], atol=1e-6, rtol=1e-5)
    assert trained.fitted.scores["validation/iou"] > 0


def test_another_configuration_is_not_resumed(tiles_folder: Path, tmp_path: Path):
    train(config(tiles_folder), tmp_path / "run")
    with pytest.raises(InputError, match=r"other settings: loss\.gamma"):
        train(config(tiles_folder, loss={"gamma": 1.0}), tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="holds a training already"):
        train(config(tiles_folder), tmp_path / "run")


def test_fine_tuning_goes_on_from_other_weights(tiles_folder: Path, tmp_path: Path):
    first = train(config(tiles_folder), tmp_path / "global")
    strategy = {"start_from": str(first.weights), "regions": ["ALP"]}
    slow = {"learning_rate": 1e-9}
    tuned = train(config(tiles_folder, strategy=strategy, optimiser=slow), tmp_path / "tuned")
    one, other = (load_weights(each.weights).state for each in (first, tuned))
    # At this rate weights hardly move, so that they tell where they began.
    torch.testing.assert_close(one["classify.weight"], other["classify.weight"], atol=1e-6, rtol=0)
    wider = {"name": "mini", "options": {**TINY, "width": 16}}
    with pytest.raises(InputError, match="does not fit the network"):
        train(config(tiles_folder, strategy=strategy, network=wider), tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(("told", "size"), [("region", 12), ("coordinates", 4)])
def test_networks_that_are_told_where_they_are(
    tiles_folder: Path, tmp_path: Path, told: str, size: int
):
    trained = train(config(tiles_folder, strategy={"told": told}), tmp_path / "run")
    model = load_outline_model(trained.weights, device="cpu")
    assert model.network.options.location_size == size
    assert model.told.kind == told


def test_tiles_of_a_file_have_its_side(tiles_folder: Path, tmp_path: Path):
    images = sorted((tiles_folder / "images").glob("*.tif"))
    tiles = geotiff_tiles(images, tiles_folder / "masks", place="[^_]+", scale=SCALE)
    files = {"train": tiles[:8], "validation": tiles[8:]}
    for side, some in files.items():
        path = tmp_path / f"{side}.hdf5"
        write_hdf5_tiles(path, [(tile.info, tile.content) for tile in some])
    kinds = [
        {"kind": "hdf5", "files": str(tmp_path / f"{side}.hdf5"), "side": side} for side in files
    ]
    given = config(tiles_folder, data={"tiles": kinds})
    sides, split = split_tiles(given)
    assert {side: len(some) for side, some in sides.items()} == {
        "train": 8, "validation": 4, "test": 0,
    }  # fmt: skip
    assert split.places_of("validation") == ("g08", "g09", "g10", "g11")
    assert train(given, tmp_path / "run").weights is not None


def test_overlapping_tiles_are_one_place(tmp_path: Path):
    for number in range(12):  # 48 px of 10 m, pairwise on the same ground
        write_tile(tmp_path, f"g{number:02d}_2020", seed=number, left=4e5 + 500 * (number // 2))
    _, split = split_tiles(config(tmp_path))
    assert len(split.places) == 6
    _, split = split_tiles(config(tmp_path, split={"by_ground": False}))
    assert len(split.places) == 12


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {"bands": ["blue", "swir1"]}}, "has no band swir1"),
        ({"strategy": {"regions": ["CAU"]}}, "no tile is of the region 'CAU'"),
        ({"strategy": {"told": "region", "encoded_regions": ["CAU"]}}, "'ALP' is not among"),
        ({"split": {"shares": {"train": 1.0}}}, "no tile falls to validation"),
    ],
)
def test_what_cannot_be_trained(
    tiles_folder: Path, tmp_path: Path, changes: dict[str, Any], told: str
):
    with pytest.raises(InputError, match=told):
        train(config(tiles_folder, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data: {bands: [blue, B5], tiles: [{kind: hdf5, files: a}]}", "there is no band 'B5'"),
        ("network: {name: unet}", "there is no network 'unet'"),
        ("network: {name: mini, options: {widht: 3}}", "there is no option 'widht'"),
        ("los: {gamma: 2}", "there is no setting 'los'"),
        ("augmentation: {gamma: 2}", "augmentation.gamma"),
    ],
)
def test_configurations_that_are_wrong(tiles_folder: Path, tmp_path: Path, text: str, told: str):
    given = config(tiles_folder).model_dump(mode="json")
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**given, **yaml.safe_load(text)}))
    done = CliRunner().invoke(app, ["train", "outlines", str(path), "-o", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert told in done.output
    assert not (tmp_path / "run").exists()


def test_the_command_trains_and_tells(tiles_folder: Path, tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text(settings_yaml(config(tiles_folder)))
    done = CliRunner().invoke(app, ["train", "outlines", str(path), "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "validation/iou" in done.output
    assert "model.safetensors#sha256=" in done.output
    shown = CliRunner().invoke(app, ["train", "outlines", "--template"])
    TrainingConfig.model_validate(yaml.safe_load(shown.output))


def test_the_template_and_the_example_are_configurations():
    example = Path(__file__).parents[2] / "examples" / "outlines" / "mini.yaml"
    assert read_settings(example, TrainingConfig).data.tiles[0].coverage.is_file()
    assert template().loss.gamma == 2.0
    assert template().loss.smoothing == 0.1
    assert template().optimiser.learning_rate == 5e-4


def test_weights_of_something_else(tmp_path: Path):
    from ogive.learning.weights import save_weights

    path = tmp_path / "w.safetensors"
    card = ModelCard(name="a", architecture="small", parameters=1)
    save_weights(path, {"a": torch.zeros(1)}, architecture="mini", options={}, card=card)
    with pytest.raises(InputError, match="does not hold weights of glacier outlines"):
        load_outline_model(path)


def test_a_region_where_none_is_told(tiles_folder: Path, tmp_path: Path):
    trained = train(config(tiles_folder), tmp_path / "run")
    model = load_outline_model(trained.weights, device="cpu")
    tile = split_tiles(config(tiles_folder))[0]["test"][0]
    assert model.location(tile.info.geobox, None) is None
    with pytest.raises(InputError, match="is told no region"):
        model.location(tile.info.geobox, "ALP")
    assert np.isfinite(model.calibration(0.5))
