# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras and the names they go by."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

MAX_CAMERA_ID_LENGTH = 64
"""Characters; camera ids stand in URLs, file names and HA unique ids."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A source of pictures."""

    id: str
    name: str
    created_at: datetime
    last_frame_at: datetime | None = None


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


def _unaccented(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
