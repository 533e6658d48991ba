# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a look at a file tells."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from inference_server.storage.arrivals import FileVersion

NANOSECONDS = 1_000_000_000
EARLIEST_BELIEVED = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * NANOSECONDS
"""No camera wrote a file before: its clock is wrong."""
AHEAD_BELIEVED = int(timedelta(days=1).total_seconds()) * NANOSECONDS

type Version = tuple[int, int, int]
"""Size in bytes, and the times of the last write and of the last change of any kind, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file as it was when it was looked at."""

    path: str
    file: FileVersion
    changed_ns: int

    @classmethod
    def of(cls, path: str, name: str) -> Self:
        """Look at a file, which goes by this name in the database. Raises OSError."""
        status = os.lstat(path)
        return cls(path, FileVersion.of(name, status), status.st_ctime_ns)

    @property
    def version(self) -> Version:
        """What changes when the file is written to."""
        return self.file.size, self.file.modified_ns, self.changed_ns

    def written_ns(self, now_ns: int) -> int:
        """Return when it was written: by its own time or, where that cannot be true, by the file system's."""
        believed = EARLIEST_BELIEVED <= self.file.modified_ns <= now_ns + AHEAD_BELIEVED
        return self.file.modified_ns if believed else self.changed_ns


def look_at(paths: Iterable[str], name_of: Callable[[str], str]) -> list[Sighting]:
    """Look at files, which go by these names in the database; those that are gone are left out."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append(Sighting.of(path, name_of(path)))
    return found
