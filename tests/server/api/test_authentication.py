# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may do what: every scope against every declared route."""

import json
import logging

import pytest
from aiohttp import hdrs
from sqlalchemy import update

from inference_server.api.application import ROUTES
from inference_server.api.context import ApiLimits
from inference_server.api.routing import AnyRoute
from inference_server.api.throttle import ADDRESSES, Throttle
from inference_server.core.prompt import PromptKind
from inference_server.core.status import AnalystState, AnalystStatus
from inference_server.risk.prompts.shipped import newest_shipped
from inference_server.storage import tokens
from inference_server.storage.tables import events
from inference_server.storage.tokens import Scope
from tests.server.api.conftest import Client, Connect
from tests.support.home import START, Home, MovableClock
from tests.support.pictures import jpeg

MAY = {
    Scope.READ: {Scope.READ},
    Scope.INTEGRATION: {Scope.READ, Scope.INTEGRATION, Scope.UPLOAD},
    Scope.UPLOAD: {Scope.UPLOAD},
    Scope.ADMIN: set(Scope),
}
PROMPT = newest_shipped(PromptKind.ANALYST).text
BACKUP = "manual-20261123T080000Z.tar"
PUBLIC = {"/api/system/health", "/api/system/ready", "/api/openapi.json"}


def described(route: AnyRoute) -> str:
    return f"{route.method} {route.path}"


async def asked(
    client: Client,
    route: AnyRoute,
    authorization: str | None,
    letter_id: int = 1,
    zone_id: int = 1,
    stationary_id: int = 1,
    number: int = 1,
    feedback_id: int = 1,
) -> int:
    path = route.path.format(
        camera_id="front_door",
        event_id=1,
        frame_id=1,
        ordinal=0,
        clip_id=1,
        letter_id=letter_id,
        name=BACKUP,
        zone_id=zone_id,
        stationary_id=stationary_id,
        model_id="sample",
        kind="analyst",
        number=number,
        feedback_id=feedback_id,
        incident_id=1,
    )
    headers = {} if authorization is None else {hdrs.AUTHORIZATION: authorization}
    body = {"PATCH": b"{}", "PUT": b"{}", "POST": jpeg()}.get(route.method) if route.has_body else None
    if "/zones" in path and route.method == "POST":
        zone = {"name": f"Gate {zone_id}", "type": "yard", "rectangle": [0, 0, 1, 1]}
        body = json.dumps({"zone": zone} if path.endswith("/test") else zone).encode()
    if path.endswith("/feedback") and body:
        body = b'{"kind": "correct"}'
    if path.endswith("/effect"):
        path += "?event_id=1"
    if path == "/api/models/import":
        body = b"weights"
    if path.startswith("/api/prompts") and body:
        body = json.dumps({} if path.endswith("/test") else {"text": PROMPT}).encode()
    response = await client.request(route.method, path, headers=headers, data=body)
    if response.status == 401:
        assert response.headers[hdrs.WWW_AUTHENTICATE].startswith("Bearer")
        assert (await response.json())["code"] == "unauthorized"
    if response.status == 403:
        assert (await response.json())["code"] == "forbidden"
    return response.status


async def trashed(home: Home, is_trashed: bool) -> None:
    async with home.database.writing() as connection:
        await connection.execute(update(events).values(deleted_at=START if is_trashed else None))


def test_only_what_the_protocol_says_is_public() -> None:
    assert {route.path for route in ROUTES if route.scope is None} == PUBLIC


@pytest.mark.parametrize("route", ROUTES, ids=described)
async def test_each_scope_opens_its_routes_only(a_home: Home, connect: Connect, route: AnyRoute) -> None:
    a_home.analyst = AnalystStatus(AnalystState.OK)
    await a_home.camera()
    await a_home.incident(await a_home.ended_event())
    a_home.data.backups.mkdir()
    (a_home.data.backups / BACKUP).write_bytes(b"a backup")
    downloads = a_home.store.folder / "downloads"
    downloads.mkdir(parents=True)
    (downloads / "sample.bin").write_bytes(b"weights")
    await a_home.clip()
    client = await connect(scope=None)
    for scope, may in MAY.items():
        if route.method in {"DELETE", "POST"}:
            await a_home.camera()
            await a_home.ftp_account()
            await trashed(a_home, route.path.endswith("/restore"))
        letter_id = await a_home.dead_letter()
        zone_id = (await a_home.zone(f"Porch {scope}")).id
        ids = letter_id, zone_id, await a_home.standing(), await a_home.prompt(), await a_home.opinion()
        status = await asked(client, route, f"Bearer {await a_home.token(scope)}", *ids)
        if route.scope is None or route.scope in may:
            assert status in {200, 201, 202, 204}
        else:
            assert status == 403
    for wrong in (None, "Bearer wrong", "Bearer", "Basic aHNpOmhzaQ==", f"Bearer {'x' * 500}", "Bearer t\u00f6ken"):
        assert await asked(client, route, wrong) == (200 if route.scope is None else 401)


async def test_the_scheme_is_written_in_any_case(a_home: Home, connect: Connect) -> None:
    client = await connect(scope=None)
    response = await client.get("/api/cameras", headers={"Authorization": f"bearer {await a_home.token(Scope.READ)}"})
    assert response.status == 200


async def test_a_revoked_token_is_refused(a_home: Home, connect: Connect) -> None:
    client = await connect(Scope.READ)
    assert (await client.get("/api/cameras")).status == 200
    async with a_home.database.writing() as connection:
        await tokens.revoke(connection, 1, START)
    assert (await client.get("/api/cameras")).status == 401


async def test_wrong_tokens_are_logged_slowed_and_forgiven(
    a_home: Home, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect(scope=None, limits=ApiLimits(refusals_per_minute=3))
    wrong = {"Authorization": "Bearer not-the-token"}
    right = {"Authorization": f"Bearer {await a_home.token(Scope.READ)}"}
    for _ in range(3):
        assert (await client.get("/api/cameras", headers=wrong)).status == 401
        a_home.clock.move(seconds=10)
    slowed = await client.get("/api/cameras", headers=wrong)
    assert (slowed.status, slowed.headers["Retry-After"]) == (429, "30")
    assert (await slowed.json())["code"] == "too_many_attempts"
    assert (await client.get("/api/cameras", headers=right)).status == 200
    a_home.clock.move(seconds=30)
    assert (await client.get("/api/cameras", headers=wrong)).status == 401
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == ["Refused a wrong or revoked token from 127.0.0.1"] * 4
    assert "not-the-token" not in caplog.text


def test_addresses_are_slowed_apart_and_remembered_within_bounds() -> None:
    clock = MovableClock()
    throttle = Throttle(clock, limit=1)
    assert throttle.refuse("a") == 0
    assert throttle.refuse("a") == 60
    assert throttle.refuse("b") == 0
    for number in range(ADDRESSES):
        throttle.refuse(str(number))
    assert throttle.refuse("a") == 0


def test_a_clock_that_jumps_back_slows_nobody_for_long() -> None:
    clock = MovableClock()
    throttle = Throttle(clock, limit=1)
    throttle.refuse("a")
    clock.move(days=-1)
    assert throttle.refuse("a") == 0
