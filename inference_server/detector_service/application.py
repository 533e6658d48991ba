# SPDX-License-Identifier: AGPL-3.0-or-later
"""The service's web application: what it answers, and to whom."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web
from pydantic import BaseModel

from inference_server import __version__
from inference_server.api.middlewares import Handler, answered, make_safe
from inference_server.api.problems import Problem, ProblemCode, ProblemError, invalid_request, too_busy
from inference_server.core.status import DetectorState, DetectorStatus
from inference_server.detection.backends.provider import device_of, engine_of
from inference_server.detection.detector import Detector
from inference_server.detection.wire import (
    BATCH_PATH,
    PATH,
    PROTOCOL,
    REQUEST_ID,
    DetectMessage,
    DetectorMessage,
    ModelMessage,
    PictureMessage,
    StepTimes,
    detection_message,
)
from inference_server.detector_service.access import Access
from inference_server.detector_service.batching import DetectorFailedError, Judged, QueueFullError
from inference_server.detector_service.bodies import Bodies
from inference_server.detector_service.exchange import Exchange, Loaded
from inference_server.detector_service.metrics import CONTENT_TYPE, Metrics
from inference_server.ingest.picture import RefusedError
from inference_server.observability.health import HealthState
from inference_server.settings import DetectorServiceSettings

HEALTH_PATH = "/health"
METRICS_PATH = "/metrics"
NOT_READY_SECONDS = 5
BROKEN_OFF = 499
"""The status that metrics count where the caller went before its answer; it is never sent."""
_DOCUMENTATION = "docs/protocol.md describes what the detector service understands."
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOGGER = logging.getLogger(__name__)


class RefusedMessage(DetectorMessage):
    """A picture that was not judged."""

    problem: Problem


class BatchMessage(ModelMessage):
    """The answer about several pictures, in their order."""

    results: tuple[PictureMessage | RefusedMessage, ...]


class AliveMessage(DetectorMessage):
    """What everybody may know."""

    status: str
    model_loaded: bool
    version: str = __version__
    protocol: int = PROTOCOL


class QueueMessage(DetectorMessage):
    """How many pictures are here, and how many there may be."""

    waiting: int
    most: int


class EngineBuildMessage(DetectorMessage):
    """How far an engine is: `progress` from 0 to 1, null where it failed; `message` says why and what to do."""

    state: str
    progress: float | None
    message: str | None


class HealthMessage(AliveMessage):
    """How the service is. `vram_used` is in bytes, null where it is not known; `message` says what is wrong.

    `batch` is how many pictures it infers at a time, null while it has no detector. `engine_build` is null where no
    engine is built.
    """

    model: str | None
    device: str | None
    provider: str | None
    engine: str | None
    engine_build: EngineBuildMessage | None
    batch: int | None
    vram_used: int | None
    fallback: bool
    queue: QueueMessage
    stuck: int
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContext:
    """What the handlers need."""

    settings: DetectorServiceSettings
    access: Access
    bodies: Bodies
    metrics: Metrics
    status: Callable[[], DetectorStatus]
    exchange: Exchange
    engine_build: Callable[[], EngineBuildMessage | None]
    vram_used: Callable[[], int | None]


CONTEXT = web.AppKey("service", ServiceContext)
REQUEST_KEY = web.RequestKey("request_id", str)


def create_application(context: ServiceContext) -> web.Application:
    """Return the application."""
    application = web.Application(middlewares=(_observe, _tell_problems, _name_request))
    application[CONTEXT] = context
    application.router.add_post(PATH, _detect)
    application.router.add_post(BATCH_PATH, _detect_batch)
    application.router.add_get(HEALTH_PATH, _health)
    application.router.add_get(METRICS_PATH, _metrics)
    return application


@web.middleware
async def _observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measure a request, and make its answer safe."""
    started = time.perf_counter()
    resource = request.match_info.route.resource
    path = resource.canonical if resource else "other"
    metrics = request.app[CONTEXT].metrics
    try:
        response = await handler(request)
    except asyncio.CancelledError:
        metrics.answered(path, BROKEN_OFF, time.perf_counter() - started)
        raise
    seconds = time.perf_counter() - started
    metrics.answered(path, response.status, seconds)
    name = request.get(REQUEST_KEY, "")
    if name:
        response.headers[REQUEST_ID] = name
    make_safe(response)
    _LOGGER.debug("%s %s %s: %d in %.1f ms", name, request.remote, path, response.status, seconds * 1000)
    return response


@web.middleware
async def _tell_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a problem document."""
    try:
        return await answered(request, handler, _DOCUMENTATION)
    except Exception:
        _LOGGER.exception("%s %s failed", request.method, request.rel_url.raw_path)
        detail = "The detector service failed at this request."
        return ProblemError(ProblemCode.INTERNAL, detail, "The service's log says why.").response()


@web.middleware
async def _name_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give a request the name that its caller chose, or one of ours."""
    chosen = request.headers.get(REQUEST_ID)
    if chosen is not None and not _REQUEST_ID.fullmatch(chosen):
        raise invalid_request(
            f"{REQUEST_ID} is no name for a request.",
            "Use up to 64 letters, digits, dots, hyphens and underscores.",
        )
    request[REQUEST_KEY] = chosen or secrets.token_hex(8)
    return await handler(request)


