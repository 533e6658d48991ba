# SPDX-License-Identifier: AGPL-3.0-or-later
"""History: pictures of the past become events with their own times, beside whatever happens now."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from sqlalchemy.ext.asyncio import AsyncConnection

from inference_server.core.detection import Sighting
from inference_server.core.event import Event
from inference_server.pipeline.batch import BatchRules
from inference_server.pipeline.event_writer import EventWriter
from inference_server.storage import events


@dataclass(frozen=True, slots=True)
class PastChange:
    """An event of the past as it was before (None: it is new) and is now."""

    before: Event | None
    event: Event


async def remember(
    connection: AsyncConnection,
    camera_id: str,
    seen: Sequence[Sighting],
    *,
    rules: BatchRules,
    writer: EventWriter,
) -> list[PastChange]:
    """Make sightings of the past part of a camera's ended events, or new ones; none is open for a moment."""
    changes: list[PastChange] = []
    waiting = sorted(seen, key=attrgetter("captured_at", "frame_id"))
    while waiting:
        before = await events.past_event(connection, camera_id, waiting[0].captured_at, rules.max_frames)
        if not any(part.sightings for part in rules.split(before, waiting[:1])):
            del waiting[0]
            continue
        segment = next(part for part in rules.split(before, waiting) if part.sightings)
        changes.append(PastChange(segment.continues, await writer.write_past(connection, camera_id, segment)))
        taken = [sighting.frame_id for sighting in waiting].index(segment.sightings[-1].frame_id)
        del waiting[: taken + 1]
    return changes
