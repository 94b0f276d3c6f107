"""A training of the similarity runs, is the same again, goes on where it stopped, and tells."""

from __future__ import annotations

import signal
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import yaml
from torch import Tensor, nn
from typer.testing import CliRunner

from ogive.cli import app
from ogive.learning.card import ModelCard
from ogive.learning.metrics_file import read_metrics
from ogive.learning.settings import settings_yaml
from ogive.learning.weights import fill_network, load_weights
from ogive.similarity import mixture
from ogive.similarity.embedding import CONDITION_LENGTH
from ogive.similarity.loss import LossConfig
from ogive.similarity.mixture import Mixture, SampleKind, mixtures
from ogive.similarity.networks import build_network
from ogive.similarity.samples.simulated import Texture
from ogive.similarity.train import SimilarityModule, TrainingConfig, train
from ogive.similarity.training_config import (
    LossSettings,
    OptimiserSettings,
    ValidationSettings,
    template,
)

pytestmark = [
    # Raised while textures without a place on the map are written and read, on purpose.
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

SIZE_PX = 48


class Shifted:
    """Rough noise, and itself moved by whole pixels: what a training can learn in some steps."""

    stop_at: int | None = None

    def __init__(self, contents: list[Texture], *, size_px: int, seed: int) -> None:
        self.pixels = contents[0].pixels
        self.size, self.seed = size_px, seed

    def sample(self, index: int) -> dict[str, Tensor]:
        if index == Shifted.stop_at and self.seed < 1000:
            signal.raise_signal(signal.SIGTERM)
        rng = np.random.default_rng((self.seed, index))
        dx, dy = (int(part) for part in rng.integers(-3, 4, 2))
        y, x = (int(part) for part in rng.integers(4, self.pixels.shape[0] - self.size - 4, 2))
        size = self.size
        noise = torch.from_numpy(rng.normal(0, 0.3, (2, 1, size, size)).astype(np.float32))
        everywhere = torch.ones(size, size, dtype=torch.bool)
        return {
            "earlier": self.pixels[None, y : y + size, x : x + size] + noise[0],
            "later": self.pixels[None, y - dy : y - dy + size, x - dx : x - dx + size] + noise[1],
            "valid_earlier": everywhere[None],
            "valid_later": everywhere[None],
            "displacement": torch.tensor([dx, dy], dtype=torch.float32)[:, None, None].expand(
                2, size, size
            ),
            "matchable": everywhere,
            "labelled": everywhere,
            "stable": ~everywhere,
            "condition_earlier": torch.zeros(CONDITION_LENGTH),
            "condition_later": torch.zeros(CONDITION_LENGTH),
            "weight": torch.tensor(1.0),
        }


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let simulated samples be simple ones, of the same textures."""

    def make(settings: Any, contents: list[Texture], *, size_px: int, seed: int) -> Shifted:
        return Shifted(contents, size_px=size_px, seed=seed)

    kinds = dict(mixture.KINDS)
    kinds["simulated"] = SampleKind(kinds["simulated"].ingredients, make)
    monkeypatch.setattr(mixture, "KINDS", kinds)
    monkeypatch.setattr(Shifted, "stop_at", None)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small images of some places, by the names that place and date are read from."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(1)
    for name in ("rhone_2019", "rhone_2021", "yahtse_20160718", "khumbu_2018200", "aletsch_"):
        # Red noise, as images of ice have it.
        spectrum = np.fft.rfft2(rng.normal(size=(144, 144)))
        frequency = np.hypot(np.fft.fftfreq(144)[:, None], np.fft.rfftfreq(144)[None])
        pixels = np.fft.irfft2(spectrum / (0.05 + frequency))
        scaled = (1000 + 200 * pixels / pixels.std()).clip(1, 4000).astype("uint16")
        write(folder / f"{name}.tif", scaled)
    return folder


def write(path: Path, pixels: np.ndarray) -> None:
    with rasterio.open(
        path, "w", "GTiff", pixels.shape[1], pixels.shape[0], 1, dtype=pixels.dtype
    ) as file:
        file.write(pixels, 1)


def settings(images: Path, **changes: Any) -> dict[str, Any]:
    """A configuration that trains in seconds; keys with dots change what lies deeper."""
    told: dict[str, Any] = {
        "name": "tiny",
        "note": "For tests.",
        "seed": 3,
        "network": {"name": "small", "options": {"width": 4, "channels": 4}},
        "samples": {
            "size_px": SIZE_PX,
            "shown_times": 2,
            "kept": 8,
            "kinds": [
                {
                    "kind": "simulated",
                    "textures": [
                        {"files": str(images / "*.tif"), "name": "noise", "licence": "CC0-1.0"}
                    ],
                }
            ],
        },
        "split": {
            "shares": {"train": 1, "validation": 0, "test": 0},
            "sides": {"aletsch": "validation", "khumbu": "test"},
        },
        "loss": {"windows_px": [8], "windows_per_pair": 10, "radius_px": 5, "jitter_px": 2},
        "validation": {"windows_px": [8, 12], "windows_per_pair": 10},
        "optimiser": {"learning_rate": 3e-3},
        "training": {
            "max_steps": 20,
            "warm_up_steps": 2,
            "batch_size": 2,
            "device": "cpu",
            "ema_decay": 0.9,
            "validate_every_steps": 5,
            "validation_samples": 3,
            "log_every_steps": 1,
            "checkpoint_every_steps": 7,
        },
    }
    for key, value in changes.items():
        *above, last = key.split("__")
        part = told
        for name in above:
            part = part[name]
        part[last] = value
    return told


def configured(images: Path, **changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(settings(images, **changes))


def state_of(path: Path) -> dict[str, Tensor]:
    return dict(load_weights(path / "model.safetensors").state)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def folder_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# -- a training -------------------------------------------------------------------------------


@pytest.mark.usefixtures("shifted")
def test_a_training_leaves_weights_that_are_better_and_a_card_that_tells(
    images: Path, tmp_path: Path
) -> None:
    config = configured(images, training__max_steps=40, training__validate_every_steps=20)
    trained = train(config, tmp_path / "run")
    assert folder_names(tmp_path / "run") == {
        *("config.yaml", "metrics.csv", "tensorboard"),
        *("last.ckpt", "model.safetensors", "model.md"),
    }
    weights = load_weights(tmp_path / "run" / "model.safetensors", sha256=trained.sha256)
    network = build_network(weights.architecture, **weights.options)
    fill_network(network, weights, architecture="small")
    card = weights.card
    assert card == ModelCard.from_markdown((tmp_path / "run" / "model.md").read_text("utf-8"))
    assert card.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert card.split == {
        "train": ("rhone", "yahtse"),
        "validation": ("aletsch",),
        "test": ("khumbu",),
    }
    assert [(each.name, each.licence) for each in card.data] == [("noise", "CC0-1.0")]
    assert card.seed == 3
    assert card.note.startswith("For tests. 40 steps (80 samples")
    assert str(images) not in card.to_json()
    assert {"within_1px", "within_1px_8", "within_1px_12", "loss"} == card.scores.keys()
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert {"train/loss", "train/correlator", "train/right", "train/scale"} < rows[1].keys()
    # The first five steps against the last five, of one seed: what is learned shows.
    first = np.mean([rows[step]["train/loss"] for step in range(1, 6)])
    last = np.mean([rows[step]["train/loss"] for step in range(36, 41)])
    assert last < first
    assert 0.0 < card.scores["within_1px"] <= 1.0


@pytest.mark.usefixtures("shifted")
def test_it_learns_in_half_and_is_judged_in_full_precision(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    forward = nn.Conv2d.forward

    def watched(self: nn.Conv2d, stack: Tensor) -> Tensor:
        found = forward(self, stack)
        seen[self.training].add(found.dtype)
        return found

    monkeypatch.setattr(nn.Conv2d, "forward", watched)
    config = configured(
        images, training__max_steps=5, training__precision="bf16-mixed", training__ema_decay=None
    )
    train(config, tmp_path / "run")
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}


@pytest.mark.usefixtures("shifted")
def test_same_seed_same_weights_and_resumed_is_as_if_undisturbed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(images)
    whole = train(config, tmp_path / "whole")
    monkeypatch.setattr(Shifted, "stop_at", 11)  # is asked for before step 10 has ended
    first = train(config, tmp_path / "parts")
    assert first.fitted.stopped == "interrupted"
    assert 4 <= first.fitted.steps <= 12
    assert first.weights is None
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    monkeypatch.setattr(Shifted, "stop_at", None)
    second = train(config, tmp_path / "parts", resume=True)
    # To the bit: one thread, and what a step draws depends on its number only.
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))
    assert second.fitted.scores == whole.fitted.scores
    metrics = [read_metrics(tmp_path / name / "metrics.csv") for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    other = train(configured(images, seed=4, training__max_steps=5), tmp_path / "other")
    assert other.sha256 != whole.sha256
    assert not same(state_of(tmp_path / "whole"), state_of(tmp_path / "other"))


def test_a_training_on_simulated_samples(images: Path, tmp_path: Path) -> None:
    config = configured(images, training__max_steps=2, training__validate_every_steps=2)
    trained = train(config, tmp_path / "run")
    assert trained.fitted.steps == 2
    assert trained.weights is not None


def test_validation_share_is_of_windows_within_a_pixel() -> None:
    from ogive.similarity.train import _distance_px

    surface = torch.zeros(3, 5, 5)
    surface[0, 2, 2] = surface[1, 0, 4] = surface[2, 3, 2] = 1.0
    offset_x, offset_y = torch.tensor([0.0, 2.0, 0.5]), torch.tensor([0.0, -1.5, 0.5])
    found = _distance_px(surface, offset_x, offset_y)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 0.5**0.5]))


# -- samples ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("shifted")
def test_sides_learn_from_their_own_places_and_draws(images: Path) -> None:
    config = configured(images)
    seeds = {"train": 3, "validation": 500_003}
    mixed, split = mixtures(config.samples, config.split, seeds=seeds)  # type: ignore[arg-type]
    assert mixed.keys() == {"train", "validation"}
    assert split.places == {
        "aletsch": "validation",
        "khumbu": "test",
        "rhone": "train",
        "yahtse": "train",
    }
    one, other = mixed["train"].sample(0), mixed["validation"].sample(0)
    assert not torch.equal(one["earlier"], other["earlier"])


@pytest.mark.usefixtures("shifted")
def test_periods_keep_images_out_by_the_dates_in_their_names(images: Path) -> None:
    told = settings(images, split__sides={})
    told["samples"]["kinds"][0]["textures"][0]["files"] = str(images / "*_20*.tif")
    told["split"]["periods"] = {"train": {"first": "2018-07-19", "last": "2020-12-31"}}
    config = TrainingConfig.model_validate(told)
    mixed, divided = mixtures(config.samples, config.split, seeds={"train": 3})
    # Day 200 of 2018 is the first day inside; of the Rhone glacier only 2019 is left.
    assert [" ".join(name.split()[-3:-1]) for name in divided.train] == [
        "khumbu 2018200",
        "rhone 2019",
    ]
    assert [" ".join(name.split()[-3:-1]) for name in divided.outside] == [
        "rhone 2021",
        "yahtse 20160718",
    ]
    assert mixed.keys() == {"train"}


def test_a_file_name_with_an_impossible_date(images: Path, tmp_path: Path) -> None:
    (tmp_path / "rhone_20191340.tif").write_bytes((images / "rhone_2019.tif").read_bytes())
    code, output = run_cli(settings(tmp_path), tmp_path / "run")
    assert code == 2
    assert "20191340 in the name of an image is no date" in output


def test_a_mixture_draws_by_shares_and_by_number_alone() -> None:
    drawn = Mixture([lambda n: "a", lambda n: "b", lambda n: "c"], [6, 3, 1], seed=5)  # type: ignore[arg-type,return-value]
    forward = [drawn.sample(index) for index in range(4000)]
    assert [drawn.sample(index) for index in reversed(range(4000))] == forward[::-1]
    # Five binomial standard deviations of a share of 0.6, 0.3 and 0.1.
    for name, share, tolerance in (("a", 0.6, 0.039), ("b", 0.3, 0.036), ("c", 0.1, 0.024)):
        assert forward.count(name) / 4000 == pytest.approx(share, abs=tolerance)  # type: ignore[arg-type]


# -- the configuration ------------------------------------------------------------------------


def test_settings_of_the_loss_are_the_loss() -> None:
    assert LossSettings().config() == LossConfig()
    assert LossSettings.model_fields.keys() == LossConfig.__dataclass_fields__.keys()


def test_the_template_is_a_configuration(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["train", "similarity", "--template"])
    assert ran.exit_code == 0
    assert TrainingConfig.model_validate(yaml.safe_load(ran.stdout)) == template()
    assert ran.stdout == settings_yaml(template())
    assert "# By place and by time, never by patch.\nsplit:" in ran.stdout


def run_cli(config: dict[str, Any], folder: Path, *options: str) -> tuple[int, str]:
    path = folder.parent / "config_given.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ["train", "similarity", str(path), "--output", str(folder), *options]
    ran = CliRunner().invoke(app, words)
    return ran.exit_code, ran.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network__name": "transformer"}, "there is no network 'transformer': choose among unet"),
        ({"network__options": {"depth": 3}}, "takes no option 'depth'"),
        ({"network__options": {"bands": 3, "width": 4}}, "takes 3 bands, but the samples have 1"),
        ({"training__max_steps": -5}, "'training.max_steps': Input should be greater than 0"),
        ({"training__max_steps": None}, "give max_steps or max_minutes"),
        ({"learning_rate": 1.0}, "there is no setting 'learning_rate'"),
        ({"loss__physics": {"magic": 1.0}}, "there is no physics term 'magic'"),
        ({"loss__jitter_px": 9}, "jitter_px is 9"),
        ({"loss__windows_px": [40]}, "a window of 40 px and a search of 5 px need 50"),
        ({"samples__size_px": 8}, "greater than or equal to 32"),
        ({"samples__kinds": []}, "at least 1 item"),
        ({"samples__kinds": [{"kind": "dreamt"}]}, "'dreamt'"),
        ({"samples__kinds__0__textures__0__files": "none/*.tif"}, "none of the 0 files that match"),
        ({"samples__kinds__0__ranges": "none.yaml"}, "none.yaml cannot be read"),
        ({"split__sides": {"mars": "test"}}, "given to 'mars', but no source is from there"),
        ({"split__shares": {"train": 0, "test": 1}, "split__sides": {}}, "training's side"),
        ({"seed": 900_000}, "less than 10000"),
    ],
)
def test_wrong_configurations_are_sentences_and_leave_nothing(
    images: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    told = settings(images)
    for key, value in change.items():
        *above, last = key.split("__")
        part: Any = told
        for name in above:
            part = part[int(name)] if name.isdigit() else part[name]
        part[last] = value
    code, output = run_cli(told, tmp_path / "run")
    assert code == 2, output
    assert said in " ".join(output.split())
    assert output.startswith("ogive: ")
    assert folder_names(tmp_path) == {"config_given.yaml"}


def test_a_folder_without_a_usable_image(tmp_path: Path, images: Path) -> None:
    (tmp_path / "images").mkdir()
    write(tmp_path / "images" / "small_2020.tif", np.ones((60, 60), "uint16"))
    write(tmp_path / "images" / "flat_2020.tif", np.ones((200, 200), "uint16"))
    code, output = run_cli(settings(tmp_path / "images"), tmp_path / "run")
    assert code == 2
    assert "none of the 2 files that match" in output
    (tmp_path / "images" / "broken_2020.tif").write_bytes(b"no image")
    code, output = run_cli(settings(tmp_path / "images"), tmp_path / "run")
    assert code == 2
    assert "broken_2020.tif cannot be read as an image" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("shifted")
def test_the_command_trains_resumes_and_refuses(images: Path, tmp_path: Path) -> None:
    told = settings(images, training__max_steps=3)
    folder = tmp_path / "run"
    code, output = run_cli(told, folder, "--resume")
    assert code == 2
    assert "no checkpoint" in output
    assert not folder.exists()
    code, output = run_cli(told, folder)
    assert code == 0, output
    assert "validation/within_1px" in output
    assert f"{folder / 'model.safetensors'}#sha256=" in " ".join(output.split())
    assert load_weights(output.split()[-1]).card.name == "tiny"
    code, output = run_cli(told, folder)
    assert code == 2
    assert "holds a training already" in output
    code, output = run_cli(settings(images, optimiser__learning_rate=1.0), folder, "--resume")
    assert code == 2
    assert "begun with other settings: optimiser.learning_rate;" in " ".join(output.split())
    code, output = run_cli(settings(images, training__max_steps=5), folder, "--resume")
    assert code == 0, output
    assert "of 5)" in output


def test_without_a_configuration(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["train", "similarity"])
    assert ran.exit_code == 2
    assert "which training?" in ran.output
    ran = CliRunner().invoke(app, ["train", "similarity", str(tmp_path / "none.yaml")])
    assert ran.exit_code == 2
    assert "cannot be read" in ran.output


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_sigterm_leaves_a_checkpoint_of_a_real_process(images: Path, tmp_path: Path) -> None:
    told = settings(images, training__max_steps=100_000)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    words = ["train", "similarity", str(path), "-o", str(tmp_path / "run"), "-v"]
    program = [sys.executable, "-c", "from ogive.cli import main; main()"]
    with subprocess.Popen([*program, *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "within_1px" in line:  # validated once
                process.send_signal(signal.SIGTERM)
                break
        told_at_end = process.stderr.read()
    assert process.returncode == 130
    assert "go on with --resume" in told_at_end
    assert (tmp_path / "run" / "last.ckpt").is_file()
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_module_with_the_defaults_of_the_loss_can_be_copied() -> None:
    """Averaging copies modules, and the loss's default of physics terms is read-only."""
    network = build_network("small", width=4, channels=4)
    module = SimilarityModule(
        network, loss=LossConfig(), optimiser=OptimiserSettings(), validation=ValidationSettings()
    )
    assert same(dict(deepcopy(module).state_dict()), dict(module.state_dict()))
