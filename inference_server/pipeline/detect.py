# SPDX-License-Identifier: AGPL-3.0-or-later
"""Detect: finds the objects in admitted frames, several frames of any cameras at a time."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from inference_server.core.clock import Clock
from inference_server.core.detection import Detection
from inference_server.core.frame import Frame
from inference_server.core.message import Message, StageName, Work
from inference_server.core.signal import Signal
from inference_server.detection.appearance import view_of, with_looks
from inference_server.detection.checks import checked
from inference_server.detection.detector import Detector, DetectorElsewhere, Picture, StoredPicture
from inference_server.detection.errors import DetectorElsewhereError, DetectorOutOfMemory, PictureUnreadable
from inference_server.detection.preprocess import decode_picture
from inference_server.detection.scene import Signature, sign
from inference_server.pipeline.breaker import ServiceDownError, ServiceError
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.inference import InferenceThreads
from inference_server.pipeline.judging import Judging, Service
from inference_server.pipeline.retry import PermanentError
from inference_server.pipeline.view_watch import SeenView, ViewWatch
from inference_server.storage import frames
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder

_LOGGER = logging.getLogger(__name__)

BATCH = 32
PATIENCE_SECONDS = 30.0
PATIENCE_PER_PICTURE_SECONDS = 5.0
"""A detector that takes longer hangs: the slowest processors need about a second per picture."""

LOOK_SIZE = 320
"""Pixels a side to which a picture is decoded that is judged elsewhere, to see what its objects and view look like."""


class PictureNotReadError(Exception):
    """One picture cannot be read now. Not a storage failure: the other pictures do not wait for it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one picture shows: its objects, what it looks like as a whole, and its view where that is watched."""

    detections: tuple[Detection, ...]
    view: bytes
    signature: Signature | None


class DetectStage:
    """Consumes admitted frames: what is claimed at once is shared among as many threads as the detector likes.

    Two lanes keep those threads busy: one lane's pictures are detected while the other one commits and claims.
    """

    name = StageName.DETECT
    lanes = 2

    def __init__(
        self,
        database: Database,
        broker: Broker,
        media: MediaFolder,
        clock: Clock,
        *,
        judging: Judging,
        threads: InferenceThreads,
        views: ViewWatch,
        announced: Signal,
    ) -> None:
        """Take the parts; `threads` is where pictures are decoded and inferred.

        `announced` is notified when something was announced, which only a change of a camera's view is here.
        """
        self._database = database
        self._broker = broker
        self._media = media
        self._clock = clock
        self._judging = judging
        self._threads = threads
        self._views = views
        self._announced = announced

    @property
    def batch_size(self) -> int:
        """As many as one transaction should hold; one alone to try a detector that failed."""
        return BATCH if any(service.breaker.is_closed for service in self._judging.services) else 1

    async def ready(self) -> None:
        """Return once there is a detector that works, or may be tried."""
        await self._judging.ready()

    async def consume(self, messages: Sequence[Message]) -> None:
        """Detect in all frames at once, and commit what was found with the next messages."""
        async with self._database.reading() as connection:
            known = await frames.get_many(connection, [message.work.subject_id for message in messages])
        wanted = [self._frame(known, message) for message in messages]
        found = await self._found(wanted)
        now = self._clock.now()
        following = [
            Work(StageName.GATHER, frame.id, frame.camera_id, now, message.work.priority)
            for frame, message in zip(wanted, messages, strict=True)
        ]
        async with self._broker.transaction() as transaction:
            await transaction.complete(messages)
            detections = {frame_id: seen.detections for frame_id, seen in found.items()}
            await frames.add_detections(transaction.connection, detections)
            await frames.add_views(transaction.connection, {frame_id: seen.view for frame_id, seen in found.items()})
            await transaction.publish(following)
            views = [SeenView(frame, view) for frame in wanted if (view := found[frame.id].signature) is not None]
            told = await self._views.take(transaction.connection, views)
        if told:
            self._announced.notify()

    async def _found(self, wanted: Sequence[Frame]) -> Mapping[int, Seen]:
        """Return what each frame shows: of the first detector that says it."""
        *first, last = self._judging.services
        for service in first:
            try:
                return await self._found_by(service, wanted)
            except (ServiceError, ServiceDownError) as error:
                _LOGGER.debug("Another detector stands in: %s", error)
        return await self._found_by(last, wanted)

    async def _found_by(self, service: Service, wanted: Sequence[Frame]) -> Mapping[int, Seen]:
        """Return each frame's detections. A failure is the detector's, unless it is the picture's."""
        breaker = service.breaker
        breaker.begin()
        try:
            found = await self._detected(service.detector, wanted)
        except (PermanentError, PictureNotReadError, asyncio.CancelledError):
            breaker.left_open()
            raise
        except Exception as error:
            reason = explained(error)
            without_memory = isinstance(error, DetectorOutOfMemory)
            breaker.failed(reason, [frame.id for frame in wanted], certain=without_memory)
            if breaker.is_closed:
                raise ServiceError(breaker.service, reason) from error
            raise ServiceDownError(reason, tried=True) from error
        breaker.succeeded()
        return found

    async def _detected(self, detector: Detector, wanted: Sequence[Frame]) -> Mapping[int, Seen]:
        if isinstance(detector, DetectorElsewhere):
            return await self._detected_elsewhere(detector, wanted)
        shares = await self._threads.run_all(
            partial(self._detect, detector),
            _shares(wanted, detector.parallel),
            PATIENCE_SECONDS + PATIENCE_PER_PICTURE_SECONDS * len(wanted),
        )
        return {frame_id: seen for share in shares for frame_id, seen in share.items()}

    async def _detected_elsewhere(self, detector: DetectorElsewhere, wanted: Sequence[Frame]) -> Mapping[int, Seen]:
        stored = await asyncio.to_thread(lambda: [self._stored(frame) for frame in wanted])
        try:
            answers, pictures = await asyncio.gather(
                detector.detect_stored(stored),
                asyncio.to_thread(lambda: [decode_picture(one.content, LOOK_SIZE) for one in stored]),
            )
        except PictureUnreadable as error:
            raise PermanentError(str(error)) from error
        return self._seen(wanted, pictures, checked(stored, answers))

    def _detect(self, detector: Detector, wanted: Sequence[Frame]) -> Mapping[int, Seen]:
        pictures = [self._decode(frame, detector.input_size) for frame in wanted]
        return self._seen(wanted, pictures, checked(pictures, detector.detect(pictures)))

    def _seen(
        self, wanted: Sequence[Frame], pictures: Sequence[Picture], found: Sequence[tuple[Detection, ...]]
    ) -> Mapping[int, Seen]:
        return {
            frame.id: Seen(
                with_looks(picture, detections),
                view_of(picture),
                sign(picture.pixels) if self._views.wants(frame) else None,
            )
            for frame, picture, detections in zip(wanted, pictures, found, strict=True)
        }

    def _stored(self, frame: Frame) -> StoredPicture:
        return StoredPicture(self._read(frame), frame.width, frame.height)

    def _decode(self, frame: Frame, size: int) -> Picture:
        try:
            return decode_picture(self._read(frame), size)
        except PictureUnreadable as error:
            raise PermanentError(f"the picture {frame.media_path} cannot be decoded: {error}") from error

    def _read(self, frame: Frame) -> bytes:
        try:
            return self._media.read(frame.media_path)
        except FileNotFoundError as error:
            raise PermanentError(f"the picture {frame.media_path} is gone from the media folder") from error
        except OSError as error:
            raise PictureNotReadError(f"the picture {frame.media_path} cannot be read: {error}") from error

    @staticmethod
    def _frame(known: Mapping[int, Frame], message: Message) -> Frame:
        if (frame := known.get(message.work.subject_id)) is None:
            raise PermanentError(f"the frame {message.work.subject_id} is gone")
        return frame


def _shares(frames_wanted: Sequence[Frame], count: int) -> list[Sequence[Frame]]:
    """Divide frames among at most `count` threads, evenly."""
    return [share for start in range(count) if (share := frames_wanted[start::count])]


def explained(error: Exception) -> str:
    """Return why a detector failed, and what to do where that is known."""
    if isinstance(error, DetectorElsewhereError | DetectorOutOfMemory):
        return f"{error} {error.remedy}"
    return f"{type(error).__name__}: {error}"
