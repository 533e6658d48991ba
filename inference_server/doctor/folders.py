# SPDX-License-Identifier: AGPL-3.0-or-later
"""The data folder and its disk, and who may read what is private."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.core.hardware import GIB
from inference_server.doctor.access import CHANGE, may
from inference_server.ingest.folder.mounts import kind_of, read_mounts, why_silent
from inference_server.settings import DiskSettings, Settings
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.disk import use

LITTLE_SPACE = GIB


def disks(settings: Settings) -> Iterator[Finding]:
    """Look at the disks of the data and of the models: free space, inodes, kind of file system."""
    places = {settings.data_dir: "data", settings.models_folder: "models"}
    seen: set[int] = set()
    for place, holds in places.items():
        present = _nearest(place)
        device = present.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield from _disk(present, holds, settings.disk)
    if not isinstance(settings.database, Path):
        return
    kind = kind_of(str(_nearest(settings.database)), read_mounts())
    if why_silent(str(_nearest(settings.database)), read_mounts()) and kind is not None:
        yield warning(
            "disk",
            f"the database {settings.database} lies on {kind}, where SQLite's locks may not hold",
            "Put the data folder on a disk of this machine, or use PostgreSQL (HSI_DATABASE_URL).",
        )


def _disk(path: Path, holds: str, limits: DiskSettings) -> Iterator[Finding]:
    disk = use(path, (holds,))
    kind = kind_of(str(path), read_mounts()) or "an unknown file system"
    inodes = "" if disk.inodes_used_percent is None else f", {disk.inodes_used_percent:g} % of its inodes used"
    found = f"{path} ({holds}, {kind}): {disk.free_bytes / GIB:.1f} GiB free, {disk.used_percent:g} % used{inodes}"
    remedy = "Free space, or keep less (HSI_RETENTION__...)."
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        yield problem("disk", f"{found}; it is mounted read-only", "Mount it writable: see the kernel's log (dmesg).")
    elif disk.fullness >= limits.refuse_percent:
        yield problem("disk", f"{found}; no picture is let in", remedy)
    elif disk.fullness >= limits.warn_percent or disk.free_bytes < LITTLE_SPACE:
        yield warning("disk", found, remedy)
    else:
        yield ok("disk", found)


def permissions(settings: Settings) -> Iterator[Finding]:
    """Look at who may read and write the data folder and the token."""
    folder = DataFolder(settings.data_dir)
    if not folder.root.exists():
        parent = _nearest(folder.root)
        if may(parent, CHANGE):
            yield ok("permissions", f"the data folder {folder.root} is made at the first start")
        else:
            yield problem(
                "permissions",
                f"the data folder {folder.root} does not exist and cannot be made in {parent}",
                "Choose another one with HSI_DATA_DIR, or give this user the right to write there.",
            )
        return
    if not folder.root.is_dir():
        yield problem("permissions", f"the data folder {folder.root} is a file", "Choose a folder with HSI_DATA_DIR.")
        return
    if not may(folder.root, CHANGE):
        yield problem(
            "permissions",
            f"the data folder {folder.root} cannot be written by user {os.geteuid()}",
            f"Run as its owner (user {folder.root.stat().st_uid}), or give it to this user.",
        )
        return
    yield from _private(folder)


def _private(folder: DataFolder) -> Iterator[Finding]:
    mode = stat.S_IMODE(folder.root.stat().st_mode)
    if mode & 0o007:
        yield warning(
            "permissions",
            f"everybody on this machine may look into {folder.root} (mode {mode:04o}): it holds pictures",
            f"chmod o-rwx {folder.root}",
        )
    try:
        token = stat.S_IMODE(folder.token.stat().st_mode)
    except FileNotFoundError:
        yield ok("permissions", f"{folder.root} is writable; the token is made at the first start")
        return
    if token & 0o077:
        yield problem(
            "permissions",
            f"others may read the access token {folder.token} (mode {token:04o})",
            f"chmod 600 {folder.token}; if others use this machine, revoke it and remove the file.",
        )
    else:
        yield ok("permissions", f"{folder.root} is writable, its token is private")


def _nearest(place: Path) -> Path:
    """Return a place, or the nearest folder above it that is there already."""
    return next((path for path in (place, *place.parents) if path.exists()), Path("/"))
