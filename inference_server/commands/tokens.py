# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi tokens`."""

import argparse

from inference_server.commands.command import Commands, opened, row_id
from inference_server.core.clock import SystemClock
from inference_server.settings import Settings
from inference_server.storage import tokens


def register(commands: Commands) -> None:
    """Add the commands."""
    access = commands.add_parser("tokens", help="access: list, create, revoke").add_subparsers(required=True)
    access.add_parser("list", help="every token, without its secret").set_defaults(command=_list)
    create = access.add_parser("create", help="make a token and print it, this once")
    create.add_argument("name", type=_name)
    create.add_argument("--scope", choices=[scope.value for scope in tokens.Scope], default=tokens.Scope.READ.value)
    create.set_defaults(command=_create)
    revoke = access.add_parser("revoke", help="end a token")
    revoke.add_argument("id", type=row_id("hsi tokens list"))
    revoke.set_defaults(command=_revoke)


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("a name has letters, and only characters that can be shown")
    return text


async def _list(_options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.reading() as connection:
        for token in await tokens.list_all(connection):
            state = f"revoked {token.revoked_at:%Y-%m-%d %H:%M}" if token.revoked_at else "valid"
            print(f"{token.id:4} {token.scope:12} {token.created_at:%Y-%m-%d %H:%M} {state:26} {token.name}")
    return 0


async def _create(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.writing() as connection:
        secret = await tokens.create(connection, options.name, tokens.Scope(options.scope), SystemClock().now())
    print(secret)
    return 0


async def _revoke(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.writing() as connection:
        ended = await tokens.revoke(connection, options.id, SystemClock().now())
    print(f"Token {options.id} is revoked." if ended else f"There is no valid token {options.id}: see hsi tokens list.")
    return 0 if ended else 1
