"""What benchmarks share: the truth case, and a way to say points per second per core."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def truth_pair():
    """The truth case beside the real data; skips without it."""
    given = os.environ.get("OGIVE_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    path = folder.parent / "bench" / "truth_pair.py"
    if not path.exists():
        pytest.skip("no truth case: set OGIVE_DATA to the folder of real data")
    spec = importlib.util.spec_from_file_location("truth_pair", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["truth_pair"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def standard(truth_pair):
    """The standard case: 1500 x 1500 px, SNR 10."""
    return truth_pair.load()