async def _detect(request: web.Request) -> web.Response:
    loaded, [result] = await _judged(request, 1)
    if isinstance(result, RefusedError):
        raise _refused(result)
    model = _model_message(loaded.detector, fallback=request.app[CONTEXT].status().fallback)
    return _json(DetectMessage(**dict(model), **dict(_picture_message(result))))


async def _detect_batch(request: web.Request) -> web.Response:
    loaded, results = await _judged(request, request.app[CONTEXT].settings.max_pictures)
    messages = tuple(
        RefusedMessage(problem=_refused(result).problem)
        if isinstance(result, RefusedError)
        else _picture_message(result)
        for result in results
    )
    model = _model_message(loaded.detector, fallback=request.app[CONTEXT].status().fallback)
    return _json(BatchMessage(**dict(model), results=messages))


async def _judged(request: web.Request, most: int) -> tuple[Loaded, Sequence[Judged | RefusedError]]:
    """Read a request's pictures, at most so many, and judge them. Raises ProblemError."""
    context = request.app[CONTEXT]
    context.access.authorize(request)
    try:
        _loaded(context).batcher.check_room()
        with context.bodies.held(request, most) as limit:
            contents = await context.bodies.pictures(request, limit, most)
            loaded = _loaded(context)  # while the body came the detector may have been exchanged
            results = await _counted(context.metrics, loaded, contents)
    except QueueFullError as error:
        raise too_busy(str(error), error.seconds) from error
    except DetectorFailedError as error:
        raise ProblemError(
            ProblemCode.DETECTOR_DOWN,
            f"The detector failed: {error}.",
            "Try again; if this stays, GET /health and the service's log say more.",
            headers={hdrs.RETRY_AFTER: str(NOT_READY_SECONDS)},
        ) from error
    return loaded, results


async def _counted(metrics: Metrics, loaded: Loaded, contents: Sequence[bytes]) -> Sequence[Judged | RefusedError]:
    """Judge pictures, and count each of them once: as judged, refused or failed."""
    try:
        results = await loaded.batcher.judge(contents)
    except DetectorFailedError:
        metrics.failed(len(contents))
        raise
    for result in results:
        metrics.judged(result)
    return results


def _loaded(context: ServiceContext) -> Loaded:
    """Return the detector in use. Raises ProblemError while there is none."""
    if context.exchange.loaded is None:
        raise _not_ready(context.status())
    return context.exchange.loaded


async def _health(request: web.Request) -> web.Response:
    """Tell everybody that the service lives, and bearers of the token how it is."""
    context = request.app[CONTEXT]
    status, loaded = context.status(), context.exchange.loaded
    state = _state(status, loaded)
    if hdrs.AUTHORIZATION not in request.headers:
        return _json(AliveMessage(status=state, model_loaded=loaded is not None))
    context.access.authorize(request)
    batcher = loaded.batcher if loaded else None
    failure = f"The newest inference failed: {batcher.last_error}." if batcher and batcher.last_error else None
    if batcher is not None and batcher.is_lost:
        failure = f"{batcher.stuck} inferences hang; restart the service."
    return _json(
        HealthMessage(
            status=state,
            model_loaded=loaded is not None,
            model=status.name,
            device=device_of(status.provider) if status.provider else None,
            provider=status.provider,
            engine=engine_of(status.provider) if status.provider else None,
            engine_build=context.engine_build(),
            batch=loaded.detector.batch if loaded else None,
            vram_used=context.vram_used(),
            fallback=status.fallback,
            queue=QueueMessage(waiting=context.exchange.waiting, most=context.settings.max_waiting),
            stuck=context.exchange.stuck,
            message=failure or status.message,
        )
    )


def _state(status: DetectorStatus, loaded: Loaded | None) -> str:
    if loaded is None:
        return DetectorState.STARTING if status.state is DetectorState.STARTING else HealthState.DOWN
    if loaded.batcher.is_lost:
        return HealthState.DOWN
    return HealthState.DEGRADED if status.fallback or loaded.batcher.last_error else HealthState.OK


async def _metrics(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    context.access.authorize(request)
    return web.Response(body=context.metrics.text(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})


def _model_message(detector: Detector, *, fallback: bool) -> ModelMessage:
    return ModelMessage(
        protocol=PROTOCOL,
        version=__version__,
        model=detector.name,
        fallback=fallback,
        provider=detector.provider,
        input_size=detector.input_size,
    )


def _picture_message(judged: Judged) -> PictureMessage:
    return PictureMessage(
        width=judged.width,
        height=judged.height,
        detections=tuple(map(detection_message, judged.detections)),
        milliseconds=StepTimes(
            decode=round(judged.decode * 1000, 2),
            waiting=round(judged.waiting * 1000, 2),
            inference=round(judged.inference * 1000, 2),
        ),
    )


def _refused(error: RefusedError) -> ProblemError:
    return ProblemError(
        ProblemCode.REFUSED,
        error.detail,
        "Send a whole JPEG, PNG or WebP; GET /health and docs/installation.md tell the limits.",
        reason=error.reason,
    )


def _not_ready(status: DetectorStatus) -> ProblemError:
    return ProblemError(
        ProblemCode.NOT_READY,
        status.message or "The service is still loading its detector.",
        "Ask again in a few seconds; GET /health says how far it is.",
        headers={hdrs.RETRY_AFTER: str(NOT_READY_SECONDS)},
    )


def _json(message: BaseModel) -> web.Response:
    return web.Response(text=message.model_dump_json(), content_type="application/json")
