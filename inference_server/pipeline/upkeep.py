# SPDX-License-Identifier: AGPL-3.0-or-later
"""Upkeep: everything that counts and cleans what is stored, put together for the server and for the command line."""

from collections.abc import Callable, Sequence

from inference_server.core.clock import Clock
from inference_server.core.signal import Signal
from inference_server.observability.health import HealthBoard
from inference_server.pipeline.accounts import Accounts
from inference_server.pipeline.cleaning import Cleaner
from inference_server.pipeline.housekeeping import Housekeeping
from inference_server.settings import Settings
from inference_server.storage.database import Database
from inference_server.storage.disk import Place
from inference_server.storage.media import MediaFolder
from inference_server.storage.originals import CameraFolders


class Upkeep:
    """The parts, on one database and one media folder."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        media: MediaFolder,
        *,
        announced: Signal,
        health: HealthBoard,
        clock: Clock,
        judged: Callable[[], bool],
    ) -> None:
        """Take the settings and the parts of others; `judged` says whether cameras are judged now."""
        roots = [root.path for root in settings.watch_roots]
        database_file = [("database", database.file.parent)] if database.file else []
        self.places: Sequence[Place] = [("media", media.root), *database_file, *(("cameras", root) for root in roots)]
        kept, thresholds, zone = settings.retention, settings.risk.thresholds, settings.zone
        folders = CameraFolders(roots)
        self.cleaner = Cleaner(database, media, folders, announced, clock, judged=judged)
        self.housekeeping = Housekeeping(
            database, self.cleaner, health, clock, settings=kept, thresholds=thresholds, zone=zone
        )
        self.accounts = Accounts(
            database,
            media,
            self.cleaner,
            clock,
            settings=kept,
            thresholds=thresholds,
            zone=zone,
            places=self.places,
        )
