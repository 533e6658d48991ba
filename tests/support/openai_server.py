# SPDX-License-Identifier: AGPL-3.0-or-later
"""A server that speaks OpenAI's protocol and judges events by a script."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from scripts.development.process import free_port


@dataclass
class ScriptedServer:
    """Raises what the rules say by so many points, unless it is down."""

    url: str
    raised_by: int = 15
    summary: str = "A person is there."
    down: bool = False
    prompts: list[str] = field(default_factory=list)

    async def models(self, _request: web.Request) -> web.Response:
        """List one model."""
        return web.Response(status=503) if self.down else web.json_response({"data": [{"id": "scripted"}]})

    async def chat(self, request: web.Request) -> web.Response:
        """Answer about an event."""
        if self.down:
            return web.Response(status=503)
        body: dict[str, Any] = await request.json()
        prompt = body["messages"][-1]["content"]
        self.prompts.append(prompt)
        said = re.search(r"The rules say (\d+)", prompt)
        verdict = {
            "reasoning": "T1 was seen.",
            "factors": [{"name": "suspicious_pattern", "evidence": "T1"}],
            "score": min(int(said[1]) + self.raised_by, 100) if said else 0,
            "confidence": 0.8,
            "summary": self.summary,
        }
        message = {"role": "assistant", "content": json.dumps(verdict)}
        usage = {"prompt_tokens": 900, "completion_tokens": 60}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"model": "scripted", "choices": [choice], "usage": usage})


@asynccontextmanager
async def scripted_server(*, down: bool = False) -> AsyncIterator[ScriptedServer]:
    """Give one that listens."""
    port = free_port()
    server = ScriptedServer(f"http://127.0.0.1:{port}", down=down)
    application = web.Application()
    application.router.add_get("/v1/models", server.models)
    application.router.add_post("/v1/chat/completions", server.chat)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield server
    finally:
        await runner.cleanup()
