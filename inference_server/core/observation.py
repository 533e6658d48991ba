# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was observed of one object beyond its label: what it does, wears and carries, and whom it is known to be."""

from dataclasses import dataclass
from enum import StrEnum


class Observed(StrEnum):
    """What an enricher may say of an object."""

    FIREARM = "firearm"
    KNIFE = "knife"
    CLUB = "club"
    FORCED_ENTRY = "forced_entry"
    """A door or window is broken or pried open."""
    TRYING_DOOR = "trying_door"
    TRYING_VEHICLE = "trying_vehicle"
    CLIMBING = "climbing"
    """Over a fence, a wall or into a window."""
    FIGHTING = "fighting"
    VANDALISM = "vandalism"
    TAKING_PARCEL = "taking_parcel"
    HIDING = "hiding"
    PEERING = "peering"
    """Looks into windows or vehicles."""
    FACE_COVERED = "face_covered"
    RUNNING = "running"
    LYING = "lying"
    """Lies on the ground: hurt, perhaps."""
    UNIFORM = "uniform"
    """Of a delivery, a utility or an emergency service."""
    CARRIES_PARCEL = "carries_parcel"
    LEAVES_PARCEL = "leaves_parcel"
    CHILD = "child"


THREATS = frozenset(
    {
        Observed.FIREARM,
        Observed.KNIFE,
        Observed.CLUB,
        Observed.FORCED_ENTRY,
        Observed.TRYING_DOOR,
        Observed.TRYING_VEHICLE,
        Observed.CLIMBING,
        Observed.FIGHTING,
        Observed.VANDALISM,
        Observed.TAKING_PARCEL,
    }
)
"""What makes an object dangerous by itself: nothing ordinary about it lowers that."""


AT_HOME_IN_ORDER = frozenset({Observed.TRYING_DOOR, Observed.TRYING_VEHICLE, Observed.CLIMBING, Observed.TAKING_PARCEL})
"""Of these what whoever lives there may do: their door, car, fence and parcel."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing observed, with a confidence of 0 to 1."""

    kind: Observed
    confidence: float = 1.0


class Trust(StrEnum):
    """How far the owner trusts a known person or vehicle."""

    FULL = "full"
    PARTIAL = "partial"
    MONITOR = "monitor"
    """Known, and to be watched."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom an object is known to be, with the confidence of the match, 0 to 1."""

    name: str
    trust: Trust
    confidence: float = 1.0
