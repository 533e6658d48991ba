# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi restore`."""

import argparse
from pathlib import Path

from inference_server.commands import passphrase
from inference_server.commands.command import Commands
from inference_server.commands.progress import telling
from inference_server.core.clock import SystemClock
from inference_server.settings import Settings
from inference_server.storage.backup.restore import Restoration, Restored, check, restore
from inference_server.storage.data_folder import DataFolder


def register(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("restore", help="put a backup in place of what the data folder holds")
    parser.add_argument("file", type=Path)
    parser.add_argument("--replace", action="store_true", help="also where there is a database, which is kept aside")
    parser.add_argument("--dry-run", action="store_true", help="check everything and change nothing")
    passphrase.add_option(parser)
    parser.set_defaults(command=_restore)


async def _restore(options: argparse.Namespace, settings: Settings) -> int:
    folder = DataFolder(settings.data_dir)
    wanted = Restoration(
        backup=options.file,
        folder=folder,
        database=settings.database,
        passphrase=passphrase.of_backup(options, options.file),
        replace=options.replace,
    )
    with telling() as tell:
        done = await (check(wanted, tell) if options.dry_run else restore(wanted, SystemClock(), tell))
    if isinstance(done, Restored):
        _tell(done, folder)
    else:
        manifest = done.manifest
        print(f"{options.file} can be restored: {manifest.rows:,} rows of {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC.")
    return 0


def _tell(restored: Restored, folder: DataFolder) -> None:
    manifest, settled = restored.manifest, restored.settled
    print(f"Restored {manifest.rows:,} rows of {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC into {folder.root}.")
    if manifest.media:
        print(f"Restored {manifest.media.files:,} pictures and clips.")
    if settled.without_file:
        print(f"{settled.without_file:,} pictures and clips have no file: they are marked as pruned.")
    if settled.buried:
        print(f"{settled.buried:,} of them still waited to be judged: they are dead letters now.")
    if restored.kept_aside:
        print(f"The database that was there is {restored.kept_aside}; remove it when all is well.")
    print(f"Not restored: {', '.join(manifest.left_out)}. Start the server now.")
