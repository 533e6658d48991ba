# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries on the accounts of the FTP server: one per camera, whose id is its name."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.storage import rows
from inference_server.storage.rows import AnyRow
from inference_server.storage.tables import ftp_accounts


@dataclass(frozen=True, slots=True)
class FtpAccount:
    """An account. Its folder lies directly below the watch root; its password is kept as a hash."""

    name: str
    folder: str
    password_hash: str = field(repr=False)
    created_at: datetime


async def add(connection: AsyncConnection, account: FtpAccount) -> bool:
    """Add an account. Return False, changing nothing, when there is one of this name."""
    statement = rows.insert(connection, ftp_accounts).values(
        name=account.name,
        folder=account.folder,
        password_hash=account.password_hash,
        created_at=account.created_at,
    )
    return (await connection.execute(statement.on_conflict_do_nothing())).rowcount > 0


async def get(connection: AsyncConnection, name: str) -> FtpAccount | None:
    """Return the account of this name, if there is one."""
    row = (await connection.execute(select(ftp_accounts).where(ftp_accounts.c.name == name))).one_or_none()
    return _account(row) if row else None


async def list_all(connection: AsyncConnection) -> tuple[FtpAccount, ...]:
    """Return every account, by name."""
    found = await connection.execute(select(ftp_accounts).order_by(ftp_accounts.c.name))
    return tuple(_account(row) for row in found)


async def set_password(connection: AsyncConnection, name: str, password_hash: str) -> bool:
    """Replace an account's password. Return whether there is such an account."""
    statement = update(ftp_accounts).where(ftp_accounts.c.name == name).values(password_hash=password_hash)
    return (await connection.execute(statement)).rowcount > 0


async def remove(connection: AsyncConnection, name: str) -> bool:
    """Remove an account; its folder and pictures stay. Return whether there was one."""
    return (await connection.execute(delete(ftp_accounts).where(ftp_accounts.c.name == name))).rowcount > 0


def _account(row: AnyRow) -> FtpAccount:
    return FtpAccount(row.name, row.folder, row.password_hash, row.created_at)
