# SPDX-License-Identifier: AGPL-3.0-or-later
"""The versions of the prompts."""

import sqlalchemy as sa
from alembic import op

import inference_server.storage.tables

revision = "0007_prompts"
down_revision = "0006_analysis"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    op.create_table(
        "prompt_versions",
        sa.Column("id", inference_server.storage.tables.Key, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("chosen", sa.Boolean(), nullable=False),
        sa.Column("activated_at", inference_server.storage.tables.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt_versions")),
        sa.UniqueConstraint("kind", "number", name=op.f("uq_prompt_versions_kind_number")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_prompt_versions_active_kind",
        "prompt_versions",
        ["kind"],
        unique=True,
        sqlite_where=sa.text("active"),
        postgresql_where=sa.text("active"),
    )
