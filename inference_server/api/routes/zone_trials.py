# SPDX-License-Identifier: AGPL-3.0-or-later
"""Trials: which stored detections a zone holds, or would hold, and why others are not in it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPMethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, zone_not_found
from inference_server.api.routes.cameras import OneCamera
from inference_server.api.routes.zones import NOT_FOUND, ZONES, ZoneBody, check_camera
from inference_server.api.routing import AnyRoute, Route, RowId
from inference_server.api.schema import DetectionObject, WireObject, detections
from inference_server.core.detection import Sighting
from inference_server.core.zone import Zone, ranked, zone_of
from inference_server.storage import frames, zones
from inference_server.storage.rows import LARGEST_ID
from inference_server.storage.tokens import Scope

MOST_SHOWN = 500
"""Detections that a test names one by one."""


class ZoneTrial(BaseModel):
    """A zone that may not be stored, and the stored pictures that it is tried on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    zone: ZoneBody
    zone_id: RowId | None = None
    """The stored zone that it would be instead of."""
    hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    frames: Annotated[int, Field(ge=1, le=200)] = 50


class TriedZone(OneCamera):
    """Names a camera, and a zone to try."""

    body: ZoneTrial


class TriedDetection(DetectionObject):
    """A detection, and why it is not in the zone; null when it is."""

    objection: str | None


class ZoneTrialResult(WireObject):
    """How many stored detections would be in a zone and how many not; the newest of them one by one."""

    frames: int
    inside: int
    outside: int
    items: tuple[TriedDetection, ...]


async def attempt(context: ApiContext, asked: TriedZone) -> ZoneTrialResult:
    """Say which stored detections would be in a zone, among the zones that there are."""
    trial = asked.body
    since = context.clock.now() - timedelta(hours=trial.hours)
    async with context.database.reading() as connection:
        await check_camera(connection, asked.camera_id)
        known = await zones.of_camera(connection, asked.camera_id)
        if trial.zone_id is not None and trial.zone_id not in {zone.id for zone in known}:
            raise zone_not_found(asked.camera_id, trial.zone_id)
        seen = await frames.recent(connection, asked.camera_id, since=since, limit=trial.frames)
    tried = Zone(trial.zone_id or LARGEST_ID, asked.camera_id, trial.zone.shape())
    return await asyncio.to_thread(_trial_of, tried, ranked([*(z for z in known if z.id != tried.id), tried]), seen)


def _trial_of(tried: Zone, order: tuple[Zone, ...], seen: Sequence[Sighting]) -> ZoneTrialResult:
    items = [item for sighting in seen for item in _tried(sighting, tried, order)]
    inside = sum(item.objection is None for item in items)
    return ZoneTrialResult(
        frames=len(seen), inside=inside, outside=len(items) - inside, items=tuple(items[:MOST_SHOWN])
    )


def _tried(sighting: Sighting, tried: Zone, order: tuple[Zone, ...]) -> list[TriedDetection]:
    return [
        TriedDetection(**dict(shown), objection=_objection(sighting, number, tried, order))
        for number, shown in enumerate(detections([sighting]))
    ]


def _objection(sighting: Sighting, number: int, tried: Zone, order: tuple[Zone, ...]) -> str | None:
    found = sighting.detections[number]
    objection = tried.shape.objection(found, sighting.width, sighting.height)
    if objection is not None:
        return objection
    if not tried.shape.enabled:
        return "the zone is not enabled"
    winner = zone_of(found, sighting.width, sighting.height, order)
    if winner is not None and winner != tried:
        return f'the zone "{winner.shape.name}" has precedence there'
    return None


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method=HTTPMethod.POST,
        path=f"{ZONES}/test",
        summary="Which stored detections would be in a zone, and why others are not",
        scope=Scope.READ,
        parameters=TriedZone,
        answer=ZoneTrialResult,
        handler=attempt,
        problems=(*NOT_FOUND, ProblemCode.TOO_SLOW),
    ),
)
