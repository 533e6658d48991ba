# SPDX-License-Identifier: Apache-2.0
"""Repair issues: what the owner has to do something about."""

from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .client import HsiError, ServerTooNew, ServerTooOld, WrongServer
from .client.models import Detector, DetectorState
from .const import DOMAIN, PROJECT_URL

DETECTOR_FALLBACK: Final = "detector_fallback"
CONNECTION_ISSUES: Final = (ServerTooOld.key, ServerTooNew.key, WrongServer.key)


class Issues:
    """The issues of one config entry."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Remember whose issues these are."""
        self._hass = hass
        self._entry_id = entry_id

    @callback
    def connection_failed(self, error: HsiError, address: str) -> None:
        """Raise an issue for a failure that waiting does not cure."""
        self.connection_works(except_key=error.key)
        if error.key in CONNECTION_ISSUES:
            self._create(error.key, ir.IssueSeverity.ERROR, {"address": address, "detail": str(error)})

    @callback
    def connection_works(self, *, except_key: str | None = None) -> None:
        """Withdraw what was said about the connection."""
        for key in CONNECTION_ISSUES:
            if key != except_key:
                self._delete(key)

    @callback
    def detector_changed(self, detector: Detector) -> None:
        """Tell whether the detector works with other weights than the wanted ones, as far as it knows."""
        if detector.fallback:
            self._create(
                DETECTOR_FALLBACK,
                ir.IssueSeverity.WARNING,
                {"model": detector.name or "", "message": detector.message or ""},
            )
        elif detector.state is DetectorState.OK:
            self._delete(DETECTOR_FALLBACK)

    @callback
    def clear(self) -> None:
        """Withdraw everything."""
        self.connection_works()
        self._delete(DETECTOR_FALLBACK)

    def _create(self, key: str, severity: ir.IssueSeverity, placeholders: dict[str, str]) -> None:
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            self._issue_id(key),
            is_fixable=False,
            learn_more_url=PROJECT_URL,
            severity=severity,
            translation_key=key,
            translation_placeholders=placeholders,
        )

    def _delete(self, key: str) -> None:
        ir.async_delete_issue(self._hass, DOMAIN, self._issue_id(key))

    def _issue_id(self, key: str) -> str:
        return f"{key}_{self._entry_id}"
