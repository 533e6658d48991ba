# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line: hsi serve | models | tokens."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from pydantic import ValidationError
from pydantic_settings import SettingsError

from inference_server import __version__
from inference_server.api.server import CannotListenError
from inference_server.app import serve
from inference_server.core.clock import SystemClock
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ModelStore
from inference_server.observability.logs import configure_logs
from inference_server.settings import ENVIRONMENT_PREFIX, Settings
from inference_server.storage import tokens
from inference_server.storage.data_folder import DataFolder, DataFolderError
from inference_server.storage.database import Database, DatabaseUnusableError
from inference_server.storage.rows import LARGEST_ID

type Command = Callable[[argparse.Namespace, Settings], Awaitable[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Return 0, 1 for a failure that was explained, 2 for a wrong call or setting."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings()
    except (ValidationError, SettingsError) as error:
        print(_explain(error), file=sys.stderr)
        return 2
    configure_logs(settings.log_level)
    command: Command = options.command
    try:
        return asyncio.run(_await(command(options, settings)))
    except (CannotListenError, DataFolderError, DatabaseUnusableError, ModelUnavailable, OSError) as error:
        remedy = f" {error.remedy}" if isinstance(error, ModelUnavailable) else ""
        print(f"{error}{remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


async def _await(result: Awaitable[int]) -> int:
    return await result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hsi", description="Home Security Intelligence: the inference server.")
    parser.add_argument("--version", action="version", version=f"hsi {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("serve", help="watch cameras and serve until stopped").set_defaults(command=_serve)

    models = commands.add_parser("models", help="weights: list, pull, verify").add_subparsers(required=True)
    models.add_parser("list", help="every model and whether it is installed").set_defaults(command=_models_list)
    pull = models.add_parser("pull", help="install a model, or the detector that the settings mean")
    pull.add_argument("model", nargs="?")
    pull.set_defaults(command=_models_pull)
    verify = models.add_parser("verify", help="check a model's files")
    verify.add_argument("model")
    verify.set_defaults(command=_models_verify)

    access = commands.add_parser("tokens", help="access: list, create, revoke").add_subparsers(required=True)
    access.add_parser("list", help="every token, without its secret").set_defaults(command=_tokens_list)
    create = access.add_parser("create", help="make a token and print it, this once")
    create.add_argument("name", type=_token_name)
    create.add_argument("--scope", choices=[scope.value for scope in tokens.Scope], default=tokens.Scope.READ.value)
    create.set_defaults(command=_tokens_create)
    revoke = access.add_parser("revoke", help="end a token")
    revoke.add_argument("id", type=_token_id)
    revoke.set_defaults(command=_tokens_revoke)
    return parser


def _token_name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("a name has letters, and only characters that can be shown")
    return text


def _token_id(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= LARGEST_ID:
        raise argparse.ArgumentTypeError("a token's id is a number of the list that hsi tokens list shows")
    return number


async def _serve(_options: argparse.Namespace, settings: Settings) -> int:
    await serve(settings)
    return 0


async def _models_list(_options: argparse.Namespace, settings: Settings) -> int:
    for state in ModelStore(settings.models_folder).states():
        where = state.path or "not installed"
        print(f"{state.entry.id:14} {state.entry.name:14} {state.entry.licence:24} {where}")
    return 0


async def _models_pull(options: argparse.Namespace, settings: Settings) -> int:
    store = ModelStore(settings.models_folder)
    if options.model:
        print(await store.pull(options.model, _progress))
        return 0
    resolved = await store.resolve(settings.detector)
    if resolved.message:
        print(resolved.message, file=sys.stderr)
    print(resolved.path)
    return 0


async def _models_verify(options: argparse.Namespace, settings: Settings) -> int:
    checks = ModelStore(settings.models_folder).verify(options.model)
    if not checks:
        print(f"{options.model} is not installed: run hsi models pull {options.model}.", file=sys.stderr)
    for check in checks:
        print(f"{'ok' if check.ok else 'WRONG':6} {check.path}: {check.detail}")
    return 0 if checks and all(check.ok for check in checks) else 1


async def _tokens_list(_options: argparse.Namespace, settings: Settings) -> int:
    database = await _open(settings)
    async with database.reading() as connection:
        for token in await tokens.list_all(connection):
            state = f"revoked {token.revoked_at:%Y-%m-%d %H:%M}" if token.revoked_at else "valid"
            print(f"{token.id:4} {token.scope:12} {token.created_at:%Y-%m-%d %H:%M} {state:26} {token.name}")
    await database.close()
    return 0


async def _tokens_create(options: argparse.Namespace, settings: Settings) -> int:
    database = await _open(settings)
    async with database.writing() as connection:
        secret = await tokens.create(connection, options.name, tokens.Scope(options.scope), SystemClock().now())
    await database.close()
    print(secret)
    return 0


async def _tokens_revoke(options: argparse.Namespace, settings: Settings) -> int:
    database = await _open(settings)
    async with database.writing() as connection:
        ended = await tokens.revoke(connection, options.id, SystemClock().now())
    await database.close()
    print(f"Token {options.id} is revoked." if ended else f"There is no valid token {options.id}: see hsi tokens list.")
    return 0 if ended else 1


async def _open(settings: Settings) -> Database:
    folder = DataFolder(settings.data_dir)
    folder.prepare()
    database = Database(folder.database)
    await database.open()
    return database


def _progress(done: int, total: int | None) -> None:
    share = f"{done / total:4.0%}" if total else f"{done / 1e6:.1f} MB"
    print(f"\r{share}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _explain(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return f"The settings cannot be read: {error}"
    lines = ["The settings are wrong:"]
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        variable = ENVIRONMENT_PREFIX + "__".join(str(part) for part in problem["loc"]).upper()
        lines.append(f"  {path}: {problem['msg']} (environment: {variable})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
