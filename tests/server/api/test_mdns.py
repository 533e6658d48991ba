# SPDX-License-Identifier: AGPL-3.0-or-later
"""mDNS over the loopback interface: what is shown is found, and gone when the server stops."""

import asyncio
import logging
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Never

import psutil
import pytest
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

from inference_server.api import mdns
from inference_server.api.announce import Advertisement
from inference_server.api.mdns import SERVICE_TYPE, MdnsService, reachable_addresses

LOOPBACK = "127.0.0.1"
ADVERTISEMENT = Advertisement(
    server_id=uuid.uuid4().hex,  # another run on this machine shows its own
    name="Home Security Intelligence",
    version="0.1.0",
    schema_version=1,
    host=LOOPBACK,
    port=8123,
)
SHORT_ID = ADVERTISEMENT.server_id[:12]
WAIT = 15


@pytest.fixture
async def network() -> AsyncIterator[AsyncZeroconf]:
    async with AsyncZeroconf(interfaces=[LOOPBACK]) as network:
        yield network


@pytest.mark.slow
@pytest.mark.parametrize(("is_app", "told"), [(True, b"true"), (False, b"false")])
async def test_the_service_is_found_and_withdrawn(network: AsyncZeroconf, is_app: bool, told: bytes) -> None:
    events: asyncio.Queue[tuple[ServiceStateChange, str]] = asyncio.Queue()

    def on_change(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if SHORT_ID in name:
            events.put_nowait((state_change, name))

    browser = AsyncServiceBrowser(network.zeroconf, SERVICE_TYPE, handlers=[on_change])
    service = MdnsService(ADVERTISEMENT, homeassistant_app=is_app)
    await service.start()
    change, name = await asyncio.wait_for(events.get(), WAIT)
    assert (change, name) == (ServiceStateChange.Added, f"Home Security Intelligence {SHORT_ID}.{SERVICE_TYPE}")
    found = await network.async_get_service_info(SERVICE_TYPE, name)
    assert found is not None
    assert (found.parsed_addresses(), found.port) == ([LOOPBACK], 8123)
    assert found.properties == {
        b"server_id": ADVERTISEMENT.server_id.encode(),
        b"version": b"0.1.0",
        b"schema_version": b"1",
        b"base_url": b"http://127.0.0.1:8123",
        b"homeassistant_app": told,
    }

    await service.stop()
    change, gone = await asyncio.wait_for(events.get(), WAIT)
    while change is not ServiceStateChange.Removed:
        change, gone = await asyncio.wait_for(events.get(), WAIT)
    assert gone == name
    await browser.async_cancel()


@pytest.mark.slow
async def test_a_long_name_with_dots_is_shown_shortened(network: AsyncZeroconf) -> None:
    service = MdnsService(replace(ADVERTISEMENT, name="Zuhause v. " + "ü" * 60), homeassistant_app=False)
    await service.start()
    name = f"Zuhause v  {'ü' * 19} {SHORT_ID}.{SERVICE_TYPE}"
    assert await network.async_get_service_info(SERVICE_TYPE, name) is not None
    await service.stop()


async def test_stopping_while_it_starts_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    registering = asyncio.Event()

    class Registering(AsyncZeroconf):
        async def async_register_service(self, *_args: object, **_kwargs: object) -> Never:
            registering.set()
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(mdns, "AsyncZeroconf", Registering)
    service = MdnsService(ADVERTISEMENT, homeassistant_app=False)
    starting = asyncio.create_task(service.start())
    await asyncio.wait_for(registering.wait(), WAIT)
    starting.cancel()
    await asyncio.wait_for(service.stop(), WAIT)
    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_a_network_without_multicast_does_not_stop_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(**_: object) -> Never:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(mdns, "AsyncZeroconf", forbidden)
    service = MdnsService(ADVERTISEMENT, homeassistant_app=False)
    with caplog.at_level(logging.WARNING):
        await service.start()
    await service.stop()
    assert "Operation not permitted" in caplog.text


async def test_a_host_without_network_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(psutil, "net_if_addrs", dict)
    service = MdnsService(replace(ADVERTISEMENT, host="0.0.0.0"), homeassistant_app=False)  # noqa: S104
    with caplog.at_level(logging.INFO):
        await service.start()
    await service.stop()
    assert "no network address" in caplog.text


def interfaces(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, str], down: str = "") -> None:
    monkeypatch.setattr(
        psutil,
        "net_if_addrs",
        lambda: {
            name: [SimpleNamespace(family=socket.AF_INET, address=address)] for name, address in addresses.items()
        },
    )
    monkeypatch.setattr(
        psutil, "net_if_stats", lambda: {name: SimpleNamespace(isup=name != down) for name in addresses}
    )


def test_all_interfaces_that_are_up_are_shown_the_way_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    all_addresses = {"lo": "127.0.0.1", "docker0": "172.17.0.1", "eth0": "192.168.1.5", "wlan0": "192.168.1.6"}
    interfaces(monkeypatch, all_addresses, down="wlan0")
    monkeypatch.setattr(mdns, "_address_of_the_way_out", lambda: "192.168.1.5")
    assert reachable_addresses("0.0.0.0") == ["192.168.1.5", "172.17.0.1"]  # noqa: S104


def test_a_host_without_a_way_out_still_shows_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    interfaces(monkeypatch, {"eth0": "192.168.1.5"})
    monkeypatch.setattr(mdns, "OUTSIDE", ("255.255.255.255", 9))
    assert reachable_addresses("0.0.0.0") == ["192.168.1.5"]  # noqa: S104


@pytest.mark.parametrize(("host", "expected"), [("192.168.1.5", ["192.168.1.5"]), ("::1", ["::1"]), ("camera.lan", [])])
def test_a_server_on_one_address_shows_that_address(host: str, expected: list[str]) -> None:
    assert reachable_addresses(host) == expected
