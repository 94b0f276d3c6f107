"""A browser for the pages, the same for all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium: the system's, Chrome, or Playwright's own; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    system = next(filter(None, map(shutil.which, names)), None)
    # Chromium's sandbox refuses to work for root, as tests run in containers.
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    options: dict[str, Any] = {"args": ["--no-sandbox"] if root else []}
    choices = [{"executable_path": system}] if system else [{"channel": "chrome"}, {}]
    with playwright.sync_playwright() as driver:
        problem = None
        for choice in choices:
            try:
                chromium = driver.chromium.launch(**options, **choice)
            except playwright.Error as error:
                problem = str(error).splitlines()[0]
                continue
            yield chromium
            chromium.close()
            return
    pytest.skip(f"no Chromium or Chrome can be started: {problem}")
