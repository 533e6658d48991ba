# SPDX-License-Identifier: AGPL-3.0-or-later
"""What admission knows of the cameras: what their owner set, and how their clocks go. Any thread may ask."""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from inference_server.core.camera import CameraSettings
from inference_server.ingest import capture_time
from inference_server.ingest.camera_clock import PACE, CameraClock
from inference_server.ingest.capture_time import Captured, Claim

_DEFAULTS = CameraSettings()


class KnownCameras:
    """Cameras by id; one that is not known has the defaults and an unknown clock."""

    def __init__(self, home_zone: ZoneInfo) -> None:
        """Take the zone of the cameras that have none of their own."""
        self._home_zone = home_zone
        self._settings: Mapping[str, CameraSettings] = {}
        self._stored: Mapping[str, float] = {}
        self._clocks: dict[str, CameraClock] = {}
        self._lock = threading.Lock()

    def update(self, settings: Mapping[str, CameraSettings], clock_offsets: Mapping[str, float]) -> None:
        """Take what the database holds now. An offset that another process learnt counts while we know none."""
        with self._lock:
            self._settings, self._stored = settings, clock_offsets
            for camera_id, seconds in clock_offsets.items():
                self._clocks.setdefault(camera_id, CameraClock(timedelta(seconds=seconds)))

    def settings(self, camera_id: str) -> CameraSettings:
        """Return what the owner set for a camera."""
        return self._settings.get(camera_id, _DEFAULTS)

    def zone(self, camera_id: str) -> ZoneInfo:
        """Return the time zone of a camera's clock."""
        own = self.settings(camera_id).time_zone
        return ZoneInfo(own) if own else self._home_zone

    def clock(self, camera_id: str) -> CameraClock:
        """Return what is known of a camera's clock."""
        with self._lock:
            return self._clocks.get(camera_id, CameraClock())

    def captured(
        self, camera_id: str, claimed: Sequence[Claim], modified_at: datetime | None, arrived_at: datetime
    ) -> Captured:
        """Return when a live picture was taken, and learn from it."""
        with self._lock:
            clock = self._clocks.get(camera_id, CameraClock())
            captured = capture_time.live(claimed, modified_at, arrived_at, clock)
            self._clocks[camera_id] = captured.clock
            return captured

    def news(self, camera_id: str, clock: CameraClock) -> timedelta | None:
        """Return a clock's offset if it is to be stored, because what is stored says something else."""
        stored = self._stored.get(camera_id)
        if clock.offset is None or (stored is not None and abs(clock.offset - timedelta(seconds=stored)) <= PACE):
            return None
        return clock.offset
