# SPDX-License-Identifier: AGPL-3.0-or-later
"""Analyse: the analyst is asked about an event, and its verdict stands where it is within bounds.

Nothing waits for this stage. While the analyst is down its messages wait, the most serious event first.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from inference_server.core.announcement import Announcement, AnnouncementKind
from inference_server.core.assessment import LevelThresholds, risk_level
from inference_server.core.clock import Clock
from inference_server.core.event import Event
from inference_server.core.message import Message, StageName, Work
from inference_server.core.signal import Signal
from inference_server.pipeline.analyst import SERVICE, Analyst, Counted
from inference_server.pipeline.breaker import ServiceDownError, ServiceError
from inference_server.pipeline.broker import Broker, Transaction
from inference_server.pipeline.cases import Case, Cases
from inference_server.pipeline.consulting import Consulted, Consulting
from inference_server.pipeline.incidents import Changed, IncidentKeeper
from inference_server.pipeline.retry import MAX_ATTEMPTS
from inference_server.risk.analyst.language_model import BadAnswer, Cancelled, ModelDown, ModelError
from inference_server.risk.ruling import rule
from inference_server.risk.standing import factor_names, is_alike, is_final
from inference_server.storage import announcements, cameras, events, messages
from inference_server.storage.database import Database

_LOGGER = logging.getLogger(__name__)

REST = timedelta(seconds=30)
"""Between two calls about one event."""
LOOK_SECONDS = 2.0
"""How often it is looked whether an event has changed while the analyst thinks."""
MOST_FAILURES = 3
"""Failures at one event, while others are answered, after which it is its own fault."""


@dataclass(frozen=True, slots=True)
class _Failures:
    """How often the analyst failed at an event, and how many answers it had given before the first time."""

    number: int
    answers_before: int


class AnalyseStage:
    """Consumes events that are to be explained."""

    name = StageName.ANALYSE
    batch_size = 1

    def __init__(
        self,
        database: Database,
        broker: Broker,
        announced: Signal,
        clock: Clock,
        *,
        analyst: Analyst,
        cases: Cases,
        consulting: Consulting,
        incidents: IncidentKeeper,
        thresholds: LevelThresholds,
        judged: Callable[[], bool],
        max_age: timedelta,
        lanes: int = 1,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Take the parts; `announced` is notified when something was announced, `judged` says if cameras are judged.

        What has waited for longer than `max_age` is not explained any more.
        """
        self.lanes = lanes
        self._database = database
        self._broker = broker
        self._announced = announced
        self._clock = clock
        self._analyst = analyst
        self._cases = cases
        self._consulting = consulting
        self._incidents = incidents
        self._thresholds = thresholds
        self._judged = judged
        self._max_age = max_age
        self._look_seconds = look_seconds
        self._failures: dict[int, _Failures] = {}

    async def ready(self) -> None:
        """Return once the analyst can be asked."""
        await self._analyst.ready()

    async def consume(self, given: Sequence[Message]) -> None:
        """Ask about the events, one after the other."""
        for message in given:
            await self._consume(message)

    async def _consume(self, message: Message) -> None:
        case = await self._begin(message)
        if case is None:
            return
        try:
            consulted = await self._answer(case)
        except _ChangedError:
            self._analyst.note(Counted.SUPERSEDED)
            await self._again(message)
        except BadAnswer as error:
            await self._give_up(message, error)
        except Cancelled:
            await self._again(message)
        except ModelError as error:
            await self._failed(message, error)
        else:
            self._failures.pop(case.event.id, None)
            await self._apply(case, consulted, message)

    async def _begin(self, message: Message) -> Case | None:
        """Return what to ask, or None when the message was done with: there is nothing to ask, or not yet."""
        now = self._clock.now()
        async with self._broker.transaction() as transaction:
            connection = transaction.connection
            self._analyst.note_waiting(await messages.count(connection, StageName.ANALYSE) - 1)
            case = await self._cases.read(connection, message.work.subject_id)
            if case is None or not _is_needed(case, message):
                await transaction.complete([message])
                return None
            if now - message.enqueued_at > self._max_age:
                await transaction.complete([message])
                self._analyst.note(Counted.TOO_OLD)
                return None
            if case.analysed_at is not None and timedelta(0) <= now - case.analysed_at < REST:
                await transaction.publish([_later(message.work, case.analysed_at + REST)])
                return None
            await events.note_analysis(connection, case.event.id, now)
        return case

    async def _answer(self, case: Case) -> Consulted:
        """Return the analyst's answer. Raises ModelError, ServiceDownError, and _ChangedError once it is of no use."""
        asking = asyncio.create_task(self._consulting.consult(case))
        try:
            while True:
                await asyncio.wait({asking}, timeout=self._look_seconds)
                if asking.done():
                    return await asking
                if await self._has_changed(case):
                    raise _ChangedError
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _has_changed(self, case: Case) -> bool:
        async with self._database.reading() as connection:
            now = await self._cases.read(connection, case.event.id)
        return now is None or not _is_same(case, now)

    async def _apply(self, case: Case, consulted: Consulted, message: Message) -> None:
        """Let the verdict stand, unless the event has changed meanwhile."""
        async with self._broker.transaction() as transaction:
            connection = transaction.connection
            await cameras.lock(connection, [case.event.camera_id])
            current = await self._cases.read(connection, case.event.id)
            if current is None:
                await transaction.complete([message])
                return
            if _is_same(case, current):
                judged = await self._let_stand(transaction, current, consulted)
                if judged.is_open or is_final(judged.assessment, current.rules):
                    await transaction.complete([message])
                else:
                    await transaction.publish([self._soon(message.work)])
            else:
                self._analyst.note(Counted.SUPERSEDED)
                await transaction.publish([self._soon(message.work)])
        self._announced.notify()

    async def _let_stand(self, transaction: Transaction, current: Case, consulted: Consulted) -> Event:
        now, before = self._clock.now(), current.event
        ruling = rule(consulted.asked, consulted.verdict, consulted.analysis, self._thresholds, now)
        self._analyst.note(Counted.ANSWERED)
        if ruling.repaired or consulted.repaired:
            self._analyst.note(Counted.REPAIRED)
        event = await events.reassess(transaction.connection, before, ruling.assessment)
        state = await cameras.state(transaction.connection, event.camera_id, judged=self._judged())
        previous = risk_level(before.assessment.score, self._thresholds)
        told = Announcement(AnnouncementKind.EVENT_ASSESSED, event.camera_id, now, state, event, previous)
        stories = await self._incidents.take(transaction.connection, [Changed(event, live=False)])
        await announcements.add(transaction.connection, [stories.with_incident(told), *stories.told])
        return event

    async def _again(self, message: Message) -> None:
        """Ask again about the event as it is now, when its rest is over."""
        async with self._broker.transaction() as transaction:
            await transaction.publish([self._soon(message.work)])

    async def _give_up(self, message: Message, error: ModelError) -> None:
        """Leave the rules' assessment as it is: the analyst does not manage this one."""
        _LOGGER.warning("The rules' assessment of event %d stands: %s %s", message.work.subject_id, error, error.remedy)
        self._failures.pop(message.work.subject_id, None)
        async with self._broker.transaction() as transaction:
            await transaction.complete([message])
        self._analyst.refuse(error)

    async def _failed(self, message: Message, error: ModelError) -> None:
        """Leave the message to a better time, or give up when it is what the analyst fails at."""
        event_id = message.work.subject_id
        known = self._failures.get(event_id, _Failures(0, self._analyst.answers))
        number = known.number + 1
        others = self._analyst.answers > known.answers_before
        its_own = not isinstance(error, ModelDown)
        if (number >= MOST_FAILURES and (others or its_own)) or (its_own and message.attempts >= MAX_ATTEMPTS):
            await self._give_up(message, error)
            return
        self._failures = {**self._newest_failures(), event_id: _Failures(number, known.answers_before)}
        if isinstance(error, ModelDown):
            raise ServiceDownError(str(error), tried=number > 1) from error
        raise ServiceError(SERVICE, str(error)) from error

    def _newest_failures(self) -> dict[int, _Failures]:
        return dict(list(self._failures.items())[-99:])

    def _soon(self, work: Work) -> Work:
        return _later(work, self._clock.now() + REST)


class _ChangedError(Exception):
    """The event is no longer what the analyst was asked about."""


def _is_needed(case: Case, message: Message) -> bool:
    """Return whether the analyst has something to say: an open event's verdict stands, a closed one's must be final."""
    if message.work.priority < 0:
        return True
    verdict = case.event.assessment
    if not verdict.verified:
        return True
    return not case.event.is_open and not is_final(verdict, case.rules)


def _is_same(asked: Case, now: Case) -> bool:
    return is_alike(now.rules, score=asked.rules.score, factors=factor_names(asked.rules))


def _later(work: Work, at: datetime) -> Work:
    return Work(work.stage, work.subject_id, work.camera_id, at, work.priority)
