# SPDX-License-Identifier: AGPL-3.0-or-later
"""The web application: routes, authentication, feed and WebSocket, put together."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from inference_server.api import middlewares, openapi, websocket
from inference_server.api.authentication import AUTHENTICATOR, Authenticator
from inference_server.api.bodies import BODY_LIMITS, MAX_BODY
from inference_server.api.context import CONTEXT, ApiContext
from inference_server.api.feed import FEED, Feed
from inference_server.api.routes import (
    assessments,
    backups,
    camera_settings,
    cameras,
    clips,
    dead_letters,
    events,
    feedback,
    frames,
    ftp,
    habits,
    hardware,
    home_context,
    incidents,
    judging,
    models,
    prompt_trials,
    prompts,
    refusals,
    stationary,
    storage,
    summaries,
    system,
    trash,
    uploads,
    views,
    zone_trials,
    zones,
)
from inference_server.api.routing import PICTURE_TURNS, AnyRoute, register
from inference_server.api.throttle import Throttle

_RESOURCES: tuple[AnyRoute, ...] = (
    *system.ROUTES,
    *backups.ROUTES,
    *cameras.ROUTES,
    *camera_settings.ROUTES,
    *home_context.ROUTES,
    *zone_trials.ROUTES,
    *zones.ROUTES,
    *stationary.ROUTES,
    *habits.ROUTES,
    *prompts.ROUTES,
    *prompt_trials.ROUTES,
    *views.ROUTES,
    *uploads.ROUTES,
    *events.ROUTES,
    *assessments.ROUTES,
    *feedback.ROUTES,
    *judging.ROUTES,
    *trash.ROUTES,
    *incidents.ROUTES,
    *summaries.ROUTES,
    *frames.ROUTES,
    *clips.ROUTES,
    *refusals.ROUTES,
    *ftp.ROUTES,
    *dead_letters.ROUTES,
    *storage.ROUTES,
    *models.ROUTES,
    *hardware.ROUTES,
)

ROUTES: tuple[AnyRoute, ...] = (*_RESOURCES, openapi.route(_RESOURCES))
"""Every route of the REST interface."""


def create_application(context: ApiContext) -> web.Application:
    """Return the application; the database must be open when it starts."""
    application = web.Application(
        middlewares=(middlewares.log, middlewares.problems, middlewares.body_limit),
        client_max_size=MAX_BODY,
    )
    throttle = Throttle(context.clock, context.limits.refusals_per_minute)
    application[CONTEXT] = context
    application[AUTHENTICATOR] = Authenticator(context.database, throttle)
    application[FEED] = Feed(context)
    application[BODY_LIMITS] = {}
    application[PICTURE_TURNS] = asyncio.Semaphore(context.limits.pictures_at_once)
    application[websocket.OPEN_SOCKETS] = set()
    register(application, ROUTES)
    application.router.add_get(websocket.PATH, websocket.handle, allow_head=False)
    application.on_response_prepare.append(middlewares.safe_headers)
    application.on_shutdown.append(websocket.close_all)
    application.cleanup_ctx.append(_running_feed)
    return application


async def _running_feed(application: web.Application) -> AsyncIterator[None]:
    await application[FEED].start()
    yield
    await application[FEED].stop()
