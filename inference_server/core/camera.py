# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras, the names they go by, and what their owner set."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from inference_server.core.context import CameraPlace
from inference_server.core.polygon import Point, is_simple

MAX_CAMERA_ID_LENGTH = 64
"""Characters; camera ids stand in URLs, file names and HA unique ids."""
MAX_NAME_LENGTH = 100
MAX_MASKS = 32
MAX_MASK_POINTS = 64
MAX_PATTERNS = 50
MAX_PATTERN_LENGTH = 200
MAX_LEADS_TO = 50

MAX_NAME_BYTES = 255
"""The longest name that a file system takes."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A source of pictures."""

    id: str
    name: str
    created_at: datetime
    last_frame_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Mask:
    """A polygon of the picture as it is displayed, from 0 (left, top) to 1, whose inside nobody may see."""

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for points that enclose nothing or lie outside the picture."""
        if not 3 <= len(self.points) <= MAX_MASK_POINTS:
            raise ValueError(f"a mask has 3 to {MAX_MASK_POINTS} points, not {len(self.points)}")
        if not all(0 <= part <= 1 for point in self.points for part in point):
            raise ValueError("a mask's points lie between 0 (left, top) and 1 (right, bottom)")
        if not is_simple(self.points):
            raise ValueError("a mask's outline encloses an area and neither crosses nor touches itself")


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """What the owner set for one camera."""

    time_zone: str | None = None
    """Of the camera's own clock; None means the home's."""
    ignore_patterns: tuple[str, ...] = ()
    """Files that are left alone: `ingest/folder/ignoring.py` says what a pattern means."""
    masks: tuple[Mask, ...] = ()
    watch_view: bool = True
    """Whether to tell when the view is blocked, moved, dark, blurred or frozen: not of a camera that turns."""
    place: CameraPlace = CameraPlace.OTHER
    leads_to: tuple[str, ...] = ()
    """The cameras that somebody on the way in comes to next."""

    def __post_init__(self) -> None:
        """Raise ValueError for more, or longer, than there may be."""
        if len(self.leads_to) > MAX_LEADS_TO or not all(map(is_camera_id, self.leads_to)):
            raise ValueError(f"a camera leads to at most {MAX_LEADS_TO} cameras, named by their ids")
        if len(self.masks) > MAX_MASKS:
            raise ValueError(f"a camera has at most {MAX_MASKS} masks, not {len(self.masks)}")
        if len(self.ignore_patterns) > MAX_PATTERNS:
            raise ValueError(f"a camera has at most {MAX_PATTERNS} ignore patterns, not {len(self.ignore_patterns)}")
        for pattern in self.ignore_patterns:
            if not 1 <= len(pattern) <= MAX_PATTERN_LENGTH or not pattern.isprintable():
                raise ValueError(f"an ignore pattern has 1 to {MAX_PATTERN_LENGTH} characters that can be shown")


def is_camera_id(text: str) -> bool:
    """Return whether a text could be a camera's id."""
    return re.fullmatch(rf"[a-z0-9_]{{1,{MAX_CAMERA_ID_LENGTH}}}", text) is not None


def checked_name(name: str) -> str:
    """Return a name that somebody gave a camera. Raises ValueError for one that cannot be shown."""
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"a camera's name has 1 to {MAX_NAME_LENGTH} characters that can be shown")
    return name.strip()


def camera_id(folder: str) -> str:
    """Return the camera id of a folder's name: "Front Door" and "front-door" become "front_door".

    A name in a script without Latin letters keeps a readable prefix where there is one and gets a short digest
    of the original, so that two such folders never share an id.
    """
    folded = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "_", folded.lower()).strip("_")
    lost_letters = any(character.isalnum() and not character.isascii() for character in _unaccented(folder))
    if slug and not lost_letters and len(slug) <= MAX_CAMERA_ID_LENGTH:
        return slug
    digest = hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{slug[: MAX_CAMERA_ID_LENGTH - 9] or 'camera'}_{digest}"


def camera_name(folder: str) -> str:
    """Return the name shown to people for a folder: "front_door" becomes "Front door".

    A folder's name without any printable character gives its camera id: no database takes broken Unicode.
    """
    words = " ".join(re.split(r"[\s_-]+", folder)).strip()
    printable = "".join(character for character in words if character.isprintable())
    return printable[:1].upper() + printable[1:] or camera_id(folder)


def is_camera_folder(name: str) -> bool:
    """Return whether a folder of this name may be made for a camera: one step of a path, all of it visible."""
    usable = name.isprintable() and name == name.strip() and "/" not in name and not name.startswith(".")
    return usable and 0 < len(name.encode()) <= MAX_NAME_BYTES


def _unaccented(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
