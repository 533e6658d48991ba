# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mounted file systems: which of them tell about new files, whoever writes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")
TELLING = frozenset(
    {
        "bcachefs",
        "btrfs",
        "ecryptfs",
        "erofs",
        "exfat",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "fuseblk",
        "hfsplus",
        "jfs",
        "msdos",
        "ntfs",
        "ntfs3",
        "overlay",
        "ramfs",
        "reiserfs",
        "rootfs",
        "tmpfs",
        "udf",
        "vfat",
        "xfs",
        "zfs",
    }
)
"""File systems of this machine alone. Others (NFS, SMB, FUSE, 9p, virtiofs) may be written to by somebody elsewhere."""
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount point, the kind of file system there, and the folders that an overlay lays over each other."""

    point: str
    kind: str
    layers: tuple[str, ...] = ()


def read_mounts(table: Path = MOUNT_TABLE) -> tuple[Mount, ...]:
    """Return what is mounted, by path; of several on one point the topmost. Nothing where the system does not tell."""
    try:
        text = table.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return ()
    found = (_mount(line) for line in text.splitlines())
    topmost = {mount.point: mount for mount in found if mount is not None}
    return tuple(topmost[point] for point in sorted(topmost))


def why_silent(path: str, mounts: Sequence[Mount]) -> str | None:
    """Return why nobody tells about new files in a folder; None where the system does."""
    mount = _mount_of(path, mounts)
    if mount is None:
        return "this system does not tell what kind of file system it is on"
    layers = [layer for path in mount.layers if (layer := _mount_of(path, mounts)) is not None]
    silent = next((kind for kind in (mount.kind, *(layer.kind for layer in layers)) if kind not in TELLING), None)
    return silent and f"it is on {silent}, where files of other machines come unannounced"


def kind_of(path: str, mounts: Sequence[Mount]) -> str | None:
    """Return the kind of file system that a path is on, None where the system does not tell."""
    mount = _mount_of(path, mounts)
    return None if mount is None else mount.kind


def _mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    around = [mount for mount in mounts if is_within(path, mount.point)]
    return max(around, key=lambda mount: len(mount.point), default=None)


def is_within(path: str, folder: str) -> bool:
    """Return whether a path is a folder's or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _mount(line: str) -> Mount | None:
    """Read a line: see proc_pid_mountinfo(5). The optional fields end with a dash."""
    left, dash, right = line.partition(" - ")
    fields, about = left.split(" "), right.split(" ")
    if not dash or len(fields) < 5 or len(about) < 3:
        return None
    options = dict(option.partition("=")[::2] for option in about[2].split(","))
    layers = [options.get("upperdir", ""), *options.get("lowerdir", "").split(":")] if about[0] == "overlay" else []
    return Mount(_plain(fields[4]), about[0], tuple(_plain(layer) for layer in layers if layer))


def _plain(path: str) -> str:
    return _OCTAL.sub(lambda code: chr(int(code[1], 8)), path)
