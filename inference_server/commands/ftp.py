# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi ftp`."""

import argparse
import sys

from inference_server.commands.command import Commands, opened
from inference_server.core.camera import camera_id, is_camera_folder
from inference_server.core.clock import SystemClock
from inference_server.settings import Settings
from inference_server.storage import ftp_accounts
from inference_server.storage.ftp_accounts import FtpAccount
from inference_server.storage.passwords import generate_password, hash_password

SHORTEST, LONGEST = 8, 64


def register(commands: Commands) -> None:
    """Add the commands."""
    ftp = commands.add_parser("ftp", help="accounts: add, list, password, remove").add_subparsers(required=True)
    for name, does, command in (
        ("add", "let a camera upload, and print its user and password, this once", _add),
        ("password", "give a camera's account a new password", _password),
        ("remove", "end a camera's account; its pictures stay", _remove),
    ):
        parser = ftp.add_parser(name, help=does)
        parser.add_argument("camera", type=_camera, help="the camera's id, or the name of its folder")
        if command is not _remove:
            parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
        parser.set_defaults(command=command)
    ftp.add_parser("list", help="every account, without its password").set_defaults(command=_list)


def _camera(text: str) -> str:
    if not is_camera_folder(text):
        raise argparse.ArgumentTypeError(
            "a camera's folder has a name that can be shown, without / and without a dot or a space at its beginning"
        )
    return text


async def _add(options: argparse.Namespace, settings: Settings) -> int:
    if (password := _chosen_password(options)) is None:
        return 1
    name = camera_id(options.camera)
    account = FtpAccount(name, options.camera, hash_password(password), SystemClock().now())
    async with opened(settings) as database, database.writing() as connection:
        added = await ftp_accounts.add(connection, account)
    if not added:
        print(f"{name} has an account: hsi ftp password {name} gives it a new password.", file=sys.stderr)
        return 1
    _show(name, password, options, settings)
    return 0


async def _password(options: argparse.Namespace, settings: Settings) -> int:
    if (password := _chosen_password(options)) is None:
        return 1
    name = camera_id(options.camera)
    async with opened(settings) as database, database.writing() as connection:
        found = await ftp_accounts.set_password(connection, name, hash_password(password))
    if found:
        _show(name, password, options, settings)
        return 0
    return _explain_missing(name)


async def _remove(options: argparse.Namespace, settings: Settings) -> int:
    name = camera_id(options.camera)
    async with opened(settings) as database, database.writing() as connection:
        removed = await ftp_accounts.remove(connection, name)
    if removed:
        print(f"The account {name} is removed.")
        return 0
    return _explain_missing(name)


async def _list(_options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.reading() as connection:
        for account in await ftp_accounts.list_all(connection):
            print(f"{account.name:32} {account.created_at:%Y-%m-%d %H:%M} {account.folder}")
    return 0


def _chosen_password(options: argparse.Namespace) -> str | None:
    """Return the password from standard input or a new one; None when what was given is none, after saying so."""
    if not options.password_stdin:
        return generate_password()
    given = sys.stdin.readline().rstrip("\r\n")
    if SHORTEST <= len(given) <= LONGEST and given.isascii() and given.isprintable() and given == given.strip():
        return given
    print(
        f"A password has {SHORTEST} to {LONGEST} letters, digits and signs of ASCII, and no space at its ends.",
        file=sys.stderr,
    )
    return None


def _show(name: str, password: str, options: argparse.Namespace, settings: Settings) -> None:
    print(f"user      {name}")
    if not options.password_stdin:
        print(f"password  {password}")
    if not settings.ftp.enabled:
        print("The FTP server is off: turn it on with the setting ftp.enabled (HSI_FTP__ENABLED).", file=sys.stderr)


def _explain_missing(name: str) -> int:
    print(f"{name} has no account: see hsi ftp list.", file=sys.stderr)
    return 1
