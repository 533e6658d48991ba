# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is stored, and what a cleanup deletes: amounts by kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from inference_server.core.assessment import RiskLevel


@dataclass(frozen=True, slots=True)
class Amount:
    """How many of a kind, and how many bytes their files have."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        """Return both together."""
        return Amount(self.count + other.count, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What a cleanup deleted, or would delete. The bytes of an event are those of its frames."""

    events: Mapping[RiskLevel, Amount] = field(default_factory=dict)
    frames: Amount = Amount()
    """Frames that belong to no event."""
    clips: Amount = Amount()
    originals: Amount = Amount()
    """Files in the cameras' folders."""
    orphans: Amount = Amount()
    """Files in the media folder that nothing refers to."""
    trash: Amount = Amount()
    """Events that somebody deleted before."""
    arrivals: int = 0
    """Notes about files that are gone; not counted before they are looked for."""
    missing: int = 0
    """Frames whose files are gone from the media folder; they are noted, not deleted."""
    warning: str | None = None
    """Why orphans were left alone, and what to do."""

    @property
    def bytes(self) -> int:
        """The bytes of all files."""
        amounts = (*self.events.values(), self.frames, self.clips, self.originals, self.orphans, self.trash)
        return sum(amount.bytes for amount in amounts)


@dataclass(frozen=True, slots=True)
class DiskUse:
    """A disk: what lies on it, and how full it is. `used_percent` is of what a user may use, as `df` counts."""

    path: str
    holds: tuple[str, ...]
    """Of `database`, `media` and `cameras`."""
    total_bytes: int
    free_bytes: int
    used_percent: float
    inodes_used_percent: float | None
    """None where the file system has no fixed number of files."""

    @property
    def fullness(self) -> float:
        """The percentage that counts: of the bytes or of the inodes, whichever is higher."""
        return max(self.used_percent, self.inodes_used_percent or 0.0)


@dataclass(frozen=True, slots=True)
class CameraStorage:
    """What is kept of one camera."""

    camera_id: str
    events: int
    frames: Amount
    clips: Amount


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept, by kind and by camera. Events and frames do not count twice: `frames` are those of no event."""

    events: Mapping[RiskLevel, Amount]
    frames: Amount
    clips: Amount
    trash: Amount
    cameras: tuple[CameraStorage, ...]
    oldest_event_at: datetime | None


@dataclass(frozen=True, slots=True)
class StorageReport:
    """What is kept and where, and what the next cleanup will delete."""

    stored: Stored
    database_bytes: int
    disks: tuple[DiskUse, ...]
    problems: tuple[str, ...]
    """Disks that could not be looked at, and why."""
    next_cleanup_at: datetime
    next_cleanup: CleanupReport


class CleanupBusyError(Exception):
    """Somebody else, perhaps in another process, is cleaning up now."""

    def __init__(self) -> None:
        """Say so, and what to do."""
        super().__init__("A cleanup is under way already. Try again when it is done.")
