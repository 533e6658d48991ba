# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands still on a camera's picture, or may."""

from dataclasses import dataclass, field
from datetime import datetime

from inference_server.core.detection import Box, Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Something that was seen at one place. Its box is in shares of the picture, from 0 (left, top) to 1."""

    id: int | None
    """None until it is stored."""
    camera_id: str
    label: Label
    box: Box
    appearance: bytes | None = field(default=None, repr=False)
    view: bytes | None = field(default=None, repr=False)
    """What the whole picture looked like when it was seen last, by a light in which it is mostly seen."""
    first_seen_at: datetime
    last_seen_at: datetime
    arrived_at: datetime
    """When the last picture of it arrived, which is later than that was taken where old ones are imported."""
    sightings: int = 1
    misses: int = 0
    """How often the detector had missed it lately before it saw it again, by the light of the view."""
    missing: int = 0
    """How many pictures since did not show it: such as should have, or, before the first of those, darker ones."""
    missing_since: datetime | None = None
    """When the first picture was taken that should have shown it and did not."""
    stationary_at: datetime | None = None
    """Since when it is held for stationary; None until then."""
