# SPDX-License-Identifier: AGPL-3.0-or-later
"""The service's web application: what it answers, and to whom. Errors have the form that OpenAI's clients read."""

import asyncio
import logging
import math
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from inference_server import __version__
from inference_server.analyst_service import completions
from inference_server.analyst_service.completions import Completion, completion_of, invalid, request_of
from inference_server.analyst_service.metrics import CONTENT_TYPE, Metrics
from inference_server.api.middlewares import Handler, make_safe
from inference_server.api.problems import ProblemCode, ProblemError
from inference_server.api.service_access import ServiceAccess
from inference_server.observability.health import HealthState
from inference_server.risk.analyst.language_model import (
    BadAnswer,
    Busy,
    LanguageAnswer,
    LanguageModel,
    LanguageRequest,
    ModelDown,
    ModelError,
    ModelState,
    TimedOut,
)

HEALTH_PATH = "/health"
METRICS_PATH = "/metrics"
MODELS_PATH = "/v1/models"
CHAT_PATH = "/v1/chat/completions"
REQUEST_ID = "X-Request-ID"
NOT_READY_SECONDS = 5
BODY_SECONDS = 60.0
ALIVE_SECONDS = 10.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContext:
    """What the handlers need. `problem` says why there is no model, in plain words with the remedy."""

    access: ServiceAccess
    metrics: Metrics
    model: Callable[[], LanguageModel | None]
    problem: Callable[[], str | None]
    seconds: float
    """How long an answer may take, waiting included."""
    most_waiting: int
    max_bytes: int


CONTEXT = web.AppKey("analyst", ServiceContext)
REQUEST_KEY = web.RequestKey("request_id", str)


def create_application(context: ServiceContext) -> web.Application:
    """Return the application."""
    application = web.Application(
        middlewares=(_observe, _tell_errors, _name_request), client_max_size=context.max_bytes
    )
    application[CONTEXT] = context
    application.router.add_get(HEALTH_PATH, _health)
    application.router.add_get(METRICS_PATH, _metrics)
    application.router.add_get(MODELS_PATH, _models)
    application.router.add_post(CHAT_PATH, _chat)
    return application


@web.middleware
async def _observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measure a request, and make its answer safe."""
    started = time.perf_counter()
    response = await handler(request)
    resource = request.match_info.route.resource
    path = resource.canonical if resource else "other"
    request.app[CONTEXT].metrics.requested(path, response.status, time.perf_counter() - started)
    if not response.prepared:
        _finish(request, response)
    return response


def _finish(request: web.Request, response: web.StreamResponse) -> None:
    if name := request.get(REQUEST_KEY, ""):
        response.headers[REQUEST_ID] = name
    make_safe(response)


@web.middleware
async def _tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into an error."""
    try:
        return await handler(request)
    except ProblemError as error:
        problem = error
    except ModelError as error:
        problem = _of_model(error)
    except web.HTTPException as error:
        problem = _of_aiohttp(error)
    except ConnectionError:
        problem = invalid("The connection was broken off.")
    except Exception:
        _LOGGER.exception("%s %s failed", request.method, request.rel_url.raw_path)
        problem = ProblemError(
            ProblemCode.INTERNAL, "The analyst service failed at this request.", "The service's log says why."
        )
    told = problem.response()
    return web.json_response({"error": _error(problem)}, status=told.status, headers=_headers(told))


def _headers(told: web.Response) -> dict[str, str]:
    kept = (hdrs.RETRY_AFTER, hdrs.WWW_AUTHENTICATE, hdrs.ALLOW)
    return {name: told.headers[name] for name in kept if name in told.headers}


def _error(problem: ProblemError) -> dict[str, Any]:
    told = problem.problem
    message = f"{told.detail} {told.remedy}".strip()
    return {"message": message, "type": told.title, "param": None, "code": told.code}


def _of_model(error: ModelError) -> ProblemError:
    code, status, wait = ProblemCode.INVALID_REQUEST, 400, None
    match error:
        case ModelDown():
            code, status = (ProblemCode.TOO_BUSY, 429) if isinstance(error, Busy) else (ProblemCode.NOT_READY, 503)
            wait = error.retry_after or NOT_READY_SECONDS
        case TimedOut():
            code, status = ProblemCode.TOO_SLOW, 504
        case BadAnswer():
            code, status = ProblemCode.INTERNAL, 502
    headers: dict[str, str] = {} if wait is None else {hdrs.RETRY_AFTER: str(math.ceil(wait))}
    return ProblemError(code, str(error), error.remedy, headers=headers, status=status)


def _of_aiohttp(error: web.HTTPException) -> ProblemError:
    remedy = "docs/protocol.md describes what the analyst service understands."
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow: dict[str, str] = {hdrs.ALLOW: ", ".join(sorted(error.allowed_methods))}
        return ProblemError(ProblemCode.METHOD_NOT_ALLOWED, "This is not possible here.", remedy, headers=allow)
    if isinstance(error, web.HTTPNotFound):
        return ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this path.", remedy)
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ProblemError(ProblemCode.TOO_LARGE, "The request is too large.", "Send less.")
    detail = f"The request is not understood: {error.reason}."
    return ProblemError(ProblemCode.INVALID_REQUEST, detail, remedy, status=error.status)


