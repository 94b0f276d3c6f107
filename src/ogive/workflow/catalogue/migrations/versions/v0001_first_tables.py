"""Scenes, pairs, steps, tasks and products."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_LONG = sa.Text().with_variant(LONGTEXT, "mysql", "mariadb")
_FINGERPRINT = sa.String(16)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "ogive_information",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("told", _LONG, nullable=False),
    )
    op.create_table(
        "ogive_scenes",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("fingerprint", _FINGERPRINT, nullable=False),
        sa.Column("acquired", sa.String(32), nullable=False),
        sa.Column("told", _LONG, nullable=False),
    )
    op.create_table(
        "ogive_pairs",
        sa.Column("id", _NUMBER, primary_key=True),
        _reference("earlier_id", "ogive_scenes.id"),
        _reference("later_id", "ogive_scenes.id"),
        sa.Column("key", _FINGERPRINT, nullable=False),
        sa.Column("days", sa.Double, nullable=False),
    )
    op.create_index("ogive_pairs_scenes", "ogive_pairs", ["earlier_id", "later_id"], unique=True)
    op.create_index("ogive_pairs_later", "ogive_pairs", ["later_id"])
    op.create_table(
        "ogive_steps",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("inputs", _FINGERPRINT, nullable=False),
    )
    _make_tasks()
    op.create_table(
        "ogive_products",
        sa.Column(
            "task_id",
            _NUMBER,
            sa.ForeignKey("ogive_tasks.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("fingerprint", _FINGERPRINT, nullable=False),
        sa.Column("path", sa.String(512), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("checksum", sa.String(32), nullable=False),
        sa.Column("figures", _LONG, nullable=False),
    )


def _make_tasks() -> None:
    op.create_table(
        "ogive_tasks",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        _reference("pair_id", "ogive_pairs.id", nullable=True),
        sa.Column("inputs", _FINGERPRINT, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(96), nullable=False),
        sa.Column("lease_until_s", sa.Double, nullable=False),
        sa.Column("not_before_s", sa.Double, nullable=False),
        sa.Column("error_kind", sa.String(64), nullable=False),
        sa.Column("error", _LONG, nullable=False),
        sa.Column("host", sa.String(96), nullable=False),
        sa.Column("finished_s", sa.Double, nullable=False),
        sa.Column("wall_s", sa.Double, nullable=False),
        sa.Column("cpu_s", sa.Double, nullable=False),
    )
    op.create_index("ogive_tasks_subject", "ogive_tasks", ["step", "subject"], unique=True)
    op.create_index("ogive_tasks_state", "ogive_tasks", ["step", "state", "id"])
    op.create_index("ogive_tasks_pair", "ogive_tasks", ["pair_id"])
    op.create_index("ogive_tasks_finished", "ogive_tasks", ["step", "finished_s"])


def _reference(name: str, to: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, _NUMBER, sa.ForeignKey(to, ondelete="CASCADE"), nullable=nullable)
