# SPDX-License-Identifier: AGPL-3.0-or-later
"""A folder of files that somebody carried here, for hosts that reach nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

from inference_server.models.catalogue import Weights
from inference_server.models.copying import copy_told
from inference_server.models.digest import Progress, sha256_told
from inference_server.models.errors import SourceError
from inference_server.models.threads import Stop

_MOST_FILES = 20_000


def copy_offline(stop: Stop, folder: Path, weights: Weights, part: Path, progress: Progress) -> None:
    """Copy the file that is meant from a folder, or one below it, to `part`. It stays where it is.

    What has a published digest is found by it, whatever it is called; anything else must be at its own name. Raises
    SourceError; OSError.
    """
    if not folder.is_dir():
        raise SourceError(f"there is no folder {folder} (models.offline_folder)")
    found = _by_digest(stop, folder, weights) if weights.sha256 else _by_name(folder, weights)
    if found is None:
        raise SourceError(f"{folder} holds no {weights.file_name}")
    total = found.stat().st_size
    if total > weights.most_bytes:
        raise SourceError(f"{found} has {total} bytes, expected were at most {weights.most_bytes}")
    with found.open("rb") as source:
        copy_told(stop, source, part, total, progress)


def _by_name(folder: Path, weights: Weights) -> Path | None:
    path = folder / weights.file_name
    return path if path.is_file() else None


def _by_digest(stop: Stop, folder: Path, weights: Weights) -> Path | None:
    name = Path(weights.file_name).name
    candidates = sorted(_candidates(folder, weights), key=lambda path: (path.name != name, path))
    return next((path for path in candidates if sha256_told(stop, path) == weights.sha256), None)


def _candidates(folder: Path, weights: Weights) -> Iterator[Path]:
    """Yield the files that may be the one that is meant, without reading them."""
    name, seen = Path(weights.file_name).name, 0
    for parent, _, files in os.walk(folder):
        for file in files:
            seen += 1
            if seen > _MOST_FILES:
                return
            path = Path(parent, file)
            try:
                size = path.stat().st_size
            except OSError:
                continue
            if size == weights.size if weights.size_exact else path.name == name:
                yield path
