# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prompts in use: the version that is active now, and what a prompt is about, read from the database."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.clock import Clock
from inference_server.core.event import Event
from inference_server.core.prompt import PromptKind
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.cases import Cases, told_of
from inference_server.risk.prompts.case import Case, Period, Told
from inference_server.risk.prompts.shipped import newest_shipped, shipped_prompts
from inference_server.risk.prompts.text import Prompt, PromptError, read_prompt
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
        self._cases = Cases(risk, zone, clock)
        self._zone = zone

    async def of_event(self, connection: AsyncConnection, event: Event) -> Case:
        """Return an event as the analyst is asked about it."""
        case = await self._cases.read(connection, event.id)
        if case is None:
            raise ValueError(f"there is no event {event.id}")
        return told_of(case)

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
