# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dynamic batching: pictures of many callers share inferences, in the order in which they came.

A picture is decoded on a thread as soon as there is room, and then waits for an inference. One begins when a batch is
full, when nothing else is on its way, or when its first picture has waited long enough.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from inference_server.core.detection import Detection
from inference_server.core.signal import Signal
from inference_server.detection.checks import checked
from inference_server.detection.detector import Picture
from inference_server.detection.errors import DetectorOutOfMemory
from inference_server.detector_service.pictures import open_picture
from inference_server.ingest.picture import RefusedError
from inference_server.pipeline.fitting import FittingDetector
from inference_server.pipeline.inference import MOST_STUCK, HungError, InferenceThreads
from inference_server.settings import DetectorServiceSettings

_LOGGER = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS = 30
"""What a caller is told to wait at most before it comes again."""
DECODED_BATCHES = 3
"""Batches that are decoded for each inference that runs: one is in it, one is next, one is becoming full."""


class QueueFullError(Exception):
    """So many pictures are here that no more are taken. `seconds` is how long to wait."""

    def __init__(self, waiting: int, seconds: int) -> None:
        """Take how many there are."""
        super().__init__(f"{waiting} pictures wait to be judged: the queue is full.")
        self.seconds = seconds


class DetectorFailedError(Exception):
    """The detector hangs, fails or answers nonsense."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is in a picture of a size in pixels, and how many seconds the steps took."""

    width: int
    height: int
    detections: tuple[Detection, ...]
    decode: float
    waiting: float
    inference: float


