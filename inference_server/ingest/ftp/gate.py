# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gate of the FTP server: which account a name and a password open, and in which folder it is at home."""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from inference_server.core.camera import camera_id, is_camera_folder
from inference_server.storage import ftp_accounts
from inference_server.storage.database import Database
from inference_server.storage.ftp_accounts import FtpAccount
from inference_server.storage.passwords import generate_password, hash_password, matches

_LOGGER = logging.getLogger(__name__)

LONGEST_PASSWORD = 200
"""What is longer is no password of ours and is not hashed."""


class FolderUnusableError(Exception):
    """An account's folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Login:
    """A login that succeeded: the account, and its folder, which exists and lies directly below the watch root."""

    account: FtpAccount
    folder: Path


class Gate:
    """Checks logins against the database, so that a changed account counts at once."""

    def __init__(self, database: Database, root: Path, threads: Executor) -> None:
        """Take the watch root, and where passwords are hashed."""
        self._database = database
        self._root = root
        self._threads = threads
        self._secret = secrets.token_bytes()
        self._proven: dict[str, bytes] = {}
        self._nobody: str | None = None

    async def enter(self, name: str, password: str) -> Login | None:
        """Return the login, or None for a wrong name or password, which take equally long.

        Raises FolderUnusableError after a right password, and STORAGE_FAILURES.
        """
        async with self._database.reading() as connection:
            account = await ftp_accounts.get(connection, name)
        if not await self._is_right(account, password) or account is None:
            return None
        folder = await self._in_thread(_home, self._root, account)
        return Login(account, folder)

    async def accounts(self) -> Mapping[str, FtpAccount]:
        """Return every account, by name."""
        async with self._database.reading() as connection:
            return {account.name: account for account in await ftp_accounts.list_all(connection)}

    async def _is_right(self, account: FtpAccount | None, password: str) -> bool:
        if len(password) > LONGEST_PASSWORD:
            return False
        if account is None:
            if self._nobody is None:
                self._nobody = await self._in_thread(hash_password, generate_password())
            await self._in_thread(matches, password, self._nobody)
            return False
        # most cameras log in for each picture: what was proven once is not hashed slowly again
        proof = self._proof(account, password)
        if hmac.compare_digest(self._proven.get(account.name, b""), proof):
            return True
        if not await self._in_thread(matches, password, account.password_hash):
            _LOGGER.warning("A wrong password was sent for the FTP account %s", account.name)
            return False
        self._proven[account.name] = proof
        return True

    def _proof(self, account: FtpAccount, password: str) -> bytes:
        said = f"{account.password_hash}\0{password}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(said, key=self._secret).digest()

    async def _in_thread[*Arguments, Result](
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _home(root: Path, account: FtpAccount) -> Path:
    """Return an account's folder, made where it is missing. Raises FolderUnusableError."""
    if not is_camera_folder(account.folder):
        raise FolderUnusableError(f"The folder {account.folder!r} of the account {account.name} is no camera's folder.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = root.resolve() / account.folder
        if not folder.exists():
            folder = _same_camera(root.resolve(), account.name) or folder
        folder.mkdir(exist_ok=True)
        if folder.resolve() != folder:
            raise FolderUnusableError(f"{folder} is a link: mount the folder there.")
    except OSError as error:
        raise FolderUnusableError(
            f"{error.filename} cannot be used ({error.strerror}): check owner and permissions of the watch folder."
        ) from error
    return folder


def _same_camera(root: Path, camera: str) -> Path | None:
    """Return the folder that a camera already has under another spelling of its name."""
    return next((path for path in sorted(root.iterdir()) if path.is_dir() and camera_id(path.name) == camera), None)