@web.middleware
async def _name_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give a request the name that its caller chose, or one of ours."""
    chosen = request.headers.get(REQUEST_ID)
    if chosen is not None and not _REQUEST_ID.fullmatch(chosen):
        raise invalid(f"{REQUEST_ID}: a name has up to 64 letters, digits, dots, hyphens and underscores.")
    request[REQUEST_KEY] = chosen or secrets.token_hex(8)
    return await handler(request)


async def _health(request: web.Request) -> web.Response:
    """Tell everybody that the service lives, and bearers of the token how it is."""
    context = request.app[CONTEXT]
    model, problem = context.model(), context.problem()
    status = model.status if model is not None else None
    message = problem or (status.message if status else None)
    loaded = status is not None and status.state is ModelState.READY
    starting = problem is None and (status is None or status.state in {ModelState.IDLE, ModelState.LOADING})
    state = HealthState.OK.value if loaded else "starting" if starting else HealthState.DOWN.value
    told: dict[str, Any] = {"status": state, "model_loaded": loaded, "version": __version__}
    if hdrs.AUTHORIZATION in request.headers:
        context.access.authorize(request)
        told |= {
            "model": status.model if status else None,
            "engine": status.engine if status else None,
            "device": status.device if status else None,
            "context_tokens": status.context_tokens if status else None,
            "tokens_per_second": status.tokens_per_second if status else None,
            "queue": {
                "waiting": status.waiting if status else 0,
                "running": status.running if status else 0,
                "most": context.most_waiting,
            },
            "message": message,
        }
    return web.json_response(told)


async def _metrics(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    context.access.authorize(request)
    return web.Response(body=context.metrics.text(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})


async def _models(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    context.access.authorize(request)
    model = _there(context)
    listed = [{"id": model.status.model, "object": "model", "created": 0, "owned_by": "home-security-intelligence"}]
    return web.json_response({"object": "list", "data": listed})


def _there(context: ServiceContext) -> LanguageModel:
    model = context.model()
    if model is None:
        raise ProblemError(
            ProblemCode.NOT_READY,
            context.problem() or "The service is still loading its model.",
            "GET /health says how far it is.",
            headers={hdrs.RETRY_AFTER: str(NOT_READY_SECONDS)},
        )
    return model


async def _chat(request: web.Request) -> web.StreamResponse:
    context = request.app[CONTEXT]
    context.access.authorize(request)
    model = _there(context)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            content = await request.read()
    except TimeoutError as error:
        raise ProblemError(ProblemCode.TOO_SLOW, "The request came too slowly.", "Send it again.") from error
    asked = await asyncio.to_thread(completion_of, content)
    status = model.status
    if asked.model not in {None, "", status.model}:
        raise ProblemError(
            ProblemCode.MODEL_NOT_FOUND, f"There is no model {str(asked.model)[:100]} here.", f"Ask for {status.model}."
        )
    wanted = await asyncio.to_thread(request_of, asked, sees_pictures=status.sees_pictures, seconds=context.seconds)
    if asked.stream:
        return await _streamed(request, asked, model, wanted)
    answer = await model.answer(wanted)
    context.metrics.answered(answer)
    return web.json_response(completions.whole(f"chatcmpl-{request[REQUEST_KEY]}", int(time.time()), answer))


async def _streamed(
    request: web.Request, asked: Completion, model: LanguageModel, wanted: LanguageRequest
) -> web.StreamResponse:
    """Send an answer as it grows. Until its first piece is there, or a while is over, an error still has its status."""
    number, created, name = f"chatcmpl-{request[REQUEST_KEY]}", int(time.time()), model.status.model
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    answering = asyncio.ensure_future(model.answer(wanted, pieces.put_nowait))
    answering.add_done_callback(lambda _task: pieces.put_nowait(None))
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-cache"})
    try:
        while True:
            piece = await _next(pieces)
            if piece is None and (answering.cancelled() or answering.exception()) and not response.prepared:
                await answering
            if not response.prepared:
                _finish(request, response)
                await response.prepare(request)
                await response.write(completions.chunk(number, created, name, {"role": "assistant", "content": ""}))
            if piece is None:
                break
            alive = completions.ALIVE if not piece else completions.chunk(number, created, name, {"content": piece})
            await response.write(alive)
        await response.write(await _ending(request, asked, number, created, answering))
    finally:
        answering.cancel()
        await asyncio.wait({answering})
    return response


async def _next(pieces: asyncio.Queue[str | None]) -> str | None:
    """Return the next piece, an empty one where none came for a while, None when there are no more."""
    try:
        async with asyncio.timeout(ALIVE_SECONDS):
            return await pieces.get()
    except TimeoutError:
        return ""


async def _ending(
    request: web.Request, asked: Completion, number: str, created: int, answering: asyncio.Future[LanguageAnswer]
) -> bytes:
    """Return the last events: the reason of the end, the usage where it is wanted, or an error."""
    try:
        answer = await answering
    except ModelError as error:
        return completions.event({"error": _error(_of_model(error))})
    request.app[CONTEXT].metrics.answered(answer)
    last = completions.chunk(number, created, answer.model, {}, completions.finish_reason(answer))
    if asked.stream_options is not None and asked.stream_options.include_usage:
        last += completions.usage_chunk(number, created, answer)
    return last + completions.DONE
