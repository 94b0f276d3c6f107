"""What the page on training shows is what ogive takes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from typer.main import get_command

from ogive.cli import app
from ogive.learning.fit import LAST_CHECKPOINT, METRICS
from ogive.learning.training_folder import CARD, CONFIG, WEIGHTS
from ogive.similarity.training_config import TrainingConfig

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_its_configuration_is_one():
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = TrainingConfig.model_validate(yaml.safe_load(shown))
    assert [kind.kind for kind in config.samples.kinds] == ["simulated", "manual"]
    assert config.training.precision == "bf16-mixed"


def test_its_commands_and_files_are_there():
    command = get_command(app).commands["train"].commands["similarity"]
    options = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"--(?!logdir)[a-z]+", PAGE)) <= options
    for name in (LAST_CHECKPOINT, METRICS, CONFIG, WEIGHTS, CARD):
        assert f"| `{name}` |" in PAGE


def test_its_python_compiles():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        compile(block, "training.md", "exec")
