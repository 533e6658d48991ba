# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the analyst judges by, when it was asked last, and how it came to its verdicts."""

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
    op.add_column("assessments", sa.Column("analysis", sa.JSON(), nullable=True))
