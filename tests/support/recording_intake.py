# SPDX-License-Identifier: AGPL-3.0-or-later
"""An Intake that remembers what it was given, and fails when it is told to."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inference_server.ingest.admission import AdmittedFile, Outcome
from inference_server.storage import arrivals
from inference_server.storage.arrivals import Arrival
from inference_server.storage.database import Database
from tests.support.home import START

PATIENCE_SECONDS = 10


@dataclass
class RecordingIntake:
    """Each call raises one of the `failures` while there are any, and each with a `troublesome` picture fails too.

    With a database it also records there which files arrived.
    """

    database: Database | None = None
    failures: list[Exception] = field(default_factory=list)
    troublesome: set[str] = field(default_factory=set)
    taken: list[Outcome] = field(default_factory=list)
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, outcomes: Sequence[Outcome]) -> Mapping[tuple[str, str], int]:
        """Remember the outcomes."""
        if self.failures:
            self.failed.set()
            raise self.failures.pop(0)
        if any(isinstance(item, AdmittedFile) and _path(item) in self.troublesome for item in outcomes):
            raise ValueError("troublesome")
        if self.database is not None:
            arrived = [Arrival(item.file, START, None) for item in outcomes if item.file]
            async with self.database.writing() as connection:
                await arrivals.record(connection, arrived)
        async with self._changed:
            self.taken += outcomes
            self._changed.notify_all()
        return {}

    @property
    def paths(self) -> list[str]:
        """Which files were taken, in order."""
        return [_path(outcome) for outcome in self.taken]

    @property
    def contents(self) -> dict[str, bytes]:
        """The content that was admitted last of each file."""
        return {_path(item): item.picture.content for item in self.taken if isinstance(item, AdmittedFile)}

    async def until_taken(self, *paths: str) -> None:
        """Return when each of these files was taken."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: set(paths) <= set(self.paths))

    async def until_count(self, count: int) -> None:
        """Return when so many files were taken."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.taken) >= count)

    async def until_content(self, path: str, content: bytes) -> None:
        """Return when the last admitted content of a file is this."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.contents.get(path) == content)


def _path(outcome: Outcome) -> str:
    assert outcome.file is not None
    return outcome.file.path
