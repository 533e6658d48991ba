# SPDX-License-Identifier: Apache-2.0
"""Follows one server: connects, keeps the state, tells entities and comes back after every loss."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NoReturn, TypedDict, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ConfigEntryAuthFailed
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .backoff import reconnect_delays
from .client import HsiClient, HsiError, HsiSession, InvalidAuth, MissingScope, ProtocolError
from .client.messages import Change, EventChanged, Message, Replay, ServerChanged, Snapshot
from .const import DOMAIN
from .devices import async_update_devices, device_facts
from .issues import Issues
from .progress import Progress
from .state import HsiState, changes_between
from .telling import Teller

_LOGGER = logging.getLogger(__name__)

STABLE_AFTER: Final = 5.0
"""Seconds a connection must have lasted to count as successful, so that a flapping server is not hammered."""

REFUSED_DELAY: Final = 300.0
"""Seconds until a refused token is tried again: a server may have come back with the data that knows it."""

type HsiConfigEntry = ConfigEntry[HsiCoordinator]


class TranslatedError(TypedDict):
    """How Home Assistant finds the sentence for an error."""

    translation_domain: str
    translation_key: str
    translation_placeholders: dict[str, str]


class HsiCoordinator(DataUpdateCoordinator[HsiState]):
    """The state of one server, pushed by it."""

    config_entry: HsiConfigEntry

    def __init__(self, hass: HomeAssistant, entry: HsiConfigEntry, client: HsiClient) -> None:
        """Prepare; the first refresh connects."""
        super().__init__(hass, _LOGGER, config_entry=entry, name=entry.title, update_interval=None)
        self.client = client
        self.issues = Issues(hass, entry.entry_id)
        self.last_sequence: int | None = None
        self._session: HsiSession | None = None
        self._connected_at: float | None = None
        self._progress = Progress(hass, entry.entry_id)
        self.teller = Teller(hass, self._progress)

    @override
    async def _async_setup(self) -> None:
        try:
            await self._async_connect()
            await self._async_look_back()
        except (InvalidAuth, MissingScope) as err:
            raise ConfigEntryAuthFailed(**self._explained(err)) from err
        except HsiError as err:
            raise UpdateFailed(**self._explained(err)) from err

    @override
    async def _async_update_data(self) -> HsiState:
        if self._session is None:
            raise UpdateFailed(translation_domain=DOMAIN, translation_key="disconnected")
        return self.data

    async def async_follow(self) -> None:
        """Follow the server, and after a loss connect again, until the entry is unloaded."""
        delays = reconnect_delays()
        while True:
            refused = False
            try:
                await self._async_listen(self._session or await self._async_connect())
            except (InvalidAuth, MissingScope) as err:
                self._mark_unavailable(err)
                self.config_entry.async_start_reauth(self.hass)
                refused = True
            except HsiError as err:
                self._mark_unavailable(err)
            except Exception as err:  # a mistake of ours must not leave old states looking like new ones
                _LOGGER.exception("Unexpected error while following %s", self.name)
                self._mark_unavailable(ProtocolError(repr(err)))
            finally:
                await self._async_hang_up()
            if self._take_stability():
                delays = reconnect_delays()
            await asyncio.sleep(REFUSED_DELAY if refused else next(delays))

    @override
    async def async_shutdown(self) -> None:
        """Hang up, and save how far we came."""
        await super().async_shutdown()
        await self._progress.async_save()
        await self._async_hang_up()

    async def _async_connect(self) -> HsiSession:
        try:
            session = self._session = await self.client.connect(self.config_entry.unique_id)
            self._resume(await session.subscribe(self.last_sequence))
        except HsiError as err:
            self.issues.connection_failed(err, str(self.client.address))
            await self._async_hang_up()
            raise
        self.issues.connection_works()
        self._connected_at = self.hass.loop.time()
        return session

    async def _async_look_back(self) -> None:
        """Ask on a second connection what happened before the snapshot, while nobody followed the server."""
        told, now = await self._progress.async_load(), self.last_sequence
        if told is None or now is None or told == now:
            return
        session = await self.client.connect(self.config_entry.unique_id)
        try:
            resumption = await session.subscribe(told)
        except ProtocolError as err:
            _LOGGER.warning("What happened on %s before cannot be told: %s", self.name, err)
            return
        finally:
            await session.close()
        if isinstance(resumption, Replay):
            missed = [message.change for message in resumption.messages if message.sequence <= now]
            self._report(now, missed)

    async def _async_listen(self, session: HsiSession) -> NoReturn:
        """Take in what the server says; ends only by raising the reason."""
        while True:
            match await session.receive():
                case ServerChanged(server):
                    self._publish(replace(self.data, server=server))
                case Message() as message:
                    self._take_in(message)

    async def _async_hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _take_stability(self) -> bool:
        """Whether the connection that was just lost had been a lasting one."""
        connected_at, self._connected_at = self._connected_at, None
        return connected_at is not None and self.hass.loop.time() - connected_at >= STABLE_AFTER

    @property
    def _previous(self) -> HsiState | None:
        """The state so far; there is none before the first connection."""
        return self.data

    @callback
    def _resume(self, resumption: Snapshot | Replay) -> None:
        previous = self._previous
        if previous is not None and not self.last_update_success:
            _LOGGER.info("The connection to %s is back", self.name)
        match resumption:
            case Snapshot():
                state = HsiState.from_snapshot(resumption)
                self._publish(state)
                self._report(resumption.sequence, changes_between(previous, state) if previous else ())
            case Replay() if self.last_sequence is None:
                raise ProtocolError("messages were replayed that nobody asked for")
            case Replay():
                self._publish(replace(self.data, server=resumption.server))
                for message in resumption.messages:
                    self._take_in(message)
        self.last_sequence = resumption.sequence

    @callback
    def _take_in(self, message: Message) -> None:
        if self.last_sequence is None or message.sequence != self.last_sequence + 1:
            raise ProtocolError(f"message {message.sequence} does not follow {self.last_sequence}")
        self.last_sequence = message.sequence
        self._publish(self.data.with_change(message.change))
        self._report(message.sequence, [message.change])

    @callback
    def _publish(self, state: HsiState) -> None:
        """Make a state the current one."""
        previous = self._previous
        if previous is None or device_facts(state) != device_facts(previous):
            async_update_devices(self.hass, self.config_entry, state)
        if previous is None or state.server is not previous.server:
            self.issues.detector_changed(state.server.detector)
            self.issues.dead_letters_changed(state.server.dead_letters)
        if previous is None or state.cameras is not previous.cameras:
            self.issues.views_changed(state.cameras.values())
        self.async_set_updated_data(state)

    @callback
    def _report(self, sequence: int, changes: Iterable[Change | None]) -> None:
        """Report what happened to events up to a step of the sequence."""
        to_events = [change for change in changes if isinstance(change, EventChanged)]
        self.teller.async_take(to_events, sequence, self.data.cameras)

    @callback
    def _mark_unavailable(self, error: HsiError) -> None:
        if isinstance(error, ProtocolError):
            self.last_sequence = None  # what was said made no sense; ask for a snapshot next time
        self.async_set_update_error(UpdateFailed(**self._explained(error)))

    def _explained(self, error: HsiError) -> TranslatedError:
        return TranslatedError(
            translation_domain=DOMAIN,
            translation_key=error.key,
            translation_placeholders={"address": str(self.client.address), "detail": str(error)},
        )
