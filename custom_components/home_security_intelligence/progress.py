# SPDX-License-Identifier: Apache-2.0
"""How far this Home Assistant has told what happened on a server, kept over restarts."""

from math import inf
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store

from .const import DOMAIN

STORAGE_VERSION: Final = 1


class Progress:
    """The last step of a server's sequence up to which everything was told."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Prepare; nothing is read or written yet."""
        self._store: Store[dict[str, int]] = Store(hass, STORAGE_VERSION, f"{DOMAIN}.{entry_id}")
        self._loop = hass.loop
        self._sequence = 0
        self._due = inf

    async def async_load(self) -> int | None:
        """Return what was reached before; None when this server was never followed."""
        stored = await self._store.async_load()
        return None if stored is None else stored["last_sequence"]

    @callback
    def async_reached(self, sequence: int, within: float) -> None:
        """Remember a step, and save within some seconds; also saved when Home Assistant stops before."""
        self._sequence = sequence
        due = self._loop.time() + within
        if due < self._due:  # the store postpones what it is asked again
            self._due = due
            self._store.async_delay_save(self._to_save, within)

    async def async_save(self) -> None:
        """Save at once what waits to be saved."""
        if self._due < inf:
            await self._store.async_save(self._to_save())

    async def async_remove(self) -> None:
        """Forget everything."""
        await self._store.async_remove()

    def _to_save(self) -> dict[str, int]:
        self._due = inf
        return {"last_sequence": self._sequence}
