# SPDX-License-Identifier: AGPL-3.0-or-later
"""Transitions: how often something comes into one camera's view shortly after it came into another's."""

from dataclasses import dataclass
from datetime import datetime

from inference_server.core.detection import Category


@dataclass(frozen=True, slots=True)
class Onset:
    """A kind of object comes into a camera's view, in which there was none just before."""

    camera_id: str
    category: Category
    at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """What was counted from one camera to another; older weeks count for less."""

    from_camera: str
    to_camera: str
    category: Category
    onsets: float
    """How often something came into the first one's view."""
    followed: float
    """How often the same kind came into the other one's shortly after."""
    by_chance: float
    """How often it did in equally long times further off, which nobody's way explains."""
    updated_at: datetime
