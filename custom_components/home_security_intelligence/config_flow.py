# SPDX-License-Identifier: Apache-2.0
"""Set-up dialogs: by hand, found by the Supervisor or by zeroconf, new token, new address."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, override

import probatio
from homeassistant.config_entries import SOURCE_IGNORE, ConfigEntry, ConfigEntryState, ConfigFlow, ConfigFlowResult
from homeassistant.const import CONF_HOST, CONF_PORT, CONF_TOKEN
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.helpers.service_info.hassio import HassioServiceInfo
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo

from .client import Address, HsiClient, HsiError, InvalidAddress, ProtocolError
from .client.fields import Fields
from .client.models import Server
from .const import CONF_SERVER_ID, DEFAULT_PORT, DOMAIN, PROJECT_URL

_LOGGER = logging.getLogger(__name__)

_HOST = TextSelector()
_PORT = probatio.All(
    NumberSelector(NumberSelectorConfig(min=1, max=65535, step=1, mode=NumberSelectorMode.BOX)), probatio.Coerce(int)
)
_TOKEN = TextSelector(TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off"))

CONNECTION_SCHEMA: Final = probatio.Schema(
    {
        probatio.Required(CONF_HOST): _HOST,
        probatio.Required(CONF_PORT, default=DEFAULT_PORT): _PORT,
        probatio.Required(probatio.Secret(CONF_TOKEN)): _TOKEN,
    }
)
RECONFIGURE_SCHEMA: Final = probatio.Schema(
    {
        probatio.Required(CONF_HOST): _HOST,
        probatio.Required(CONF_PORT, default=DEFAULT_PORT): _PORT,
        probatio.Optional(probatio.Secret(CONF_TOKEN)): _TOKEN,
    }
)
TOKEN_SCHEMA: Final = probatio.Schema({probatio.Required(probatio.Secret(CONF_TOKEN)): _TOKEN})


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a server; the data of a config entry."""

    host: str
    port: int
    token: str

    @classmethod
    def from_input(cls, user_input: Mapping[str, Any], token: str = "") -> Self:
        """Read what a user entered; raises InvalidAddress."""
        address = Address.parse(user_input[CONF_HOST], user_input[CONF_PORT])
        return cls(address.host, address.port, user_input.get(CONF_TOKEN, token).strip())

    @property
    def address(self) -> Address:
        """The address alone."""
        return Address(self.host, self.port)


