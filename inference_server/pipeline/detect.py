# SPDX-License-Identifier: AGPL-3.0-or-later
"""Detect: finds the objects in admitted frames, several frames of any cameras at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from inference_server.core.clock import Clock
from inference_server.core.detection import Detection
from inference_server.core.frame import Frame
from inference_server.core.message import Message, StageName, Work
from inference_server.core.signal import Signal
from inference_server.detection.checks import checked
from inference_server.detection.detector import Detector, Picture
from inference_server.detection.errors import PictureUnreadable
from inference_server.detection.preprocess import decode_picture
from inference_server.detection.scene import Signature, sign
from inference_server.pipeline.breaker import ServiceDownError, ServiceError
from inference_server.pipeline.broker import Broker
from inference_server.pipeline.inference import InferenceThreads
from inference_server.pipeline.judging import Judging
from inference_server.pipeline.retry import PermanentError
from inference_server.pipeline.view_watch import SeenView, ViewWatch
from inference_server.storage import frames
from inference_server.storage.database import Database
from inference_server.storage.media import MediaFolder

BATCH = 32
PATIENCE_SECONDS = 30.0
PATIENCE_PER_PICTURE_SECONDS = 5.0
"""A detector that takes longer hangs: the slowest processors need about a second per picture."""


class PictureNotReadError(Exception):
    """One picture cannot be read now. Not a storage failure: the other pictures do not wait for it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one picture shows: its objects, and its view where that is watched."""

    detections: Sequence[Detection]
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
        return BATCH if self._judging.breaker.is_closed else 1

    async def ready(self) -> None:
        """Return once there is a detector that works, or may be tried."""
        await self._judging.detector()
        await self._judging.breaker.ready()

    async def consume(self, messages: Sequence[Message]) -> None:
        """Detect in all frames at once, and commit what was found with the next messages."""
        detector = await self._judging.detector()
        async with self._database.reading() as connection:
            known = await frames.get_many(connection, [message.work.subject_id for message in messages])
        wanted = [self._frame(known, message) for message in messages]
        found = await self._found(detector, wanted)
        now = self._clock.now()
        following = [
            Work(StageName.GATHER, frame.id, frame.camera_id, now, message.work.priority)
            for frame, message in zip(wanted, messages, strict=True)
        ]
        async with self._broker.transaction() as transaction:
            await transaction.complete(messages)
            detections = {frame_id: seen.detections for frame_id, seen in found.items()}
            await frames.add_detections(transaction.connection, detections)
            await transaction.publish(following)
            views = [SeenView(frame, view) for frame in wanted if (view := found[frame.id].signature) is not None]
            told = await self._views.take(transaction.connection, views)
        if told:
            self._announced.notify()

    async def _found(self, detector: Detector, wanted: Sequence[Frame]) -> Mapping[int, Seen]:
        """Return what each frame shows. A failure is the detector's, unless it is the picture's."""
        breaker = self._judging.breaker
        breaker.begin()
        try:
            shares = await self._threads.run_all(
                partial(self._detect, detector),
                _shares(wanted, detector.parallel),
                PATIENCE_SECONDS + PATIENCE_PER_PICTURE_SECONDS * len(wanted),
            )
        except (PermanentError, PictureNotReadError, asyncio.CancelledError):
            breaker.left_open()
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            breaker.failed(reason, [frame.id for frame in wanted])
            if breaker.is_closed:
                raise ServiceError(breaker.service, reason) from error
            raise ServiceDownError(reason, tried=True) from error
        breaker.succeeded()
        return {frame_id: seen for share in shares for frame_id, seen in share.items()}

    def _detect(self, detector: Detector, wanted: Sequence[Frame]) -> Mapping[int, Seen]:
        pictures = [self._decode(frame, detector.input_size) for frame in wanted]
        found = checked(pictures, detector.detect(pictures))
        return {
            frame.id: Seen(detections, sign(picture.pixels) if self._views.wants(frame) else None)
            for frame, picture, detections in zip(wanted, pictures, found, strict=True)
        }

    def _decode(self, frame: Frame, size: int) -> Picture:
        try:
            return decode_picture(self._media.read(frame.media_path), size)
        except FileNotFoundError as error:
            raise PermanentError(f"the picture {frame.media_path} is gone from the media folder") from error
        except OSError as error:
            raise PictureNotReadError(f"the picture {frame.media_path} cannot be read: {error}") from error
        except PictureUnreadable as error:
            raise PermanentError(f"the picture {frame.media_path} cannot be decoded: {error}") from error

    @staticmethod
    def _frame(known: Mapping[int, Frame], message: Message) -> Frame:
        if (frame := known.get(message.work.subject_id)) is None:
            raise PermanentError(f"the frame {message.work.subject_id} is gone")
        return frame


def _shares(frames_wanted: Sequence[Frame], count: int) -> list[Sequence[Frame]]:
    """Divide frames among at most `count` threads, evenly."""
    return [share for start in range(count) if (share := frames_wanted[start::count])]
