# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the analyst judges by, when it was asked last, and how it came to its verdicts; an index of the trash alone."""

import sqlalchemy as sa
from alembic import op

import inference_server.storage.tables

revision = "0006_analysis"
down_revision = "0005_home"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    moment = inference_server.storage.tables.UtcDateTime(timezone=True)
    op.add_column("events", sa.Column("evidence", sa.Text(), nullable=True))
    op.add_column("events", sa.Column("analysed_at", moment, nullable=True))
    op.drop_index("ix_events_deleted_at", table_name="events")
    only = sa.text("deleted_at IS NOT NULL")
    op.create_index("ix_events_deleted_at", "events", ["deleted_at"], sqlite_where=only, postgresql_where=only)
    op.add_column("assessments", sa.Column("analysis", sa.JSON(), nullable=True))
