# SPDX-License-Identifier: AGPL-3.0-or-later
"""The state of the home, which Home Assistant tells."""

from datetime import datetime
from http import HTTPMethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from inference_server.api.context import ApiContext
from inference_server.api.routing import AnyRoute, Parameters, Route
from inference_server.api.schema import WireObject
from inference_server.core.context import AlarmState, HomeContext, Mode
from inference_server.storage import home_context
from inference_server.storage.tokens import Scope

MOST_PEOPLE = 1000


class HomeContextObject(WireObject):
    """What was told last; null is unknown."""

    mode: Mode | None
    people_home: int | None
    alarm: AlarmState | None
    sun_is_up: bool | None
    quiet_hours: bool | None
    told_at: datetime | None
    """Null while nobody ever told."""
    stale: bool
    """Whether that is too long ago to be relied on."""


class ToldContext(BaseModel):
    """All that is known of the home now; what is left out is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode | None = None
    people_home: Annotated[int, Field(ge=0, le=MOST_PEOPLE)] | None = None
    alarm: AlarmState | None = None
    sun_is_up: bool | None = None
    quiet_hours: bool | None = None


class TellContext(Parameters):
    """The state of the home."""

    body: ToldContext


async def get(context: ApiContext, _asked: Parameters) -> HomeContextObject:
    """Return what was told last."""
    async with context.database.reading() as connection:
        told = await home_context.get(connection)
    return _object(context, told)


async def tell(context: ApiContext, asked: TellContext) -> HomeContextObject:
    """Take in the state of the home; the next judgement goes by it."""
    body = asked.body
    told = HomeContext(context.clock.now(), body.mode, body.people_home, body.alarm, body.sun_is_up, body.quiet_hours)
    async with context.database.writing() as connection:
        await home_context.tell(connection, told)
    return _object(context, told)


def _object(context: ApiContext, told: HomeContext | None) -> HomeContextObject:
    if told is None:
        return HomeContextObject(
            mode=None, people_home=None, alarm=None, sun_is_up=None, quiet_hours=None, told_at=None, stale=True
        )
    return HomeContextObject(
        mode=told.mode,
        people_home=told.people_home,
        alarm=told.alarm,
        sun_is_up=told.sun_is_up,
        quiet_hours=told.quiet_hours,
        told_at=told.told_at,
        stale=told.is_stale(context.clock.now()),
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/context",
        summary="The state of the home as it was told last",
        scope=Scope.READ,
        parameters=Parameters,
        answer=HomeContextObject,
        handler=get,
    ),
    Route(
        method=HTTPMethod.PUT,
        path="/api/context",
        summary="Tell the state of the home; what is left out is unknown",
        scope=Scope.INTEGRATION,
        parameters=TellContext,
        answer=HomeContextObject,
        handler=tell,
    ),
)
