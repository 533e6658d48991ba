# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stand-in for the Home Assistant Supervisor, as far as an app talks to it. test_supervisor.py states its rules."""

import asyncio
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

APP_TOKEN = "0123456789abcdef-the-app"
HOSTNAME = "4f6c1a2b-home-security-intelligence"
MESSAGE_KEYS = ("service", "config")


@dataclass
class SimulatedSupervisor:
    """Knows one app by its token; answers the next requests with `faults` first, when there are any."""

    discovery: tuple[str, ...] = ("home_security_intelligence",)
    faults: deque[web.Response] = field(default_factory=deque)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    posts: list[dict[str, Any]] = field(default_factory=list)
    accepted: asyncio.Event = field(default_factory=asyncio.Event)

    def server(self, port: int | None = None) -> TestServer:
        """Return the server to start: the Supervisor at 127.0.0.1, on this port or any free one."""
        app = web.Application(middlewares=[self._check])
        app.router.add_post("/discovery", self._post_discovery)
        app.router.add_get("/addons/self/info", self._get_info)
        return TestServer(app, port=port)

    @web.middleware
    async def _check(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Faults come first, as from a system that is not ready; then the token decides."""
        if self.faults and request.path == "/discovery":
            return self.faults.popleft()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            raise web.HTTPUnauthorized
        if token != APP_TOKEN:
            raise web.HTTPForbidden
        response: web.StreamResponse = await handler(request)
        return response

    async def _get_info(self, request: web.Request) -> web.Response:
        return succeeded({"hostname": HOSTNAME, "slug": "4f6c1a2b_home_security_intelligence", "state": "started"})

    async def _post_discovery(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError:
            return failed("Invalid json", 400)
        if reason := _fault_of(body):
            return failed(reason, 400)
        self.posts.append(body)
        if body["service"] not in self.discovery:
            return failed("Apps must list services they provide via discovery in their config!", 403)
        message_id = self._stored(body)
        self.accepted.set()
        return succeeded({"uuid": message_id})

    def _stored(self, body: dict[str, Any]) -> str:
        """Keep one message per service: a new one with another config replaces it under the same id."""
        for message_id, message in self.messages.items():
            if message["service"] == body["service"]:
                message["config"] = body["config"]
                return message_id
        message_id = uuid.uuid4().hex
        self.messages[message_id] = dict(body)
        return message_id


def succeeded(data: dict[str, Any]) -> web.Response:
    """Return the Supervisor's answer to a request it carried out."""
    return web.json_response({"result": "ok", "data": data})


def failed(message: str, status: int) -> web.Response:
    """Return the Supervisor's answer to a request it refuses."""
    return web.json_response({"result": "error", "message": message}, status=status)


def _fault_of(body: Any) -> str | None:
    if not isinstance(body, dict):
        return f"expected a dictionary. Got {body!r}"
    for key, kind in zip(MESSAGE_KEYS, (str, dict), strict=True):
        if key not in body:
            return f"required key not provided @ data['{key}']. Got None"
        if not isinstance(body[key], kind):
            return f"expected {kind.__name__} for dictionary value @ data['{key}']. Got {body[key]!r}"
    if extra := sorted(set(body) - set(MESSAGE_KEYS)):
        return f"extra keys not allowed @ data['{extra[0]}']. Got {body[extra[0]]!r}"
    return None
