# SPDX-License-Identifier: AGPL-3.0-or-later
"""The watch over the mix of levels: whoever is alarmed too often stops looking, so health says it and why."""

import asyncio
import logging
from collections.abc import Sequence

from inference_server.core.assessment import scores_of
from inference_server.core.clock import Clock
from inference_server.core.mix import DayMix
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.risk import drift
from inference_server.risk.drift import JUDGING, Drift, Excess
from inference_server.settings import RiskSettings
from inference_server.storage import cameras, verdicts
from inference_server.storage.database import STORAGE_FAILURES, Database

_LOGGER = logging.getLogger(__name__)

LOOK_SECONDS = 300.0


class DriftWatch:
    """Compares the levels of the last days with what is usual."""

    def __init__(self, database: Database, health: HealthBoard, clock: Clock, risk: RiskSettings) -> None:
        """Take the parts."""
        self._database = database
        self._health = health
        self._clock = clock
        self._risk = risk
        self._drifted = False

    async def run(self) -> None:
        """Look every five minutes until cancelled."""
        while True:
            try:
                await self.look()
            except STORAGE_FAILURES as error:
                _LOGGER.warning("The levels of the last days are looked at later: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Compare, and report to the health board."""
        async with self._database.reading() as connection:
            days = await verdicts.days(connection, self._clock.now(), drift.DAYS, self._risk.thresholds)
        found = drift.judge(days, self._risk.usual.shares, drifted=self._drifted)
        why = await self._explained(found.excess, days) if found.excess else None
        if why and not self._drifted:
            _LOGGER.warning("%s", why)
        self._drifted = found.excess is not None
        self._report(found, days, why)

    def _report(self, found: Drift, days: Sequence[DayMix], why: str | None) -> None:
        self._health.report(
            JUDGING,
            HealthState.DEGRADED if why else HealthState.OK,
            last_error=why,
            still_works="Every event is judged and told." if why else None,
            remedy=drift.REMEDY if why else None,
            levels=found.state.value,
            events=sum(day.events for day in days),
        )

    async def _explained(self, excess: Excess, days: Sequence[DayMix]) -> str:
        since = self._clock.now() - len(days) * verdicts.DAY
        least = scores_of(excess.level, self._risk.thresholds).start
        camera_id = drift.camera_of_most(days, excess.level)
        async with self._database.reading() as connection:
            names = {state.camera.id: state.camera.name for state in await cameras.states(connection, judged=True)}
            factors = await verdicts.factors_from(connection, least, since, drift.MOST_LOOKED_AT)
        return drift.explained(excess, names.get(camera_id or "", camera_id), drift.factor_of_most(factors))
