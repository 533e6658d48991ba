# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backups that the server makes and keeps."""

import asyncio
from http import HTTPMethod
from types import NoneType
from typing import Annotated

from pydantic import Field

from inference_server.api import schema
from inference_server.api.context import ApiContext
from inference_server.api.files import StoredFile
from inference_server.api.problems import ProblemCode, ProblemError, backup_not_found
from inference_server.api.routing import AnyRoute, Parameters, Route
from inference_server.api.schema import BackupObject, RunningBackupObject, WireObject
from inference_server.core.backup import BackupBusyError, DiskNearlyFullError
from inference_server.storage.tokens import Scope

BackupName = Annotated[str, Field(pattern=r"^[a-z]+-[0-9TZ]+\.tar(\.encrypted)?$", max_length=64)]


class BackupList(WireObject):
    """The backups that are done, newest first, and the one that is being made."""

    items: tuple[BackupObject, ...]
    running: RunningBackupObject | None


class NewBackup(Parameters):
    """What a backup is to hold."""

    media: Annotated[bool | None, Field(description="With pictures and clips; else as the setting says.")] = None


class OneBackup(Parameters):
    """Names a backup."""

    name: BackupName


async def list_all(context: ApiContext, _asked: Parameters) -> BackupList:
    """Return every backup."""
    done = await asyncio.to_thread(context.backups.list_all)
    running = context.backups.running
    return BackupList(
        items=tuple(map(schema.backup, done)), running=None if running is None else schema.running_backup(running)
    )


async def create(context: ApiContext, asked: NewBackup) -> RunningBackupObject:
    """Let a backup be made."""
    try:
        return schema.running_backup(context.backups.ask(media=asked.media))
    except BackupBusyError as error:
        raise ProblemError(
            ProblemCode.BACKUP_RUNNING,
            "Another backup is being made.",
            "Ask again when it is done; GET /api/system/backups tells.",
            headers={"Retry-After": "60"},
        ) from error
    except DiskNearlyFullError as error:
        raise ProblemError(
            ProblemCode.DISK_NEARLY_FULL,
            f"There is not enough space for a backup: {error}",
            "Free space, delete old backups, or write one to another disk with hsi backup --output.",
        ) from error


async def remove(context: ApiContext, asked: OneBackup) -> None:
    """Remove a backup."""
    if not await asyncio.to_thread(context.backups.remove, asked.name):
        raise backup_not_found(asked.name)


async def archive(context: ApiContext, asked: OneBackup) -> StoredFile:
    """Return a backup's file."""
    if (file := await asyncio.to_thread(context.backups.path, asked.name)) is None:
        raise backup_not_found(asked.name)
    return StoredFile(file, to_save=True)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/system/backups",
        summary="The backups that the server keeps",
        scope=Scope.ADMIN,
        parameters=Parameters,
        answer=BackupList,
        handler=list_all,
    ),
    Route(
        method=HTTPMethod.POST,
        path="/api/system/backups",
        summary="Make a backup; the list tells when it is done",
        scope=Scope.ADMIN,
        parameters=NewBackup,
        answer=RunningBackupObject,
        handler=create,
        problems=(ProblemCode.BACKUP_RUNNING, ProblemCode.DISK_NEARLY_FULL),
        later=True,
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/system/backups/{name}",
        summary="Remove a backup",
        scope=Scope.ADMIN,
        parameters=OneBackup,
        answer=NoneType,
        handler=remove,
        problems=(ProblemCode.BACKUP_NOT_FOUND,),
    ),
    Route(
        path="/api/system/backups/{name}/archive",
        summary="Download a backup, whole or in part",
        scope=Scope.ADMIN,
        parameters=OneBackup,
        answer=StoredFile,
        handler=archive,
        problems=(ProblemCode.BACKUP_NOT_FOUND,),
    ),
)