@dataclass(slots=True, eq=False)
class _Waiting:
    """A decoded picture on its way to an inference."""

    picture: Picture
    answer: "asyncio.Future[Judged]"
    decode: float
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Judges pictures with one detector, as many inferences at a time as that likes."""

    def __init__(
        self,
        detector: FittingDetector,
        settings: DetectorServiceSettings,
        *,
        inferred: Callable[[int, float], None] = lambda _size, _seconds: None,
    ) -> None:
        """Take the detector; `inferred` is told of each inference: how many pictures, how many seconds."""
        self._detector = detector
        self._settings = settings
        self._inferred = inferred
        self.threads = InferenceThreads(detector.parallel)
        self._decoders = ThreadPoolExecutor(_decoders(), thread_name_prefix="decode")
        self._room = asyncio.Semaphore(DECODED_BATCHES * detector.parallel * detector.batch)
        self._decoding = 0
        self._inferring = 0
        self._ready: deque[_Waiting] = deque()
        self._moved = asyncio.Event()
        self._left = Signal()
        self._seconds_per_picture = 0.0
        self.waiting = 0
        """Pictures that are here, from their arrival to their answer."""
        self.last_error: str | None = None
        """Why the newest inference failed; None when it did not."""

    @property
    def stuck(self) -> int:
        """Inferences that hang and were left behind."""
        return self.threads.stuck

    @property
    def is_lost(self) -> bool:
        """Whether so many inferences hang that none is begun any more."""
        return self.stuck >= MOST_STUCK

    def check_room(self, pictures: int = 1) -> None:
        """Check that so many pictures would be taken now, and judged in time. Raises QueueFullError."""
        seconds = self.waiting * self._seconds_per_picture
        if self.waiting + pictures > self._settings.max_waiting or seconds > self._settings.timeout_seconds:
            raise QueueFullError(self.waiting, max(1, min(LONGEST_WAIT_SECONDS, round(seconds))))

    async def judge(self, contents: Sequence[bytes]) -> list[Judged | RefusedError]:
        """Return what is in each picture, or why it was refused.

        Raises QueueFullError, and DetectorFailedError. A caller that is cancelled takes its pictures along.
        """
        self.check_room(len(contents))
        self.waiting += len(contents)
        tasks = [asyncio.ensure_future(self._judge_one(content)) for content in contents]
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await asyncio.gather(*tasks)
        except TimeoutError as error:
            raise DetectorFailedError(
                f"there was no answer within {self._settings.timeout_seconds:g} s, {self.waiting} pictures wait"
            ) from error
        finally:
            for task in tasks:
                task.cancel()
            self.waiting -= len(contents)
            self._left.notify()

    async def until_idle(self) -> None:
        """Return once nobody waits for an answer."""
        while self.waiting:
            await self._left.wait(self._left.count)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Infer as long as the context lasts."""
        workers = [asyncio.create_task(self._work()) for _ in range(2 * self._detector.parallel)]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._decoders.shutdown(wait=False, cancel_futures=True)
            await asyncio.to_thread(self.threads.stop)

    async def _judge_one(self, content: bytes) -> Judged | RefusedError:
        loop = asyncio.get_running_loop()
        async with self._room:
            self._decoding += 1
            try:
                picture, seconds = await loop.run_in_executor(self._decoders, self._decode, content)
            except RefusedError as error:
                return error
            finally:
                self._decoding -= 1
                self._moved.set()
            waiting = _Waiting(picture, loop.create_future(), seconds)
            self._ready.append(waiting)
            return await waiting.answer

    def _decode(self, content: bytes) -> tuple[Picture, float]:
        started = time.perf_counter()
        picture = open_picture(content, self._detector.input_size, self._settings)
        return picture, time.perf_counter() - started

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            if batch:
                await self._infer(batch)

    async def _next_batch(self) -> list[_Waiting]:
        """Return the next pictures that somebody still waits for.

        While all inferences run, only a full batch is made ready for the thread that is free first: what is not full
        may still grow.
        """
        while len(self._ready) < (1 if self._inferring < self._detector.parallel else self._detector.batch):
            await self._change(None)
        until = self._ready[0].since + self._settings.batch_wait_ms / 1000
        while self._decoding and self._ready and len(self._ready) < self._detector.batch:
            if (left := until - time.perf_counter()) <= 0:
                break
            await self._change(left)
        batch: list[_Waiting] = []
        while self._ready and len(batch) < self._detector.batch:
            if not (waiting := self._ready.popleft()).answer.done():
                batch.append(waiting)
        return batch

    async def _change(self, seconds: float | None) -> None:
        """Return when a picture was decoded, or after so long."""
        self._moved.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            return

    async def _infer(self, batch: Sequence[_Waiting]) -> None:
        self._inferring += 1
        try:
            await self._infer_and_answer(batch)
        finally:
            self._inferring -= 1
            self._moved.set()

    async def _infer_and_answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            [inferred] = await self.threads.run_all(self._detect, [batch], self._settings.timeout_seconds)
        except Exception as error:  # noqa: BLE001 - backends raise what they like
            if len(batch) > 1 and not isinstance(error, HungError):
                for waiting in batch:  # one caller's picture must not be every other caller's failure
                    await self._infer_and_answer([waiting])
                return
            self._fail(batch, error)
            return
        if inferred.batch:
            self.last_error = None
            self._seconds_per_picture = inferred.seconds / len(inferred.batch) / self._detector.parallel
            self._inferred(len(inferred.batch), inferred.seconds)
        for waiting, detections in zip(inferred.batch, inferred.found, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(inferred.judged(waiting, detections))

    def _fail(self, batch: Sequence[_Waiting], error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, DetectorOutOfMemory):
            reason = f"{str(error).rstrip('.')}: {error.remedy.rstrip('.')}"
        self.last_error = reason
        _LOGGER.warning("An inference failed: %s", reason)
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(DetectorFailedError(reason))

    def _detect(self, batch: Sequence[_Waiting]) -> "_Inferred":
        """Detect in the pictures of a batch for which somebody still waits."""
        wanted = [waiting for waiting in batch if not waiting.answer.done()]
        started = time.perf_counter()
        pictures = [waiting.picture for waiting in wanted]
        found = checked(pictures, self._detector.detect(pictures)) if wanted else []
        return _Inferred(wanted, found, started, time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class _Inferred:
    """What an inference found in the pictures of its batch, when it began and how many seconds it took."""

    batch: Sequence[_Waiting]
    found: Sequence[tuple[Detection, ...]]
    started: float
    seconds: float

    def judged(self, waiting: _Waiting, detections: tuple[Detection, ...]) -> Judged:
        """Return what one of its callers is told."""
        picture = waiting.picture
        waited = max(0.0, self.started - waiting.since)
        return Judged(picture.width, picture.height, detections, waiting.decode, waited, self.seconds)


def _decoders() -> int:
    """Return how many pictures are decoded at a time: a processor that infers has no cores to spare."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 2)
