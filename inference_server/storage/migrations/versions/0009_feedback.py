# SPDX-License-Identifier: AGPL-3.0-or-later
"""Feedback on events."""

import sqlalchemy as sa
from alembic import op

from inference_server.storage.tables import Key, UtcDateTime

revision = "0009_feedback"
down_revision = "0007_prompts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "feedback",
        sa.Column("id", Key, nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", Key, nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("given_by", sa.String(length=100), nullable=True),
        sa.Column("given_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", UtcDateTime(timezone=True), nullable=True),
        sa.Column("place", sa.String(length=16), nullable=False),
        sa.Column("category", sa.String(length=16), nullable=True),
        sa.Column("night", sa.Boolean(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("threatened", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_feedback_camera_id_cameras")),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_feedback_event_id_events")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_feedback_camera_id"), "feedback", ["camera_id"])
    op.create_index(op.f("ix_feedback_event_id"), "feedback", ["event_id"])
    op.create_index(op.f("ix_feedback_given_at"), "feedback", ["given_at"])
    counting = sa.text("withdrawn_at IS NULL")
    op.create_index(
        "uq_feedback_counting_event_id",
        "feedback",
        ["event_id"],
        unique=True,
        sqlite_where=counting,
        postgresql_where=counting,
    )
    op.create_table(
        "feedback_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stamp", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback_state")),
    )
