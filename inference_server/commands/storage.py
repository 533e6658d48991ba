# SPDX-License-Identifier: AGPL-3.0-or-later
"""`hsi cleanup` and `hsi orphans`."""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inference_server.commands.command import Commands, opened
from inference_server.core.cleanup import Amount, CleanupBusyError, CleanupReport
from inference_server.core.clock import SystemClock
from inference_server.core.signal import Signal
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.upkeep import Upkeep
from inference_server.settings import Settings
from inference_server.storage import orphans
from inference_server.storage.data_folder import DataFolder
from inference_server.storage.media import MediaFolder


def register(commands: Commands) -> None:
    """Add the commands."""
    cleanup = commands.add_parser("cleanup", help="delete what is older than the settings allow")
    cleanup.add_argument("--dry-run", action="store_true", help="say only what would be deleted")
    cleanup.set_defaults(command=_cleanup)
    astray = commands.add_parser("orphans", help="files that nothing refers to, and pictures without a file")
    astray.add_argument("--delete", action="store_true", help="delete those files, take note of those pictures")
    astray.set_defaults(command=_orphans)


async def _cleanup(options: argparse.Namespace, settings: Settings) -> int:
    async with _upkeep(settings) as upkeep:
        try:
            report = await (upkeep.accounts.plan() if options.dry_run else upkeep.housekeeping.clean())
        except CleanupBusyError as error:
            print(error, file=sys.stderr)
            return 1
    _print(report, "would go" if options.dry_run else "deleted")
    return 0


async def _orphans(options: argparse.Namespace, settings: Settings) -> int:
    async with _upkeep(settings) as upkeep:
        strays = await upkeep.cleaner.strays()
        for path, size in sorted((path, size) for one in strays for path, size in one.orphans.items()):
            print(f"{size:12} {path!r}")
        missing = sum(len(one.missing) for one in strays)
        _print_amount("orphans", orphans.amount(strays))
        print(f"{'missing':16} {missing:8} pictures without a file")
        if options.delete:
            try:
                _print_amount("deleted", await upkeep.housekeeping.delete_orphans(strays))
            except CleanupBusyError as error:
                print(error, file=sys.stderr)
                return 1
        elif warning := orphans.warning(strays):
            print(warning, file=sys.stderr)
    return 0


@asynccontextmanager
async def _upkeep(settings: Settings) -> AsyncIterator[Upkeep]:
    """Give the upkeep of the settings' data. Whether cameras are judged, a running server tells its clients itself."""
    clock = SystemClock()
    async with opened(settings) as database:
        media = MediaFolder(DataFolder(settings.data_dir).media)
        health = HealthBoard(clock)
        yield Upkeep(settings, database, media, announced=Signal(), health=health, clock=clock, judged=lambda: True)


def _print(report: CleanupReport, verb: str) -> None:
    for level, amount in report.events.items():
        _print_amount(f"events, {level}", amount)
    for name in ("frames", "clips", "originals", "orphans", "trash"):
        _print_amount(name, getattr(report, name))
    if report.arrivals:
        print(f"{'arrivals':16} {report.arrivals:8}")
    if report.missing:
        print(f"{'missing':16} {report.missing:8} pictures have lost their files: see hsi orphans")
    if report.warning:
        print(report.warning, file=sys.stderr)
    print(f"{report.bytes:,} bytes {verb}")


def _print_amount(name: str, amount: Amount) -> None:
    print(f"{name:16} {amount.count:8} {amount.bytes:16,} bytes")
