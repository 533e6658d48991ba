# SPDX-License-Identifier: AGPL-3.0-or-later
"""Adds the integration to a Home Assistant as its owner would, through the config flow."""

from .home_assistant_client import HomeAssistantClient, HomeAssistantError
from .inference_server import InferenceServer
from .repository import INTEGRATION_DOMAIN


async def connect(client: HomeAssistantClient, server: InferenceServer) -> None:
    """Create the config entry of the server; an entry that exists gets the current address and token."""
    form = await client.start_config_flow(INTEGRATION_DOMAIN)
    answer = await client.continue_config_flow(
        form["flow_id"], {"host": server.host, "port": server.port, "token": server.token}
    )
    if answer["type"] == "create_entry" or answer.get("reason") == "already_configured":
        return
    if answer["type"] == "form":
        await client.delete(f"/api/config/config_entries/flow/{form['flow_id']}")
    raise HomeAssistantError(f"The integration did not accept the server: {answer.get('errors') or answer}")
