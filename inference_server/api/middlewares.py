# SPDX-License-Identifier: AGPL-3.0-or-later
"""What surrounds every request: the log, problems instead of exceptions, limits, safe headers."""

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import hdrs, web

from inference_server.api.bodies import BODY_LIMITS, MAX_BODY, too_large
from inference_server.api.problems import ProblemCode, ProblemError, invalid_request, storage_down
from inference_server.storage.database import STORAGE_FAILURES

_LOGGER = logging.getLogger(__name__)

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def log(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log each request at debug level: never its headers or query."""
    started = time.perf_counter()
    response = await handler(request)
    milliseconds = (time.perf_counter() - started) * 1000
    _LOGGER.debug(
        "%s %s %s: %d in %.1f ms",
        request.remote,
        request.method,
        request.rel_url.raw_path,
        response.status,
        milliseconds,
    )
    return response


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a problem document."""
    try:
        return await answered(request, handler, "GET /api/openapi.json describes every request.")
    except STORAGE_FAILURES as error:
        _LOGGER.warning("%s %s: %s", request.method, request.rel_url.raw_path, error)
        return storage_down().response()
    except Exception:
        _LOGGER.exception("%s %s failed", request.method, request.rel_url.raw_path)
        problem = ProblemError(
            ProblemCode.INTERNAL,
            "The server failed at this request.",
            "The server's log says why; GET /api/system/health/full shows which part is unwell.",
        )
        return problem.response()


@web.middleware
async def body_limit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a request whose body is too large, before anything reads it; what it says of its size may be a lie."""
    limit = request.app[BODY_LIMITS].get(request.match_info.route, MAX_BODY)
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    return await handler(request)


async def safe_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Make every answer of the application safe."""
    make_safe(response)


def make_safe(response: web.StreamResponse) -> None:
    """Keep browsers from guessing, framing or storing what is private, and the server's versions out of the answer."""
    response.headers[hdrs.SERVER] = "hsi"
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    response.headers["Referrer-Policy"] = "no-referrer"


async def answered(request: web.Request, handler: Handler, documentation: str) -> web.StreamResponse:
    """Return a handler's answer, or a problem document for what is wrong with the request. Raises what else it raises.

    `documentation` is a sentence that says where the requests are described.
    """
    try:
        return await handler(request)
    except ProblemError as error:
        return error.response()
    except web.HTTPException as error:
        return _of_aiohttp(request, error, documentation).response()
    except ConnectionError:
        _LOGGER.debug("%s broke %s off", request.remote, request.rel_url.raw_path)
        return invalid_request("The connection was broken off.", "Send it again.").response()


def _of_aiohttp(request: web.Request, error: web.HTTPException, documentation: str) -> ProblemError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return ProblemError(
            ProblemCode.METHOD_NOT_ALLOWED,
            f"{request.method} is not possible here.",
            f"Possible: {allowed}.",
            headers={hdrs.ALLOW: allowed},
        )
    if isinstance(error, web.HTTPNotFound):
        return ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this path.", documentation)
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return too_large(MAX_BODY)
    return ProblemError(
        ProblemCode.INVALID_REQUEST,
        f"The request is not understood: {error.reason}.",
        documentation,
        status=max(error.status, HTTPStatus.BAD_REQUEST),
    )
