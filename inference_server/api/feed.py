# SPDX-License-Identifier: AGPL-3.0-or-later
"""The live feed: reads each announcement once and hands it to every subscriber."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web

from inference_server.api.context import ApiContext
from inference_server.api.messages import ModelPullMessage, ServerMessage, message
from inference_server.api.model_objects import pull_object
from inference_server.api.snapshot import server_object
from inference_server.core.announcement import SequencedAnnouncement
from inference_server.core.model import Pull
from inference_server.storage import announcements
from inference_server.storage.tokens import Scope

_READ_AT_ONCE = 200
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to be sent; those outside the sequence have no number."""

    sequence: int | None
    text: str


class Subscription:
    """One client's bounded queue."""

    def __init__(self, length: int, scope: Scope) -> None:
        """Take how many messages may wait, and what their reader may see."""
        self.scope = scope
        self._queue: asyncio.Queue[Outgoing] = asyncio.Queue(length)
        self.lost = asyncio.Event()
        """Set when a message could not be kept: the client has to come back with its last sequence."""

    def offer(self, outgoing: Outgoing) -> None:
        """Queue a message, or give the subscription up when there is no room."""
        try:
            self._queue.put_nowait(outgoing)
        except asyncio.QueueFull:
            self.lost.set()

    async def next_after(self, sequence: int) -> str:
        """Return the next message that the state as of this sequence number does not hold already."""
        while True:
            outgoing = await self._queue.get()
            if outgoing.sequence is None or outgoing.sequence > sequence:
                return outgoing.text


class Feed:
    """Follows the announcements and the server object as long as it runs."""

    def __init__(self, context: ApiContext) -> None:
        """Take the parts; nothing is read yet."""
        self._context = context
        self._subscriptions: set[Subscription] = set()
        self._position = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin after the newest announcement."""
        async with self._context.database.reading() as connection:
            self._position = await announcements.last_sequence(connection)
        self._tasks = [
            asyncio.create_task(self._follow_announcements(), name="announcement feed"),
            asyncio.create_task(self._follow_server(), name="server feed"),
            asyncio.create_task(self._follow_models(), name="model feed"),
        ]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextlib.contextmanager
    def subscribed(self, scope: Scope) -> Iterator[Subscription]:
        """Give a subscription to everything from now on.

        Whoever subscribes first and reads the state afterwards misses nothing: what was announced before the
        subscription is in the state, and what is in both is left out by `Subscription.next_after`.
        """
        subscription = Subscription(self._context.limits.queue_length, scope)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def _follow_announcements(self) -> None:
        signal = self._context.announced
        while True:
            seen = signal.count
            try:
                items = await self._read()
                self._forward(items)
            except Exception:  # the database may be back the next time; until then no position is lost
                _LOGGER.exception("Announcements cannot be read; clients wait for them")
                items = ()
            if not items:
                await signal.wait(seen, timeout=self._context.limits.recheck_seconds)

    async def _read(self) -> tuple[SequencedAnnouncement, ...]:
        async with self._context.database.reading() as connection:
            items = await announcements.after(connection, self._position, limit=_READ_AT_ONCE)
            if items is not None:
                return items
            self._position = await announcements.last_sequence(connection)
        for subscription in self._subscriptions:
            subscription.lost.set()
        return ()

    def _forward(self, items: tuple[SequencedAnnouncement, ...]) -> None:
        for item in items:
            if self._subscriptions:
                self._offer(Outgoing(item.sequence, message(item, self._context.thresholds).model_dump_json()))
            self._position = item.sequence

    async def _follow_server(self) -> None:
        signal = self._context.server_changed
        seen = signal.count
        while True:
            await signal.wait(seen)
            seen = signal.count
            try:
                server = await server_object(self._context)
            except Exception:
                _LOGGER.exception("The server object cannot be told")
            else:
                self._offer(Outgoing(None, ServerMessage(server=server).model_dump_json()))
            await asyncio.sleep(self._context.limits.server_interval_seconds)

    async def _follow_models(self) -> None:
        models, sent = self._context.models, dict[str, Pull]()
        while True:
            seen = models.changed.count
            for pull in models.pulls:
                if sent.get(pull.model_id) != pull:
                    sent[pull.model_id] = pull
                    text = ModelPullMessage(pull=pull_object(pull)).model_dump_json()
                    self._offer(Outgoing(None, text), Scope.ADMIN)
            await asyncio.sleep(self._context.limits.pull_interval_seconds)
            await models.changed.wait(seen)

    def _offer(self, outgoing: Outgoing, scope: Scope = Scope.READ) -> None:
        for subscription in self._subscriptions:
            if subscription.scope.allows(scope):
                subscription.offer(outgoing)


FEED = web.AppKey("feed", Feed)
