"""Connections: SQLite by default, PostgreSQL or MariaDB by URL; here they are told apart."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event, insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import Double

from ogive.model import OgiveError

__all__ = ["CatalogueError", "bulk_insert", "connect", "now_s", "read", "transact"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

BUSY_S = 60.0
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mariadb": "mariadb+pymysql",
    "mysql": "mariadb+pymysql",
}
_EXTRAS = {"psycopg": "postgresql", "pymysql": "mariadb"}
# Deadlock, lock wait timeout, record changed since last read (MariaDB); deadlock, serialisation
# failure (PostgreSQL): the database asks to try again. So does a duplicate key (1062, 23505), for
# all that is entered was looked up before: somebody else has just entered the same.
_TRY_AGAIN = {1020, 1062, 1205, 1213, "23505", "40P01", "40001"}
_TRIES = 8
_ROWS = 50_000
_READ = "ogive_read"


class CatalogueError(OgiveError, RuntimeError):
    """The catalogue cannot be used: not reached, of another version, or of another region."""


# ---- the clock -----------------------------------------------------------------------------------


class now_s(FunctionElement[float]):  # noqa: N801  (it stands in SQL like a function)
    """Seconds since 1970 by the clock of the database."""

    type = Double()
    inherit_cache = True


@compiles(now_s, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **_: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision)"


@compiles(now_s, "mysql")
@compiles(now_s, "mariadb")
def _now_mariadb(element: Any, compiler: Any, **_: Any) -> str:
    return "CAST(UNIX_TIMESTAMP(SYSDATE(6)) AS DOUBLE)"


@compiles(now_s, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


# ---- connections ---------------------------------------------------------------------------------


def connect(url: str | Path) -> Engine:
    """Connect to the database of a catalogue.

    Parameters
    ----------
    url
        A path (SQLite), or ``sqlite:///…``, ``postgresql://…``, ``mariadb://…``.

    Raises
    ------
    CatalogueError
        If the address is none, its driver is missing, or there is nobody at the other end.
    """
    address = _address(url)
    try:
        engine = create_engine(address, pool_pre_ping=True, **_options(address))
    except (ModuleNotFoundError, NoSuchModuleError, ArgumentError) as error:
        raise CatalogueError(_no_driver(address, error)) from error
    if address.get_backend_name() == "sqlite":
        _set_up_sqlite(engine)
    elif address.get_backend_name() == "postgresql":
        _set_up_postgresql(engine)
    try:
        with engine.connect():
            pass
    except DatabaseError as error:
        shown = address.render_as_string(hide_password=True)
        raise CatalogueError(
            f"the catalogue {shown} cannot be opened: {_first_line(error)}"
        ) from error
    return engine


def _address(url: str | Path) -> URL:
    text = str(url)
    if "://" not in text:
        path = Path(text)
        if not path.parent.is_dir():
            raise CatalogueError(f"the catalogue {path} cannot be made: its folder is missing")
        return URL.create("sqlite", database=str(path))
    try:
        address = make_url(text)
    except ArgumentError as error:
        raise CatalogueError(
            f"{text!r} is no address of a database: write it as postgresql://user@host/name"
        ) from error
    backend = address.get_backend_name()
    if backend not in _DRIVERS:
        raise CatalogueError(
            f"there is no catalogue in {backend!r}: use a path (SQLite), postgresql:// or mariadb://"
        )
    return address if "+" in address.drivername else address.set(drivername=_DRIVERS[backend])


def _options(address: URL) -> dict[str, Any]:
    if address.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    # Claims lock the rows that they read, and no gaps between rows.
    return {"isolation_level": "READ COMMITTED"}


def _no_driver(address: URL, error: Exception) -> str:
    driver = address.get_driver_name()
    extra = _EXTRAS.get(driver)
    told = f": install it by pip install 'ogive[{extra}]'" if extra else f": {error}"
    return f"the driver {driver!r} of the catalogue is not installed{told}"


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        # The driver would begin transactions on its own, and too late for a claim.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        reads = connection.get_execution_options().get(_READ, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _set_up_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        # A server that crashes may forget its last moment, but nothing in the midst: claims that
        # it forgot are made again, and products that it forgot are found where they lie.
        usual, connection.autocommit = connection.autocommit, True
        connection.execute("SET synchronous_commit TO off")
        connection.autocommit = usual


# ---- transactions --------------------------------------------------------------------------------


def transact(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    """Do some work in one transaction; again where the database asks for it.

    Parameters
    ----------
    engine
        Of `connect`.
    work
        What is done; it may be called several times, but takes effect once.

    Raises
    ------
    CatalogueError
        If the database fails: full disk, lost connection, locked for too long.
    """
    return _attempted(engine.connect, work)


def read(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    """Read in one transaction, without holding up those who write.

    Raises
    ------
    CatalogueError
        As `transact`.
    """
    return _attempted(lambda: engine.connect().execution_options(**{_READ: True}), work)


def _attempted(
    connection: Callable[[], Connection], work: Callable[[Connection], Result]
) -> Result:
    for attempt in range(1, _TRIES + 1):
        try:
            with connection() as opened, opened.begin():
                return work(opened)
        except DBAPIError as error:
            if not _try_again(error) or attempt == _TRIES:
                raise CatalogueError(f"the catalogue failed: {_first_line(error)}") from error
            _log.info("the catalogue asks to try again (%d): %s", attempt, _first_line(error))
            # Not in step with the other one of a deadlock.
            time.sleep(random.uniform(0, 0.02 * 2**attempt))
        except SQLAlchemyError as error:
            raise CatalogueError(f"the catalogue failed: {_first_line(error)}") from error
    raise AssertionError("unreachable")


def _try_again(error: DBAPIError) -> bool:
    original = error.orig
    number = original.args[0] if original is not None and original.args else None
    return getattr(original, "sqlstate", number) in _TRY_AGAIN


def _first_line(error: Exception) -> str:
    told = str(getattr(error, "orig", None) or error).strip()
    return told.splitlines()[0] if told else type(error).__name__


# ---- many rows -----------------------------------------------------------------------------------


def bulk_insert(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert many rows, by the quickest way that the database has.

    Parameters
    ----------
    connection
        In a transaction.
    table, columns
        Where; columns that are left out get the database's own value.
    rows
        Values in the order of the columns.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        _copy(connection, table, columns, rows)
        return
    statement = insert(table)
    for first in range(0, len(rows), _ROWS):
        part = [dict(zip(columns, row, strict=True)) for row in rows[first : first + _ROWS]]
        connection.execute(statement, part)


def _copy(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    driver: Any = connection.connection.driver_connection
    names = ", ".join(f'"{name}"' for name in columns)
    with (
        driver.cursor() as cursor,
        cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy,
    ):
        for row in rows:
            copy.write_row(row)
