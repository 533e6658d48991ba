# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cameras' views: what stays in them, and what is wrong with them."""

import sqlalchemy as sa
from alembic import op

import inference_server.storage.tables

revision = "0004_views"
down_revision = "0003_objects"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.add_column("cameras", sa.Column("watch_view", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("cameras", sa.Column("view_problems", sa.JSON(), server_default="[]", nullable=False))
    op.create_table(
        "views",
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_views_camera_id_cameras")),
        sa.PrimaryKeyConstraint("camera_id", name=op.f("pk_views")),
    )
    op.create_table(
        "view_baselines",
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("light", sa.String(length=16), nullable=False),
        sa.Column("learnt_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_view_baselines_camera_id_cameras")),
        sa.PrimaryKeyConstraint("camera_id", "light", name=op.f("pk_view_baselines")),
    )
