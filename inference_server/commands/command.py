# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the commands share."""

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from inference_server.settings import Settings
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.rows import LARGEST_ID

type Command = Callable[[argparse.Namespace, Settings], Awaitable[int]]
"""Does the work and returns the exit status: 0, or 1 for a failure that was explained."""


class Commands(Protocol):
    """Where a module adds its commands."""

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser:  # noqa: A002 - argparse's own name
        """Add a command and return its parser."""
        ...


def row_id(listed_by: str) -> Callable[[str], int]:
    """Return a reader of an argument that is the id of something; `listed_by` is the command that shows the ids."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = 0
        if not 1 <= number <= LARGEST_ID:
            raise argparse.ArgumentTypeError(f"an id is a number of the list that {listed_by} shows")
        return number

    return read


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """Give the database that the settings mean. Raises DataFolderError, DatabaseUnusableError."""
    DataFolder(settings.data_dir).prepare()
    database = Database(settings.database)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
