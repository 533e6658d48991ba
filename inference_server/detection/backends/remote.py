# SPDX-License-Identifier: AGPL-3.0-or-later
"""A detector service elsewhere, as a detector: frames are sent as they are stored, and its answers are distrusted."""

import asyncio
import io
import json
import math
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import hdrs
from PIL import Image
from pydantic import ValidationError

from inference_server.core.detection import Box, Detection
from inference_server.detection.checks import checked
from inference_server.detection.detector import Picture, StoredPicture
from inference_server.detection.errors import DetectorElsewhereError, DetectorLied
from inference_server.detection.preprocess import decode_picture
from inference_server.detection.wire import PATH, PROTOCOL, REQUEST_ID, DetectMessage, ModelMessage, detection_of
from inference_server.settings import DetectorSettings

MAX_ANSWER = 1 << 20
"""Bytes; three hundred detections take a twentieth of it."""
LONGEST_WAIT_SECONDS = 5.0
"""How long a busy service may let a picture wait at once."""
DEFAULT_INPUT_SIZE = 640
TRIAL_SIZE = 64
"""Width and height, in pixels, of the grey picture with which the service is tried."""
_TOO_MUCH = {"too_large", "too_many_pixels"}
_TOKEN_REMEDY = "Set detector.remote.token to what the file `detector-token` in the service's data folder holds."  # noqa: S105
_ADDRESS_REMEDY = "Check detector.remote.url: a detector service (`hsi serve --role detector`) listens on port 8095."
_RUN_REMEDY = "Check that it runs, and that this machine reaches its port."


