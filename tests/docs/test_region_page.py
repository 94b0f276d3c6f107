"""The page on regions speaks of what there is."""

from __future__ import annotations

import re
from pathlib import Path

import distributed
import pytest
from typer.testing import CliRunner

from ogive import model
from ogive.cli import app
from ogive.scenes import errors
from ogive.workflow.catalogue.claims import LOST
from ogive.workflow.cluster import CLUSTERS
from ogive.workflow.runfile_settings import RunFile
from ogive.workflow.steps import NAMES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "region.md").read_text(encoding="utf-8")
NO_CLASSES = {LOST}


def test_all_steps_are_told_in_their_order() -> None:
    assert (
        tuple(re.findall(r"^\| `([a-z]+)` \| .*(?:region|pair|projection) \|$", PAGE, re.M))
        == NAMES
    )


def test_every_error_is_one() -> None:
    told = re.findall(r"`(\w+Error|KilledWorker|Lost)`", PAGE)
    assert {"UnavailableError", "StableGroundError", "KilledWorker", LOST} <= set(told)
    for name in set(told) - NO_CLASSES:
        assert any(hasattr(module, name) for module in (errors, model, distributed)), name


@pytest.mark.parametrize("section", ["region", "search", "pair", "match", "run"])
def test_keys_are_those_of_the_run_file(section: str) -> None:
    known = RunFile.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
    named = re.findall(rf"`{section}: (\w+)`", PAGE)
    assert named
    assert set(named) <= set(known), set(named) - set(known)


def test_all_clusters_are_told() -> None:
    for name in CLUSTERS:
        assert re.search(rf"^\| `{name}`", PAGE, re.M), name


@pytest.mark.parametrize("words", sorted(set(re.findall(r"`ogive (\w+)[^`]*`", PAGE))))
def test_every_command_is_one(words: str) -> None:
    assert CliRunner().invoke(app, [words, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("command", "option"), sorted(set(re.findall(r"`ogive (\w+)[^`]*? (--[\w-]+)", PAGE)))
)
def test_every_option_is_one(command: str, option: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    assert option in told
