# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the server is doing and what it is."""

from typing import Literal

from inference_server import __version__
from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, ProblemError
from inference_server.api.routing import AnyRoute, Parameters, Route
from inference_server.api.schema import HealthReport, ServerObject, WireObject
from inference_server.api.snapshot import server_object
from inference_server.storage.tokens import Scope


class Alive(WireObject):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str = __version__


class Ready(WireObject):
    """Every part has started."""

    status: Literal["ready"] = "ready"


async def health(_context: ApiContext, _asked: Parameters) -> Alive:
    """Say that the process lives."""
    return Alive()


async def ready(context: ApiContext, _asked: Parameters) -> Ready:
    """Say whether every part has started."""
    if not context.ready():
        raise ProblemError(
            ProblemCode.NOT_READY,
            "The server is still starting, or is stopping.",
            "Ask again in a few seconds; GET /api/system/health/full names the part that is missing.",
            headers={"Retry-After": "5"},
        )
    return Ready()


async def full_health(context: ApiContext, _asked: Parameters) -> HealthReport:
    """Return the health of every part."""
    return HealthReport(
        status=context.health.state,
        version=__version__,
        server_id=context.server_id,
        started_at=context.started_at,
        components=tuple(map(schema.component, context.health.components)),
    )


async def info(context: ApiContext, _asked: Parameters) -> ServerObject:
    """Return the server object."""
    return await server_object(context)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/system/health",
        summary="Liveness",
        scope=None,
        parameters=Parameters,
        answer=Alive,
        handler=health,
    ),
    Route(
        path="/api/system/ready",
        summary="Readiness",
        scope=None,
        parameters=Parameters,
        answer=Ready,
        handler=ready,
        problems=(ProblemCode.NOT_READY,),
    ),
    Route(
        path="/api/system/health/full",
        summary="The health of every part",
        scope=Scope.READ,
        parameters=Parameters,
        answer=HealthReport,
        handler=full_health,
    ),
    Route(
        path="/api/system/info",
        summary="What the server is and what it is busy with",
        scope=Scope.READ,
        parameters=Parameters,
        answer=ServerObject,
        handler=info,
    ),
)
