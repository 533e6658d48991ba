# SPDX-License-Identifier: AGPL-3.0-or-later
"""${message}."""

import sqlalchemy as sa
from alembic import op

import inference_server.storage.tables

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the tables from the revision before to this one."""
    ${upgrades if upgrades else "pass"}
