# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alembic's entry: runs the migrations on the connection that the caller hands over."""

from alembic import context
from sqlalchemy import Connection

from inference_server.storage.tables import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
