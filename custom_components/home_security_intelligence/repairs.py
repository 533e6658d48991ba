# SPDX-License-Identifier: Apache-2.0
"""Dialogs that repair what an issue tells of."""

from abc import abstractmethod
from typing import ClassVar, override

import probatio
from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from .client import HsiClient, HsiError
from .const import CONF_CAMERA_ID, CONF_ENTRY_ID
from .coordinator import HsiConfigEntry


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Start the dialog of an issue: one about a camera is about its view."""
    known = data or {}
    entry_id = str(known[CONF_ENTRY_ID])
    if camera_id := known.get(CONF_CAMERA_ID):
        return AcceptViewFlow(entry_id, str(camera_id))
    return ReplayFlow(entry_id)


class ServerFlow(RepairsFlow):
    """Asks, and lets a server do what repairs the issue."""

    refused: ClassVar[str]
    """Why the dialog is aborted when the server does not do it."""

    def __init__(self, entry_id: str) -> None:
        """Remember whose server it is."""
        self._entry_id = entry_id

    @abstractmethod
    async def async_repair(self, client: HsiClient) -> None:
        """Let the server do it. Raises HsiError."""

    async def async_step_init(self, user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Begin with the question."""
        return await self.async_step_confirm()

    async def async_step_confirm(self, user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Ask whether to repair it, and do so."""
        if user_input is not None:
            return await self._async_repaired()
        issue = ir.async_get(self.hass).async_get_issue(self.handler, self.issue_id)
        return self.async_show_form(
            step_id="confirm",
            data_schema=probatio.Schema({}),
            description_placeholders=issue.translation_placeholders if issue else None,
        )

    async def _async_repaired(self) -> RepairsFlowResult:
        entry: HsiConfigEntry | None = self.hass.config_entries.async_get_entry(self._entry_id)
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="not_loaded")
        try:
            await self.async_repair(entry.runtime_data.client)
        except HsiError as err:
            return self.async_abort(reason=self.refused, description_placeholders={"detail": str(err)})
        return self.async_create_entry(data={})


class ReplayFlow(ServerFlow):
    """Lets a server try again what failed for good."""

    refused = "not_replayed"

    @override
    async def async_repair(self, client: HsiClient) -> None:
        await client.replay_dead_letters()


class AcceptViewFlow(ServerFlow):
    """Lets a server take what a camera sees now for its view."""

    refused = "not_accepted"

    def __init__(self, entry_id: str, camera_id: str) -> None:
        """Remember which camera it is."""
        super().__init__(entry_id)
        self._camera_id = camera_id

    @override
    async def async_repair(self, client: HsiClient) -> None:
        await client.accept_view(self._camera_id)
