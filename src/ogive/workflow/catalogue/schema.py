"""Opening a catalogue: its tables are made, brought up to date, or refused in a sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from .database import BUSY_S, CatalogueError, connect, transact
from .tables import Information

__all__ = ["VERSION_TABLE", "open_catalogue"]

VERSION_TABLE = "ogive_version"
REGION = "region"
_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number, the same for all: who holds it may change the tables.
_LOCK = 0x0617E

_log = logging.getLogger(__name__)


def open_catalogue(url: str | Path, *, region: str) -> Engine:
    """Open the catalogue of a region; make it, or bring it up to date, if need be.

    Parameters
    ----------
    url
        A path (SQLite), or ``sqlite:///…``, ``postgresql://…``, ``mariadb://…``.
    region
        Name of the region. A catalogue belongs to one.

    Returns
    -------
    sqlalchemy.Engine
        What all functions of `ogive.workflow.catalogue` take.

    Raises
    ------
    CatalogueError
        If it cannot be reached, was made by a newer ogive, or belongs to another region.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     catalogue = open_catalogue(f"{folder}/catalogue.sqlite", region="argentiere")
    ...     catalogue.dialect.name
    ...     catalogue.dispose()
    'sqlite'
    """
    engine = connect(url)
    script = ScriptDirectory(str(_MIGRATIONS))
    try:
        transact(engine, lambda connection: _bring_up_to_date(connection, script))
        transact(engine, lambda connection: _check_region(connection, region))
    except CatalogueError:
        engine.dispose()
        raise
    return engine


def _bring_up_to_date(connection: Connection, script: ScriptDirectory) -> None:
    head = script.get_current_head()
    with _alone(connection):
        found = _version(connection)
        if found == head:
            return
        known = {revision.revision for revision in script.walk_revisions()}
        if found is not None and found not in known:
            raise CatalogueError(
                f"the catalogue was made by a newer ogive (its tables are of version {found}, this "
                f"ogive knows up to {head}): update ogive"
            )
        if found is not None:
            _log.warning("the catalogue is brought from version %s to %s", found, head)
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except DBAPIError as error:
            raise CatalogueError(f"the tables of the catalogue cannot be made: {error}") from error


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Keep others from changing the tables at the same time; SQLite's transactions do already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        yield
    elif connection.dialect.name in ("mysql", "mariadb"):
        # Of this database only: the server's locks are common to all.
        lock = {"name": f"ogive {connection.engine.url.database}"[:64], "seconds": BUSY_S}
        if connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), lock).scalar() != 1:
            raise CatalogueError(
                "the catalogue is being made by another run that does not end: try again later"
            )
        try:
            yield
            # The next one shall see it; the lock does not end with the transaction.
            connection.exec_driver_sql("COMMIT")
        finally:
            connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": lock["name"]})
    else:
        yield


def _check_region(connection: Connection, region: str) -> None:
    statement = select(Information.told).where(Information.name == REGION).with_for_update()
    told = connection.execute(statement).scalar()
    if told is None:
        connection.execute(insert(Information).values(name=REGION, told=region))
    elif told != region:
        raise CatalogueError(
            f"the catalogue belongs to the region {told!r}, not to {region!r}: give each region a "
            "catalogue of its own"
        )
