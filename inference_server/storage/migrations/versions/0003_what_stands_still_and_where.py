# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands still, and where things happen: looks of detections, stationary objects, zones."""

import sqlalchemy as sa
from alembic import op

import inference_server.storage.tables

revision = "0003_objects"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.add_column("frames", sa.Column("view", sa.LargeBinary()))
    op.add_column("detections", sa.Column("appearance", sa.LargeBinary()))
    op.add_column("detections", sa.Column("left_out", sa.String(length=16)))
    op.create_table(
        "stationary_objects",
        _key(),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=16), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("x", "y", "width", "height")),
        *(sa.Column(name, sa.LargeBinary()) for name in ("appearance", "view")),
        *(sa.Column(name, _moment(), nullable=False) for name in ("first_seen_at", "last_seen_at", "arrived_at")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("sightings", "misses", "missing")),
        *(sa.Column(name, _moment()) for name in ("missing_since", "stationary_at")),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_stationary_objects_camera_id_cameras")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stationary_objects")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_stationary_objects_camera_id"), "stationary_objects", ["camera_id"])
    op.create_table(
        "zones",
        _key(),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("points", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("min_size", sa.Float(), nullable=False),
        sa.Column("inertia", sa.Integer(), nullable=False),
        sa.Column("loitering_seconds", sa.Float(), nullable=False),
        sa.Column("line", sa.JSON()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("colour", sa.String(length=7), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_zones_camera_id_cameras")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zones")),
        sa.UniqueConstraint("camera_id", "name", name=op.f("uq_zones_camera_id_name")),
        sqlite_autoincrement=True,
    )


def _key() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def _moment() -> inference_server.storage.tables.UtcDateTime:
    return inference_server.storage.tables.UtcDateTime(timezone=True)
