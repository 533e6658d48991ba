# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi prompts`: works on the database, whether a server runs or not; a running one goes by a change at once."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.commands.command import Commands, opened, row_id
from inference_server.core.clock import SystemClock
from inference_server.core.event import Event
from inference_server.core.prompt import PromptKind, PromptVersion
from inference_server.pipeline.prompting import PromptCases, seed_prompts
from inference_server.risk.prompts.rendering import Installation, PromptTooLong, Rendered, render, render_summary
from inference_server.risk.prompts.text import MOST_CHARACTERS, Prompt, PromptError, read_prompt
from inference_server.risk.weights import WeightsError
from inference_server.settings import Settings
from inference_server.storage import events, prompts
from inference_server.storage.events import EventFilter
from inference_server.storage.prompts import NewPrompt, Removal, TooManyVersionsError
from inference_server.storage.rows import storable

LIST_COMMAND = "hsi prompts list"


def register(commands: Commands) -> None:
    """Add the commands."""
    parser = commands.add_parser("prompts", help="what the language model is told: list, show, add, activate, test")
    actions = parser.add_subparsers(required=True)
    actions.add_parser("list", help="every version, and which ones are in use").set_defaults(command=_list)
    show = _about_kind(actions.add_parser("show", help="the text of a version, or of the one in use"))
    show.add_argument("number", type=row_id(LIST_COMMAND), nargs="?")
    show.set_defaults(command=_show)
    add = _about_kind(actions.add_parser("add", help="check a text and store it as a new version, not in use yet"))
    add.add_argument("file", help="a TOML file as `hsi prompts show` prints it; - is standard input")
    add.add_argument("--note", default="", help="why it was made")
    add.set_defaults(command=_add)
    for name, command, does in (
        ("activate", _activate, "put a version to use; an older one to roll back"),
        ("remove", _remove, "remove a version that was never in use"),
    ):
        chosen = _about_kind(actions.add_parser(name, help=does))
        chosen.add_argument("number", type=row_id(LIST_COMMAND))
        chosen.set_defaults(command=command)
    test = _about_kind(
        actions.add_parser("test", help="show what would be sent about stored events; nothing is written")
    )
    test.add_argument("--number", type=row_id(LIST_COMMAND), help="a version instead of the one in use")
    test.add_argument("--file", help="a text that is not stored; - is standard input")
    test.add_argument("--event", type=row_id("GET /api/events"), action="append", help="an event; may be given again")
    test.add_argument("--newest", type=int, choices=range(1, 21), metavar="1-20", default=1, help="how many events")
    test.add_argument("--hours", type=int, choices=range(1, 169), metavar="1-168", default=24, help="of a summary")
    test.add_argument("--prefix", action="store_true", help="show the prefix too")
    test.set_defaults(command=_test)


