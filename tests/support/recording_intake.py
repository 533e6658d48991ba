# SPDX-License-Identifier: AGPL-3.0-or-later
"""An Intake that remembers what it was given, and fails when it is told to."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inference_server.ingest.admission import AdmittedFile, Outcome

PATIENCE_SECONDS = 10


@dataclass
class RecordingIntake:
    """Each call raises one of the `failures` while there are any, and each with a `troublesome` picture fails too."""

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

    async def until_content(self, path: str, content: bytes) -> None:
        """Return when the last admitted content of a file is this."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.contents.get(path) == content)


def _path(outcome: Outcome) -> str:
    assert outcome.file is not None
    return outcome.file.path
