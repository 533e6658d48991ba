# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rules judge by."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from inference_server.core.detection import Category, Label, Track, ZoneType, ZoneVisit


@dataclass(frozen=True, slots=True)
class Evidence:
    """An event as the rules see it. `now` is in the home's time zone."""

    tracks: tuple[Track, ...]
    now: datetime
    night: bool

    def of(self, category: Category) -> tuple[Track, ...]:
        """Return the tracks of one kind of object."""
        return tuple(track for track in self.tracks if track.label.category is category)

    @property
    def longest_stay(self) -> timedelta:
        """How long the person that stayed longest was in view."""
        return max((stay(track) for track in self.of(Category.PERSON)), default=timedelta(0))

    def visits(self, kind: ZoneType, *categories: Category) -> tuple[ZoneVisit, ...]:
        """Return the visits to zones of a type by these kinds of object."""
        tracks = (track for track in self.tracks if track.label.category in categories)
        return tuple(visit for track in tracks for visit in track.zones if visit.type is kind)


def stay(track: Track) -> timedelta:
    """Return the time between a track's first and last sight."""
    return track.dwell


def is_only_in(track: Track, kind: ZoneType) -> bool:
    """Return whether a track was in zones of a type nearly all of the time and in no other zone."""
    there = sum(visit.frames for visit in track.zones)
    return there >= MOST_OF_ITS_FRAMES * track.frames and {visit.type for visit in track.zones} == {kind}


MOST_OF_ITS_FRAMES = 0.8


def whereabouts(tracks: Iterable[Track]) -> str:
    """Return where the most telling zone was visited, in plain English: 'at the entry "Front door"'; "" for none."""
    visits = sorted((_TELLING[visit.type], visit.name) for track in tracks for visit in track.zones)
    return f'{tuple(_PLACES.values())[visits[0][0]]} "{visits[0][1]}"' if visits else ""


_PLACES = {
    ZoneType.RESTRICTED: "in the restricted zone",
    ZoneType.ENTRY: "at the entry",
    ZoneType.YARD: "in the yard",
    ZoneType.DRIVEWAY: "on the driveway",
    ZoneType.SIDEWALK: "on the sidewalk",
    ZoneType.IGNORE: "in the zone",
}
_TELLING = {kind: place for place, kind in enumerate(_PLACES)}


def is_night(local: datetime, starts_hour: int, ends_hour: int) -> bool:
    """Return whether a local time lies in the night, which may span midnight."""
    if starts_hour == ends_hour:
        return False
    if starts_hour < ends_hour:
        return starts_hour <= local.hour < ends_hour
    return local.hour >= starts_hour or local.hour < ends_hour


_PLURALS = {
    Label.PERSON: "people",
    Label.BICYCLE: "bicycles",
    Label.CAR: "cars",
    Label.MOTORCYCLE: "motorcycles",
    Label.BUS: "buses",
    Label.TRUCK: "trucks",
    Label.BIRD: "birds",
    Label.CAT: "cats",
    Label.DOG: "dogs",
}


def describe(tracks: Iterable[Track]) -> str:
    """Return what was seen in plain English: "4 people and a bus"."""
    counts = Counter(track.label for track in tracks)
    parts = [
        f"{counts[label]} {_PLURALS[label]}" if counts[label] > 1 else f"a {label.value}"
        for label in Label
        if counts[label]
    ]
    if len(parts) < 2:
        return "".join(parts) or "nothing"
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
