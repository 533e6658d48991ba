# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts of the FTP server."""

import asyncio
from http import HTTPMethod
from types import NoneType

from inference_server.api.context import ApiContext
from inference_server.api.problems import ProblemCode, ftp_account_not_found, invalid_request
from inference_server.api.routing import AnyRoute, CameraId, Parameters, Route
from inference_server.api.schema import UtcTime, WireObject
from inference_server.core.camera import camera_id
from inference_server.storage import ftp_accounts
from inference_server.storage.ftp_accounts import FtpAccount
from inference_server.storage.passwords import generate_password, hash_password
from inference_server.storage.tokens import Scope


class FtpAccountObject(WireObject):
    """An account, without its password. The user's name is the camera's id."""

    user: str
    folder: str
    created_at: UtcTime


class FtpAccountList(WireObject):
    """Every account, by name."""

    items: tuple[FtpAccountObject, ...]


class FtpPassword(WireObject):
    """What a camera logs in with; the password is shown this once."""

    user: str
    password: str


class OneAccount(Parameters):
    """Names the camera of an account; it need not have sent a picture yet."""

    camera_id: CameraId


async def list_all(context: ApiContext, _asked: Parameters) -> FtpAccountList:
    """Return every account."""
    async with context.database.reading() as connection:
        accounts = await ftp_accounts.list_all(connection)
    return FtpAccountList(
        items=tuple(FtpAccountObject(user=one.name, folder=one.folder, created_at=one.created_at) for one in accounts)
    )


async def add(context: ApiContext, asked: OneAccount) -> FtpPassword:
    """Make a camera's account, or give it a new password."""
    name = asked.camera_id
    if camera_id(name) != name:
        raise invalid_request(f'No camera has the id "{name}".', f'Use "{camera_id(name)}".')
    password = generate_password()
    hashed = await asyncio.to_thread(hash_password, password)
    async with context.database.writing() as connection:
        if not await ftp_accounts.add(connection, FtpAccount(name, name, hashed, context.clock.now())):
            await ftp_accounts.set_password(connection, name, hashed)
    return FtpPassword(user=name, password=password)


async def remove(context: ApiContext, asked: OneAccount) -> None:
    """Remove an account; the camera's pictures stay."""
    async with context.database.writing() as connection:
        if not await ftp_accounts.remove(connection, asked.camera_id):
            raise ftp_account_not_found(asked.camera_id)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        path="/api/ftp/accounts",
        summary="Accounts of the FTP server",
        scope=Scope.ADMIN,
        parameters=Parameters,
        answer=FtpAccountList,
        handler=list_all,
    ),
    Route(
        method=HTTPMethod.POST,
        path="/api/ftp/accounts/{camera_id}",
        summary="Make a camera's account on the FTP server, or give it a new password, which is shown this once",
        scope=Scope.ADMIN,
        parameters=OneAccount,
        answer=FtpPassword,
        handler=add,
    ),
    Route(
        method=HTTPMethod.DELETE,
        path="/api/ftp/accounts/{camera_id}",
        summary="Remove a camera's account on the FTP server; its pictures stay",
        scope=Scope.ADMIN,
        parameters=OneAccount,
        answer=NoneType,
        handler=remove,
        problems=(ProblemCode.FTP_ACCOUNT_NOT_FOUND,),
    ),
)
