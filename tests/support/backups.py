# SPDX-License-Identifier: AGPL-3.0-or-later
"""Data folders to save and to restore, and archives that no honest program writes."""

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from inference_server.storage.backup.archive import ArchiveWriter, Member
from inference_server.storage.backup.create import Wanted, create
from inference_server.storage.backup.manifest import Manifest
from inference_server.storage.backup.restore import Restoration, Restored, restore
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder
from tests.support.home import START, Home, MovableClock

PASSPHRASE = "correct horse battery staple"


def database_of(folder: DataFolder) -> Path:
    """Return the file of SQLite in a data folder."""
    return folder.root / "hsi.db"


async def filled(root: Path) -> DataFolder:
    """Give a data folder with a camera, events, pictures, a refusal, a token and announcements."""
    folder = DataFolder(root)
    folder.prepare()
    database = Database(database_of(folder))
    await database.open()
    home = Home(database, MediaFolder(folder.media))
    await home.camera()
    for _ in range(2):
        await home.ended_event()
    await home.frame(kind="PNG")
    await home.refuse("front_door/broken.jpg")
    await home.token()
    await home.announce_state(times=3)
    await database.close()
    return folder


async def save(
    folder: DataFolder, target: Path, now: datetime = START, where: URL | None = None, **wanted: Any
) -> Manifest:
    """Make a backup of a data folder, with media unless said otherwise."""
    database = Database(where or database_of(folder))
    try:
        first = Wanted(target=target, staging=folder.root, media=folder.media)
        return await create(database, replace(first, **wanted), now=now)
    finally:
        await database.close()


async def put_back(
    backup: Path, folder: DataFolder, clock: MovableClock | None = None, where: URL | None = None, **wanted: Any
) -> Restored:
    """Restore a backup."""
    plan = Restoration(backup=backup, folder=folder, database=where or database_of(folder))
    return await restore(replace(plan, **wanted), clock or MovableClock())


def members(backup: Path) -> dict[str, bytes]:
    """Return what is in an archive, by name, without its checksum."""
    found = {}
    with tarfile.open(backup) as archive:
        for item in archive:
            file = archive.extractfile(item)
            assert file is not None
            found[item.name] = file.read()
    del found["checksum.sha256"]
    return found


def written(contents: Mapping[str, bytes], target: Path) -> Path:
    """Write an archive of these members, with a right checksum."""
    with target.open("wb") as file:
        archive = ArchiveWriter(file)
        for name, content in contents.items():
            archive.add(Member(name, len(content)), [content], lambda _: None)
        archive.finish()
    return target


def forged(contents: Mapping[str, bytes], target: Path, **changes: Any) -> Path:
    """Write an archive whose manifest fits its tables and has some values of its own."""
    manifest = json.loads(contents["manifest.json"])
    for table in manifest["tables"]:
        content = contents[f"database/{table['name']}.jsonl.gz"]
        table |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return written({**contents, "manifest.json": json.dumps(manifest | changes).encode()}, target)


def content_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
