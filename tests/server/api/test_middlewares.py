# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every answer has in common."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.api import authentication
from inference_server.api.bodies import MAX_BODY
from inference_server.storage import cameras
from inference_server.storage.database import DatabaseDownError
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Connect
from tests.support.home import Home


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/cameras/a/b", 404, "not_found"),
        ("GET", "/api/../etc/passwd", 404, "not_found"),
        ("POST", "/api/cameras", 405, "method_not_allowed"),
        ("DELETE", "/api/events/1/snapshot.jpg", 405, "method_not_allowed"),
        ("GET", "/api/ws", 400, "invalid_request"),
    ],
)
async def test_problems_of_the_router(connect: Connect, method: str, path: str, status: int, code: str) -> None:
    client = await connect(Scope.ADMIN)
    response = await client.request(method, path)
    problem = await response.json()
    assert (response.status, response.content_type, problem["code"]) == (status, "application/problem+json", code)
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["remedy"]
    if status == 405:
        assert response.headers["Allow"] == "GET, HEAD"


async def test_a_large_body_is_refused_unread(connect: Connect) -> None:
    client = await connect(Scope.ADMIN)
    response = await client.delete("/api/cameras/front_door", data=b"x" * (MAX_BODY + 1))
    assert (response.status, (await response.json())["code"]) == (413, "too_large")


async def test_a_failure_is_told_without_its_inside(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ProgrammingError("SELECT secrets", None, Exception("no such table"))

    monkeypatch.setattr(cameras, "states", fail)
    client = await connect(Scope.READ)
    response = await client.get("/api/cameras")
    text = await response.text()
    assert (response.status, (await response.json())["code"]) == (500, "internal")
    assert "secrets" not in text
    assert "no such table" in caplog.text


@asynccontextmanager
async def _refusing() -> AsyncIterator[AsyncConnection]:
    raise DatabaseDownError("connection refused")
    yield


@asynccontextmanager
async def _hanging() -> AsyncIterator[AsyncConnection]:
    await asyncio.Event().wait()
    yield  # type: ignore[misc]  # never comes here


@pytest.mark.parametrize("reading", [_refusing, _hanging])
async def test_while_the_database_is_down_its_state_can_be_asked_for(
    reading: Callable[[], AsyncIterator[AsyncConnection]],
    a_home: Home,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, unknown = await connect(Scope.READ), await connect(Scope.READ)
    assert (await known.get("/api/cameras")).status == 200
    with monkeypatch.context() as patch:
        patch.setattr(authentication, "ANSWER_SECONDS", 0.05)
        patch.setattr(a_home.database, "reading", reading)
        response = await unknown.get("/api/cameras")
        assert (response.status, response.headers["Retry-After"]) == (503, "10")
        assert (await response.json())["code"] == "storage_down"
        assert (await known.get("/api/system/health/full")).status == 200
        assert (await known.get("/api/system/health")).status == 200
        assert (await unknown.get("/api/system/health/full")).status == 503
    assert (await unknown.get("/api/system/health/full")).status == 200


@pytest.mark.parametrize("path", ["/api/cameras", "/api/nothing", "/api/cameras/front_door/latest.jpg"])
async def test_answers_are_neither_guessed_framed_nor_shared(a_home: Home, connect: Connect, path: str) -> None:
    await a_home.camera()
    await a_home.frame()
    client = await connect(Scope.READ)
    headers = (await client.get(path, headers={"Origin": "http://evil.example"})).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] in {"no-store", "private, no-cache"}
    assert "Access-Control-Allow-Origin" not in headers
    assert "aiohttp" not in headers["Server"]


async def test_the_log_holds_neither_token_nor_query(
    a_home: Home, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "inference_server")
    client = await connect(scope=None)
    token = await a_home.token(Scope.READ)
    await client.get(f"/api/cameras?token={token}", headers={"Authorization": f"Bearer {token}"})
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("api.middlewares")]
    assert len(lines) == 1
    assert "GET /api/cameras: 422" in lines[0]
    assert token not in caplog.text
