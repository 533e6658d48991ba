# SPDX-License-Identifier: AGPL-3.0-or-later
"""The places of a watch root: its own file system, and those that are mounted below it."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_server.ingest.folder.mounts import Mount, is_within, why_silent
from inference_server.ingest.folder.names import is_folder_wanted
from inference_server.settings import WatchMode


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on a file system of its own, how it is watched, and why so."""

    path: str
    polled: bool
    why: str


def places_of(root: str, mode: WatchMode, mounts: Sequence[Mount]) -> tuple[Place, ...]:
    """Return the places of a root, the root itself first."""
    below = [mount.point for mount in mounts if mount.point != root and is_within(mount.point, root)]
    looked_into = [point for point in below if all(map(is_folder_wanted, point[len(root) + 1 :].split("/")))]
    return tuple(_place(path, mode, mounts) for path in (root, *looked_into))


def _place(path: str, mode: WatchMode, mounts: Sequence[Mount]) -> Place:
    if mode is not WatchMode.AUTO:
        return Place(path, mode is WatchMode.POLLING, "so it is set")
    silent = why_silent(path, mounts)
    return Place(path, silent is not None, silent or "the system tells about new files here")
