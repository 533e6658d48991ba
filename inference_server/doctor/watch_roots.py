# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folders that are watched: there, readable, and whether the system tells about new files in them."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.doctor.access import CHANGE, ENTER, may
from inference_server.ingest.folder.mounts import read_mounts, why_silent
from inference_server.settings import Settings, WatchMode, WatchRoot

LIMITS = Path("/proc/sys/fs/inotify")
FEW_WATCHES = 1024
_IN_CREATE = 0x100


def look(settings: Settings) -> Iterator[Finding]:
    """Look at every root."""
    for root in settings.watch_roots:
        yield _root(root, main=root.path == settings.watch_folder)
    yield from _watches_left()


def _root(root: WatchRoot, *, main: bool) -> Finding:
    path = root.path
    if not path.exists():
        parent = next(folder for folder in path.parents if folder.exists())
        if main and may(parent, CHANGE):
            return ok("watch folder", f"{path} is made at the first start")
        return problem("watch folder", f"{path} does not exist", "Mount it, make it, or correct HSI_WATCH_ROOT.")
    if not path.is_dir():
        return problem("watch folder", f"{path} is no folder", "Name a folder that holds one folder per camera.")
    if not may(path, ENTER):
        remedy = f"Give user {os.geteuid()} the right to read it: chmod o+rx, or change its owner or group."
        return problem("watch folder", f"{path} cannot be read by user {os.geteuid()}", remedy)
    with os.scandir(path) as entries:
        cameras = [entry for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."]
    closed = [entry.name for entry in cameras if not may(entry.path, ENTER)]
    found = f"{path}, {len(cameras)} camera{'' if len(cameras) == 1 else 's'}, {_told(root)}"
    if closed:
        return warning(
            "watch folder", f"{found}; these cannot be read: {', '.join(sorted(closed)[:5])}", "Correct their rights."
        )
    return ok("watch folder", found)


def _told(root: WatchRoot) -> str:
    """Return how new files are noticed."""
    if root.mode is WatchMode.POLLING:
        return "polled, as the settings say"
    silent = why_silent(str(root.path.resolve()), read_mounts())
    if silent is not None and root.mode is WatchMode.AUTO:
        return f"polled: {silent}"
    error = inotify_error(root.path)
    return "told about by inotify" if error is None else f"polled: inotify does not work there ({error})"


def inotify_error(path: Path) -> str | None:
    """Watch a folder for a moment (inotify(7)). Return why that does not work, None where it does."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "inotify_init1"):
        return "this system has none"
    instance = library.inotify_init1(os.O_CLOEXEC)
    if instance < 0:
        return os.strerror(ctypes.get_errno())
    try:
        if library.inotify_add_watch(instance, os.fsencode(path), _IN_CREATE) < 0:
            return os.strerror(ctypes.get_errno())
    finally:
        os.close(instance)
    return None


def _watches_left() -> Iterator[Finding]:
    """Look at how many folders of this user may still be watched."""
    try:
        allowed = int((LIMITS / "max_user_watches").read_text())
    except (OSError, ValueError):
        return
    used = sum(map(_watches_of, _own_processes()))
    found = f"{used} of {allowed} inotify watches of this user in use"
    if allowed - used < FEW_WATCHES:
        yield warning("inotify", found, "sysctl fs.inotify.max_user_watches=524288; folders without one are polled.")
    else:
        yield ok("inotify", found)


def _own_processes() -> Iterator[Path]:
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and process.stat().st_uid == os.geteuid():
                yield process
        except OSError:
            continue


def _watches_of(process: Path) -> int:
    """Return how many watches a process has: see proc_pid_fdinfo(5)."""
    count = 0
    try:
        for handle in (process / "fd").iterdir():
            if str(handle.readlink()) == "anon_inode:inotify":
                text = (process / "fdinfo" / handle.name).read_text(encoding="utf-8", errors="replace")
                count += text.count("inotify wd:")
    except OSError:
        return count
    return count
