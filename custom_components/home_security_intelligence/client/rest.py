# SPDX-License-Identifier: Apache-2.0
"""The server's REST interface, as far as the integration needs it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from .address import Address
from .errors import (
    CannotConnect,
    HsiError,
    InvalidAuth,
    MissingScope,
    NotFound,
    NotHsiServer,
    ProtocolError,
    RequestRefused,
)
from .fields import Fields
from .models import HomeContext, Server
from .session import HsiSession

TIMEOUT: Final = ClientTimeout(total=10)
LONG_TIMEOUT: Final = ClientTimeout(total=120)
"""For what grows with what has piled up on the server."""
STREAM_TIMEOUT: Final = ClientTimeout(total=None, sock_connect=10, sock_read=30)
CLIP_STATUSES: Final = frozenset(
    {
        HTTPStatus.OK,
        HTTPStatus.PARTIAL_CONTENT,
        HTTPStatus.NOT_MODIFIED,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    }
)
MIN_WIDTH: Final = 64
MAX_WIDTH: Final = 3840


class HsiClient:
    """Talks to one server with one token."""

    def __init__(self, http: ClientSession, address: Address, token: str) -> None:
        """Use a web session that belongs to somebody else."""
        self._http = http
        self._token = token
        self.address = address

    async def connect(self, server_id: str | None = None) -> HsiSession:
        """Open an authenticated WebSocket connection; with an id, to that server only."""
        return await HsiSession.open(self._http, self.address.url / "api/ws", self._token, server_id)

    async def get_server(self) -> Server:
        """Ask the server who it is and how it is."""
        body = await self._request("GET", "api/system/info")
        return Server.parse(Fields(_decode(body), "server"))

    async def get_latest_picture(self, camera_id: str, width: int | None = None) -> bytes:
        """Fetch the newest picture of a camera."""
        return await self._request("GET", f"api/cameras/{camera_id}/latest.jpg", _scaled(width))

    async def get_event_snapshot(self, event_id: int) -> bytes:
        """Fetch the best frame of an event with boxes drawn."""
        return await self._request("GET", f"api/events/{event_id}/snapshot.jpg")

    @asynccontextmanager
    async def open_clip(self, clip_id: int, headers: Mapping[str, str]) -> AsyncIterator[ClientResponse]:
        """Ask for a clip, or for the part of it that the headers name; its content is still to be read."""
        try:
            response = await self._http.get(
                self.address.url / f"api/clips/{clip_id}/video",
                headers={**headers, "Authorization": f"Bearer {self._token}"},
                timeout=STREAM_TIMEOUT,
                allow_redirects=False,
            )
        except (ClientError, OSError) as err:
            raise CannotConnect(str(err) or type(err).__name__) from err
        async with response:
            if response.status not in CLIP_STATUSES:
                raise await _problem(response)
            yield response

    async def delete_camera(self, camera_id: str) -> None:
        """Make the server forget a camera until its next picture."""
        await self._request("DELETE", f"api/cameras/{camera_id}")

    async def accept_view(self, camera_id: str) -> None:
        """Make the server take what a camera sees now for its view."""
        await self._request("POST", f"api/cameras/{camera_id}/view/accept")

    async def tell_home(self, context: HomeContext) -> None:
        """Tell the server the state of the home."""
        await self._request("PUT", "api/context", body=context.dump())

    async def replay_dead_letters(self) -> None:
        """Make the server try again whatever failed for good."""
        await self._request("POST", "api/dead_letters/replay", timeout=LONG_TIMEOUT)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, int | str | None] | None = None,
        timeout: ClientTimeout = TIMEOUT,
    ) -> bytes:
        try:
            async with self._http.request(
                method,
                self.address.url / path,
                params=query,
                json=body,
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
                    return await response.read()
                raise await _problem(response)
        except (ClientError, OSError) as err:
            raise CannotConnect(str(err) or type(err).__name__) from err


def _scaled(width: int | None) -> dict[str, str]:
    return {} if width is None else {"width": str(min(max(width, MIN_WIDTH), MAX_WIDTH))}


def _decode(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError as err:
        raise NotHsiServer("the answer is not JSON") from err


async def _problem(response: ClientResponse) -> HsiError:
    """Turn a refusal into an error; only our own servers answer with problem documents."""
    if response.content_type != "application/problem+json":
        return NotHsiServer(f"{response.url} answered {response.status}")
    try:
        detail = Fields(_decode(await response.read()), "problem").text("detail")
    except NotHsiServer, ProtocolError:
        detail = f"status {response.status}"
    match response.status:
        case HTTPStatus.UNAUTHORIZED:
            return InvalidAuth(detail)
        case HTTPStatus.FORBIDDEN:
            return MissingScope(detail)
        case HTTPStatus.NOT_FOUND:
            return NotFound(detail)
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return CannotConnect(detail)
        case _:
            return RequestRefused(detail)
