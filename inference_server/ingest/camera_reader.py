# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps what admission knows of the cameras up to date, and says what is wrong with their clocks and views."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from inference_server.core.view import LastingProblem
from inference_server.ingest.camera_clock import SLOW_UPLOAD
from inference_server.ingest.known_cameras import KnownCameras
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.storage import camera_settings, cameras, stationary, views
from inference_server.storage.database import STORAGE_FAILURES, Database

_LOGGER = logging.getLogger(__name__)

INTERVAL_SECONDS = 2.0
"""How soon a change that another process made counts here."""
NAMED = 5
"""Problems of a kind that are named one by one."""
CLOCKS_STILL_WORK = "Their pictures are judged, at the time of their arrival."
CLOCKS_REMEDY = (
    "Let the camera set its clock by a time server (NTP) and check its time zone. If it keeps the time "
    "of another zone than the home's, tell which: hsi cameras set CAMERA --time-zone ZONE."
)
VIEWS_STILL_WORK = "Their pictures are judged, but may not show what they should."
VIEWS_REMEDY = (
    "Look at the camera's newest picture; clean, free or turn the camera. If the view is meant to be as it is now, "
    "POST /api/cameras/CAMERA/view/accept; if the camera turns by itself, hsi cameras set CAMERA --no-watch-view."
)


class CameraReader:
    """Reads settings and clocks from the database."""

    def __init__(self, database: Database, known: KnownCameras, health: HealthBoard) -> None:
        """Take what is to be kept up to date. Nothing is admitted before the first `read`: it would miss its masks."""
        self._database = database
        self._known = known
        self._health = health

    async def read(self) -> None:
        """Read everything now. Raises one of STORAGE_FAILURES."""
        async with self._database.reading() as connection:
            settings = await camera_settings.all_settings(connection)
            offsets = await cameras.clock_offsets(connection)
            still = await stationary.count(connection)
            wrong_views = await views.wrong_views(connection)
        self._known.update(settings, offsets)
        self._report(offsets, wrong_views, still)

    async def run(self) -> None:
        """Read every few seconds until cancelled; what is known stays while the database is down."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.read_if_possible()

    async def read_if_possible(self) -> None:
        """Read everything now, or leave it to the next time."""
        try:
            await self.read()
        except STORAGE_FAILURES as error:
            _LOGGER.debug("The cameras' settings cannot be read now: %s", error)

    def _report(
        self, offsets: Mapping[str, float], views_found: Mapping[str, Sequence[LastingProblem]], still: int
    ) -> None:
        wrong = {name: seconds for name, seconds in offsets.items() if abs(seconds) > SLOW_UPLOAD.total_seconds()}
        if not wrong and not views_found:
            self._health.report("cameras", HealthState.OK, stationary_objects=still)
            return
        clocks = [f"the clock of {name} is {_explained(seconds)}" for name, seconds in sorted(wrong.items())]
        seen = [f"the view of {name} is {_described(found)}" for name, found in sorted(views_found.items())]
        self._health.report(
            "cameras",
            HealthState.DEGRADED,
            last_error=" ".join(_sentence(problems) for problems in (seen, clocks) if problems),
            still_works=" ".join(
                text for text, problems in ((VIEWS_STILL_WORK, seen), (CLOCKS_STILL_WORK, clocks)) if problems
            ),
            remedy=" ".join(text for text, problems in ((VIEWS_REMEDY, seen), (CLOCKS_REMEDY, clocks)) if problems),
            wrong_clocks=len(wrong),
            wrong_views=len(seen),
            stationary_objects=still,
        )


def _sentence(problems: Sequence[str]) -> str:
    more = f", and {len(problems) - NAMED} more are wrong" if len(problems) > NAMED else ""
    first = ", ".join(problems[:NAMED])
    return f"{first[0].upper()}{first[1:]}{more}."


def _described(found: Sequence[LastingProblem]) -> str:
    return " and ".join(problem.kind.replace("_", " ") for problem in found)


def _explained(seconds: float) -> str:
    amount = timedelta(seconds=round(abs(seconds)))
    hours, rest = divmod(amount.seconds, 3600)
    parts = ((amount.days, "d"), (hours, "h"), (rest // 60, "min"))
    told = " ".join(f"{number} {unit}" for number, unit in parts if number)
    return f"{told} {'behind' if seconds > 0 else 'ahead'}"
