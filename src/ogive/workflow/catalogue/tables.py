"""The tables: scenes, pairs, steps, tasks (one step of one pair or unit), products.

Only what is wanted stands here: a scene that a search no longer finds goes with its pairs, their
tasks and products. The files stay until they are cleaned away, and are taken up again when what
they hold is wanted once more, since their names tell what they were made of.

Times are seconds since 1970 by the database's own clock (see `database.now_s`), so that hosts whose
clocks differ agree on leases.
"""

from __future__ import annotations

from typing import Annotated, Literal

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, String, Text
from sqlalchemy.dialects.mysql import LONGTEXT, VARCHAR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ogive.workflow.fingerprint import FINGERPRINT_LETTERS

__all__ = [
    "DONE",
    "FAILED",
    "PENDING",
    "RUNNING",
    "STATES",
    "Base",
    "Information",
    "PairRow",
    "ProductRow",
    "SceneRow",
    "State",
    "StepRow",
    "TaskRow",
]

State = Literal["pending", "running", "done", "failed"]
PENDING: State = "pending"
RUNNING: State = "running"
DONE: State = "done"
FAILED: State = "failed"
STATES: tuple[State, ...] = (PENDING, RUNNING, DONE, FAILED)

Fingerprint = Annotated[str, mapped_column(String(FINGERPRINT_LETTERS))]
# SQLite counts rows by itself only where the key is called INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")
LongText = Text().with_variant(LONGTEXT, "mysql", "mariadb")


def _word(letters: int) -> String:
    """A word of our own; MariaDB takes up to a tenth longer to count words of any alphabet."""
    ascii_only = VARCHAR(letters, charset="ascii", collation="ascii_bin")
    return String(letters).with_variant(ascii_only, "mysql", "mariadb")


class Base(DeclarativeBase):
    """The tables of a catalogue."""


class Information(Base):
    """What the catalogue is of: one line, with the region's name."""

    __tablename__ = "ogive_information"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    told: Mapped[str] = mapped_column(LongText)


class SceneRow(Base):
    """A scene that the search has found."""

    __tablename__ = "ogive_scenes"

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    fingerprint: Mapped[Fingerprint]
    acquired: Mapped[str] = mapped_column(String(32))
    told: Mapped[str] = mapped_column(LongText)


class PairRow(Base):
    """Two scenes that are matched; ``key`` tells them from all other pairs."""

    __tablename__ = "ogive_pairs"

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    earlier_id: Mapped[int] = mapped_column(ForeignKey("ogive_scenes.id", ondelete="CASCADE"))
    later_id: Mapped[int] = mapped_column(ForeignKey("ogive_scenes.id", ondelete="CASCADE"))
    key: Mapped[Fingerprint]
    days: Mapped[float] = mapped_column(Double)

    __table_args__ = (
        Index("ogive_pairs_scenes", "earlier_id", "later_id", unique=True),
        Index("ogive_pairs_later", "later_id"),
    )


class StepRow(Base):
    """A step of the road, and what it was last planned with; its row is the lock of planning."""

    __tablename__ = "ogive_steps"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    inputs: Mapped[Fingerprint] = mapped_column(default="")


class TaskRow(Base):
    """One step of one pair, or of one unit (the whole region, a tile of it).

    ``inputs`` is the fingerprint of parameters and inputs apart from the pair itself; ``owner`` is
    the run that works on it, until ``lease_until_s``.
    """

    __tablename__ = "ogive_tasks"

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    step: Mapped[str] = mapped_column(_word(16))
    subject: Mapped[str] = mapped_column(String(64))
    pair_id: Mapped[int | None] = mapped_column(ForeignKey("ogive_pairs.id", ondelete="CASCADE"))
    inputs: Mapped[Fingerprint]
    state: Mapped[str] = mapped_column(_word(8), default=PENDING)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    owner: Mapped[str] = mapped_column(String(96), default="")
    lease_until_s: Mapped[float] = mapped_column(Double, default=0.0)
    not_before_s: Mapped[float] = mapped_column(Double, default=0.0)
    error_kind: Mapped[str] = mapped_column(String(64), default="")
    error: Mapped[str] = mapped_column(LongText, default="")
    host: Mapped[str] = mapped_column(String(96), default="")
    finished_s: Mapped[float] = mapped_column(Double, default=0.0)
    wall_s: Mapped[float] = mapped_column(Double, default=0.0)
    cpu_s: Mapped[float] = mapped_column(Double, default=0.0)

    __table_args__ = (
        Index("ogive_tasks_subject", "step", "subject", unique=True),
        # Claims take the first pending ones, and status counts by this index alone.
        Index("ogive_tasks_state", "step", "state", "id"),
        Index("ogive_tasks_pair", "pair_id"),
        Index("ogive_tasks_finished", "step", "finished_s"),
    )


class ProductRow(Base):
    """What a task has published, and what it was made of."""

    __tablename__ = "ogive_products"

    task_id: Mapped[int] = mapped_column(
        ForeignKey("ogive_tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    fingerprint: Mapped[Fingerprint]
    path: Mapped[str] = mapped_column(String(512))
    bytes: Mapped[int] = mapped_column(BigInteger)
    checksum: Mapped[str] = mapped_column(String(32))
    figures: Mapped[str] = mapped_column(LongText)
