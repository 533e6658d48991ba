# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the server and the process that decodes a clip tell each other, in files of the clip's scratch folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from inference_server.core.camera import Mask

JOB = "job.json"
REPORT = "report.json"
SOURCE = "clip"
"""The clip's own copy: nobody writes to it any more."""
MASKED = "masked.mp4"
ERRORS = "errors.txt"


@dataclass(frozen=True, slots=True)
class ClipJob:
    """What is to be done with the clip in a folder, and within which bounds. Times are seconds, sizes bytes."""

    kind: str
    """Which VideoKind it is."""
    interval: float
    max_frames: int
    max_seconds: float
    max_pixels: int
    max_bytes: int
    decode_seconds: float
    memory: int
    masks: tuple[Mask, ...] = ()
    """What nobody may see: blackened in every picture, and in the copy that is made of the clip if `copy` is set."""
    copy: bool = False
    """Make a copy of the clip with the masks burnt in instead of sampling it."""

    def write(self, folder: Path) -> None:
        """Store it for the process. Raises OSError."""
        (folder / JOB).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it back in the process."""
        fields = json.loads((folder / JOB).read_text(encoding="utf-8"))
        masks = tuple(Mask(tuple((x, y) for x, y in mask["points"])) for mask in fields.pop("masks"))
        return cls(**fields, masks=masks)


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A picture taken from the clip: its file's name in the folder and its place in the clip in seconds."""

    name: str
    offset: float


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What became of the clip: refused with a reason (a RefusalReason) and detail, or what was found in it."""

    refused: str | None = None
    detail: str = ""
    frames: tuple[SampledFrame, ...] = ()
    duration: float = 0.0
    width: int = 0
    height: int = 0
    created: str | None = None
    """The container's own word for when it was made."""
    remark: str | None = None
    """What was left out, in words for the log."""

    def write(self, folder: Path) -> None:
        """Store it for the server, whole or not at all. Raises OSError."""
        unfinished = folder / f"{REPORT}.part"
        unfinished.write_text(json.dumps(asdict(self)), encoding="utf-8")
        unfinished.replace(folder / REPORT)


class ClipRefusedError(Exception):
    """The clip cannot be used; the reason is the value of a RefusalReason."""

    def __init__(self, reason: str, detail: str) -> None:
        """Take the reason for programs and the detail for people."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
