# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a clip says of its times. Pure.

A file is finished, and sent, when its clip ends. So the ends are what can be compared with its modification time, its
arrival and the camera's clock; the beginning is the duration before.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from inference_server.core.frame import TimeSource
from inference_server.ingest import capture_time
from inference_server.ingest.camera_clock import NEAR, SLOW_UPLOAD, CameraClock
from inference_server.ingest.capture_time import Captured, Claim

EARLIEST = datetime(2001, 1, 1, tzinfo=UTC)
"""Containers that know nothing say 1904, 1970 or 2000."""


def ends(created: str | None, named: Sequence[Claim], duration: timedelta, arrived_at: datetime) -> list[Claim]:
    """Return what says when a clip ended, the best source first: its container, then what its name says.

    Both tell the beginning, or the end if the clip would have ended after its arrival otherwise.
    """
    made = _parsed(created)
    claims = [*([Claim(made, TimeSource.CONTAINER)] if made else []), *named]
    return [Claim(_end(claim.time, duration, arrived_at), claim.source) for claim in claims]


def ended(claims: Sequence[Claim], modified_at: datetime | None, arrived_at: datetime, clock: CameraClock) -> Captured:
    """Return when a clip ended that has just arrived.

    The clock is asked and not taught: a clip is sent when it is whole, and its lag says nothing of the clock.
    """
    for claim in claims:
        if (at := clock.read(claim.time, arrived_at)) is not None:
            return Captured(at, claim.source, clock)
    if claims and modified_at and arrived_at - modified_at > SLOW_UPLOAD:
        modified_at = None  # given by the same wrong clock
    return capture_time.live([], modified_at, arrived_at, clock)


def _end(told: datetime, duration: timedelta, arrived_at: datetime) -> datetime:
    return told + duration if told + duration <= arrived_at + NEAR else told


def _parsed(created: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(created or "")
        time = time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if time >= EARLIEST else None
