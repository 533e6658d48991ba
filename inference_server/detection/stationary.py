# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands still: parked cars, statues. Pure functions from what stood there and a new sighting to what stands now.

A detection belongs to what stands at its place: of the same category (a car that is called a truck once is one car),
with boxes that overlap by 0.6, or, once it is stationary, mostly inside the other (somebody stands before it). What was
first seen there counts like anything else: a car that arrives makes an event.

- A *vehicle* that is seen at its place again stands there from its first sight on: it prolongs the event that it
  arrived in and makes no other one. It is *stationary* when it was seen often enough for long enough
  (`stationary.sightings`, `stationary.minutes`), and then counts in no event at all.
- A *person or animal* makes events as long as it likes, since who stands at the door for ten minutes matters most of
  all. Only after `stationary.person_minutes` at the very same place (0: never), seen four times as often, is it a
  statue.

It wakes, which means that it is forgotten here and counts when it is seen next,

- when it moved: its place is empty, and what looks like it is seen close by;
- when another stands at its place: the looks differ, in the same light, after it was missing;
- when it has gone: its place was empty in so many pictures of the same scene and light, over ten minutes and more, that
  a detector which sees it as often as it did lately would have missed it less than once in ten thousand times (what
  was seen there only once or twice has gone at once);
- when nobody saw it for `stationary.forget_hours`.

A camera that was turned away and back, a lamp that goes on, or the night wakes nothing: pictures of another scene or in
another light say neither that it is gone nor that it looks different. A darker light becomes the one that is remembered
where the detector sees it in that light twice in a row; so who is hardly ever seen by night does not come and go all
night, and who is seen by night has gone by night.

The limit of that: what stands at the same place in the view of another preset of the camera is taken for the same.

Pictures that come late or are imported find what stood there at their time, and nothing is missing in them. The outcome
depends on the pictures and their order of arrival alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import hypot

import numpy as np

from inference_server.core.detection import Box, Category, Detection, LeftOut, Sighting
from inference_server.core.stationary import Standing
from inference_server.detection.appearance import blended, likeness, same_light, same_scene
from inference_server.detection.geometry import areas, corners, overlaps
from inference_server.settings import StationarySettings

SAME_PLACE = 0.6
SAME_PLACE_LIVING = 0.75
"""A person who stands and shifts from one foot to the other is no statue."""
INSIDE, LEAST_OF_IT = 0.85, 0.3
"""A box that lies in the other one by that much, and is no smaller than that share of it, is the same, half hidden."""
DIFFERENT = 0.55
"""Looks that are less alike, in the same light, are of another object."""
PROBABLY_SAME, SAME = 0.7, 0.8
"""Looks that are more alike are of the same one, where less or nothing else says so."""
STOOD = 3
"""Sightings at one place: what only passed has fewer."""
MOVED_LOOKS, MOVED_DIAGONALS, MOVED_AREA = 0.85, 3.0, 2.5
CHANCE = 0.0001
MEMORY = 20
"""Sights after which the misses between them are forgotten to a third."""
MISSES_BY_LESS_LIGHT = 13
"""Of MEMORY and so many: what is taken for granted, at least, of a light that is new."""
HARDLY_LESS = 0.9
"""The share of the brightness, above NOISE, that is left when a view is still as light."""
NOISE = 4.0
"""Levels of 255 that say nothing about the light."""
GONE_AFTER = timedelta(minutes=10)
DRIFT = 0.2
"""How much a new sight moves the box, and changes the looks, that are remembered."""
SETTLED_DRIFT = 0.05
"""How much it moves the box of what is stationary."""
STATUE_SIGHTINGS = 4
MOST = 200
"""Things remembered per camera; of more, those that are not stationary and were not seen for longest are forgotten."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What stands on the picture after a sighting, and the sighting with what that means for its detections."""

    standing: tuple[Standing, ...]
    sighting: Sighting


