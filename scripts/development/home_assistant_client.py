# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small typed client of Home Assistant's REST and WebSocket API."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import aiohttp

type Object = dict[str, Any]
"""A decoded JSON object."""


class HomeAssistantError(Exception):
    """Home Assistant refused a request."""


class HomeAssistantClient:
    """One authenticated user: plain requests and one WebSocket connection."""

    def __init__(self, url: str, access_token: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.access_token = access_token
        self._session = session
        self._websocket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._results: dict[int, asyncio.Future[Any]] = {}
        self._subscriptions: dict[int, asyncio.Queue[Object]] = {}

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, access_token: str) -> AsyncGenerator[Self]:
        """Open a client with its WebSocket and close both afterwards."""
        async with aiohttp.ClientSession() as session:
            client = cls(url, access_token, session)
            await client._open_websocket()
            try:
                yield client
            finally:
                await client._close_websocket()

    async def get(self, path: str) -> Any:
        """GET a path and decode its JSON."""
        return await self._request("GET", path)

    async def post(self, path: str, data: Object | None = None) -> Any:
        """POST JSON to a path and decode the answer."""
        return await self._request("POST", path, data or {})

    async def delete(self, path: str) -> Any:
        """DELETE a path and decode the answer."""
        return await self._request("DELETE", path)

    async def download(self, path: str) -> bytes:
        """GET a path as it is, a picture for example."""
        async with self._session.get(f"{self.url}{path}", headers=self._headers) as response:
            body = await response.read()
            if not response.ok:
                raise HomeAssistantError(f"GET {path}: {response.status}")
            return body

    async def states(self) -> dict[str, Object]:
        """Every state, by entity id."""
        return {state["entity_id"]: state for state in await self.get("/api/states")}

    async def wait_for_state(self, entity_id: str, accepts: Callable[[Object], bool], timeout: float = 30) -> Object:
        """Wait until the entity exists in a state that is accepted."""
        state: Object | None
        async with asyncio.timeout(timeout), self.subscribe("state_changed") as events:
            if (state := (await self.states()).get(entity_id)) and accepts(state):
                return state
            async for event in events:
                state = event["data"]["new_state"]
                if event["data"]["entity_id"] == entity_id and state and accepts(state):
                    return state
        raise HomeAssistantError(f"The connection ended before {entity_id} changed")

    async def start_config_flow(self, handler: str) -> Object:
        """Open the form that adds an integration."""
        flow: Object = await self.post("/api/config/config_entries/flow", {"handler": handler})
        return flow

    async def continue_config_flow(self, flow_id: str, user_input: Object) -> Object:
        """Submit one form of a config flow."""
        flow: Object = await self.post(f"/api/config/config_entries/flow/{flow_id}", user_input)
        return flow

    async def config_entries(self, domain: str) -> list[Object]:
        """The config entries of one integration."""
        entries: list[Object] = await self.call("config_entries/get", domain=domain)
        return entries

    async def call(self, command: str, **payload: Any) -> Any:
        """Send a WebSocket command and return its result."""
        _, result = await self._send(command, payload)
        return result

    @asynccontextmanager
    async def subscribe(self, event_type: str) -> AsyncGenerator[AsyncIterator[Object]]:
        """Receive events of a type, from the moment the block is entered."""
        async with self.subscribe_command("subscribe_events", event_type=event_type) as events:
            yield events

    @asynccontextmanager
    async def subscribe_command(self, command: str, **payload: Any) -> AsyncGenerator[AsyncIterator[Object]]:
        """Receive what a subscribing WebSocket command sends."""
        queue: asyncio.Queue[Object] = asyncio.Queue()
        number, _ = await self._send(command, payload, queue)
        try:
            yield _drain(queue)
        finally:
            self._subscriptions.pop(number, None)
            if self._websocket and not self._websocket.closed:
                await self.call("unsubscribe_events", subscription=number)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}

    async def _request(self, method: str, path: str, data: Object | None = None) -> Any:
        async with self._session.request(method, f"{self.url}{path}", json=data, headers=self._headers) as response:
            if not response.ok:
                raise HomeAssistantError(f"{method} {path}: {response.status} {await response.text()}")
            return await response.json()

    async def _send(self, command: str, payload: Object, queue: asyncio.Queue[Object] | None = None) -> tuple[int, Any]:
        if self._websocket is None:
            raise HomeAssistantError("The WebSocket is not connected")
        number = next(self._ids)
        if queue:
            self._subscriptions[number] = queue
        self._results[number] = asyncio.get_running_loop().create_future()
        try:
            await self._websocket.send_json({"id": number, "type": command, **payload})
            return number, await self._results[number]
        finally:
            del self._results[number]

    async def _open_websocket(self) -> None:
        self._websocket = await self._session.ws_connect(f"{self.url}/api/websocket", max_msg_size=0, heartbeat=30)
        await self._websocket.receive_json()
        await self._websocket.send_json({"type": "auth", "access_token": self.access_token})
        answer = await self._websocket.receive_json()
        if answer["type"] != "auth_ok":
            raise HomeAssistantError(f"The WebSocket login was refused: {answer}")
        self._reader = asyncio.create_task(self._read(self._websocket))

    async def _close_websocket(self) -> None:
        if self._reader:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        if self._websocket:
            await self._websocket.close()

    async def _read(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in websocket:
            self._dispatch(message.json())
        for waiting in self._results.values():
            if not waiting.done():
                waiting.set_exception(HomeAssistantError("Home Assistant closed the connection"))

    def _dispatch(self, message: Object) -> None:
        number = message["id"]
        if message["type"] == "event":
            if queue := self._subscriptions.get(number):
                queue.put_nowait(message["event"])
        elif (waiting := self._results.get(number)) and not waiting.done():
            if message.get("success"):
                waiting.set_result(message["result"])
            else:
                waiting.set_exception(HomeAssistantError(str(message.get("error"))))


async def _drain(queue: asyncio.Queue[Object]) -> AsyncIterator[Object]:
    while True:
        yield await queue.get()
