"""A catalogue is made, brought up to date, or refused in a sentence."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from ogive.model import OgiveError
from ogive.workflow.catalogue import (
    CatalogueError,
    count_pairs,
    enter_pairs,
    enter_scenes,
    known_scenes,
    open_catalogue,
)
from ogive.workflow.catalogue.database import bulk_insert, now_s, read, transact
from ogive.workflow.catalogue.schema import VERSION_TABLE
from ogive.workflow.catalogue.tables import Base

HEAD = "0003"


def test_migrations_make_the_tables_that_the_code_expects(catalogue):
    with catalogue.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == HEAD


def test_opening_again_changes_nothing(catalogue, address):
    again = open_catalogue(address, region="test")
    again.dispose()


def test_another_region_is_refused(catalogue, address):
    with pytest.raises(CatalogueError, match=r"belongs to the region 'test', not to 'other'"):
        open_catalogue(address, region="other")


def test_a_newer_catalogue_is_refused(catalogue, address):
    def set_version(version):
        with catalogue.begin() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))

    set_version("9999")
    try:
        with pytest.raises(CatalogueError, match=r"newer ogive.*9999.*update ogive"):
            open_catalogue(address, region="test")
    finally:
        set_version(HEAD)


def test_pairs_of_an_older_catalogue_are_counted(catalogue, address, scenes):
    enter_scenes(catalogue, scenes)
    earlier, later = np.triu_indices(6, 1)
    enter_pairs(catalogue, known_scenes(catalogue), earlier=earlier, later=later)
    with catalogue.begin() as connection:
        connection.execute(text("DELETE FROM ogive_information WHERE name = 'pairs'"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))
    assert count_pairs(catalogue) == 0
    open_catalogue(address, region="test").dispose()
    assert count_pairs(catalogue) == 15


def test_many_open_a_new_catalogue_at_once(address):
    """All but the first find it made."""
    engine = open_catalogue(address, region="test")
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    gate = threading.Barrier(4)

    def make(_):
        gate.wait()
        open_catalogue(address, region="test").dispose()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(make, range(4)))
    engine.dispose()


def test_the_clock_is_that_of_the_database_and_moves(catalogue):
    from sqlalchemy import select

    def now():
        return read(catalogue, lambda connection: connection.execute(select(now_s())).scalar())

    first = now()
    assert 1.7e9 < first <= now() < first + 60


def test_postgresql_does_not_wait_for_its_disk(postgresql):
    """What a crash of the server may forget is made or found again."""
    engine = open_catalogue(postgresql, region="simulated")
    with engine.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "off"
    engine.dispose()


def test_an_error_inside_a_transaction_undoes_it(catalogue):
    from ogive.workflow.catalogue.tables import Information

    def write(connection):
        bulk_insert(connection, Information.__table__, ("name", "told"), [("one", "two")])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transact(catalogue, write)
    with catalogue.connect() as connection:
        found = connection.execute(Information.__table__.select()).all()
    assert [row.name for row in found] == ["region"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nowhere/at/all/catalogue.sqlite", "its folder is missing"),
        ("oracle://host/name", "no catalogue in 'oracle'"),
        ("://nothing", "no address of a database"),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot be opened"),
        ("mariadb://nobody@127.0.0.1:1/none", "cannot be opened"),
    ],
)
def test_addresses_that_lead_nowhere(url, told):
    with pytest.raises(OgiveError, match=told):
        open_catalogue(url, region="test")


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "catalogue.sqlite"
    path.write_text("this is no database, but it is long enough to be looked at\n" * 100)
    with pytest.raises(CatalogueError, match="not a database"):
        open_catalogue(path, region="test")


def test_a_password_is_not_told():
    with pytest.raises(CatalogueError) as told:
        open_catalogue("postgresql://me:secret@127.0.0.1:1/none", region="test")
    assert "secret" not in str(told.value)
