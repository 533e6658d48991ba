# SPDX-License-Identifier: Apache-2.0
"""Repair issues: what the owner has to do something about."""

from collections.abc import Iterable
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .client import HsiError, ServerTooNew, ServerTooOld, WrongServer
from .client.models import Camera, Detector, DetectorState, ViewProblemKind
from .const import CONF_CAMERA_ID, CONF_ENTRY_ID, DOMAIN, PROJECT_URL

DETECTOR_FALLBACK: Final = "detector_fallback"
DETECTOR_PROVIDER: Final = "detector_provider"
DEAD_LETTERS: Final = "dead_letters"
ANOTHER_VIEW: Final = "another_view"
OTHER_VIEWS: Final = frozenset({ViewProblemKind.BLOCKED, ViewProblemKind.MOVED, ViewProblemKind.BLURRED})
"""What the owner may have wanted: a view that is only dark or frozen is no other one."""
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
        """Tell whether it works with other weights, or on something else, than it should, as far as it knows."""
        self._detector_lacks(detector, DETECTOR_FALLBACK, {"model": detector.name or ""} if detector.fallback else None)
        wanted, provider = detector.wanted_provider, detector.provider
        runs_elsewhere = {"wanted": wanted, "provider": provider or ""} if wanted else None
        self._detector_lacks(detector, DETECTOR_PROVIDER, runs_elsewhere)

    @callback
    def _detector_lacks(self, detector: Detector, key: str, placeholders: dict[str, str] | None) -> None:
        """Raise an issue, or withdraw it once the detector works without it."""
        if placeholders is not None:
            self._create(key, ir.IssueSeverity.WARNING, placeholders | {"message": detector.message or ""})
        elif detector.state is DetectorState.OK:
            self._delete(key)

    @callback
    def dead_letters_changed(self, count: int) -> None:
        """Tell whether work failed for good, which the owner may let the server try again."""
        if count:
            self._create(DEAD_LETTERS, ir.IssueSeverity.WARNING, {"count": str(count)}, is_fixable=True)
        else:
            self._delete(DEAD_LETTERS)

    @callback
    def views_changed(self, cameras: Iterable[Camera]) -> None:
        """Tell which cameras see something else than before, which the owner may accept."""
        wrong = {
            camera.id: camera.name
            for camera in cameras
            if any(problem.kind in OTHER_VIEWS for problem in camera.view_problems)
        }
        for camera_id in self._told_views() - wrong.keys():
            self._delete(ANOTHER_VIEW, camera_id)
        for camera_id, name in wrong.items():
            self._create(ANOTHER_VIEW, ir.IssueSeverity.WARNING, {"camera": name}, is_fixable=True, camera_id=camera_id)

    def _told_views(self) -> set[str]:
        """Return the cameras whose views are issues now, whoever told of them."""
        told = [issue.data for issue in ir.async_get(self._hass).issues.values() if issue.domain == DOMAIN]
        mine = [data for data in told if data and data.get(CONF_ENTRY_ID) == self._entry_id]
        return {str(data[CONF_CAMERA_ID]) for data in mine if CONF_CAMERA_ID in data}

    @callback
    def clear(self) -> None:
        """Withdraw everything."""
        self.connection_works()
        self._delete(DETECTOR_FALLBACK)
        self._delete(DETECTOR_PROVIDER)
        self._delete(DEAD_LETTERS)
        self.views_changed(())

    def _create(
        self,
        key: str,
        severity: ir.IssueSeverity,
        placeholders: dict[str, str],
        *,
        is_fixable: bool = False,
        camera_id: str | None = None,
    ) -> None:
        data: dict[str, str | int | float | None] = {CONF_ENTRY_ID: self._entry_id}
        if camera_id is not None:
            data[CONF_CAMERA_ID] = camera_id
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            self._issue_id(key, camera_id),
            data=data,
            is_fixable=is_fixable,
            learn_more_url=PROJECT_URL,
            severity=severity,
            translation_key=key,
            translation_placeholders=placeholders,
        )

    def _delete(self, key: str, camera_id: str | None = None) -> None:
        ir.async_delete_issue(self._hass, DOMAIN, self._issue_id(key, camera_id))

    def _issue_id(self, key: str, camera_id: str | None = None) -> str:
        return f"{key}_{self._entry_id}" + (f"_{camera_id}" if camera_id else "")