def _about_kind(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("kind", type=PromptKind, choices=list(PromptKind))
    return parser


async def _list(_options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database:
        async with database.writing() as connection:
            await seed_prompts(connection, SystemClock())
        async with database.reading() as connection:
            for kind in PromptKind:
                for version in await prompts.of_kind(connection, kind):
                    print(_described(version))
    return 0


def _described(version: PromptVersion) -> str:
    state = "active" if version.active else ""
    by = "shipped" if version.shipped else version.created_by or ""
    note = " ".join(_shown(version.note).split())
    return (
        f"{version.kind:8} {version.number:4} {state:6} {version.created_at:%Y-%m-%d %H:%M} "
        f"{_shown(version.name):24} {_shown(by):12} {note}"
    ).rstrip()


async def _show(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.writing() as connection:
        await seed_prompts(connection, SystemClock())
        version = await _wanted(connection, options.kind, options.number)
    if version is None:
        return _explain_missing(options.kind, options.number)
    print(version.text, end="" if version.text.endswith("\n") else "\n")
    return 0


async def _add(options: argparse.Namespace, settings: Settings) -> int:
    text = await _read_file(options.file)
    prompt = _checked(options.kind, text, options.file)
    if prompt is None or text is None:
        return 1
    new = NewPrompt(kind=options.kind, name=prompt.name, text=text, note=storable(options.note))
    try:
        async with opened(settings) as database, database.writing() as connection:
            await seed_prompts(connection, SystemClock())
            version = await prompts.add(connection, new, SystemClock().now())
    except TooManyVersionsError as error:
        print(f"{error}: remove some that were never used.", file=sys.stderr)
        return 1
    print(f"{version.kind} {version.number} is stored: hsi prompts activate {version.kind} {version.number}")
    return 0


async def _activate(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.writing() as connection:
        version = await prompts.get(connection, options.kind, options.number)
        if version is None:
            return _explain_missing(options.kind, options.number)
        if _checked(options.kind, version.text, f"{options.kind} {options.number}") is None:
            return 1
        await prompts.activate(connection, options.kind, options.number, SystemClock().now())
    print(f"{options.kind} {options.number} is in use from now on.")
    return 0


async def _remove(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.writing() as connection:
        removal = await prompts.remove(connection, options.kind, options.number)
    if removal is Removal.NOT_FOUND:
        return _explain_missing(options.kind, options.number)
    if removal is Removal.IN_USE:
        print("It is or was in use, or came with the product, and stays: activate another one.", file=sys.stderr)
        return 1
    print(f"{options.kind} {options.number} is removed.")
    return 0


async def _test(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database:
        async with database.writing() as connection:
            await seed_prompts(connection, SystemClock())
        async with database.reading() as connection:
            text = await _read_file(options.file) if options.file else await _stored_text(connection, options)
            prompt = None if text is None else _checked(options.kind, text, options.file or options.kind)
            if prompt is None:
                return 1
            try:
                return await _try(connection, prompt, options, settings)
            except (PromptTooLong, WeightsError) as error:
                print(f"{error} {error.remedy}", file=sys.stderr)
                return 1


async def _stored_text(connection: AsyncConnection, options: argparse.Namespace) -> str | None:
    version = await _wanted(connection, options.kind, options.number)
    if version is None:
        _explain_missing(options.kind, options.number)
    return version.text if version else None


async def _try(connection: AsyncConnection, prompt: Prompt, options: argparse.Namespace, settings: Settings) -> int:
    cases = PromptCases(settings.risk, settings.zone, SystemClock())
    installation, budget = Installation(settings.risk.thresholds), settings.risk.prompt_tokens
    if prompt.kind is PromptKind.SUMMARY:
        until = SystemClock().now()
        period = await cases.of_period(connection, until - timedelta(hours=options.hours), until)
        _print(
            f"{options.hours} h", render_summary(period, prompt, budget, installation=installation), options, first=True
        )
        return 0
    found = await _events(connection, options)
    if not found:
        print("There is no such event: GET /api/events lists them.", file=sys.stderr)
        return 1
    for number, event in enumerate(found):
        case = await cases.of_event(connection, event)
        rendered = render(case, prompt, budget, installation=installation)
        _print(f"event {event.id}", rendered, options, first=number == 0)
    return 0


async def _events(connection: AsyncConnection, options: argparse.Namespace) -> Sequence[Event]:
    if options.event:
        return await events.get_many(connection, options.event)
    return (await events.find(connection, EventFilter(), limit=options.newest, cursor=None)).items


def _print(what: str, rendered: Rendered, options: argparse.Namespace, *, first: bool) -> None:
    if first and options.prefix:
        print(f"{rendered.prefix}\n")
    left_out = f"; left out: {', '.join(rendered.left_out)}" if rendered.left_out else ""
    print(f"--- {what}: about {rendered.tokens} tokens{left_out}\n{rendered.prompt}")


async def _wanted(connection: AsyncConnection, kind: PromptKind, number: int | None) -> PromptVersion | None:
    return await (prompts.active(connection, kind) if number is None else prompts.get(connection, kind, number))


async def _read_file(name: str) -> str | None:
    """Return what a file holds; None where that is no text, after saying so. Raises OSError."""
    try:
        if name == "-":
            return sys.stdin.read(MOST_CHARACTERS + 1)
        return await asyncio.to_thread(_beginning, Path(name))
    except UnicodeDecodeError:
        print(f"{name} is no text in UTF-8.", file=sys.stderr)
        return None


def _beginning(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(MOST_CHARACTERS + 1)


def _checked(kind: PromptKind, text: str | None, name: str) -> Prompt | None:
    """Return the prompt in a text, after telling its warnings; None where it is none, after saying why."""
    if text is None:
        return None
    try:
        prompt = read_prompt(kind, text)
    except PromptError as error:
        print(f"{name}: {error}. {error.remedy}", file=sys.stderr)
        return None
    for warning in prompt.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    return prompt


def _explain_missing(kind: PromptKind, number: int | None) -> int:
    print(f"There is no version {number} of the prompt {kind}: see {LIST_COMMAND}.", file=sys.stderr)
    return 1


def _shown(text: str) -> str:
    """Return text on one line that does nothing to a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
