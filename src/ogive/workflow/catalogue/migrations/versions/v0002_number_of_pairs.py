"""The number of pairs is written down, for to count them takes a second."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count the pairs that there are."""
    op.execute("DELETE FROM ogive_information WHERE name = 'pairs'")
    op.execute(
        "INSERT INTO ogive_information (name, told) SELECT 'pairs', number "
        "FROM (SELECT COUNT(*) AS number FROM ogive_pairs) AS counted WHERE number > 0"
    )
