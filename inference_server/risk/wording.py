# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was seen, and where, in plain English."""

from collections import Counter
from collections.abc import Iterable

from inference_server.core.detection import Label, Track, ZoneType

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

_PLACES = {
    ZoneType.RESTRICTED: "in the restricted zone",
    ZoneType.ENTRY: "at the entry",
    ZoneType.YARD: "in the yard",
    ZoneType.DRIVEWAY: "on the driveway",
    ZoneType.SIDEWALK: "on the sidewalk",
    ZoneType.IGNORE: "in the zone",
}
_TELLING = {kind: place for place, kind in enumerate(_PLACES)}


def describe(tracks: Iterable[Track]) -> str:
    """Return what was seen: "4 people and a bus"."""
    counts = Counter(track.label for track in tracks)
    parts = [
        f"{counts[label]} {_PLURALS[label]}" if counts[label] > 1 else f"a {label.value}"
        for label in Label
        if counts[label]
    ]
    return joined(parts) or "nothing"


def joined(parts: list[str]) -> str:
    """Return things in a row: "a, b and c"."""
    return "".join(parts) if len(parts) < 2 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def whereabouts(tracks: Iterable[Track]) -> str:
    """Return where the most telling zone was visited: 'at the entry "Front door"'; "" for none."""
    visits = sorted((_TELLING[visit.type], visit.name) for track in tracks for visit in track.zones)
    return f'{tuple(_PLACES.values())[visits[0][0]]} "{visits[0][1]}"' if visits else ""


def seen_where(tracks: tuple[Track, ...]) -> str:
    """Return what was seen and where: 'a person at the entry "Front door"'."""
    where = whereabouts(tracks)
    there = tuple(track for track in tracks if where and whereabouts((track,)) == where)
    if not where or len(there) == len(tracks):
        return f"{describe(tracks)} {where}".rstrip()
    return f"{describe(tracks)}, {describe(there)} {where},"