class StandingRules:
    """Follows what stands still on one camera's picture."""

    def __init__(self, settings: StationarySettings) -> None:
        """Take how often and how long."""
        self._settings = settings
        self._forget = timedelta(hours=settings.forget_hours)

    def observe(
        self, camera_id: str, known: Sequence[Standing], sighting: Sighting, *, arrived_at: datetime, live: bool
    ) -> Observed:
        """Return what stands there after a sighting. `live` is false for an imported picture."""
        known = [item for item in known if not live or arrived_at - item.arrived_at <= self._forget]
        boxes = [_share(found.box, sighting) for found in sighting.detections]
        matches = self._matches(known, sighting, boxes)
        detections, standing = list(sighting.detections), []
        for index, item in enumerate(known):
            if (place := matches.get(index)) is None:
                standing += self._unseen(item, sighting, boxes, set(matches.values()), live=live)
                continue
            seen = self._seen(item, detections[place], boxes[place], sighting, arrived_at)
            detections[place] = self._judged(item, seen, detections[place], sighting)
            standing.append(seen)
        for place in sorted(set(range(len(boxes))) - set(matches.values())):
            standing.append(_new(camera_id, detections[place], boxes[place], sighting, arrived_at))
        return Observed(_not_too_many(standing), replace(sighting, detections=tuple(detections)))

    def _matches(self, known: Sequence[Standing], sighting: Sighting, boxes: Sequence[Box]) -> dict[int, int]:
        """Return which known thing is seen in which detection, the best overlap first."""
        if not known or not boxes:
            return {}
        rated = overlaps(corners([item.box for item in known]), corners(boxes))
        pairs = [
            (-float(rated[index, place]), index, place)
            for index, place in zip(*(part.tolist() for part in np.nonzero(rated)), strict=True)
            if self._is_same(known[index], sighting, place, boxes[place], float(rated[index, place]))
        ]
        matches: dict[int, int] = {}
        for _, index, place in sorted(pairs):
            if index not in matches and place not in matches.values():
                matches[index] = place
        return matches

    def _is_same(self, item: Standing, sighting: Sighting, place: int, box: Box, overlap: float) -> bool:
        found, at = sighting.detections[place], sighting.captured_at
        if found.label.category is not item.label.category:
            return False
        if not item.first_seen_at - self._forget <= at <= item.last_seen_at + self._forget:
            return False
        least = SAME_PLACE if item.label.category is Category.VEHICLE else SAME_PLACE_LIVING
        if overlap < least and not (item.stationary_at and _half_hidden(item.box, box)):
            return False
        alike = likeness(item.appearance, found.appearance) if _comparable(item.view, sighting.view) else None
        return alike is None or alike >= _least_likeness(item)

    def _seen(self, item: Standing, found: Detection, box: Box, sighting: Sighting, arrived_at: datetime) -> Standing:
        at = sighting.captured_at
        seen = replace(
            item,
            box=_drifted(item, box),
            first_seen_at=min(item.first_seen_at, at),
            last_seen_at=max(item.last_seen_at, at),
            arrived_at=max(item.arrived_at, arrived_at),
            sightings=item.sightings + 1,
        )
        if at >= item.last_seen_at:
            looks, view = _remembered(item, found, box, sighting)
            misses, missing = _counted(item, view, sighting.view)
            seen = replace(seen, misses=misses, missing=missing, missing_since=None, appearance=looks, view=view)
        if seen.stationary_at is None and self._is_stationary(seen):
            return replace(seen, stationary_at=at)
        return seen

    def _is_stationary(self, item: Standing) -> bool:
        settings = self._settings
        stayed = item.last_seen_at - item.first_seen_at
        if item.label.category is Category.VEHICLE:
            return item.sightings >= settings.sightings and stayed >= timedelta(minutes=settings.minutes)
        often = item.sightings >= STATUE_SIGHTINGS * settings.sightings
        return settings.person_minutes > 0 and often and stayed >= timedelta(minutes=settings.person_minutes)

    def _judged(self, before: Standing, now: Standing, found: Detection, sighting: Sighting) -> Detection:
        """Return a detection with what it means that this stood there before."""
        at = sighting.captured_at
        if now.stationary_at is not None and at >= before.first_seen_at:
            return replace(found, left_out=LeftOut.STATIONARY)
        if now.label.category is not Category.VEHICLE or at <= before.first_seen_at:
            return found
        alike = likeness(before.appearance, found.appearance) if _comparable(before.view, sighting.view) else None
        sure = before.sightings > 1 or (before.missing == 0 and alike is not None and alike >= SAME)
        return replace(found, standing_since=before.first_seen_at) if sure else found

    def _unseen(
        self, item: Standing, sighting: Sighting, boxes: Sequence[Box], taken: set[int], *, live: bool
    ) -> list[Standing]:
        """Return what stands there when this was not seen: it, or nothing."""
        at = sighting.captured_at
        should_show = live and item.last_seen_at < at <= item.last_seen_at + self._forget
        if not should_show or not same_scene(item.view, sighting.view):
            return [item]
        if item.view is not None and not _as_light(item.view, sighting.view):
            return [item if item.missing_since else replace(item, missing=item.missing + 1)]
        if any(_moved(item, found, box) for place, (found, box) in _free(sighting, boxes, taken)):
            return []
        item = _missed(item, at)
        return [] if _has_gone(item, at) else [item]


