# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ports: free, taken by our own server, or by somebody else; and what FTP needs."""

import os
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import aiohttp
import psutil

from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.doctor.access import READ, may
from inference_server.doctor.check import apart
from inference_server.settings import Settings

SECONDS = 3.0
PRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what such a server answers at


async def look(settings: Settings) -> Iterator[Finding]:
    """Look at the ports of the interface and of FTP."""
    taken = await apart(_listening)
    ours = settings.api.port in taken and await _is_ours(settings)
    findings = [_port("API", settings.api.port, "HSI_API__PORT", taken, ours=ours)]
    ftp = settings.ftp
    if ftp.enabled:
        findings.append(_port("FTP", ftp.port, "HSI_FTP__PORT", taken, ours=ours))
        busy = sorted(taken & set(ftp.passive_range))
        if busy and not ours:
            findings.append(
                warning(
                    "ports",
                    f"of the passive ports of FTP ({ftp.passive_ports}) these are taken: {_some(busy)}",
                    "Choose another range: HSI_FTP__PASSIVE_PORTS.",
                )
            )
    return iter((*findings, *_ftp(settings)))


def _port(name: str, port: int, variable: str, taken: frozenset[int], *, ours: bool) -> Finding:
    if port < _first_free() and os.geteuid() != 0:
        return warning(
            "ports",
            f"{name}: port {port} is for privileged processes, and this user is none",
            f"Choose one from {_first_free()} on ({variable}).",
        )
    if port not in taken:
        return ok("ports", f"{name}: port {port} is free")
    if ours:
        return ok("ports", f"{name}: port {port} is taken, and our own server runs")
    return problem(
        "ports",
        f"{name}: port {port} is taken by another program",
        f"End that one, or choose another port ({variable}).",
    )


def _ftp(settings: Settings) -> Iterator[Finding]:
    """Look at settings of FTP that are allowed, and probably not meant."""
    ftp = settings.ftp
    if not ftp.enabled:
        return
    ports = len(ftp.passive_range)
    if ftp.tls == "off":
        yield warning(
            "ftp", "passwords and pictures are sent in clear", "HSI_FTP__TLS=optional, or required if the cameras can."
        )
    if _in_container() and ftp.passive_address is None:
        yield warning(
            "ftp",
            "in a container cameras are told an address that they may not reach",
            "Set HSI_FTP__PASSIVE_ADDRESS to the address of the machine.",
        )
    if ports < min(ftp.max_connections, 5):
        yield warning(
            "ftp",
            f"only {ports} uploads can begin at the same moment ({ftp.passive_ports})",
            "Allow more passive ports: HSI_FTP__PASSIVE_PORTS.",
        )
    for file in (ftp.certificate_file, ftp.key_file):
        if file is not None and not may(file, READ):
            yield problem("ftp", f"{file} cannot be read", "Correct the path, or let this user read it.")


def _listening() -> frozenset[int]:
    """Return the ports on which somebody listens."""
    return frozenset(
        connection.laddr.port
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    )


async def _is_ours(settings: Settings) -> bool:
    """Return whether what listens on the interface's port is a server of this program."""
    host = _ANYWHERE.get(settings.api.host, settings.api.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{settings.api.port}/api/system/health"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session,
            session.get(address, allow_redirects=False) as response,
        ):
            if response.status != HTTPStatus.OK or response.content_type != "application/json":
                return False
            answer = await response.content.read(4096)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
    return b'"status":"ok"' in answer and b'"version"' in answer


def _first_free() -> int:
    try:
        return int(PRIVILEGED.read_text())
    except (OSError, ValueError):
        return 1024


def _in_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _some(ports: list[int]) -> str:
    return ", ".join(map(str, ports[:5])) + (" and more" if len(ports) > 5 else "")
