# SPDX-License-Identifier: AGPL-3.0-or-later
"""Showing this server on the local network by mDNS (zeroconf), for a Home Assistant that runs elsewhere."""

import ipaddress
import logging
import socket
from collections.abc import Iterator

import psutil
from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from inference_server.api.announce import Advertisement

SERVICE_TYPE = "_hsi._tcp.local."
LONGEST_NAME_BYTES = 50
"""An instance name holds 63 bytes; the rest is for the start of the server id, which keeps names apart."""
OUTSIDE = ("192.0.2.1", 9)
"""An address of the documentation range: connecting a UDP socket to it sends nothing, and tells the way out."""

_LOGGER = logging.getLogger(__name__)


class MdnsService:
    """One `_hsi._tcp.local.` service. What the network does not allow is logged and never stops the server."""

    def __init__(self, advertisement: Advertisement, *, homeassistant_app: bool) -> None:
        """Take what to show; an app is found through the Supervisor, so clients are told that this is one."""
        self._advertisement = advertisement
        self._homeassistant_app = homeassistant_app
        self._zeroconf: AsyncZeroconf | None = None

    async def start(self) -> None:
        """Register the service; takes about a second, in which the name is checked for conflicts."""
        addresses = reachable_addresses(self._advertisement.host)
        if not addresses:
            _LOGGER.info("Not shown by mDNS: there is no network address to show")
            return
        try:
            self._zeroconf = AsyncZeroconf(interfaces=addresses, ip_version=_ip_version(addresses))
            sent = await self._zeroconf.async_register_service(self._info(addresses), allow_name_change=True)
            await sent
        except (OSError, ZeroconfError) as error:
            _LOGGER.warning("Not shown by mDNS, the network does not allow it: %s: %s", type(error).__name__, error)
            await self.stop()
        else:
            _LOGGER.info("Shown by mDNS as %s at %s", SERVICE_TYPE, addresses[0])

    async def stop(self) -> None:
        """Withdraw the service, so that clients need not wait until it expires."""
        if self._zeroconf is None:
            return
        try:
            await self._zeroconf.async_close()
        except (OSError, ZeroconfError) as error:
            _LOGGER.debug("mDNS did not close cleanly: %s", error)
        self._zeroconf = None

    def _info(self, addresses: list[str]) -> AsyncServiceInfo:
        shown, short_id = self._advertisement, self._advertisement.server_id[:12]
        name = shown.name.replace(".", " ").encode()[:LONGEST_NAME_BYTES].decode(errors="ignore")
        return AsyncServiceInfo(
            SERVICE_TYPE,
            f"{name} {short_id}.{SERVICE_TYPE}",
            server=f"hsi-{short_id}.local.",
            parsed_addresses=addresses,
            port=shown.port,
            properties={
                "server_id": shown.server_id,
                "version": shown.version,
                "schema_version": str(shown.schema_version),
                "base_url": f"http://{_url_host(addresses[0])}:{shown.port}",
                "homeassistant_app": "true" if self._homeassistant_app else "false",
            },
        )


def reachable_addresses(host: str) -> list[str]:
    """Return the addresses at which a server that listens on this host is reached, the likeliest first."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []
    if not address.is_unspecified:
        return [host]
    way_out = _address_of_the_way_out()
    return sorted(_addresses_of_interfaces(), key=lambda candidate: candidate != way_out)


def _addresses_of_interfaces() -> Iterator[str]:
    states = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        if name not in states or not states[name].isup:
            continue
        for address in addresses:
            if address.family == socket.AF_INET and not ipaddress.ip_address(address.address).is_loopback:
                yield address.address


def _address_of_the_way_out() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(OUTSIDE)
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _ip_version(addresses: list[str]) -> IPVersion:
    return IPVersion.V6Only if ":" in addresses[0] else IPVersion.V4Only


def _url_host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
