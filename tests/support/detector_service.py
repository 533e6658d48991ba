# SPDX-License-Identifier: AGPL-3.0-or-later
"""A detector service within the test's own process, with any detector."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from inference_server.core.detection import Box, Detection, Label
from inference_server.detection.backends.opening import Opened
from inference_server.detection.detector import Detector, Picture
from inference_server.detector_service.service import DetectorService, Engines
from inference_server.models.errors import ModelUnavailable
from inference_server.models.store import ResolvedModel
from inference_server.settings import DetectorServiceSettings, DetectorSettings, Settings
from scripts.development.process import free_port

TOKEN = "the-token-of-the-tests"
PATIENCE_SECONDS = 30.0


@dataclass
class GatedDetector:
    """Sees one person in each picture, whose place tells the picture's colour; waits while its gate is closed."""

    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    calls: list[list[int]] = field(default_factory=list)
    answer: Callable[[list[int]], Any] | None = None
    """What it says instead of the truth."""
    name: str = "Gated"
    provider: str = "Gate"
    input_size: int = 64
    parallel: int = 1

    def __post_init__(self) -> None:
        """Begin with the gate open."""
        self.gate.set()

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return what is in each picture, when the gate is open."""
        numbers = [int.from_bytes(picture.pixels[0, 0].tobytes()) for picture in pictures]
        self.calls.append(numbers)
        self.begun.release()
        self.gate.wait(PATIENCE_SECONDS)
        if self.answer is not None:
            given: list[tuple[Detection, ...]] = self.answer(numbers)
            return given
        return [seen_in(number) for number in numbers]

    async def until_called(self) -> None:
        """Return once it was called once more."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE_SECONDS)


def seen_in(number: int) -> tuple[Detection, ...]:
    """Return what the gated detector sees in a picture of this colour."""
    return (Detection(Label.PERSON, 0.9, Box(number % 32, 2, 10, 20)),)


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that listens, and a client that bears its token."""

    url: str
    client: aiohttp.ClientSession

    async def post(self, path: str = "/detect", **sent: Any) -> tuple[int, Any, Any]:
        """Return status, JSON and headers of an answer."""
        async with self.client.post(f"{self.url}{path}", **sent) as response:
            return response.status, await response.json(content_type=None), response.headers

    async def health(self) -> Any:
        """Return all of its health."""
        async with self.client.get(f"{self.url}/health") as response:
            return await response.json()

    async def until_health(self, met: Callable[[Any], bool]) -> Any:
        """Return its health when it is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not met(told := await self.health()):  # noqa: ASYNC110 - threads change it
                await asyncio.sleep(0.02)
        return told


@asynccontextmanager
async def running_service(
    folder: Path,
    detector: Detector | Callable[[ResolvedModel], Detector],
    *,
    max_batch: int = 1,
    port: int | None = None,
    loaded: bool = True,
    engines: Engines | None = None,
    **service: Any,
) -> AsyncIterator[RunningService]:
    """Give a service with this detector, or what builds one, that has loaded it."""
    folder.mkdir(exist_ok=True)
    model = folder / "any.onnx"
    model.touch()
    settings = Settings(
        data_dir=folder,
        detector=DetectorSettings(model_file=model, max_batch=max_batch),
        detector_service=DetectorServiceSettings(
            host="127.0.0.1", port=port or free_port(), token=SecretStr(TOKEN), **service
        ),
    )

    def opened(model: ResolvedModel, _no_room: ModelUnavailable | None) -> Opened:
        return Opened(detector(model) if callable(detector) else detector, batch=max_batch)

    made = DetectorService(settings, opened, engines=engines or (lambda _judging, _health, _places: None))
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
            given = RunningService(f"http://127.0.0.1:{made.port.result()}", client)
            if loaded:
                await given.until_health(lambda told: told["model_loaded"])
            yield given
    finally:
        stop.set()
        await running
