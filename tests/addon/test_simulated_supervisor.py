# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of the Supervisor that the stand-in in tests/support keeps, as read in its source (2026-08).

- POST /discovery takes {"service": str, "config": dict} and nothing else; what is wrong is answered 400 with
  {"result": "error", "message": "… Got <the refused value>"}.
- The service must stand in the app's `discovery` list, else 403 in the same form.
- No token: 401, a wrong one: 403, both in plain text.
- The answer is {"result": "ok", "data": {"uuid": …}}; the same app and service keep their uuid, a new config replaces
  the old one.
- GET /addons/self/info needs no role and names the host name.
"""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.supervisor import APP_TOKEN, HOSTNAME, SimulatedSupervisor

SERVICE = "home_security_intelligence"
MESSAGE = {"service": SERVICE, "config": {"host": "a"}}


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with SimulatedSupervisor().server() as server:
        headers = {"Authorization": f"Bearer {APP_TOKEN}"}
        async with aiohttp.ClientSession(server.make_url("/"), headers=headers) as session:
            yield session


async def post(client: aiohttp.ClientSession, body: Any) -> tuple[int, Any]:
    async with client.post("/discovery", json=body) as response:
        return response.status, await response.json()


async def test_a_message_is_answered_with_its_uuid(client: aiohttp.ClientSession) -> None:
    status, answer = await post(client, MESSAGE)
    assert (status, answer["result"]) == (200, "ok")
    assert len(answer["data"]["uuid"]) == 32


async def test_a_changed_message_keeps_its_uuid(client: aiohttp.ClientSession) -> None:
    _, first = await post(client, MESSAGE)
    _, second = await post(client, {"service": SERVICE, "config": {"host": "b"}})
    assert first == second


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"service": SERVICE},
        {"config": {}},
        {"service": 1, "config": {}},
        {"service": SERVICE, "config": "a"},
        {**MESSAGE, "addon": "self"},
    ],
)
async def test_a_message_of_another_shape_is_refused(client: aiohttp.ClientSession, body: Any) -> None:
    status, answer = await post(client, body)
    assert (status, answer["result"]) == (400, "error")


async def test_what_is_no_json_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.post("/discovery", data="{") as response:
        assert response.status == 400
        assert await response.json() == {"result": "error", "message": "Invalid json"}


async def test_a_service_the_app_does_not_list_is_refused(client: aiohttp.ClientSession) -> None:
    status, answer = await post(client, {"service": "mqtt", "config": {}})
    assert (status, answer["result"]) == (403, "error")


@pytest.mark.parametrize(("token", "status"), [("", 401), ("Bearer wrong", 403)])
async def test_a_missing_or_wrong_token_is_refused_in_plain_text(
    client: aiohttp.ClientSession, token: str, status: int
) -> None:
    async with client.post("/discovery", json=MESSAGE, headers={"Authorization": token}) as response:
        assert response.status == status
        assert response.content_type == "text/plain"


async def test_an_app_may_ask_for_its_host_name(client: aiohttp.ClientSession) -> None:
    async with client.get("/addons/self/info") as response:
        assert (await response.json())["data"]["hostname"] == HOSTNAME
