"""A small simulated archive, and a server that gives it out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.servers.stac import StacServer

from ogive.workflow.simulate import SimulationSettings, simulate_archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six simulated scenes of two adjacent orbits, with quality bands, and glacier outlines."""
    folder = tmp_path_factory.mktemp("archive") / "simulated"
    settings = SimulationSettings(
        start=datetime(2020, 6, 1), end=datetime(2020, 9, 1), rows=160, columns=160, scene_count=6
    )
    simulate_archive(folder, settings=settings)
    return folder


@pytest.fixture
def server(archive: Path) -> Iterator[StacServer]:
    """The archive behind a STAC API, in pages of three items."""
    with StacServer(archive, page=3) as running:
        yield running
