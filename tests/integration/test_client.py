# SPDX-License-Identifier: Apache-2.0
"""The client by itself: addresses, strict reading, problem documents, backoff."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pytest
from aiohttp import ClientSession, web

from custom_components.home_security_intelligence import backoff
from custom_components.home_security_intelligence.client import (
    Address,
    HsiClient,
    HsiError,
    InvalidAddress,
    NotHsiServer,
    ProtocolError,
    RequestRefused,
)
from custom_components.home_security_intelligence.client.fields import Fields
from custom_components.home_security_intelligence.client.models import Camera, DetectorState, Event, Server
from tests.integration import samples
from tests.integration.fake_server import FakeServer, problem


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("hsi.local", "hsi.local", 8000),
        ("  192.168.1.20 ", "192.168.1.20", 8000),
        ("192.168.1.20:9000", "192.168.1.20", 9000),
        ("HTTP://Server.example:9000/api?x=1", "server.example", 9000),
        ("http://user:secret@server", "server", 8000),
        ("fd00::20", "fd00::20", 8000),
        ("FD00::20", "fd00::20", 8000),
        ("[fd00::20]:9000", "fd00::20", 9000),
        ("http://[fd00::20]/", "fd00::20", 8000),
        ("4f6c1a2b-home-security-intelligence", "4f6c1a2b-home-security-intelligence", 8000),
        ("my_server", "my_server", 8000),
        ("server.fritz.box.", "server.fritz.box.", 8000),
    ],
)
def test_address(text: str, host: str, port: int) -> None:
    assert Address.parse(text, 8000) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "https://server",
        "ftp://server",
        "a b",
        "http://",
        "server:port",
        "server:99999",
        "?",
        "[::1",
        "a-" * 100 + "!",
        "a" * 64,
        "a..b",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidAddress):
        Address.parse(text, 8000)


def test_address_for_people_and_for_the_web() -> None:
    assert (str(Address("hsi.local", 1)), str(Address("hsi.local", 1).url)) == ("hsi.local:1", "http://hsi.local:1")
    assert (str(Address("fd00::2", 1)), str(Address("fd00::2", 1).url)) == ("[fd00::2]:1", "http://[fd00::2]:1")


def test_reads_a_camera() -> None:
    camera = Camera.parse(Fields(samples.camera(last_frame_at="2026-11-20T09:30:00+02:00"), "camera"))
    assert camera.last_frame_at == datetime(2026, 11, 20, 7, 30, tzinfo=UTC)
    assert camera.last_frame_at.utcoffset() in (timedelta(hours=2), timezone(timedelta(hours=2)).utcoffset(None))
    assert camera.risk
    assert (camera.risk.score, camera.risk.level) == (0, "low")


def test_reads_a_server() -> None:
    server = Server.parse(Fields(samples.server(detector=samples.detector(state="dreaming", novelty=1)), "server"))
    assert server.detector.state is None
    server = Server.parse(Fields(samples.server(), "server"))
    assert server.detector.state is DetectorState.OK


@pytest.mark.parametrize("parse", [Camera.parse, Event.parse, Server.parse])
def test_names_what_is_missing(parse: Callable[[Fields], object]) -> None:
    with pytest.raises(ProtocolError, match=r"^thing\.\w+ is missing$"):
        parse(Fields({}, "thing"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"id": "9"}, "event.id is not a int"),
        ({"id": True}, "event.id is not a int"),
        ({"verified": 1}, "event.verified is not a bool"),
        ({"summary": None}, "event.summary is not a str"),
        ({"started_at": "yesterday"}, "event.started_at is not a time"),
        ({"started_at": "2026-11-20T07:30:00"}, "event.started_at is not a time with an offset"),
        ({"objects": {"person": "one"}}, "event.objects.person is not a int"),
        ({"factors": [{"name": "x"}]}, "event.factors[0].points is missing"),
        ({"factors": [3]}, "event.factors[0] is not an object"),
        ({"factors": {}}, "event.factors is not a list"),
        ({"risk": None}, "event.risk is not an object"),
    ],
)
def test_names_what_is_wrong(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        Event.parse(Fields(samples.event(**changes), "event"))
    assert str(caught.value) == complaint


def test_scopes_are_strings() -> None:
    with pytest.raises(ProtocolError, match="scopes is not a list of str"):
        Fields({"scopes": ["read", 1]}, "answer").texts("scopes")


@pytest.mark.parametrize(
    ("answer", "error", "detail"),
    [
        (lambda: problem(409, "conflict"), RequestRefused, "detail of conflict"),
        (
            lambda: web.Response(status=409, text="?", content_type="application/problem+json"),
            RequestRefused,
            "status 409",
        ),
        (lambda: web.Response(status=200, text="<html>"), NotHsiServer, "the answer is not JSON"),
        (lambda: web.Response(status=200, text="[]"), ProtocolError, "server is not an object"),
    ],
)
async def test_reads_refusals(
    server: FakeServer, answer: Callable[[], web.Response], error: type[HsiError], detail: str
) -> None:
    server.failure = answer()
    async with ClientSession() as http:
        with pytest.raises(error) as caught:
            await HsiClient(http, Address("127.0.0.1", server.port), samples.TOKEN).get_server()
    assert str(caught.value) == detail


def test_delays_grow_up_to_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_DELAY", 1.0)
    monkeypatch.setattr(backoff, "LONGEST_DELAY", 30.0)
    first, *delays = islice(backoff.reconnect_delays(), 40)
    assert first == 0
    for delay, ceiling in zip(delays, [1, 2, 4, 8, 16] + [30] * 34, strict=True):
        assert ceiling / 2 <= delay <= ceiling
    assert len(set(delays)) > 30
