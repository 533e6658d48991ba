# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dead letters: work that failed for good is looked at, tried again or given up."""

from http import HTTPMethod
from types import NoneType
from typing import Annotated

from pydantic import Field

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import (
    ProblemCode,
    ProblemError,
    dead_letter_discarded,
    dead_letter_not_found,
    invalid_request,
)
from inference_server.api.routing import AnyRoute, CameraId, Cursor, PageSize, Parameters, Route, RowId
from inference_server.api.schema import DeadLetterObject, FullDeadLetterObject, WireObject
from inference_server.core.message import StageName
from inference_server.storage import dead_letters
from inference_server.storage.dead_letters import LetterFilter
from inference_server.storage.rows import BadCursorError
from inference_server.storage.tokens import Scope

ServiceName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=32)]


class DeadLetterPage(WireObject):
    """A page of dead letters, newest first."""

    items: tuple[DeadLetterObject, ...]
    next_cursor: str | None


class Replayed(WireObject):
    """How many dead letters were sent back to their stages."""

    replayed: int


class Discarded(WireObject):
    """How many dead letters were given up."""

    discarded: int


class OneLetter(Parameters):
    """Names a dead letter."""

    letter_id: RowId


class LetterSelection(Parameters):
    """Which dead letters are meant: all of them, or those of a stage, a camera or a model service."""

    stage: StageName | None = None
    camera_id: CameraId | None = None
    service: ServiceName | None = None

    @property
    def filter(self) -> LetterFilter:
        """The same for the storage."""
        return LetterFilter(self.stage, self.camera_id, self.service)


class LetterQuery(LetterSelection):
    """Which page of which dead letters is wanted."""

    limit: PageSize = 50
    cursor: Cursor | None = None


async def find(context: ApiContext, asked: LetterQuery) -> DeadLetterPage:
    """Return a page of dead letters."""
    async with context.database.reading() as connection:
        try:
            page = await dead_letters.find(connection, asked.filter, limit=asked.limit, cursor=asked.cursor)
        except BadCursorError as error:
            raise invalid_request(f"cursor: {error}.", "Use the `next_cursor` of the page before.") from error
    return DeadLetterPage(items=tuple(map(schema.dead_letter, page.items)), next_cursor=page.next_cursor)


async def get(context: ApiContext, asked: OneLetter) -> FullDeadLetterObject:
    """Return one dead letter, discarded or not."""
    async with context.database.reading() as connection:
        letter = await dead_letters.get(connection, asked.letter_id)
    if letter is None:
        raise dead_letter_not_found(asked.letter_id)
    return schema.full_dead_letter(letter)


async def replay(context: ApiContext, asked: OneLetter) -> None:
    """Send a dead letter back to its stage."""
    if not await context.replay([asked.letter_id]):
        raise await _no_longer_there(context, asked.letter_id)
    context.server_changed.notify()


async def replay_all(context: ApiContext, asked: LetterSelection) -> Replayed:
    """Send every dead letter of the selection back to its stage."""
    replayed = 0
    async for ids in dead_letters.in_portions(context.database, asked.filter):
        replayed += await context.replay(ids)
        context.server_changed.notify()
    return Replayed(replayed=replayed)


async def discard(context: ApiContext, asked: OneLetter) -> None:
    """Give a dead letter up."""
    async with context.database.writing() as connection:
        found = await dead_letters.discard(connection, [asked.letter_id], context.clock.now())
    if not found:
        raise await _no_longer_there(context, asked.letter_id)
    context.server_changed.notify()


async def discard_all(context: ApiContext, asked: LetterSelection) -> Discarded:
    """Give every dead letter of the selection up."""
    discarded = 0
    async for ids in dead_letters.in_portions(context.database, asked.filter):
        async with context.database.writing() as connection:
            discarded += await dead_letters.discard(connection, ids, context.clock.now())
        context.server_changed.notify()
    return Discarded(discarded=discarded)


async def _no_longer_there(context: ApiContext, letter_id: int) -> ProblemError:
    async with context.database.reading() as connection:
        letter = await dead_letters.get(connection, letter_id)
    return dead_letter_discarded(letter_id) if letter else dead_letter_not_found(letter_id)


_ONE = "/api/dead_letters/{letter_id}"
_GONE = (ProblemCode.DEAD_LETTER_NOT_FOUND, ProblemCode.DEAD_LETTER_DISCARDED)

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/dead_letters",
        summary="Dead letters, newest first",
        scope=Scope.INTEGRATION,
        parameters=LetterQuery,
        answer=DeadLetterPage,
        handler=find,
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/dead_letters",
        summary="Give all dead letters up, or those of a selection",
        scope=Scope.ADMIN,
        parameters=LetterSelection,
        answer=Discarded,
        handler=discard_all,
    ),
    Route(
        method=HTTPMethod.POST,
        path="/api/dead_letters/replay",
        summary="Try all dead letters again, or those of a selection",
        scope=Scope.INTEGRATION,
        parameters=LetterSelection,
        answer=Replayed,
        handler=replay_all,
    ),
    Route(
        path=_ONE,
        summary="One dead letter with its trace",
        scope=Scope.INTEGRATION,
        parameters=OneLetter,
        answer=FullDeadLetterObject,
        handler=get,
        problems=(ProblemCode.DEAD_LETTER_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.DELETE,
        path=_ONE,
        summary="Give a dead letter up",
        scope=Scope.ADMIN,
        parameters=OneLetter,
        answer=NoneType,
        handler=discard,
        problems=_GONE,
    ),
    Route(
        method=HTTPMethod.POST,
        path=f"{_ONE}/replay",
        summary="Try a dead letter again",
        scope=Scope.INTEGRATION,
        parameters=OneLetter,
        answer=NoneType,
        handler=replay,
        problems=_GONE,
    ),
)
