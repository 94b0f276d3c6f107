"""From what a model was made: commit and versions."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ogive

__all__ = ["commit_of", "versions_of"]


def commit_of(folder: Path | None = None) -> str:
    """Name the commit of ogive's own source; ``+changed`` where files differ from it.

    An installed ogive has no repository: its version stands for the commit, and holds it where it
    was made between releases.

    Parameters
    ----------
    folder
        Inside the repository; by default where ogive lies.
    """
    inside = folder or Path(ogive.__file__).parent

    def git(*words: str) -> str | None:
        try:
            ran = subprocess.run(
                ["git", *words], cwd=inside, capture_output=True, text=True, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return ran.stdout.strip() if ran.returncode == 0 else None

    # A repository that ogive was merely installed into does not know its files.
    known = git("ls-files", "--error-unmatch", "model.py") if folder is None else ""
    head = git("rev-parse", "HEAD") if known is not None else None
    if not head:
        return f"ogive {version('ogive')}"
    return f"{head}+changed" if git("status", "--porcelain", "--untracked-files=no") else head


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Give the versions of Python and of packages; those not installed are left out.

    Examples
    --------
    >>> sorted(versions_of(["numpy", "no such package"]))
    ['numpy', 'python']
    """
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
