# SPDX-License-Identifier: AGPL-3.0-or-later
"""Supervisor discovery against the simulated Supervisor."""

import asyncio
import itertools
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from inference_server.api.announce import DISCOVERY_SERVICE, Advertisement, SupervisorDiscovery
from tests.support.supervisor import APP_TOKEN, HOSTNAME, SimulatedSupervisor, failed, succeeded

ADVERTISEMENT = Advertisement(
    server_id="9f2c" * 8,
    name="Home Security Intelligence",
    version="0.1.0",
    schema_version=1,
    host="0.0.0.0",  # noqa: S104
    port=8000,
)
TOKEN = "the-secret-of-the-integration"
WAIT = 10
APP_CONFIG = Path(__file__).parents[3] / "addon" / "config.yaml"

Discover = Callable[..., SupervisorDiscovery]


class Pauses:
    """Stands in for asyncio.sleep: notes the pauses and lets time pass at once."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def supervisor() -> SimulatedSupervisor:
    return SimulatedSupervisor()


@pytest.fixture
async def server(supervisor: SimulatedSupervisor) -> AsyncIterator[TestServer]:
    server = supervisor.server()
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def discover(server: TestServer, session: aiohttp.ClientSession, pauses: Pauses) -> Discover:
    def make(
        url: str | None = None,
        supervisor_token: str = APP_TOKEN,
        advertisement: Advertisement = ADVERTISEMENT,
        sleep: Callable[[float], Awaitable[object]] = pauses,
    ) -> SupervisorDiscovery:
        return SupervisorDiscovery(
            session,
            advertisement,
            token=TOKEN,
            supervisor_token=supervisor_token,
            url=url or str(server.make_url("")).rstrip("/"),
            sleep=sleep,
        )

    return make


async def test_one_message_with_everything_the_integration_needs(
    discover: Discover, supervisor: SimulatedSupervisor, pauses: Pauses
) -> None:
    discovery = discover()
    await discovery.start()
    await asyncio.wait_for(supervisor.accepted.wait(), WAIT)
    await discovery.stop()
    config = {"host": HOSTNAME, "port": 8000, "token": TOKEN, "server_id": ADVERTISEMENT.server_id}
    assert supervisor.posts == [{"service": "home_security_intelligence", "config": config}]
    assert pauses.taken == []


def test_the_app_lists_the_service_it_announces() -> None:
    assert DISCOVERY_SERVICE in yaml.safe_load(APP_CONFIG.read_text())["discovery"]


@pytest.mark.parametrize(
    "fault",
    [
        failed("System is not ready with state: setup", 400),
        failed("Apps must list services they provide via discovery in their config!", 403),
        web.Response(status=503, text="Service Unavailable"),
        web.Response(status=502, text="<html>Bad gateway</html>", content_type="text/html"),
        web.Response(status=200, text="not json"),
        web.json_response(["not", "an", "object"]),
    ],
    ids=lambda fault: str(fault.status),
)
async def test_a_refused_message_is_sent_again(
    discover: Discover, supervisor: SimulatedSupervisor, pauses: Pauses, fault: web.Response
) -> None:
    supervisor.faults = deque([fault])
    await asyncio.wait_for(discover().announce(), WAIT)
    assert len(supervisor.messages) == 1
    assert pauses.taken == [1]


async def test_the_pauses_grow_up_to_five_minutes(
    discover: Discover, supervisor: SimulatedSupervisor, pauses: Pauses
) -> None:
    supervisor.faults = deque(failed("System is not ready", 400) for _ in range(11))
    await asyncio.wait_for(discover().announce(), WAIT)
    assert pauses.taken == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


async def test_a_supervisor_that_is_not_there_yet_is_awaited(
    discover: Discover, supervisor: SimulatedSupervisor
) -> None:
    port = unused_port()
    late = supervisor.server(port)

    async def supervisor_comes_up(_seconds: float) -> None:
        if not late.started:
            await late.start_server()

    discovery = discover(url=f"http://127.0.0.1:{port}", sleep=supervisor_comes_up)
    await asyncio.wait_for(discovery.announce(), WAIT)
    await late.close()
    assert len(supervisor.messages) == 1


async def test_the_container_name_stands_in_for_an_unknown_host_name(
    discover: Discover, session: aiohttp.ClientSession
) -> None:
    hosts: list[str] = []

    async def take(request: web.Request) -> web.Response:
        hosts.append((await request.json())["config"]["host"])
        return succeeded({"uuid": "f" * 32})

    app = web.Application()
    app.router.add_post("/discovery", take)
    async with TestServer(app) as without_info:
        await asyncio.wait_for(discover(url=f"http://127.0.0.1:{without_info.port}").announce(), WAIT)
    assert hosts == [socket.gethostname()]


async def test_stopping_while_it_tries_is_clean(discover: Discover, supervisor: SimulatedSupervisor) -> None:
    supervisor.faults = deque([failed("System is not ready", 400)])
    waiting = asyncio.Event()

    async def wait_for_ever(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    discovery = discover(sleep=wait_for_ever)
    await discovery.start()
    await asyncio.wait_for(waiting.wait(), WAIT)
    await asyncio.wait_for(discovery.stop(), WAIT)
    assert supervisor.posts == []
    assert {task for task in asyncio.all_tasks() if task.get_name() == "supervisor discovery"} == set()


async def test_stopping_what_never_started_is_clean(discover: Discover) -> None:
    await discover().stop()


async def test_a_restart_posts_again_and_replaces_what_changed(
    discover: Discover, supervisor: SimulatedSupervisor
) -> None:
    await discover().announce()
    await discover(advertisement=replace(ADVERTISEMENT, port=8001)).announce()
    assert [post["config"]["port"] for post in supervisor.posts] == [8000, 8001]
    (message,) = supervisor.messages.values()
    assert message["config"]["port"] == 8001


async def test_a_refusal_is_told_at_once_and_once(
    discover: Discover, supervisor: SimulatedSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.faults = deque(failed("System is not ready", 400) for _ in range(3))
    with caplog.at_level(logging.INFO, "inference_server.api.announce"):
        await discover().announce()
    first, last = caplog.records
    assert first.levelno == logging.WARNING
    assert "System is not ready" in first.getMessage()
    assert last.levelno == logging.INFO


@pytest.mark.parametrize("supervisor_token", [APP_TOKEN, "a-wrong-token"])
async def test_no_token_reaches_the_log(
    discover: Discover, supervisor: SimulatedSupervisor, caplog: pytest.LogCaptureFixture, supervisor_token: str
) -> None:
    supervisor.faults = deque([failed(f"extra keys not allowed. Got {{'token': '{TOKEN}'}}", 400)])
    attempts = itertools.count(1)
    refused_twice = asyncio.Event()

    async def note(_seconds: float) -> None:
        if next(attempts) == 2:
            refused_twice.set()
            await asyncio.Event().wait()

    discovery = discover(supervisor_token=supervisor_token, sleep=note)
    done = refused_twice if supervisor_token != APP_TOKEN else supervisor.accepted
    with caplog.at_level(logging.DEBUG):
        await discovery.start()
        await asyncio.wait_for(done.wait(), WAIT)
        await discovery.stop()
    assert "Got {'token': '***'}" in caplog.text
    assert TOKEN not in caplog.text
    assert supervisor_token not in caplog.text
