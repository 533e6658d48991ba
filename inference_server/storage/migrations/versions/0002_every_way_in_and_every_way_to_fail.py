# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every way in and every way to fail.

Columns are added one by one and no table is made anew to which others refer: SQLite would lose what refers to it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

import inference_server.storage.tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "announcement_sequence",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announcement_sequence")),
    )
    op.create_table(
        "chores",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("done_at", _moment()),
        sa.Column("leased_by", sa.String(length=64)),
        sa.Column("leased_until", _moment()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chores")),
    )
    op.create_table(
        "ftp_accounts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_ftp_accounts")),
    )
    op.create_table(
        "watch_roots",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("first_seen_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("finished_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_watch_roots")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("started_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("seen_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("detector", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "clips",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("media_path", sa.Text(), nullable=False),
        sa.Column("captured_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("arrived_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("duration_seconds", sa.Float(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("pruned_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_clips_camera_id_cameras")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clips")),
        sa.UniqueConstraint("camera_id", "content_hash", name=op.f("uq_clips_camera_id_content_hash")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("clips", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_clips_camera_id_captured_at"), ["camera_id", "captured_at"], unique=False)

    op.execute(
        "INSERT INTO watch_roots (path, first_seen_at, finished_at) SELECT '', earliest, latest FROM "
        "(SELECT min(arrived_at) AS earliest, max(arrived_at) AS latest FROM arrivals) AS arrived "
        "WHERE earliest IS NOT NULL"
    )
    op.execute("INSERT INTO announcement_sequence (id, last) SELECT 1, coalesce(max(sequence), 0) FROM announcements")
    for table, columns in _new_columns().items():
        for column in columns:
            op.add_column(table, column, inline_references=True)
            if column.name in {"clip_id", "deleted_at", "leased_by"}:
                op.create_index(op.f(f"ix_{table}_{column.name}"), table, [column.name])
    _extend_dead_letters()
    op.create_index(op.f("ix_arrivals_frame_id"), "arrivals", ["frame_id"])
    op.create_index(op.f("ix_events_best_frame_id"), "events", ["best_frame_id"])
    for indexed in (["stage", "camera_id", "turn"], ["stage", "priority", "turn", "id"]):
        op.create_index(op.f(f"ix_messages_{'_'.join(indexed)}"), "messages", indexed)


def _extend_dead_letters() -> None:
    """Add columns, and let SQLite give no id out twice: an operator may act on one that was read a while ago."""
    is_sqlite = op.get_context().dialect.name == "sqlite"
    with op.batch_alter_table(
        "dead_letters", recreate="always" if is_sqlite else "never", table_kwargs={"sqlite_autoincrement": True}
    ) as batch_op:
        batch_op.add_column(sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("service", sa.String(length=32)))
        batch_op.add_column(sa.Column("trace", sa.Text()))
        batch_op.add_column(sa.Column("replays", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("discarded_at", _moment()))


def _new_columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "arrivals": [_clip_id("arrivals")],
        "cameras": [
            sa.Column("time_zone", sa.String(length=64)),
            sa.Column("ignore_patterns", sa.JSON(), server_default="[]", nullable=False),
            sa.Column("masks", sa.JSON(), server_default="[]", nullable=False),
            sa.Column("clock_offset_seconds", sa.Float()),
        ],
        "events": [sa.Column("deleted_at", _moment())],
        "frames": [
            sa.Column("source", sa.String(length=16), server_default="folder", nullable=False),
            sa.Column("time_source", sa.String(length=16), server_default="arrival", nullable=False),
            sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
            _clip_id("frames"),
            sa.Column("clip_offset_seconds", sa.Float()),
            sa.Column("pruned_at", _moment()),
        ],
        "messages": [
            sa.Column("leased_by", sa.String(length=64)),
            sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
            sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False),
            sa.Column("sent_at", _moment()),
            sa.Column("replays", sa.Integer(), server_default="0", nullable=False),
        ],
    }


def _moment() -> inference_server.storage.tables.UtcDateTime:
    return inference_server.storage.tables.UtcDateTime(timezone=True)


def _clip_id(table: str) -> sa.Column[Any]:
    reference = sa.ForeignKey("clips.id", name=f"fk_{table}_clip_id_clips")
    return sa.Column("clip_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), reference)
