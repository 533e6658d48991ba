# SPDX-License-Identifier: AGPL-3.0-or-later
"""A file that is being uploaded: out of sight until it is complete, then in its place at once."""

import os
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from inference_server.ingest.picture import RefusedError, examine
from inference_server.settings import IngestSettings
from inference_server.storage.media import sync_folder

type Uploads = WeakValueDictionary[Path, Upload]
"""The uploads that are open, by their part file."""


class TooLargeError(Exception):
    """The upload has grown beyond what a file may have."""


class GaveWayError(Exception):
    """A newer upload of the same file has begun."""


class Upload:
    """One transfer's end on this side. Has what pyftpdlib asks of a file: `write`, `close`, `closed` and `name`."""

    def __init__(self, part: Path, target: Path, *, offset: int, limit: int) -> None:
        """Open the part file, keeping its first `offset` bytes; 0 begins anew. Raises OSError."""
        self.part = part
        self.name = str(target)
        self._limit = limit
        self._file = part.open("r+b" if offset else "wb")
        self._size = self._file.seek(offset)
        self._file.truncate()
        self._finishing = False
        self._gave_way = False

    @property
    def closed(self) -> bool:
        """Whether nothing more is written, and closing is not the caller's business."""
        return self._finishing or self._file.closed

    @property
    def is_finishing(self) -> bool:
        """Whether it is on its way into its place."""
        return self._finishing and not self._file.closed

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises OSError, TooLargeError, GaveWayError."""
        if self._gave_way:
            raise GaveWayError
        self._size += len(chunk)
        if self._size > self._limit:
            raise TooLargeError
        self._file.write(chunk)
        self._file.flush()

    def close(self) -> None:
        """Keep what has come for a resumed upload."""
        self._file.close()

    def give_way(self) -> None:
        """End, because a newer upload of the same file begins."""
        self._gave_way = True
        self._file.close()

    def discard(self) -> None:
        """Keep nothing."""
        self._file.close()
        self.part.unlink(missing_ok=True)

    def finish(self) -> None:
        """Say that nothing more is written; `place` or `place_if_whole` follows, in any thread."""
        self._finishing = True

    def place(self) -> None:
        """Bring the file into its place, durably and at once. Raises OSError; the part is kept then."""
        with self._file:
            os.fsync(self._file.fileno())
        self.part.replace(self.name)
        with suppress(OSError):  # some network mounts cannot; the file is in its place anyway
            sync_folder(Path(self.name).parent)

    def place_if_whole(self, limits: IngestSettings) -> None:
        """Bring the file into its place if it is a picture to its last byte; else keep the part. Raises OSError."""
        with self.part.open("rb") as written:
            content = written.read(limits.max_bytes + 1)
        try:
            examine(content, limits)
        except RefusedError:
            self._file.close()
        else:
            self.place()