def _as_light(known: bytes, seen: bytes | None) -> bool:
    """Return whether what was seen in one view is as well to be seen in another: by like light, and hardly less."""
    return same_light(known, seen) and _brightness(seen) >= HARDLY_LESS * _brightness(known)


def _comparable(known: bytes | None, seen: bytes | None) -> bool:
    """Return whether looks in two views can be compared: in the dark few levels are much."""
    one, other = sorted((_brightness(known), _brightness(seen)))
    return same_light(known, seen) and one >= HARDLY_LESS * other


def _missed(item: Standing, at: datetime) -> Standing:
    """Return what was not seen where it should have been; how often it was missed in less light before is no matter."""
    if item.missing_since:
        return replace(item, missing=item.missing + 1)
    return replace(item, missing=1, missing_since=at)


def _remembered(item: Standing, found: Detection, box: Box, sighting: Sighting) -> tuple[bytes | None, bytes | None]:
    """Return the looks to remember, and the view they belong to.

    They are the old ones while something else is before it, and where it is darker and was missed just before: a view
    is remembered in which the detector sees it, and not one in which that was luck.
    """
    if item.missing and _is_darker(item.view, sighting.view):
        return item.appearance, item.view
    alike = likeness(item.appearance, found.appearance) if _comparable(item.view, sighting.view) else None
    if not _whole(item.box, box) or (alike is not None and alike < SAME):
        return item.appearance, item.view
    looks = found.appearance if alike is None else blended(item.appearance, found.appearance, DRIFT)
    return looks, sighting.view


def _brightness(view: bytes | None) -> float:
    """Return the mean brightness of a view, above that of noise; 0 of one that is not known."""
    return sum(view[-3:]) / 3 + NOISE if view else 0.0


def _counted(item: Standing, view: bytes | None, seen: bytes | None) -> tuple[int, int]:
    """Return how often a thing was missed, by the light of the view remembered and by less, after it was seen again."""
    misses = round(item.misses * (1 - 1 / MEMORY)) + (item.missing if item.missing_since else 0)
    if not _is_darker(item.view, seen):
        return misses, 0
    if view is not seen and item.missing_since is None:  # luck, in a light by which it is mostly missed
        return misses, int(item.missing * (1 - 1 / MEMORY))
    return max(misses, MISSES_BY_LESS_LIGHT), 0


def _is_darker(known: bytes | None, seen: bytes | None) -> bool:
    return known is not None and _brightness(seen) < _brightness(known)


