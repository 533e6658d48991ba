# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi backup`."""

import argparse
import asyncio
from pathlib import Path

from inference_server.commands import passphrase
from inference_server.commands.command import Commands
from inference_server.commands.progress import telling
from inference_server.core.backup import BackupKind
from inference_server.core.clock import SystemClock
from inference_server.settings import Settings
from inference_server.storage.backup.create import Wanted, create
from inference_server.storage.backup.errors import BackupError
from inference_server.storage.backup.folder import BackupFolder
from inference_server.storage.backup.manifest import Manifest
from inference_server.storage.backup.verify import verify
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.database import Database


def register(commands: Commands) -> None:
    """Add the commands."""
    backup = commands.add_parser("backup", help="save everything into one file, also while the server runs; verify")
    backup.add_argument("--output", type=Path, metavar="FILE", help="where to; default: backups in the data folder")
    backup.add_argument(
        "--media", action=argparse.BooleanOptionalAction, default=True, help="with the pictures and clips, or without"
    )
    backup.add_argument("--force", action="store_true", help="overwrite the file")
    backup.add_argument("--encrypt", action="store_true", help="ask for a passphrase unless one is given otherwise")
    passphrase.add_option(backup)
    backup.set_defaults(command=_create)
    checking = backup.add_subparsers(metavar="verify").add_parser(
        "verify", help="check a backup and tell what it holds"
    )
    checking.add_argument("file", type=Path)
    passphrase.add_option(checking)
    checking.set_defaults(command=_verify)


async def _create(options: argparse.Namespace, settings: Settings) -> int:
    folder = DataFolder(settings.data_dir)
    if isinstance(settings.database, Path) and not settings.database.is_file():
        raise BackupError(f"There is no database {settings.database}, so there is nothing to save. Check HSI_DATA_DIR.")
    folder.prepare()
    secret = passphrase.chosen(options)
    now = SystemClock().now()
    own = BackupFolder(folder.backups)
    target: Path = options.output or own.new(BackupKind.MANUAL, now, encrypted=bool(secret))
    if options.output is None:
        own.prepare()
    wanted = Wanted(
        target=target,
        staging=folder.root,
        media=folder.media if options.media else None,
        passphrase=secret,
        overwrite=options.force,
    )
    database = Database(settings.database)
    try:
        with telling() as tell:
            manifest = await create(database, wanted, now=now, progress=tell)
    finally:
        await database.close()
    if options.output is None:
        own.note(target, manifest, SystemClock().now())
    print(target)
    _tell(manifest)
    return 0


async def _verify(options: argparse.Namespace, _settings: Settings) -> int:
    secret = passphrase.of_backup(options, options.file)
    with telling() as tell:
        verified = await asyncio.to_thread(verify, options.file, secret, tell)
    print(f"{options.file}: whole, {verified.size:,} bytes, {'' if verified.encrypted else 'not '}encrypted")
    _tell(verified.manifest)
    return 0


def _tell(manifest: Manifest) -> None:
    print(
        f"Made {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC by version {manifest.version}, server {manifest.server_id}"
    )
    print(f"Rows: {manifest.rows:,} in {len(manifest.tables)} tables, revision {manifest.revision}")
    for table in manifest.tables:
        print(f"  {table.rows:10,} {table.name}")
    if (media := manifest.media) is None:
        print("Media: left out")
    else:
        print(f"Media: {media.files:,} files, {media.total_bytes:,} bytes")
        if media.missing:
            print(f"  {media.missing:,} files were gone or could not be read: {', '.join(media.examples)}")
    print(f"Not in it: {', '.join(manifest.left_out)}")
