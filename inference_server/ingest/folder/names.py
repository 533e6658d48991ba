# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which names are those of finished pictures, and which folders hold none."""

import os

from inference_server.core.clip import VideoKind

VIDEO_EXTENSIONS = frozenset(f".{kind}" for kind in VideoKind)
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png"}) | VIDEO_EXTENSIONS
"""What admission can take. A file that is still being uploaded has another: `.tmp`, `.part`, `.jpg~` and so on."""
SETTLED_SECONDS = 1.0
"""A file whose closing was not seen counts once its size and times have not changed for this long."""
VIDEO_SETTLED_SECONDS = 5.0
"""Cameras write videos in bursts."""
HOUSEKEEPING = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "@tmp",
        "lost+found",
        "system volume information",
    }
)
"""Folders of file servers: thumbnails, snapshots and what was thrown away."""


def is_folder_wanted(name: str) -> bool:
    """Return whether a folder may hold pictures: it is not hidden, and not a file server's own."""
    return not name.startswith(".") and name.lower() not in HOUSEKEEPING


def is_candidate(name: str) -> bool:
    """Return whether a file is named like a finished picture: not hidden, no upload's temporary name."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def is_path_wanted(path: str) -> bool:
    """Return whether a path below the watch root is one that a scan would come across and take."""
    *folders, name = path.split("/")
    return is_candidate(name) and all(map(is_folder_wanted, folders))


def is_video(name: str) -> bool:
    """Return whether a file is named like a video."""
    return os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS


def settled_seconds(name: str) -> float:
    """Return how long a file has to rest when nobody saw it being closed."""
    return VIDEO_SETTLED_SECONDS if is_video(name) else SETTLED_SECONDS