class RemoteDetector:
    """Implements DetectorElsewhere over HTTP, on connections that stay open. All its calls share one event loop.

    `detect` is for callers without the stored pictures: it works in a thread of its own and on connections of its own.
    """

    def __init__(self, settings: DetectorSettings) -> None:
        """Take where the service is; nothing is sent. Raises ValueError where the settings name none."""
        if settings.remote.url is None or settings.remote.token is None:
            raise ValueError("detector.remote.url and detector.remote.token are missing")
        self._settings = settings
        self._remote = settings.remote
        self._url = settings.remote.url
        self._headers = {
            hdrs.AUTHORIZATION: f"Bearer {settings.remote.token.get_secret_value()}",
            hdrs.ACCEPT_ENCODING: "identity",
        }
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(settings.remote.parallel)
        self._model: ModelMessage | None = None

    @property
    def name(self) -> str:
        """The name of the service's model, as it last said, and whether that is not the one it wants."""
        if self._model is None:
            return "Detector service"
        return f"{self._model.model} (a substitute)" if self._model.fallback else self._model.model

    @property
    def provider(self) -> str:
        """Where it is, and what the model runs on there."""
        return f"{self._model.provider} at {self._url}" if self._model else self._url

    @property
    def input_size(self) -> int:
        """Width and height, in pixels, of what its model sees."""
        return self._model.input_size if self._model else DEFAULT_INPUT_SIZE

    @property
    def parallel(self) -> int:
        """One call has as many pictures on their way at a time as the settings allow."""
        return 1

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def detect_stored(self, pictures: Sequence[StoredPicture]) -> list[tuple[Detection, ...]]:
        """Return each frame's detections, best first, with boxes in pixels of the frame.

        Raises PictureUnreadable, DetectorLied, DetectorElsewhereError.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._in_turn(picture)) for picture in pictures]
        except ExceptionGroup as failures:
            raise _first(failures) from failures
        return [task.result() for task in tasks]

    async def try_out(self) -> None:
        """Return once it has judged a grey picture. Raises DetectorLied, DetectorElsewhereError."""
        content = _png(Image.new("RGB", (TRIAL_SIZE, TRIAL_SIZE), (114, 114, 114)))
        await self.detect_stored([StoredPicture(content, TRIAL_SIZE, TRIAL_SIZE)])

    def detect(self, pictures: Sequence[Picture]) -> list[tuple[Detection, ...]]:
        """Return each picture's detections, best first, with boxes in pixels of the frame. Blocks.

        Raises DetectorLied, DetectorElsewhereError.
        """

        async def detected() -> list[tuple[Detection, ...]]:
            there = RemoteDetector(self._settings)
            try:
                found = await there.detect_stored([_stored(picture) for picture in pictures])
            finally:
                self._model = there._model or self._model
                await there.close()
            return [_scaled_to(picture, items) for picture, items in zip(pictures, found, strict=True)]

        return asyncio.run(detected())

    async def _in_turn(self, picture: StoredPicture) -> tuple[Detection, ...]:
        async with self._turns:
            try:
                async with asyncio.timeout(self._remote.timeout_seconds):
                    return await self._judged(picture)
            except TimeoutError as error:
                raise DetectorElsewhereError(
                    f"The detector service at {self._url} gave no answer within {self._remote.timeout_seconds:g} s.",
                    "See how busy it is, or raise detector.remote.timeout_seconds.",
                ) from error

    async def _judged(self, picture: StoredPicture) -> tuple[Detection, ...]:
        status, answer = await self._asked(picture.content)
        if status == HTTPStatus.OK:
            return self._read(picture, answer)
        problem = _problem(answer)
        refused = status in {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
        if refused and problem.get("reason", problem.get("code")) in _TOO_MUCH:
            return await self._judged_smaller(picture)
        if refused and problem.get("code") == "refused":
            await asyncio.to_thread(decode_picture, picture.content, TRIAL_SIZE)  # whether it is the picture's fault
        raise self._explained(status, problem)

    async def _judged_smaller(self, picture: StoredPicture) -> tuple[Detection, ...]:
        """Send a picture that is too large for the service in the size that its model sees."""

        def shrunk() -> tuple[Picture, StoredPicture]:
            smaller = decode_picture(picture.content, self.input_size)
            return smaller, _stored(smaller)

        smaller, stored = await asyncio.to_thread(shrunk)
        status, answer = await self._asked(stored.content)
        if status != HTTPStatus.OK:
            raise self._explained(status, _problem(answer))
        return _scaled_to(smaller, self._read(stored, answer))

    async def _asked(self, content: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer of a service that is not busy. Raises DetectorElsewhereError."""
        while True:
            status, answer, wait = await self._sent(content)
            if status != HTTPStatus.TOO_MANY_REQUESTS or _problem(answer).get("code") != "too_busy":
                return status, answer
            await asyncio.sleep(wait)

    async def _sent(self, content: bytes) -> tuple[int, bytes, float]:
        headers = {hdrs.CONTENT_TYPE: "application/octet-stream", REQUEST_ID: secrets.token_hex(8)}
        try:
            async with self._opened().post(
                f"{self._url}{PATH}", data=content, headers=headers, allow_redirects=False
            ) as response:
                answer = bytearray()
                async for piece in response.content.iter_any():
                    answer += piece
                    if len(answer) > MAX_ANSWER:
                        raise self._not_ours("its answer is too long")
                return response.status, bytes(answer), _seconds(response.headers.get(hdrs.RETRY_AFTER))
        except aiohttp.ClientConnectorError as error:
            raise DetectorElsewhereError(
                f"The detector service at {self._url} cannot be reached: {error.os_error.strerror or error}.",
                _RUN_REMEDY,
            ) from error
        except aiohttp.ServerTimeoutError as error:
            raise DetectorElsewhereError(
                f"The detector service at {self._url} cannot be reached: no answer within "
                f"{self._remote.connect_seconds:g} s.",
                _RUN_REMEDY,
            ) from error
        except aiohttp.ClientError as error:
            raise DetectorElsewhereError(
                f"The connection to the detector service at {self._url} failed: {type(error).__name__}.", _RUN_REMEDY
            ) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._remote.parallel, keepalive_timeout=60),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._remote.connect_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # an answer is short; what is packed may be long
            )
        return self._session

    def _read(self, picture: StoredPicture, answer: bytes) -> tuple[Detection, ...]:
        """Return what an answer says, as far as it can be true. Raises DetectorLied, DetectorElsewhereError."""
        try:
            protocol = json.loads(answer)["protocol"]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise self._not_ours("its answer is not that of one") from error
        if protocol != PROTOCOL:
            raise DetectorElsewhereError(
                f"The detector service at {self._url} speaks version {str(protocol)[:20]} of the protocol, "
                f"this server speaks {PROTOCOL}.",
                "Install the same version of Home Security Intelligence on both machines.",
            )
        try:
            message = DetectMessage.model_validate_json(answer)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DetectorLied(f"the detector service's answer cannot be true: {where}: {first['msg']}") from error
        if (message.width, message.height) != (picture.width, picture.height):
            raise DetectorLied(
                f"a picture of {message.width}x{message.height} pixels was judged, sent was one of "
                f"{picture.width}x{picture.height}"
            )
        self._model = message
        [found] = checked([picture], [tuple(map(detection_of, message.detections))])
        return tuple(item for item in found if item.confidence >= self._settings.threshold(item.label))

    def _explained(self, status: int, problem: dict[str, Any]) -> DetectorElsewhereError:
        """Return the error that a status and its problem document mean."""
        if "code" not in problem:
            return self._not_ours(f"it answers with the status {status}")
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}:
            return DetectorElsewhereError(f"The detector service at {self._url} refuses the token.", _TOKEN_REMEDY)
        detail = str(problem.get("detail", ""))[:300].rstrip(".")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return DetectorElsewhereError(
                f"The detector service at {self._url} cannot judge: {detail}.",
                str(problem.get("remedy", ""))[:300] or _RUN_REMEDY,
            )
        return DetectorElsewhereError(
            f"The detector service at {self._url} answers with the status {status}: {detail}.",
            "Its log says more. Install the same version on both machines.",
        )

    def _not_ours(self, why: str) -> DetectorElsewhereError:
        return DetectorElsewhereError(f"What answers at {self._url} is no detector service: {why}.", _ADDRESS_REMEDY)


def _first(failures: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first failure of a group that may hold groups."""
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure


def _problem(answer: bytes) -> dict[str, Any]:
    """Return a problem document; nothing for what is none."""
    try:
        problem = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _seconds(retry_after: str | None) -> float:
    """Return how long a busy service wants to be left alone, within reason."""
    try:
        seconds = float(retry_after or 1)
    except ValueError:
        return 1.0
    return min(max(seconds, 0.1), LONGEST_WAIT_SECONDS) if math.isfinite(seconds) else 1.0


def _png(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.save(target, "PNG", compress_level=1)
    return target.getvalue()


def _stored(picture: Picture) -> StoredPicture:
    """Return decoded pixels as a picture that loses nothing; it may be smaller than its frame."""
    height, width = picture.pixels.shape[:2]
    return StoredPicture(_png(Image.fromarray(picture.pixels)), width, height)


def _scaled_to(picture: Picture, found: Sequence[Detection]) -> tuple[Detection, ...]:
    """Return detections in a picture's pixels with their boxes in pixels of its frame."""
    height, width = picture.pixels.shape[:2]
    across, down = picture.width / width, picture.height / height
    return tuple(
        Detection(
            item.label,
            item.confidence,
            Box(item.box.x * across, item.box.y * down, item.box.width * across, item.box.height * down),
        )
        for item in found
    )