class HsiConfigFlow(ConfigFlow, domain=DOMAIN):
    """The dialogs."""

    VERSION = 1

    _found: Connection
    """What discovery found; the token is empty when it is not known."""

    @override
    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        errors: dict[str, str] = {}
        if user_input is not None:
            try:
                connection = Connection.from_input(user_input)
            except InvalidAddress as err:
                errors[CONF_HOST] = err.key
            else:
                server = await self._async_validate(connection, errors)
                if server is not None:
                    return await self._async_finish(server, connection)
        return self.async_show_form(
            step_id="user",
            data_schema=self.add_suggested_values_to_schema(CONNECTION_SCHEMA, user_input),
            errors=errors,
            description_placeholders={"url": PROJECT_URL},
        )

    @override
    async def async_step_hassio(self, discovery_info: HassioServiceInfo) -> ConfigFlowResult:
        try:
            config = Fields(discovery_info.config, "discovery")
            server_id = config.text(CONF_SERVER_ID)
            self._found = Connection(config.text(CONF_HOST), config.integer(CONF_PORT), config.text(CONF_TOKEN))
        except ProtocolError as err:
            _LOGGER.warning("The app %s announced itself badly: %s", discovery_info.name, err)
            return self.async_abort(reason="invalid_discovery_info")
        entry = await self.async_set_unique_id(server_id, raise_on_progress=False)
        if entry is not None:
            return self._update_and_abort(entry, asdict(self._found))
        for flow in self._async_in_progress(include_uninitialized=True):
            if flow["context"].get("unique_id") == server_id:
                self.hass.config_entries.flow.async_abort(flow["flow_id"])
        self.context["title_placeholders"] = {"name": discovery_info.name}
        return await self.async_step_hassio_confirm()

    async def async_step_hassio_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask whether to use the app's server."""
        errors: dict[str, str] = {}
        if user_input is not None:
            server = await self._async_validate(self._found, errors)
            if server is not None:
                return await self._async_finish(server, self._found)
        return self.async_show_form(
            step_id="hassio_confirm",
            errors=errors,
            description_placeholders={"address": str(self._found.address)},
        )

    @override
    async def async_step_zeroconf(self, discovery_info: ZeroconfServiceInfo) -> ConfigFlowResult:
        properties = discovery_info.properties
        server_id = properties.get(CONF_SERVER_ID)
        try:
            # one of the addresses is the server's way out; Home Assistant may have picked one of a bridge or a VPN
            address = Address.parse(properties.get("base_url") or "", DEFAULT_PORT)
        except InvalidAddress:
            address = None
        if not server_id or address is None:
            return self.async_abort(reason="invalid_discovery_info")
        is_app = properties.get("homeassistant_app") == "true"
        entry = await self.async_set_unique_id(server_id)
        if entry is not None:
            moved = not is_app and await self._async_has_moved(entry, address)
            return self._update_and_abort(entry, asdict(address) if moved else {})
        if is_app:
            return self.async_abort(reason="announced_by_supervisor")
        self._found = Connection(address.host, address.port, "")
        self.context["title_placeholders"] = {"name": str(self._found.address)}
        return await self.async_step_zeroconf_confirm()

    async def async_step_zeroconf_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for the token of a server that was found."""
        errors: dict[str, str] = {}
        if user_input is not None:
            connection = Connection(self._found.host, self._found.port, user_input[CONF_TOKEN].strip())
            server = await self._async_validate(connection, errors)
            if server is not None:
                return await self._async_finish(server, connection)
        return self.async_show_form(
            step_id="zeroconf_confirm",
            data_schema=TOKEN_SCHEMA,
            errors=errors,
            description_placeholders={"address": str(self._found.address)},
        )

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """Start when a token is refused."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for a new token."""
        errors: dict[str, str] = {}
        entry = self._get_reauth_entry()
        known = Connection(**entry.data)
        if user_input is not None:
            connection = Connection(known.host, known.port, user_input[CONF_TOKEN].strip())
            server = await self._async_validate(connection, errors)
            if server is not None:
                return await self._async_replace(entry, server, connection)
        return self.async_show_form(
            step_id="reauth_confirm",
            data_schema=TOKEN_SCHEMA,
            errors=errors,
            description_placeholders={"address": str(known.address)},
        )

    async def async_step_reconfigure(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for a new address, and a new token if there is one."""
        errors: dict[str, str] = {}
        entry = self._get_reconfigure_entry()
        known = Connection(**entry.data)
        if user_input is not None:
            try:
                connection = Connection.from_input(user_input, known.token)
            except InvalidAddress as err:
                errors[CONF_HOST] = err.key
            else:
                server = await self._async_validate(connection, errors)
                if server is not None:
                    return await self._async_replace(entry, server, connection)
        return self.async_show_form(
            step_id="reconfigure",
            data_schema=self.add_suggested_values_to_schema(RECONFIGURE_SCHEMA, user_input or asdict(known.address)),
            errors=errors,
        )

    async def _async_validate(self, connection: Connection, errors: dict[str, str]) -> Server | None:
        """Connect as the entry will; on failure say why."""
        client = HsiClient(async_get_clientsession(self.hass), connection.address, connection.token)
        try:
            session = await client.connect()
            await session.close()
            return await client.get_server()
        except HsiError as err:
            _LOGGER.debug("Validation of %s failed: %r", connection.address, err)
            errors["base"] = err.key
        except Exception:
            _LOGGER.exception("Unexpected error while connecting to %s", connection.address)
            errors["base"] = "unknown"
        return None

    async def _async_has_moved(self, entry: ConfigEntry, address: Address) -> bool:
        """Whether the server of an entry is no longer where it was, and answers at this address."""
        known = Connection(**entry.data) if entry.source != SOURCE_IGNORE else None
        if known is None or known.address == address or _is_connected(entry):
            return False
        client = HsiClient(async_get_clientsession(self.hass), address, known.token)
        try:
            session = await client.connect(entry.unique_id)
        except HsiError as err:
            _LOGGER.debug("%s is announced at %s and not found there: %r", entry.title, address, err)
            return False
        await session.close()
        return True

    async def _async_finish(self, server: Server, connection: Connection) -> ConfigFlowResult:
        """Create the entry of a server, or give an existing one the new connection."""
        entry = await self.async_set_unique_id(server.identity.server_id, raise_on_progress=False)
        if entry is not None and entry.source != SOURCE_IGNORE:
            return self._update_and_abort(entry, asdict(connection))
        return self.async_create_entry(title=server.name, data=asdict(connection))

    async def _async_replace(self, entry: ConfigEntry, server: Server, connection: Connection) -> ConfigFlowResult:
        """Change the connection of an entry, provided it leads to the same server."""
        await self.async_set_unique_id(server.identity.server_id)
        self._abort_if_unique_id_mismatch(reason="wrong_server")
        return self.async_update_reload_and_abort(entry, data_updates=asdict(connection))

    def _update_and_abort(self, entry: ConfigEntry, updates: Mapping[str, Any]) -> ConfigFlowResult:
        """Give an existing entry what discovery or the user knows better, and let it try at once."""
        if entry.source != SOURCE_IGNORE:
            changed = self.hass.config_entries.async_update_entry(entry, data={**entry.data, **updates})
            if changed or entry.state is ConfigEntryState.SETUP_RETRY:
                self.hass.config_entries.async_schedule_reload(entry.entry_id)
        return self.async_abort(reason="already_configured")


def _is_connected(entry: ConfigEntry) -> bool:
    return entry.state is ConfigEntryState.LOADED and bool(entry.runtime_data.last_update_success)
