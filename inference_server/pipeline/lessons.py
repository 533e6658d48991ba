# SPDX-License-Identifier: AGPL-3.0-or-later
"""What feedback teaches, kept in the memory of each process and renewed when feedback was given or withdrawn."""

import asyncio
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import LevelThresholds
from inference_server.risk.evidence import Evidence, Lesson
from inference_server.risk.learning import School, signature
from inference_server.risk.rules import find_factors
from inference_server.risk.weights import Weights
from inference_server.storage import feedback


class Lessons:
    """Says what feedback means for an event that is being judged."""

    def __init__(self, thresholds: LevelThresholds, weights: Weights) -> None:
        """Take what events are judged by."""
        self._thresholds = thresholds
        self._weights = weights
        self._stamp: str | None = None
        self._school: School | None = None

    async def of(self, connection: AsyncConnection, camera_id: str, evidence: Evidence, now: datetime) -> Lesson | None:
        """Return the lesson for an event; None where there is none. All processes go by new feedback at once."""
        school = await self._current(connection)
        if school is None:
            return None
        factors = find_factors(evidence, self._weights)
        return school.lesson(signature(camera_id, evidence.place, evidence.tracks, factors, night=evidence.night), now)

    async def _current(self, connection: AsyncConnection) -> School | None:
        """Return what the feedback teaches that counts in a transaction.

        The stamp is read first: feedback that is committed in between is read again the next time.
        """
        stamp = await feedback.stamp(connection)
        if stamp != self._stamp:
            known = await feedback.experiences(connection)
            school = await asyncio.to_thread(School, known, self._thresholds, self._weights) if known else None
            self._stamp, self._school = stamp, school
        return self._school
