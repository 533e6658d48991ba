# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cases: events as the analyst is asked about them, read from the database."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import Assessment
from inference_server.core.clock import Clock
from inference_server.core.event import Event
from inference_server.core.view import LastingProblem
from inference_server.pipeline.situation import Happening, Situations
from inference_server.risk.evidence import Evidence
from inference_server.risk.prompts import case as prompt_case
from inference_server.risk.recorded import recall
from inference_server.risk.rules import assess
from inference_server.risk.weights import load_weights
from inference_server.settings import RiskSettings
from inference_server.storage import events, surroundings


@dataclass(frozen=True, slots=True)
class Case:
    """An event, what it is judged by, and what the rules say of that."""

    event: Event
    camera_name: str
    evidence: Evidence
    rules: Assessment
    analysed_at: datetime | None
    """When the analyst was asked about it last."""
    view_problems: tuple[LastingProblem, ...]


def told_of(case: Case) -> prompt_case.Case:
    """Return a case as prompts tell it."""
    return prompt_case.Case(
        camera=case.camera_name,
        evidence=case.evidence,
        assessment=case.rules,
        started_at=case.event.started_at,
        is_open=case.event.is_open,
        pictures=case.event.frame_count,
        view_problems=case.view_problems,
    )


class Cases:
    """Reads events with their evidence."""

    def __init__(self, risk: RiskSettings, zone: ZoneInfo, clock: Clock) -> None:
        """Take what events are judged by; the zone is the home's."""
        self._situations = Situations(risk, zone)
        self._weights = load_weights(risk.weights_file)
        self._zone = zone
        self._clock = clock

    async def read(self, connection: AsyncConnection, event_id: int) -> Case | None:
        """Return an event as it is now, or None when there is none.

        It is judged by what was known when it happened; only where nobody kept that, by what is known of it now.
        """
        found = await events.analysable(connection, event_id)
        if found is None:
            return None
        event = found.event
        evidence = recall(found.evidence, event.tracks)
        if evidence is None:
            happening = Happening(event.camera_id, event.id, event.started_at, event.last_detection_at, event.tracks)
            evidence = await self._situations.evidence(connection, happening, self._clock.now())
        rules = assess(evidence, self._weights, self._clock)
        return Case(
            event=event,
            camera_name=found.camera_name,
            evidence=evidence,
            rules=rules,
            analysed_at=found.analysed_at,
            view_problems=await surroundings.view_problems(connection, event.camera_id),
        )
