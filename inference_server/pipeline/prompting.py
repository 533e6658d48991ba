# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prompts in use: the version that is active now, and what a prompt is about, read from the database."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.assessment import AssessmentSource
from inference_server.core.clock import Clock
from inference_server.core.event import Event
from inference_server.core.prompt import PromptKind
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.situation import Happening, Situations
from inference_server.risk.prompts.case import Case, Period, Told
from inference_server.risk.prompts.shipped import newest_shipped, shipped_prompts
from inference_server.risk.prompts.text import Prompt, PromptError, read_prompt
from inference_server.risk.rules import assess
from inference_server.risk.weights import load_weights
from inference_server.settings import RiskSettings
from inference_server.storage import events, prompts, surroundings
from inference_server.storage.events import EventFilter
from inference_server.storage.prompts import NewPrompt

COMPONENT = "prompts"
MOST_EVENTS = 2000
"""That one summary is made of."""


async def seed_prompts(connection: AsyncConnection, clock: Clock) -> None:
    """Let the database know the shipped prompts."""
    shipped = [
        NewPrompt(kind=item.kind, name=item.name, text=item.text, note="Came with the product.", shipped=True)
        for item in shipped_prompts()
    ]
    await prompts.seed(connection, shipped, clock.now())


@dataclass(frozen=True, slots=True)
class ActivePrompt:
    """The prompt in use. `number` is None for the shipped one that stands in for a version that cannot be used."""

    number: int | None
    prompt: Prompt


class Prompts:
    """Tells the prompt in use. It is read each time, so that every worker goes by a change at once."""

    def __init__(self, health: HealthBoard) -> None:
        """Take where to say that the active version cannot be used."""
        self._health = health

    async def active(self, connection: AsyncConnection, kind: PromptKind) -> ActivePrompt:
        """Return the prompt of a kind that is in use."""
        version = await prompts.active(connection, kind)
        if version is not None:
            try:
                prompt = read_prompt(kind, version.text)
            except PromptError as error:
                self._complain(kind, version.number, error)
            else:
                self._health.report(f"{COMPONENT}:{kind}", HealthState.OK, version=version.number)
                return ActivePrompt(version.number, prompt)
        return ActivePrompt(None, read_prompt(kind, newest_shipped(kind).text))

    def _complain(self, kind: PromptKind, number: int, error: PromptError) -> None:
        self._health.report(
            f"{COMPONENT}:{kind}",
            HealthState.DEGRADED,
            last_error=f"Version {number} of the prompt {kind} is active and cannot be used: {error}",
            still_works="The newest shipped prompt is used instead.",
            remedy=f"Activate another version: hsi prompts activate {kind} NUMBER.",
            version=number,
        )


class PromptCases:
    """Reads what a prompt is about."""

    def __init__(self, risk: RiskSettings, zone: ZoneInfo, clock: Clock) -> None:
        """Take what events are judged by; the zone is the home's. Raises WeightsError."""
        self._situations = Situations(risk, zone)
        self._weights = load_weights(risk.weights_file)
        self._zone = zone
        self._clock = clock

    async def of_event(self, connection: AsyncConnection, event: Event) -> Case:
        """Return an event as the analyst is asked about it.

        What the rules said of it stands; where the analyst has spoken since, they judge it again. The state of the
        home is that of now, and unknown for an event of the past.
        """
        happening = Happening(event.camera_id, event.id, event.started_at, event.last_detection_at, event.tracks)
        evidence = await self._situations.evidence(connection, happening, self._clock.now())
        by_rules = event.assessment.source is AssessmentSource.RULES
        camera = (await surroundings.placed(connection)).get(event.camera_id)
        return Case(
            camera=camera.name if camera else event.camera_id,
            evidence=evidence,
            assessment=event.assessment if by_rules else assess(evidence, self._weights, self._clock),
            started_at=event.started_at,
            is_open=event.is_open,
            pictures=event.frame_count,
            view_problems=camera.problems if camera else (),
        )

    async def of_period(self, connection: AsyncConnection, since: datetime, until: datetime) -> Period:
        """Return what happened from one time to another, by the events that began then, at most MOST_EVENTS."""
        page = await events.find(connection, EventFilter(since=since, until=until), limit=MOST_EVENTS, cursor=None)
        cameras = await surroundings.placed(connection)
        names = {camera.id: camera.name for camera in cameras.values()}
        told = tuple(self._told(event, names.get(event.camera_id, event.camera_id)) for event in page.items)
        return Period(since=since.astimezone(self._zone), until=until.astimezone(self._zone), events=told)

    def _told(self, event: Event, camera: str) -> Told:
        return Told(
            started_at=event.started_at.astimezone(self._zone),
            ended_at=event.ended_at.astimezone(self._zone) if event.ended_at else None,
            cameras=(camera,),
            score=event.assessment.score,
            summary=event.assessment.summary,
            verified=event.assessment.verified,
        )
