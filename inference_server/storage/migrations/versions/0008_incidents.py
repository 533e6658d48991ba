# SPDX-License-Identifier: AGPL-3.0-or-later
"""Incidents over several cameras, which camera follows which, and summaries."""

import sqlalchemy as sa
from alembic import op

import inference_server.storage.tables

revision = "0008_incidents"
down_revision = "0007_prompts"
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, inference_server.storage.tables.UtcDateTime(timezone=True), nullable=nullable)


def _key() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "incidents",
        _key(),
        _time("started_at"),
        _time("last_at"),
        _time("ended_at", nullable=True),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("cameras", sa.JSON(), nullable=False),
        sa.Column("event_ids", sa.JSON(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_incidents_started_at"), "incidents", ["started_at"])
    is_open = sa.text("ended_at IS NULL")
    op.create_index("ix_incidents_open", "incidents", ["last_at"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_table(
        "incident_events",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("incident_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_incident_events_event_id_events")),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incidents.id"], name=op.f("fk_incident_events_incident_id_incidents")
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_incident_events")),
    )
    op.create_index(op.f("ix_incident_events_incident_id"), "incident_events", ["incident_id"])
    op.create_table(
        "camera_transitions",
        sa.Column("from_camera", sa.String(length=64), nullable=False),
        sa.Column("to_camera", sa.String(length=64), nullable=False),
        sa.Column("category", sa.String(length=16), nullable=False),
        sa.Column("onsets", sa.Float(), nullable=False),
        sa.Column("followed", sa.Float(), nullable=False),
        sa.Column("by_chance", sa.Float(), nullable=False),
        _time("updated_at"),
        sa.ForeignKeyConstraint(
            ["from_camera"], ["cameras.id"], name=op.f("fk_camera_transitions_from_camera_cameras")
        ),
        sa.ForeignKeyConstraint(["to_camera"], ["cameras.id"], name=op.f("fk_camera_transitions_to_camera_cameras")),
        sa.PrimaryKeyConstraint("from_camera", "to_camera", "category", name=op.f("pk_camera_transitions")),
    )
    op.create_table(
        "judged_hours",
        _time("begin"),
        sa.Column("minutes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("begin", name=op.f("pk_judged_hours")),
    )
    op.create_table(
        "summaries",
        _key(),
        sa.Column("kind", sa.String(length=16), nullable=False),
        _time("started_at"),
        _time("ended_at"),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_summaries")),
        sa.UniqueConstraint("kind", "started_at", name=op.f("uq_summaries_kind_started_at")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_summaries_started_at"), "summaries", ["started_at"])
