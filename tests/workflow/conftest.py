"""Databases for tests of regions: SQLite always, PostgreSQL and MariaDB where there is a server."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import shapely
from sqlalchemy import create_engine, delete, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from tests.servers.stac import StacServer
from tests.workflow.regions import REGION, change

from ogive.model import Scene
from ogive.workflow.catalogue import open_catalogue
from ogive.workflow.catalogue.tables import Base
from ogive.workflow.run import run_region
from ogive.workflow.runfile import template, write_run_file
from ogive.workflow.simulate import SimulationSettings, simulate_archive

SERVERS = {
    "postgresql": (
        "OGIVE_TEST_POSTGRESQL",
        "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    ),
    "mariadb": ("OGIVE_TEST_MARIADB", "mariadb+pymysql://root@127.0.0.1:3306/test"),
}
KINDS = ("sqlite", *SERVERS)


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """Lend the address of a database of our own, which is dropped afterwards."""
    if kind == "sqlite":
        yield str(folder / "catalogue.sqlite")
        return
    variable, default = SERVERS[kind]
    server = make_url(os.environ.get(variable, default))
    name = f"ogive_test_{secrets.token_hex(4)}"
    try:
        engine = create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except (DBAPIError, ModuleNotFoundError) as error:
        pytest.skip(f"no {kind} server ({variable} names one): {str(error).splitlines()[0]}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if kind == "postgresql" else ""
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}{force}"))
        engine.dispose()


@pytest.fixture(scope="session", params=KINDS)
def address(request, tmp_path_factory):
    """Address of a database: the tests that take it run on every kind that there is."""
    with database_of(request.param, tmp_path_factory.mktemp("catalogue")) as found:
        yield found


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """Address of a PostgreSQL database."""
    with database_of("postgresql", tmp_path_factory.mktemp("postgresql")) as found:
        yield found


@pytest.fixture
def catalogue(address):
    """An empty catalogue."""
    engine = open_catalogue(address, region="test")
    yield engine
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(delete(table))
    engine.dispose()


@pytest.fixture
def scenes():
    """Six scenes of one orbit, ten days apart."""
    return [
        Scene(
            f"scene-{k}",
            datetime(2020, 7, 1, 10, 30) + timedelta(days=10 * k),
            mission="sentinel-2",
            relative_orbit=65,
            tile="T32TLS",
        )
        for k in range(6)
    ]


# ---- regions -------------------------------------------------------------------------------------

ARCHIVE = SimulationSettings(
    rows=200,
    columns=240,
    start=datetime(2020, 6, 15),
    end=datetime(2020, 9, 15),
    scene_count=5,
    orbits=("sentinel-2-west",),
    seed=2,
    mean_cloud_cover=0.0,
    decorrelation_days=2000.0,
)


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Five simulated scenes of one orbit, some two kilometres wide: ten pairs."""
    folder = tmp_path_factory.mktemp("archive") / "simulated"
    simulate_archive(folder, settings=ARCHIVE)
    return folder


@pytest.fixture(scope="session")
def server(archive):
    """The archive behind a STAC API, at one address for all tests."""
    with StacServer(archive) as running:
        yield running


@pytest.fixture
def sound(server):
    """The server, without the faults of other tests, nor for them."""
    server.mend()
    yield server
    server.mend()


@pytest.fixture(scope="session")
def bounds(archive):
    """West, south, east, north of the archive."""
    items = (json.loads(path.read_text()) for path in archive.glob("*/*/*.json"))
    outlines = [shapely.geometry.shape(item["geometry"]) for item in items if "geometry" in item]
    return shapely.unary_union(outlines).bounds


@pytest.fixture(scope="session")
def new_region(archive, bounds, server, tmp_path_factory):
    """Write a run file for the archive on the server; what is given changes keys of a section."""
    usual = {
        "match": {"window": 16, "max_speed_m_yr": 1000.0},
        "run": {"workers": 2, "lease_s": 5.0},
        "search": {"max_cloud_percent": 100.0},
    }

    def write(**sections):
        settings = template(
            REGION,
            bbox=bounds,
            start=date(2020, 6, 1),
            end=date(2020, 10, 1),
            archive=server.url,
            glaciers=archive / "outlines.gpkg",
        )
        for section in usual | sections:
            changes = usual.get(section, {}) | sections.get(section, {})
            own = getattr(settings, section).model_copy(update=changes)
            settings = settings.model_copy(update={section: own})
        return write_run_file(settings, tmp_path_factory.mktemp("region") / "region.yaml")

    return write


@pytest.fixture(scope="session")
def undisturbed(new_region, server):
    """A region that was run once, from beginning to end, without any trouble."""
    server.mend()
    path = new_region()
    run_region(path, cluster="threads")
    return path


@pytest.fixture(scope="session")
def tiled(undisturbed, tmp_path_factory):
    """The same region in tiles of 24 x 24 points, of which 14 x 14 are a tile's own."""
    folder = tmp_path_factory.mktemp("tiled") / "region"
    shutil.copytree(undisturbed.parent, folder)
    change(folder / "region.yaml", "tile_px: 250", "tile_px: 24")
    run_region(folder / "region.yaml", cluster="threads")
    return folder / "region.yaml"


@pytest.fixture
def copy(undisturbed, tmp_path):
    """The undisturbed region, with its catalogue and all that it has made, to be changed."""
    shutil.copytree(undisturbed.parent, tmp_path / "region")
    return tmp_path / "region" / "region.yaml"
