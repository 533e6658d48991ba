# SPDX-License-Identifier: AGPL-3.0-or-later
"""Summaries of hours and days."""

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import invalid_request
from inference_server.api.routing import AnyRoute, Cursor, PageSize, Parameters, Route, Time
from inference_server.api.schema import SummaryObject, WireObject
from inference_server.core.summary import SummaryKind
from inference_server.storage import summaries
from inference_server.storage.rows import BadCursorError
from inference_server.storage.summaries import SummaryFilter
from inference_server.storage.tokens import Scope


class SummaryPage(WireObject):
    """A page of summaries, the latest time first."""

    items: tuple[SummaryObject, ...]
    next_cursor: str | None


class SummaryQuery(Parameters):
    """Which summaries are wanted; `since` and `until` are about the start of their time."""

    kind: SummaryKind | None = None
    since: Time | None = None
    until: Time | None = None
    limit: PageSize = 50
    cursor: Cursor | None = None


async def find(context: ApiContext, asked: SummaryQuery) -> SummaryPage:
    """Return a page of summaries; with `limit=1` the latest one."""
    wanted = SummaryFilter(asked.kind, asked.since, asked.until)
    async with context.database.reading() as connection:
        try:
            page = await summaries.find(connection, wanted, limit=asked.limit, cursor=asked.cursor)
        except BadCursorError as error:
            raise invalid_request(f"cursor: {error}.", "Use the `next_cursor` of the page before.") from error
    items = tuple(schema.summary(summary, context.thresholds) for summary in page.items)
    return SummaryPage(items=items, next_cursor=page.next_cursor)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/summaries",
        summary="Summaries of hours and days, the latest first",
        scope=Scope.READ,
        parameters=SummaryQuery,
        answer=SummaryPage,
        handler=find,
    ),
)
