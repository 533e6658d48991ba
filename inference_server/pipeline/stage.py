# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stage, and the loop that feeds it from the broker."""

import asyncio
import logging
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from inference_server.core.message import Failure, Message, StageName
from inference_server.observability.health import HealthBoard, HealthState
from inference_server.pipeline.breaker import ServiceDownError, ServiceError
from inference_server.pipeline.broker import Broker, BrokerDownError
from inference_server.pipeline.retry import MAX_ATTEMPTS, MAX_DELIVERIES, SUSPECT_ATTEMPTS, PermanentError, retry_delay
from inference_server.storage.database import STORAGE_FAILURES, remedy_of
from inference_server.storage.messages import MessageTakenError

_LOGGER = logging.getLogger(__name__)

STORAGE_RETRY_SECONDS = 2.0
TRIED_DELAY = timedelta(minutes=1)


class Stage(Protocol):
    """Consumes messages: commits results, next messages and the end of its own messages together."""

    @property
    def name(self) -> StageName:
        """Which messages it wants."""
        ...

    @property
    def batch_size(self) -> int:
        """How many messages it takes at once."""
        ...

    @property
    def lanes(self) -> int:
        """How many batches may be under way at a time."""
        ...

    async def ready(self) -> None:
        """Return once the stage can work; until then its messages wait."""
        ...

    async def consume(self, messages: Sequence[Message]) -> None:
        """Do the work. An exception means that nothing was committed."""
        ...


async def run_stage(stage: Stage, broker: Broker, health: HealthBoard) -> None:
    """Feed a stage until cancelled. A failing message is retried alone, then becomes a dead letter."""
    held: list[Message] = []
    health.report(stage.name, HealthState.OK)
    while True:
        try:
            await stage.ready()
            if not held:
                await broker.wait(stage.name)
                await stage.ready()
                held = await _claim(stage, broker)
            await _consume(stage, broker, held)
            health.report(stage.name, HealthState.OK)
        except ServiceDownError as error:
            await _give_back(broker, held, error)
        except STORAGE_FAILURES as error:
            _LOGGER.warning("The %s stage waits: %s", stage.name, error)
            health.report(
                stage.name,
                HealthState.DOWN,
                last_error=str(error),
                still_works="Pictures stay where they are and are judged later.",
                remedy=_remedy(error),
            )
            await asyncio.sleep(STORAGE_RETRY_SECONDS)
        except Exception:
            broker.abandon(held)
            raise


def _remedy(error: Exception) -> str:
    if isinstance(error, BrokerDownError):
        return "Check that Redis runs and can be reached."
    return remedy_of(error)


async def _claim(stage: Stage, broker: Broker) -> list[Message]:
    """Claim messages. What may kill the process is taken alone, so that nothing else is blamed for it."""
    claimed = await broker.claim(stage.name, stage.batch_size)
    suspects = [message for message in claimed if message.attempts >= SUSPECT_ATTEMPTS]
    if not suspects or len(claimed) == 1:
        return claimed
    try:
        await broker.release([message for message in claimed if message is not suspects[0]])
    except STORAGE_FAILURES:
        broker.abandon(claimed)
        raise
    return suspects[:1]


async def _consume(stage: Stage, broker: Broker, held: list[Message]) -> None:
    """Consume the held messages together or, where that fails, one by one; what is done leaves the list.

    What a storage failure interrupts stays in it: left to its lease, it would come back minutes later and behind
    newer messages.
    """
    at_once = len(held)
    while held:
        part = held[:at_once]
        try:
            await _attempt(stage, part)
        except (*STORAGE_FAILURES, ServiceDownError):
            raise
        except MessageTakenError as error:
            if at_once > 1:
                at_once = 1
                continue
            await _forget(broker, part[0], error)
        except Exception as error:  # noqa: BLE001 - whatever a stage raises, its messages must not be lost
            if at_once > 1:
                at_once = 1
                continue
            await _fail(broker, part[0], error)
        del held[:at_once]


async def _give_back(broker: Broker, held: list[Message], error: ServiceDownError) -> None:
    """Leave messages to a better time without blame; a storage failure leaves them to their lease.

    The one with which the service was tried goes behind the others: it may be what the service fails at.
    """
    try:
        if error.tried and len(held) == 1:
            await broker.retry(replace(held[0], attempts=held[0].attempts - 1), str(error), TRIED_DELAY)
        else:
            await broker.release(held)
    except STORAGE_FAILURES:
        broker.abandon(held)
    held.clear()


async def _forget(broker: Broker, message: Message, error: MessageTakenError) -> None:
    await broker.forget([message])
    _LOGGER.info("%s of %d: %s", message.work.stage.capitalize(), message.work.subject_id, error)


async def _attempt(stage: Stage, part: Sequence[Message]) -> None:
    if part[0].attempts > MAX_DELIVERIES:
        raise PermanentError(f"the server stopped {MAX_DELIVERIES} times while it worked on this")
    await stage.consume(part)


async def _fail(broker: Broker, message: Message, error: Exception) -> None:
    work = message.work
    reason = str(error) if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"
    if isinstance(error, PermanentError) or message.attempts >= MAX_ATTEMPTS:
        _LOGGER.error("Gave up %s of %d (%s): %s", work.stage, work.subject_id, work.camera_id, reason, exc_info=error)
        service = error.service if isinstance(error, ServiceError) else None
        try:
            await broker.bury(message, Failure(reason, service, "".join(traceback.format_exception(error))))
        except MessageTakenError as taken:
            await _forget(broker, message, taken)
        return
    delay = retry_delay(message.attempts)
    _LOGGER.warning(
        "%s of %d (%s) failed, attempt %d of %d, again in %.1f s: %s",
        work.stage.capitalize(),
        work.subject_id,
        work.camera_id,
        message.attempts,
        MAX_ATTEMPTS,
        delay.total_seconds(),
        reason,
    )
    await broker.retry(message, reason, delay)
