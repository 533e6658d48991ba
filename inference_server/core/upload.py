# SPDX-License-Identifier: AGPL-3.0-or-later
"""Uploads: files that a client sends for one camera."""

from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from inference_server.core.frame import Frame


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was received to its end."""

    camera_id: str
    file: BinaryIO
    """Open, and gone when it is closed."""
    name: str = ""
    """What the client calls it."""
    captured_at: datetime | None = None
    """When it was taken, if the client says so."""


@dataclass(frozen=True, slots=True)
class UploadedFrame:
    """What became of an upload: a new frame, or the one that its camera has of the same content."""

    frame: Frame
    duplicate: bool
