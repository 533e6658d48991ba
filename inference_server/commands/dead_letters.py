# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi dead-letters`: works on the database, whether a server runs or not."""

import argparse
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from inference_server.commands.command import Commands, opened, row_id
from inference_server.core.clock import SystemClock
from inference_server.core.message import DeadLetter, StageName
from inference_server.pipeline.sql_broker import SqlBroker
from inference_server.settings import Settings
from inference_server.storage import dead_letters, frames
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.dead_letters import LetterFilter

LIST_COMMAND = "hsi dead-letters list"
_TIME = "%Y-%m-%d %H:%M:%S UTC"

type Act = Callable[[Sequence[int]], Awaitable[int]]
"""Does something to the dead letters with these ids and returns how many there were."""


def register(commands: Commands) -> None:
    """Add the commands."""
    parser = commands.add_parser("dead-letters", help="work that failed for good: list, show, replay, discard")
    letters = parser.add_subparsers(required=True)
    listing = letters.add_parser("list", help="why each one failed, the newest first")
    listing.add_argument("--limit", type=_limit, default=50, help="how many are shown (default 50)")
    _add_filter(listing)
    listing.set_defaults(command=_list)
    show = letters.add_parser("show", help="everything that is known of one")
    show.add_argument("id", type=row_id(LIST_COMMAND))
    show.set_defaults(command=_show)
    for name, act, explanation in (
        ("replay", _replay, "try again: these, those of a selection, or all"),
        ("discard", _discard, "give up for ever: these, those of a selection, or all"),
    ):
        chosen = letters.add_parser(name, help=explanation)
        chosen.add_argument("ids", type=row_id(LIST_COMMAND), nargs="*", metavar="ID")
        chosen.add_argument("--all", action="store_true")
        _add_filter(chosen)
        chosen.set_defaults(command=act)


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", type=StageName, choices=list(StageName))
    parser.add_argument("--camera", type=_name, help="the id of a camera")
    parser.add_argument("--service", type=_name, help="the model service that was to blame, for instance detector")


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+", text):
        raise argparse.ArgumentTypeError(f"a name as {LIST_COMMAND} shows it has small letters, digits and _")
    return text


def _limit(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError("a limit is a number from 1 to 999999")
    return int(text)


def _filter(options: argparse.Namespace) -> LetterFilter:
    return LetterFilter(options.stage, options.camera, options.service)


async def _list(options: argparse.Namespace, settings: Settings) -> int:
    wanted = _filter(options)
    async with opened(settings) as database, database.reading() as connection:
        page = await dead_letters.find(connection, wanted, limit=options.limit)
        count = await dead_letters.count(connection, wanted)
        discarded = await dead_letters.count_discarded(connection)
    for letter in page.items:
        work, failure = letter.work, letter.failure
        blamed = f"[{failure.service}] " if failure.service else ""
        print(f"{letter.id:6} {letter.died_at:%Y-%m-%d %H:%M} {work.stage:7} {work.camera_id} {blamed}", end="")
        print(_shown(failure.reason)[:200])
    print(f"Shown: {len(page.items)} of {count} dead letters. Discarded: {discarded}.")
    return 0


async def _show(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database, database.reading() as connection:
        letter = await dead_letters.get(connection, options.id)
        if letter is None:
            return _explain_missing([options.id])
        about_frame = letter.work.stage.is_about_frames
        frame = await frames.get(connection, letter.work.subject_id) if about_frame else None
    media = DataFolder(settings.data_dir).media
    for name, value in _details(letter, media / frame.media_path if frame else None).items():
        print(f"{name:10} {_shown(value)}")
    print("\n".join(map(_shown, (letter.failure.trace or "No trace was kept.").splitlines())))
    return 0


def _details(letter: DeadLetter, picture: Path | None) -> dict[str, str]:
    work = letter.work
    details = {
        "id": str(letter.id),
        "stage": work.stage.value,
        "subject": f"{'frame' if work.stage.is_about_frames else 'event'} {work.subject_id}",
        "camera": work.camera_id,
        "reason": letter.failure.reason,
        "service": letter.failure.service or "none to blame",
        "attempts": str(letter.attempts),
        "replays": str(letter.replays),
        "enqueued": letter.enqueued_at.strftime(_TIME),
        "died": letter.died_at.strftime(_TIME),
    }
    if letter.discarded_at:
        details["discarded"] = letter.discarded_at.strftime(_TIME)
    if picture:
        details["picture"] = str(picture)
    return details


async def _replay(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database:
        return await _act(options, database, SqlBroker(database, SystemClock()).replay, "Sent back to their stages")


async def _discard(options: argparse.Namespace, settings: Settings) -> int:
    async with opened(settings) as database:

        async def discard(ids: Sequence[int]) -> int:
            async with database.writing() as connection:
                return await dead_letters.discard(connection, ids, SystemClock().now())

        return await _act(options, database, discard, "Discarded")


async def _act(options: argparse.Namespace, database: Database, act: Act, done: str) -> int:
    """Act on what the options choose and say on how many; 2 if they choose nothing or two things."""
    wanted = _filter(options)
    if [bool(options.ids), options.all, wanted != dead_letters.EVERY].count(True) != 1:
        print("Name ids, or --all, or a selection (--stage, --camera, --service).", file=sys.stderr)
        return 2
    if options.ids:
        ids = dict.fromkeys(options.ids)
        missing = [letter_id for letter_id in ids if not await act([letter_id])]
        print(f"{done}: {len(ids) - len(missing)}.")
        return _explain_missing(missing) if missing else 0
    count = 0
    async for portion in dead_letters.in_portions(database, wanted):
        count += await act(portion)
    print(f"{done}: {count}.")
    return 0


def _explain_missing(ids: Sequence[int]) -> int:
    for letter_id in ids:
        print(f"There is no dead letter {letter_id}: see {LIST_COMMAND}.", file=sys.stderr)
    return 1


def _shown(text: str) -> str:
    """Return text on one line that does nothing to a terminal, whatever a name in it holds."""
    return "".join(character if character.isprintable() else " " for character in text)
