# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sorting out: which of the detections of new pictures make events, and which stood there before or are ignored."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.detection import LeftOut, Sighting
from inference_server.core.frame import Frame, FrameSource
from inference_server.core.stationary import Standing
from inference_server.detection.stationary import StandingRules
from inference_server.detection.zones import without_ignored
from inference_server.settings import StationarySettings
from inference_server.storage import frames, stationary, zones


class Sorter:
    """Follows what stands still on every camera's picture, and leaves out what lies in zones that are ignored."""

    def __init__(self, settings: StationarySettings) -> None:
        """Take when something is stationary."""
        self._rules = StandingRules(settings)

    async def sort_out(
        self,
        connection: AsyncConnection,
        of_cameras: Mapping[str, Sequence[Frame]],
        sightings: Mapping[int, Sighting],
    ) -> Mapping[int, Sighting]:
        """Return the sightings, by frame id, with what is left out in them; store that, and what stands there now.

        What stands, but may have arrived within the event that the sighting joins, is stored as left out: whoever
        writes that event knows better, and does.
        """
        judged: dict[int, Sighting] = {}
        standing = await stationary.of_cameras(connection, of_cameras)
        for camera_id, group in of_cameras.items():
            known = await zones.of_camera(connection, camera_id)
            now = standing[camera_id]
            for frame in sorted(group, key=lambda frame: (frame.captured_at, frame.id)):
                now, seen = self._observe(frame, now, sightings[frame.id])
                judged[frame.id] = without_ignored(seen, known)
            await stationary.replace(connection, standing[camera_id], now)
        changed = [_all_left_out(sighting) for sighting in judged.values()]
        await frames.leave_out(connection, [item for item in changed if item.counted != item.detections])
        return judged

    def _observe(
        self, frame: Frame, known: Sequence[Standing], sighting: Sighting
    ) -> tuple[tuple[Standing, ...], Sighting]:
        live = frame.source is not FrameSource.IMPORT
        observed = self._rules.observe(frame.camera_id, known, sighting, arrived_at=frame.arrived_at, live=live)
        return observed.standing, observed.sighting


def _all_left_out(sighting: Sighting) -> Sighting:
    """Return a sighting in which all that is known to stand is left out."""
    detections = tuple(
        replace(found, left_out=LeftOut.STATIONARY) if found.standing_since and not found.left_out else found
        for found in sighting.detections
    )
    return replace(sighting, detections=detections)
