# SPDX-License-Identifier: Apache-2.0
"""Pictures of single events for signed-in users, for notifications and cards."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from homeassistant.components.http import KEY_HASS, HomeAssistantView
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant

from .client import HsiClient, HsiError, NotFound
from .const import DOMAIN

_PATH: Final = f"/api/{DOMAIN}/{{entry_id}}/events/{{event_id}}/snapshot.jpg"


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


def _client(hass: HomeAssistant, entry_id: str) -> HsiClient:
    entry = hass.config_entries.async_get_entry(entry_id)
    if entry is None or entry.domain != DOMAIN:
        raise web.HTTPNotFound
    if entry.state is not ConfigEntryState.LOADED:
        raise web.HTTPServiceUnavailable
    client: HsiClient = entry.runtime_data.client
    return client
