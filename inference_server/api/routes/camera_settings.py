# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the owner sets for each camera."""

from dataclasses import replace
from http import HTTPMethod
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, camera_not_found
from inference_server.api.routes.cameras import OneCamera
from inference_server.api.routing import AnyRoute, Route
from inference_server.api.schema import WireObject
from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.camera import CameraSettings, Mask, checked_name
from inference_server.core.context import CameraPlace
from inference_server.settings import known_time_zone
from inference_server.storage import announcements, camera_settings, cameras
from inference_server.storage.tokens import Scope


class CameraSettingsObject(WireObject):
    """A camera's settings, and by how much its clock is found to be behind ours."""

    name: str
    time_zone: str | None
    ignore_patterns: tuple[str, ...]
    masks: tuple[Mask, ...]
    watch_view: bool
    place: CameraPlace
    leads_to: tuple[str, ...]
    clock_offset_seconds: float | None


class CameraChange(BaseModel):
    """What is to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(checked_name)] = ""
    time_zone: Annotated[str, AfterValidator(known_time_zone)] | None = None
    ignore_patterns: tuple[str, ...] = ()
    masks: tuple[Mask, ...] = ()
    watch_view: bool = True
    place: CameraPlace = CameraPlace.OTHER
    leads_to: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _within_bounds(self) -> "CameraChange":
        CameraSettings(self.time_zone, self.ignore_patterns, self.masks, leads_to=self.leads_to)
        return self


class ChangedCamera(OneCamera):
    """Names a camera, and what is to change."""

    body: CameraChange


async def get(context: ApiContext, asked: OneCamera) -> CameraSettingsObject:
    """Return a camera's settings."""
    async with context.database.reading() as connection:
        return await _object(connection, asked.camera_id)


async def change(context: ApiContext, asked: ChangedCamera) -> CameraSettingsObject:
    """Change a camera's settings; they count for the next picture."""
    changes: dict[str, Any] = {name: getattr(asked.body, name) for name in asked.body.model_fields_set}
    name = changes.pop("name", None)
    async with context.database.writing() as connection:
        await cameras.lock(connection, [asked.camera_id])
        await _object(connection, asked.camera_id)
        settings = await camera_settings.get(connection, asked.camera_id)
        seen_again = await camera_settings.change(connection, asked.camera_id, replace(settings, **changes))
        if name is not None:
            await cameras.rename(connection, asked.camera_id, name)
        answer = await _object(connection, asked.camera_id)
        state = await cameras.state(connection, asked.camera_id, judged=context.detector_status().judges)
        told = Announcement(AnnouncementKind.CAMERA_UPDATED, asked.camera_id, context.clock.now(), state)
        await announcements.add(connection, [told] if name is not None or seen_again else [])
    await context.cameras_changed()
    context.announced.notify()
    return answer


async def _object(connection: AsyncConnection, camera_id: str) -> CameraSettingsObject:
    row = (await cameras.get_many(connection, [camera_id])).get(camera_id)
    if row is None:
        raise camera_not_found(camera_id)
    settings = await camera_settings.get(connection, camera_id)
    return CameraSettingsObject(
        name=row.camera.name,
        time_zone=settings.time_zone,
        ignore_patterns=settings.ignore_patterns,
        masks=settings.masks,
        watch_view=settings.watch_view,
        place=settings.place,
        leads_to=settings.leads_to,
        clock_offset_seconds=(await cameras.clock_offsets(connection)).get(camera_id),
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/cameras/{camera_id}/settings",
        summary="A camera's settings",
        scope=Scope.READ,
        parameters=OneCamera,
        answer=CameraSettingsObject,
        handler=get,
        problems=(ProblemCode.CAMERA_NOT_FOUND,),
    ),
    Route(
        method=HTTPMethod.PATCH,
        path="/api/cameras/{camera_id}",
        summary="Change a camera's settings; what is left out stays",
        scope=Scope.INTEGRATION,
        parameters=ChangedCamera,
        answer=CameraSettingsObject,
        handler=change,
        problems=(ProblemCode.CAMERA_NOT_FOUND, ProblemCode.TOO_SLOW),
    ),
)
