"""The page on scenes speaks of what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ogive import scenes
from ogive.scenes import errors
from ogive.scenes.archives import ARCHIVES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scenes.md").read_text(encoding="utf-8")


def test_every_name_of_the_package_exists() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for block in blocks:
        ast.parse(block)
    names = set(re.findall(r"\bscenes\.([a-z_]+)\(", PAGE))
    assert {"search", "pairs", "read_window", "ground", "clear_pixels", "estimate"} <= names
    assert all(callable(getattr(scenes, name)) for name in names)


def test_all_errors_are_told_with_whether_to_try_again() -> None:
    told = dict(re.findall(r"^\| `(\w+Error)` \|.*\| (yes|no) \|$", PAGE, re.MULTILINE))
    assert set(told) == set(errors.__all__) - {"SceneReadError"}
    for name, again in told.items():
        assert getattr(errors, name).transient == (again == "yes"), name


@pytest.mark.parametrize("name", sorted(ARCHIVES))
def test_all_archives_are_told(name: str) -> None:
    assert f'"{name}"' in PAGE
