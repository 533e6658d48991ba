# SPDX-License-Identifier: Apache-2.0
"""Dialogs that repair what an issue tells of."""

import probatio
from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from .client import HsiError
from .const import CONF_ENTRY_ID
from .coordinator import HsiConfigEntry


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Start the dialog of the only issue that has one."""
    return ReplayFlow(str((data or {})[CONF_ENTRY_ID]))


class ReplayFlow(RepairsFlow):
    """Lets a server try again what failed for good."""

    def __init__(self, entry_id: str) -> None:
        """Remember whose server it is."""
        self._entry_id = entry_id

    async def async_step_init(self, user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Begin with the question."""
        return await self.async_step_confirm()

    async def async_step_confirm(self, user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Ask whether to try again, and do so."""
        if user_input is not None:
            return await self._async_replay()
        issue = ir.async_get(self.hass).async_get_issue(self.handler, self.issue_id)
        return self.async_show_form(
            step_id="confirm",
            data_schema=probatio.Schema({}),
            description_placeholders=issue.translation_placeholders if issue else None,
        )

    async def _async_replay(self) -> RepairsFlowResult:
        entry: HsiConfigEntry | None = self.hass.config_entries.async_get_entry(self._entry_id)
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="not_loaded")
        try:
            await entry.runtime_data.client.replay_dead_letters()
        except HsiError as err:
            return self.async_abort(reason="not_replayed", description_placeholders={"detail": str(err)})
        return self.async_create_entry(data={})
