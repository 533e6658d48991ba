# SPDX-License-Identifier: AGPL-3.0-or-later
"""Archives of packages, kept as long as one model is being installed: several of its files may be in the same one."""

import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from inference_server.models.errors import SourceError

type Download = Callable[[Path], Awaitable[Path]]
"""Downloads an archive into an empty folder and returns it. Raises SourceError."""


@asynccontextmanager
async def archive(package: str, archives: Path, download: Download) -> AsyncIterator[Path]:
    """Give the archive of a package, downloading it unless it is there; one that proves wrong is thrown away.

    Raises SourceError; OSError.
    """
    folder = archives / hashlib.sha256(package.encode()).hexdigest()[:16]
    done = folder / "done"
    try:
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            done.write_text((await download(folder)).name, encoding="utf-8")
        yield folder / done.read_text(encoding="utf-8")
    except SourceError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
