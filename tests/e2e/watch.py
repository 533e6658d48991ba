# SPDX-License-Identifier: AGPL-3.0-or-later
"""Waiting for what Home Assistant shows, as its front end does: by listening."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from scripts.development.home_assistant_client import HomeAssistantClient

type State = dict[str, Any]

UNAVAILABLE = "unavailable"
UNKNOWN = "unknown"
"""A camera's risk while its server does not judge, such as in the seconds in which it loads its detector."""


@dataclass(frozen=True, slots=True)
class Change:
    """One state change; the new state is None when the entity is gone."""

    entity_id: str
    state: State | None
    at: float
    """Seconds of the monotonic clock."""


class Watch:
    """The states as they are, and every change since the watch began."""

    def __init__(self, states: dict[str, State], report: Callable[[], str]) -> None:
        """Start with the states of that moment; `report` tells a failing wait what to print."""
        self.states = states
        self.changes: list[Change] = []
        self._report = report
        self._news = asyncio.Event()

    def take(self, event: State) -> None:
        """Note a `state_changed` event."""
        entity_id, state = event["data"]["entity_id"], event["data"]["new_state"]
        self.changes.append(Change(entity_id, state, time.monotonic()))
        if state is None:
            self.states.pop(entity_id, None)
        else:
            self.states[entity_id] = state
        self._news.set()

    def value(self, entity_id: str) -> str | None:
        """The state of an entity now, None when there is none."""
        state = self.states.get(entity_id)
        return state["state"] if state else None

    async def until[Found](self, what: str, find: Callable[[], Found | None], timeout: float = 20) -> Found:
        """Wait until something is found; on failure print the states and the ends of the logs."""
        try:
            async with asyncio.timeout(timeout):
                while not (found := find()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            shown = "\n".join(f"  {id_} = {state['state']}" for id_, state in sorted(self.states.items()))
            raise AssertionError(f"No {what} within {timeout:.0f} s.\nStates:\n{shown}\n{self._report()}") from None
        return found

    async def state(self, entity_id: str, value: str, timeout: float = 20) -> State:
        """Wait until an entity has a state."""
        await self.until(f"{entity_id} = {value}", lambda: self.value(entity_id) == value, timeout)
        return self.states[entity_id]

    async def fired(self, camera: str, event_type: str, times: int = 1, timeout: float = 20) -> State:
        """Wait until a camera's event entity has fired an event of a type, and return its attributes."""
        firings = await self.until(
            f"{event_type} of {camera}", lambda: self._firings(camera, event_type)[times - 1 :], timeout
        )
        return firings[0]

    def values(self, entity_id: str) -> list[str]:
        """The different states an entity went through, in order."""
        found: list[str] = []
        for change in self.changes:
            if change.entity_id == entity_id and change.state and found[-1:] != [change.state["state"]]:
                found.append(change.state["state"])
        return found

    def event_types(self, camera: str) -> list[str]:
        """What a camera's event entity has fired, in order."""
        return [attributes["event_type"] for attributes in self._firings(camera)]

    def _firings(self, camera: str, event_type: str | None = None) -> list[State]:
        times: set[str] = set()
        found = []
        for change in self.changes:
            if change.entity_id != f"event.{camera}_security_event" or not change.state:
                continue
            at, attributes = change.state["state"], change.state["attributes"]
            if at in {UNAVAILABLE, UNKNOWN} or at in times or "event_id" not in attributes:
                continue
            times.add(at)
            if event_type in {None, attributes["event_type"]}:
                found.append(attributes)
        return found


@asynccontextmanager
async def watching(client: HomeAssistantClient, report: Callable[[], str]) -> AsyncIterator[Watch]:
    """Listen to all state changes from now on."""
    async with client.subscribe("state_changed") as events:
        watch = Watch(await client.states(), report)

        async def listen() -> None:
            async for event in events:
                watch.take(event)

        listener = asyncio.create_task(listen())
        try:
            yield watch
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