def _least_likeness(item: Standing) -> float:
    """Return how alike what is seen at a thing's place must be to it: the less is known of it, the more."""
    if item.stationary_at is not None or (item.missing == 0 and item.sightings > 1):
        return DIFFERENT
    return PROBABLY_SAME if item.sightings >= STOOD else SAME


def _free(sighting: Sighting, boxes: Sequence[Box], taken: set[int]) -> list[tuple[int, tuple[Detection, Box]]]:
    pairs = enumerate(zip(sighting.detections, boxes, strict=True))
    return [(place, pair) for place, pair in pairs if place not in taken]


def _moved(item: Standing, found: Detection, box: Box) -> bool:
    """Return whether this detection is the same thing, close to where it stood."""
    if found.label.category is not item.label.category:
        return False
    ratio = item.box.area / box.area
    across = item.box.x + item.box.width / 2 - box.x - box.width / 2
    down = item.box.y + item.box.height / 2 - box.y - box.height / 2
    near = hypot(across, down) <= MOVED_DIAGONALS * hypot(item.box.width, item.box.height)
    if not near or not 1 / MOVED_AREA <= ratio <= MOVED_AREA:
        return False
    alike = likeness(item.appearance, found.appearance)
    return alike is not None and alike >= MOVED_LOOKS


def _has_gone(item: Standing, at: datetime) -> bool:
    """Return whether so many misses are no chance."""
    patience = GONE_AFTER if item.sightings >= STOOD else timedelta(0)
    since = item.missing_since or at
    return bool((1 - _share_of_sights(item)) ** item.missing < CHANCE and at - since >= patience)


def _share_of_sights(item: Standing) -> float:
    """Return how often a thing is seen, 0 to 1, by Laplace's rule of succession.

    It is told by about the last MEMORY sights and the misses between them: a detector sees less by night than by day.
    """
    sights = min(item.sightings, MEMORY)
    return (sights + 1) / (sights + item.misses + 2)


def _new(camera_id: str, found: Detection, box: Box, sighting: Sighting, arrived_at: datetime) -> Standing:
    return Standing(
        id=None,
        camera_id=camera_id,
        label=found.label,
        box=box,
        appearance=found.appearance,
        view=sighting.view,
        first_seen_at=sighting.captured_at,
        last_seen_at=sighting.captured_at,
        arrived_at=arrived_at,
    )


def _share(box: Box, sighting: Sighting) -> Box:
    """Return a box in shares of the picture."""
    width, height = sighting.width, sighting.height
    return Box(box.x / width, box.y / height, box.width / width, box.height / height)


def _whole(known: Box, seen: Box) -> bool:
    return known.overlap(seen) >= SAME_PLACE


def _half_hidden(known: Box, seen: Box) -> bool:
    """Return whether one box lies in the other, as when something stands before a part of it."""
    pair = corners([known, seen])
    one, other = areas(pair)
    overlap = float(known.overlap(seen))
    shared = overlap * (one + other) / (1 + overlap)
    smaller, larger = sorted((float(one), float(other)))
    return smaller > 0 and shared >= INSIDE * smaller and smaller >= LEAST_OF_IT * larger


def _drifted(item: Standing, seen: Box) -> Box:
    """Return the box after a new sight: it follows the detector's whims; one that is half hidden moves nothing.

    What is stationary drifts little, so that a car that creeps out of its place leaves its box behind.
    """
    known, drift = item.box, SETTLED_DRIFT if item.stationary_at else DRIFT
    if not _whole(known, seen):
        return known
    old = (known.x, known.y, known.width, known.height)
    new = (seen.x, seen.y, seen.width, seen.height)
    return Box(*(a + drift * (b - a) for a, b in zip(old, new, strict=True)))


def _not_too_many(standing: Sequence[Standing]) -> tuple[Standing, ...]:
    if len(standing) <= MOST:
        return tuple(standing)
    order = sorted(standing, key=lambda item: (item.stationary_at is None, -item.last_seen_at.timestamp()))
    kept = {id(item) for item in order[:MOST]}
    return tuple(item for item in standing if id(item) in kept)
