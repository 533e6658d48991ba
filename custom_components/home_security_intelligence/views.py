# SPDX-License-Identifier: Apache-2.0
"""Pictures and clips of single events for signed-in users, for notifications and cards."""

from http import HTTPStatus
from typing import Final

from aiohttp import ClientError, ClientResponse, hdrs, web
from homeassistant.components.http import KEY_HASS, HomeAssistantView
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant

from .client import HsiClient, HsiError, NotFound
from .const import DOMAIN

_PATH: Final = f"/api/{DOMAIN}/{{entry_id}}/events/{{event_id}}/snapshot.jpg"
_CLIP_PATH: Final = f"/api/{DOMAIN}/{{entry_id}}/clips/{{clip_id}}/video"
_ASKED_HEADERS: Final = (hdrs.RANGE, hdrs.IF_RANGE, hdrs.IF_NONE_MATCH)
_ANSWERED_HEADERS: Final = (hdrs.CONTENT_LENGTH, hdrs.CONTENT_RANGE, hdrs.ACCEPT_RANGES, hdrs.ETAG)
_UNKNOWN_TYPE: Final = "application/octet-stream"
_CHUNK: Final = 64 << 10


def event_snapshot_path(entry_id: str, event_id: int) -> str:
    """The path of an event's picture; to be signed before it is given to a browser."""
    return _PATH.format(entry_id=entry_id, event_id=event_id)


class EventSnapshotView(HomeAssistantView):
    """Hands on the picture of one event, and nothing else, from the server of one entry."""

    url = _PATH.replace("{event_id}", r"{event_id:\d+}")
    name = f"api:{DOMAIN}:event_snapshot"

    async def get(self, request: web.Request, entry_id: str, event_id: str) -> web.Response:
        """Answer with the best frame of the event, boxes drawn."""
        client = _client(request.app[KEY_HASS], entry_id)
        try:
            picture = await client.get_event_snapshot(int(event_id))
        except NotFound as err:
            raise web.HTTPNotFound from err
        except HsiError as err:
            raise web.HTTPBadGateway from err
        return web.Response(
            body=picture,
            content_type="image/jpeg",
            headers={"Cache-Control": "private, no-cache"},
            status=HTTPStatus.OK,
        )


def event_clip_path(entry_id: str, clip_id: int) -> str:
    """The path of a clip; to be signed before it is given to a browser."""
    return _CLIP_PATH.format(entry_id=entry_id, clip_id=clip_id)


class ClipView(HomeAssistantView):
    """Hands on one clip, or the part of it that a player asks for, and nothing else, from the server of one entry."""

    url = _CLIP_PATH.replace("{clip_id}", r"{clip_id:\d+}")
    name = f"api:{DOMAIN}:clip"

    async def get(self, request: web.Request, entry_id: str, clip_id: str) -> web.StreamResponse:
        """Answer with the clip as the server sends it, without holding it in memory."""
        client = _client(request.app[KEY_HASS], entry_id)
        asked: dict[str, str] = {name: request.headers[name] for name in _ASKED_HEADERS if name in request.headers}
        try:
            async with client.open_clip(int(clip_id), asked) as source:
                return await _handed_on(request, source)
        except NotFound as err:
            raise web.HTTPNotFound from err
        except HsiError as err:
            raise web.HTTPBadGateway from err


async def _handed_on(request: web.Request, source: ClientResponse) -> web.StreamResponse:
    headers: dict[str, str] = {name: source.headers[name] for name in _ANSWERED_HEADERS if name in source.headers}
    headers |= {hdrs.CACHE_CONTROL: "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if source.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        headers.pop(hdrs.CONTENT_LENGTH, None)
        return web.Response(status=source.status, headers=headers)
    response = web.StreamResponse(status=source.status, headers=headers)
    response.content_type = source.content_type if source.content_type.startswith("video/") else _UNKNOWN_TYPE
    await response.prepare(request)
    try:
        async for chunk in source.content.iter_chunked(_CHUNK):
            await response.write(chunk)
    except ClientError, OSError:
        response.force_close()  # the player asks again for what it lacks
    return response


def _client(hass: HomeAssistant, entry_id: str) -> HsiClient:
    entry = hass.config_entries.async_get_entry(entry_id)
    if entry is None or entry.domain != DOMAIN:
        raise web.HTTPNotFound
    if entry.state is not ConfigEntryState.LOADED:
        raise web.HTTPServiceUnavailable
    client: HsiClient = entry.runtime_data.client
    return client
