# SPDX-License-Identifier: Apache-2.0
"""A small server that speaks docs/protocol.md over real sockets and can be told to misbehave."""

import asyncio
from typing import Any

from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestServer

from tests.integration import samples
from tests.integration.samples import Json


class FakeServer:
    """Holds cameras and events; what tests push is logged for replay and sent to every subscriber."""

    def __init__(self) -> None:
        self.token = samples.TOKEN
        self.scopes = ["integration"]
        self.first_frame: Json | str = samples.hello()
        self.auth_answer: Json | None = None
        self.subscribe_answer: Json | None = None
        self.server = samples.server()
        self.cameras: dict[str, Json] = {}
        self.events: dict[int, Json] = {}
        self.sequence = 10
        self.oldest_replayable = 10
        self.log: list[Json] = []
        self.tokens: list[str] = []
        self._levels: dict[int, str] = {}
        self.pictures: dict[str, bytes] = {}
        self.clip: web.Response | None = None
        self.breaks_off = False
        self.asked: list[Json] = []
        self.failure: web.Response | None = None
        self.tells_replays = True
        self.refuses_homes: tuple[int, str] | None = None
        self.home_refused = asyncio.Event()
        self.requests: list[str] = []
        self.homes: asyncio.Queue[Json] = asyncio.Queue()
        self.subscriptions: list[int | None] = []
        self.subscribed = asyncio.Event()
        self._subscribers: set[web.WebSocketResponse] = set()
        self._running: TestServer | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The port, the same after a restart."""
        assert self._port
        return self._port

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get("/api/ws", self._websocket)
        app.router.add_get("/api/system/info", self._info)
        app.router.add_delete("/api/cameras/{camera_id}", self._delete_camera)
        app.router.add_post("/api/cameras/{camera_id}/view/accept", self._accept_view)
        app.router.add_post("/api/dead_letters/replay", self._replay)
        app.router.add_put("/api/context", self._told_home)
        app.router.add_get("/api/cameras/{camera_id}/latest.jpg", self._picture)
        app.router.add_get("/api/events/{event_id}/snapshot.jpg", self._picture)
        app.router.add_get("/api/clips/{clip_id}/video", self._clip)
        self._running = TestServer(app, host="127.0.0.1", port=self._port)
        await self._running.start_server()
        self._port = self._running.port

    async def stop(self) -> None:
        """Go away as a server that shuts down."""
        if self._running:
            await self.hang_up(WSCloseCode.GOING_AWAY)
            await self._running.close()
            self._running = None

    async def hang_up(self, code: int) -> None:
        """Close every connection."""
        self.subscribed.clear()
        for socket in list(self._subscribers):
            await socket.close(code=code)

    def cut(self) -> None:
        """Lose every connection without a word."""
        self.subscribed.clear()
        for socket in self._subscribers:
            assert socket._req
            assert socket._req.transport
            socket._req.transport.abort()
        self._subscribers.clear()

    async def push(self, kind: str, **data: Any) -> None:
        """Let something happen; the state follows from the data as it does on a real server."""
        self.record(kind, **data)
        await self.send(self.log[-1])

    def record(self, kind: str, **data: Any) -> None:
        """Let something happen that nobody is told about."""
        if camera := data.get("camera"):
            self.cameras[camera["id"]] = camera
        if event := data.get("event") or data.get("last_event"):
            self.events[event["id"]] = event
        if kind == "event_removed":
            self.events.pop(data["event_id"], None)
        if kind == "camera_removed":
            del self.cameras[data["camera_id"]]
        self.sequence += 1
        message = {"type": "message", "sequence": self.sequence, "at": samples.MORNING, "kind": kind, "data": data}
        self.log.append(message)

    async def event_happens(self, kind: str, event: Json, **extra: Any) -> None:
        """Push a change of an event together with its camera."""
        camera = samples.camera(event["camera_id"], last_event_id=event["id"])
        if event["ended_at"] is None:
            camera = samples.busy_camera(event)
        level = event["risk"]["level"]
        if kind in {"event_escalated", "event_assessed"}:
            extra = {"previous_level": self._levels.get(event["id"], level)} | extra
        self._levels[event["id"]] = level
        await self.push(kind, event=event, camera=camera, **extra)

    async def event_goes(self, event: Json, last_event: Json | None) -> None:
        """Push the removal of an event, after which another one, or none, is its camera's last."""
        camera = samples.camera(event["camera_id"], last_event_id=last_event and last_event["id"])
        await self.push("event_removed", event_id=event["id"], camera=camera, last_event=last_event)

    async def change_server(self, **changes: Any) -> None:
        """Change the condition of the server."""
        self.server |= changes
        await self.send({"type": "server", "server": self.server})

    async def send(self, frame: Json) -> None:
        """Send anything to every subscriber."""
        for socket in list(self._subscribers):
            await socket.send_json(frame)

    async def send_text(self, text: str) -> None:
        """Send what may not be JSON to every subscriber."""
        for socket in list(self._subscribers):
            await socket.send_str(text)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame to every subscriber."""
        for socket in list(self._subscribers):
            await socket.send_bytes(data)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if self.failure:
            return self.failure
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if isinstance(self.first_frame, str):
            await socket.send_str(self.first_frame)
        else:
            await socket.send_json(self.first_frame)
        async for frame in socket:
            if frame.type is web.WSMsgType.TEXT:
                await self._answer(socket, frame.json())
        self._subscribers.discard(socket)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, frame: Json) -> None:
        if frame["type"] == "auth":
            await self._authenticate(socket, frame)
        elif frame["type"] == "subscribe":
            last_sequence = frame["last_sequence"]
            self.subscriptions.append(last_sequence)
            await socket.send_json(self.subscribe_answer or self._resumption(last_sequence))
            self._subscribers.add(socket)
            self.subscribed.set()

    async def _authenticate(self, socket: web.WebSocketResponse, frame: Json) -> None:
        self.tokens.append(frame["token"])
        if self.auth_answer is not None:
            await socket.send_json(self.auth_answer)
        elif frame["token"] == self.token:
            await socket.send_json({"type": "auth_ok", "scopes": self.scopes})
        else:
            await socket.send_json(
                {"type": "auth_failed", "code": "unauthorized", "detail": "Unknown token.", "remedy": "Make one."}
            )
            await socket.close(code=4401)

    def _resumption(self, last_sequence: int | None) -> Json:
        common = {"sequence": self.sequence, "server": self.server}
        if last_sequence is not None and self.oldest_replayable <= last_sequence <= self.sequence:
            missed = [message for message in self.log if message["sequence"] > last_sequence]
            return {"type": "replay", "messages": missed, **common}
        shown = {camera[key] for camera in self.cameras.values() for key in ("open_event_id", "last_event_id")}
        events = [event for event in self.events.values() if event["id"] in shown]
        return {"type": "snapshot", "cameras": list(self.cameras.values()), "events": events, **common}

    async def _info(self, request: web.Request) -> web.Response:
        return self._refusal(request) or web.json_response(self.server)

    async def _delete_camera(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        camera_id = request.match_info["camera_id"]
        if camera_id not in self.cameras:
            return problem(404, "camera_not_found")
        await self.push("camera_removed", camera_id=camera_id)
        return web.Response(status=204)

    async def _accept_view(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        camera_id = request.match_info["camera_id"]
        if camera_id not in self.cameras:
            return problem(404, "camera_not_found")
        camera = self.cameras[camera_id] | {"view_problems": []}
        if self.cameras[camera_id]["view_problems"]:
            await self.push("camera_updated", camera=camera)
        return web.json_response(camera)

    async def _told_home(self, request: web.Request) -> web.Response:
        if self.refuses_homes:
            self.home_refused.set()
            return problem(*self.refuses_homes)
        told = await request.json()
        await self.homes.put(told)
        return web.json_response(told | {"told_at": "2026-11-24T08:00:00Z", "stale": False})

    async def _replay(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        replayed = self.server["dead_letters"]
        if self.tells_replays:
            await self.change_server(dead_letters=0, queue_depth=self.server["queue_depth"] + replayed)
        return web.json_response({"replayed": replayed})

    async def _picture(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        if picture := self.pictures.get(request.path):
            return web.Response(body=picture, content_type="image/jpeg")
        return problem(404, "no_picture")

    async def _clip(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        if self.breaks_off:
            begun = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "video/mp4"})
            await begun.prepare(request)
            await begun.write(b"only this")
            assert request.transport
            request.transport.abort()
            return begun
        self.asked.append(dict(request.headers))
        return self.clip or problem(404, "clip_not_found")

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.requests.append(request.path_qs)
        if self.failure:
            return self.failure
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return problem(401, "unauthorized")
        return None


def problem(status: int, code: str) -> web.Response:
    """A problem document."""
    body = {
        "type": "about:blank",
        "title": code,
        "status": status,
        "code": code,
        "detail": f"detail of {code}",
        "remedy": f"remedy of {code}",
    }
    return web.json_response(body, status=status, content_type="application/problem+json")
