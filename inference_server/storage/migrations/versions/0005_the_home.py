# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state of the home, what the cameras look at, and what they usually see."""

import sqlalchemy as sa
from alembic import op

import inference_server.storage.tables

revision = "0005_home"
down_revision = "0004_views"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.add_column("cameras", sa.Column("place", sa.String(length=16), server_default="other", nullable=False))
    op.add_column("cameras", sa.Column("leads_to", sa.JSON(), server_default="[]", nullable=False))
    op.create_table(
        "home_context",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("told_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_home_context")),
    )
    op.create_table(
        "habits",
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("category", sa.String(length=16), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("objects", sa.Float(), nullable=False),
        sa.Column("hours", sa.Float(), nullable=False),
        sa.Column("updated_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_habits_camera_id_cameras")),
        sa.PrimaryKeyConstraint("camera_id", "category", "slot", name=op.f("pk_habits")),
    )
