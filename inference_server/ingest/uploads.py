# SPDX-License-Identifier: AGPL-3.0-or-later
"""Uploads: files that clients send are admitted like those of a folder, and the client learns what became of them."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from inference_server.core.clock import Clock
from inference_server.core.frame import FrameSource, Refusal
from inference_server.core.upload import Upload, UploadedFrame
from inference_server.ingest.admission import AdmittedFile, Arriving, Gate, Intake, RefusedFile
from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.picture import RefusedError
from inference_server.storage import frames
from inference_server.storage.arrivals import FileVersion
from inference_server.storage.database import Database

AT_ONCE = 8
"""Files received at the same time, each with its bytes on the disk and then in memory."""


class Uploads:
    """Admits what was uploaded. What `take` returned a frame for is stored durably."""

    def __init__(
        self,
        folder: Path,
        *,
        gate: Gate,
        intake: Intake,
        database: Database,
        backpressure: Backpressure,
        clock: Clock,
        max_bytes: int,
    ) -> None:
        """Take the folder in which files are received, and the largest size of one in bytes."""
        self._folder = folder
        self._gate = gate
        self._intake = intake
        self._database = database
        self._backpressure = backpressure
        self._clock = clock
        self.max_bytes = max_bytes
        self._received = 0

    @property
    def closed(self) -> str | None:
        """Why nothing is taken now, in plain words; None while something is."""
        if self._received >= AT_ONCE:
            return f"{AT_ONCE} files are being received, and no more at the same time."
        return self._backpressure.reason

    @contextmanager
    def receiving(self) -> Iterator[BinaryIO]:
        """Give a file to receive into; it has no name, so that it is gone even if this process dies. Raises OSError."""
        self._received += 1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder) as file:
                yield file
        finally:
            self._received -= 1

    async def take(self, upload: Upload) -> UploadedFrame | Refusal:
        """Admit an upload. Raises one of STORAGE_FAILURES when it cannot be stored now."""
        outcome = await asyncio.to_thread(self._admit, upload)
        new = await self._intake.take([outcome])
        if isinstance(outcome, RefusedFile):
            return outcome.refusal
        key = outcome.camera_id, outcome.picture.content_hash
        async with self._database.reading() as connection:
            frame_id = new.get(key) or await frames.find_id(connection, *key)
            frame = None if frame_id is None else await frames.get(connection, frame_id)
        if frame is None:
            raise OSError(f"the upload of {upload.camera_id} was deleted while it was stored")
        return UploadedFrame(frame, duplicate=key not in new)

    def _admit(self, upload: Upload) -> AdmittedFile | RefusedFile:
        upload.file.seek(0)
        arriving = Arriving(
            content=upload.file.read(self.max_bytes + 1),
            camera_id=upload.camera_id,
            folder=upload.camera_id,
            name=upload.name,
            arrived_at=self._clock.now(),
            source=FrameSource.UPLOAD,
            captured_at=upload.captured_at,
        )
        try:
            return self._gate.admit(arriving)
        except RefusedError as refused:
            # one row per camera: a client that uploads rubbish all day fills no table
            path = f"upload:{upload.camera_id}"
            refusal = Refusal(path, upload.camera_id, refused.reason, refused.detail, arriving.arrived_at)
            return RefusedFile(FileVersion(path, len(arriving.content), 0), refusal)
