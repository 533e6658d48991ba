# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ignore patterns: files that the owner wants left alone, for all cameras and for single ones."""

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Sequence

from inference_server.core.camera import camera_id


class IgnorePatterns:
    """Patterns for the paths below one camera's folder. Capitals and small letters are the same, `*` crosses folders.

    A pattern without a slash is compared with every name of the path; one with a slash with the path itself and with
    that of each folder above it, from the camera's folder on. What lies in an ignored folder is ignored.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile the patterns; any text is one."""
        trimmed = [pattern for text in patterns if (pattern := _folded(text).rstrip("/"))]
        self._names = _compiled([pattern for pattern in trimmed if "/" not in pattern])
        self._paths = _compiled([pattern for pattern in trimmed if "/" in pattern])

    def match(self, path: str) -> bool:
        """Return whether a path below the camera's folder is ignored."""
        if self._names is None and self._paths is None:
            return False
        parts = _folded(path).split("/")
        if self._names is not None and any(map(self._names.match, parts)):
            return True
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        return self._paths is not None and any(
            self._paths.match(path) or self._paths.match(f"/{path}") for path in above
        )


def _none(_camera_id: str) -> Sequence[str]:
    return ()


class IgnoreRules:
    """The patterns for all cameras together with those of each camera."""

    def __init__(self, everywhere: Sequence[str] = (), of_camera: Callable[[str], Sequence[str]] = _none) -> None:
        """Take the patterns for all cameras, and what returns those of a camera by its id as they are now."""
        self._everywhere = tuple(everywhere)
        self._of_camera = of_camera
        self._camera_ids: dict[str, str] = {}
        self._compiled: dict[str, tuple[Sequence[str], IgnorePatterns]] = {}

    def ignore(self, path: str) -> bool:
        """Return whether a path below the watch root, which begins with the camera's folder, is ignored."""
        folder, _, below = path.partition("/")
        return bool(below) and self._patterns(folder).match(below)

    def _patterns(self, folder: str) -> IgnorePatterns:
        id_ = self._camera_ids.get(folder) or self._camera_ids.setdefault(folder, camera_id(folder))
        own = self._of_camera(id_)
        known = self._compiled.get(folder)
        if known is None or known[0] != own:
            known = self._compiled[folder] = own, IgnorePatterns((*self._everywhere, *own))
        return known[1]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _compiled(patterns: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None
