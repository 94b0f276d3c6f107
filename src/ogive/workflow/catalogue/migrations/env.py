"""Alembic runs this; the connection is handed over by `ogive.workflow.catalogue.schema`."""

from __future__ import annotations

from alembic import context

from ogive.workflow.catalogue.schema import VERSION_TABLE
from ogive.workflow.catalogue.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
