"""A model names the commit that it was made from."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from ogive.learning.provenance import commit_of


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    ran = subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return ran.stdout.strip()


def test_commit_and_changes(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(tmp_path) == head
    (tmp_path / "untracked").write_text("")
    assert commit_of(tmp_path) == head
    (tmp_path / "file").write_text("two")
    assert commit_of(tmp_path) == f"{head}+changed"


def test_without_a_repository_the_version_stands_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of(tmp_path) == f"ogive {version('ogive')}"
    monkeypatch.setenv("PATH", "")
    assert commit_of(tmp_path) == f"ogive {version('ogive')}"


def test_this_ogive_has_a_commit_or_a_version() -> None:
    found = commit_of().removesuffix("+changed")
    assert found == f"ogive {version('ogive')}" or len(found) == 40
