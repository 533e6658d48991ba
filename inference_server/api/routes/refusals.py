# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that were refused."""

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import invalid_request
from inference_server.api.routing import AnyRoute, Cursor, PageSize, Parameters, Route
from inference_server.api.schema import RefusalObject, WireObject
from inference_server.storage import arrivals
from inference_server.storage.rows import BadCursorError
from inference_server.storage.tokens import Scope


class RefusalPage(WireObject):
    """A page of refusals, newest first."""

    items: tuple[RefusalObject, ...]
    next_cursor: str | None


class RefusalQuery(Parameters):
    """Which page is wanted."""

    limit: PageSize = 50
    cursor: Cursor | None = None


async def find(context: ApiContext, asked: RefusalQuery) -> RefusalPage:
    """Return a page of refusals."""
    async with context.database.reading() as connection:
        try:
            page = await arrivals.refusals(connection, limit=asked.limit, cursor=asked.cursor)
        except BadCursorError as error:
            raise invalid_request(f"cursor: {error}.", "Use the `next_cursor` of the page before.") from error
    return RefusalPage(items=tuple(map(schema.refusal, page.items)), next_cursor=page.next_cursor)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/refusals",
        summary="Files that were refused, newest first",
        scope=Scope.READ,
        parameters=RefusalQuery,
        answer=RefusalPage,
        handler=find,
    ),
)
