"""What all tests share: where the real data are, and seeds."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib as mpl
import pytest
from hypothesis import HealthCheck, settings

mpl.use("Agg")

settings.register_profile(
    "ogive", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ogive")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real satellite and field data; skips where there is none."""
    given = os.environ.get("OGIVE_DATA")
    if given:
        folder = Path(given)
        if not folder.is_dir():
            pytest.fail(f"OGIVE_DATA names {given}, which is not a folder")
        return folder
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: set OGIVE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def bench_dir(data_dir: Path) -> Path:
    """The folder of the cases with known answers, beside the data."""
    folder = data_dir.parent / "bench"
    if not folder.is_dir():
        pytest.skip(f"no truth cases beside the data: {folder} is missing")
    return folder
