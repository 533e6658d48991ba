# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on the state of the home as Home Assistant told it last."""

from dataclasses import replace

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.context import HomeContext
from inference_server.storage.rows import insert
from inference_server.storage.tables import home_context

_CONTEXT = TypeAdapter(HomeContext)
_ONLY = 1


async def get(connection: AsyncConnection) -> HomeContext | None:
    """Return what was told last; None when nothing was, or a newer version wrote it."""
    row = (await connection.execute(select(home_context))).one_or_none()
    if row is None:
        return None
    try:
        return replace(_CONTEXT.validate_python(row.told), told_at=row.told_at)
    except ValidationError:
        return None


async def tell(connection: AsyncConnection, context: HomeContext) -> None:
    """Write what was told."""
    columns = {"told_at": context.told_at, "told": _CONTEXT.dump_python(context, mode="json")}
    query = insert(connection, home_context).values(id=_ONLY, **columns)
    await connection.execute(query.on_conflict_do_update(index_elements=["id"], set_=columns))
