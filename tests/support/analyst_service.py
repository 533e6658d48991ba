# SPDX-License-Identifier: AGPL-3.0-or-later
"""An analyst service within the test's own process, with a real model or one that says what it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from inference_server.analyst_service.service import AnalystService
from inference_server.risk.analyst.language_model import (
    LanguageAnswer,
    LanguageModel,
    LanguageRequest,
    LanguageStatus,
    ModelError,
    ModelState,
    Told,
)
from inference_server.risk.analyst.line import Line
from inference_server.settings import AnalystServiceSettings, AnalystSettings, Settings
from scripts.development.process import free_port

TOKEN = "the-token-of-the-tests"
PATIENCE_SECONDS = 60.0


@dataclass
class GatedModel:
    """A language model that says the words of the prompt when its gate is open, or fails as it is told to."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[LanguageRequest] = field(default_factory=list)
    error: ModelError | None = None
    """What it raises after the first word, or before it where the prompt has none."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    state: ModelState = ModelState.READY
    line: Line = field(default_factory=lambda: Line(2))

    def __post_init__(self) -> None:
        """Begin with the gate open."""
        self.gate.set()

    @property
    def status(self) -> LanguageStatus:
        """How it is."""
        return LanguageStatus(
            state=self.state,
            model="gated",
            engine="gate",
            device="gate",
            waiting=self.line.waiting,
            running=self.line.running,
        )

    async def load(self) -> None:
        """Do nothing."""

    async def answer(self, request: LanguageRequest, told: Told | None = None) -> LanguageAnswer:
        """Say the words of the prompt."""
        return await self.line.through(request, lambda: self._said(request, told))

    async def _said(self, request: LanguageRequest, told: Told | None) -> LanguageAnswer:
        self.asked.append(request)
        words = request.prompt.split()
        try:
            for number, word in enumerate(words):
                if told is not None:
                    told(word if number == 0 else f" {word}")
                if self.error is not None:
                    break
                await self.gate.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.ended.set()
        return LanguageAnswer(
            value=None,
            text=" ".join(words),
            model="gated",
            seconds=0.1,
            tokens_in=10,
            tokens_evaluated=4,
            tokens_out=len(words),
        )

    async def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class RunningAnalyst:
    """A service that listens, and a client that bears its token."""

    url: str
    client: aiohttp.ClientSession

    async def chat(self, prompt: str = "one two", **more: Any) -> tuple[int, Any, Any]:
        """Return status, JSON and headers of an answer."""
        return await self.post({"messages": [{"role": "user", "content": prompt}], **more})

    async def post(self, body: Any) -> tuple[int, Any, Any]:
        """Return status, JSON and headers of an answer."""
        async with self.client.post(f"{self.url}/v1/chat/completions", json=body) as response:
            return response.status, await response.json(content_type=None), response.headers

    async def health(self) -> Any:
        """Return all of its health."""
        async with self.client.get(f"{self.url}/health") as response:
            return await response.json()

    async def until_health(self, met: Callable[[Any], bool]) -> Any:
        """Return its health when it is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not met(told := await self.health()):  # noqa: ASYNC110 - processes change it
                await asyncio.sleep(0.02)
        return told


@asynccontextmanager
async def running_analyst(
    folder: Path,
    model: Path | LanguageModel,
    *,
    loaded: bool = True,
    analyst: dict[str, Any] | None = None,
    **service: Any,
) -> AsyncIterator[RunningAnalyst]:
    """Give a service with a GGUF file, or with any model."""
    folder.mkdir(exist_ok=True)
    file = folder / "any.gguf"
    file.touch()
    settings = Settings(
        data_dir=folder / "data",
        analyst=AnalystSettings(model_file=model if isinstance(model, Path) else file, **(analyst or {})),
        analyst_service=AnalystServiceSettings(
            **{"host": "127.0.0.1", "port": free_port(), "token": SecretStr(TOKEN), **service}
        ),
    )
    made = AnalystService(settings, opened=None if isinstance(model, Path) else lambda _chosen: model)
    stop = asyncio.Event()
    running = asyncio.create_task(made.run(stop))
    port_known = asyncio.ensure_future(asyncio.wait_for(made.port, PATIENCE_SECONDS))
    await asyncio.wait({running, port_known}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        port_known.cancel()
        await running
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:
            given = RunningAnalyst(f"http://127.0.0.1:{made.port.result()}", client)
            if loaded:
                await given.until_health(lambda told: told["model_loaded"])
            yield given
    finally:
        stop.set()
        await running
