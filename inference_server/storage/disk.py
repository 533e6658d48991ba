# SPDX-License-Identifier: AGPL-3.0-or-later
"""How full the disks are."""

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

from inference_server.core.cleanup import DiskUse

type Place = tuple[str, Path]
"""What lies there (`database`, `media` or `cameras`), and where that is."""


def look(places: Iterable[Place]) -> tuple[list[DiskUse], list[str]]:
    """Return how full the disks of some places are, and what could not be looked at."""
    uses: list[DiskUse] = []
    problems: list[str] = []
    for path, holds in _disks(places):
        try:
            uses.append(use(path, holds))
        except OSError as error:
            problems.append(f"The disk of {path} ({', '.join(holds)}) cannot be looked at: {error.strerror}.")
    return uses, problems


def _disks(places: Iterable[Place]) -> list[tuple[Path, tuple[str, ...]]]:
    """Return one path on each disk, and what lies on it. A place that cannot be looked at is a disk of its own."""
    found: dict[object, tuple[Path, list[str]]] = {}
    for name, place in places:
        present = _nearest(place)
        try:
            disk: object = present.stat().st_dev
        except OSError:
            disk = present
        found.setdefault(disk, (present, []))[1].append(name)
    return [(path, tuple(dict.fromkeys(names))) for path, names in found.values()]


def use(path: Path, holds: tuple[str, ...]) -> DiskUse:
    """Return how full the disk of a path is. Raises OSError."""
    space, status = psutil.disk_usage(str(path)), os.statvfs(path)
    inodes = status.f_files - status.f_ffree
    available = inodes + status.f_favail
    return DiskUse(
        path=str(path),
        holds=holds,
        total_bytes=space.total,
        free_bytes=space.free,
        used_percent=space.percent,
        inodes_used_percent=round(100 * inodes / available, 1) if status.f_files and available else None,
    )


def _nearest(place: Path) -> Path:
    """Return a place, or the nearest folder above it that is there already."""
    return next((path for path in (place, *place.parents) if os.path.lexists(path)), place)
