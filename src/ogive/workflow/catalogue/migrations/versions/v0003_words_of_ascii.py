"""Steps and states are compared byte by byte: MariaDB counts them up to a tenth sooner."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the two columns where they had a collation."""
    if op.get_bind().dialect.name in ("mysql", "mariadb"):
        ascii_only = "CHARACTER SET ascii COLLATE ascii_bin NOT NULL"
        op.execute(
            f"ALTER TABLE ogive_tasks MODIFY step VARCHAR(16) {ascii_only}, "
            f"MODIFY state VARCHAR(8) {ascii_only}"
        )
