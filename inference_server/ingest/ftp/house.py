# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all sessions of the FTP server share."""

import asyncio
import shutil
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from OpenSSL import SSL

from inference_server.ingest.backpressure import Backpressure
from inference_server.ingest.ftp.bans import Bans
from inference_server.ingest.ftp.gate import Gate
from inference_server.ingest.ftp.io_thread import IoThread
from inference_server.ingest.ftp.upload import Uploads
from inference_server.settings import FtpSettings, IngestSettings

LEAST_FREE_BYTES = 16 << 20
"""With less room on the disk of the camera's folder nothing is taken in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The parts of one running server."""

    settings: FtpSettings
    pictures: IngestSettings
    tls: SSL.Context | None
    gate: Gate
    bans: Bans
    backpressure: Backpressure
    thread: IoThread
    loop: asyncio.AbstractEventLoop
    workers: Executor
    uploads: Uploads = field(default_factory=WeakValueDictionary)

    def full(self, folder: Path) -> str | None:
        """Return why a camera's folder takes nothing in now; None when it does. Raises OSError."""
        if reason := self.backpressure.reason:
            return reason
        if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
            return "The disk of the camera folders is full."
        return None
