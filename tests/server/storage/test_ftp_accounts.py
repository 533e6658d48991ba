# SPDX-License-Identifier: AGPL-3.0-or-later
"""Accounts of the FTP server in the database."""

from dataclasses import replace

from inference_server.storage import ftp_accounts
from inference_server.storage.ftp_accounts import FtpAccount
from tests.support.home import START, Home

DOOR = FtpAccount("front_door", "Front Door", "scrypt$…", START)
GARAGE = FtpAccount("camera_1", "Гараж", "scrypt$…", START)


async def test_accounts_are_added_changed_and_removed(a_home: Home) -> None:
    async with a_home.database.writing() as connection:
        assert await ftp_accounts.add(connection, DOOR)
        assert await ftp_accounts.add(connection, GARAGE)
        assert not await ftp_accounts.add(connection, replace(DOOR, folder="other"))
    async with a_home.database.writing() as connection:
        assert await ftp_accounts.list_all(connection) == (GARAGE, DOOR)
        assert await ftp_accounts.set_password(connection, "front_door", "scrypt$new")
        assert not await ftp_accounts.set_password(connection, "shed", "scrypt$new")
        assert await ftp_accounts.remove(connection, "camera_1")
        assert not await ftp_accounts.remove(connection, "camera_1")
    async with a_home.database.reading() as connection:
        assert await ftp_accounts.get(connection, "front_door") == replace(DOOR, password_hash="scrypt$new")
        assert await ftp_accounts.get(connection, "camera_1") is None


def test_the_hash_is_not_in_what_is_logged_of_an_account() -> None:
    assert "scrypt" not in repr(DOOR)
