# SPDX-License-Identifier: AGPL-3.0-or-later
"""Staging: the scripted paths of a happening become what a detector sees in each picture.

Between two waypoints an object moves evenly. What the detector does to that is imitated: a box that is a little off,
and a confidence that is at most the scripted one. Both come from a seeded generator, so that a scenario always plays
the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

from inference_server.core.detection import Box, Category, Detection, Label, Sighting, Track
from inference_server.evaluation.scenario import CameraPart, Happening, ObjectPart, Scenario, Spot
from inference_server.settings import DetectorSettings

WIDTH, HEIGHT = 1280, 720
"""Pixels of a picture."""
_OFF = 0.004
"""How far a foot point is off at most, in shares of the picture."""
_SIZE_OFF = 0.03
_CONFIDENCE_OFF = 0.08
_ASPECTS = {
    Label.PERSON: 0.38,
    Label.BICYCLE: 1.4,
    Label.CAR: 2.1,
    Label.MOTORCYCLE: 1.4,
    Label.BUS: 2.6,
    Label.TRUCK: 2.2,
    Label.BIRD: 1.2,
    Label.CAT: 1.4,
    Label.DOG: 1.4,
}
"""Width by height of a box, seen from the side."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A scripted object with the times and places of its path."""

    script: ObjectPart
    starts_at: datetime
    steps: tuple[tuple[float, Spot], ...]

    @property
    def category(self) -> Category:
        """What kind of object it is."""
        return self.script.label.category

    def at(self, moment: datetime) -> Spot | None:
        """Return where it is, None before it comes and after it has gone."""
        seconds = (moment - self.starts_at).total_seconds()
        if not self.steps[0][0] <= seconds <= self.steps[-1][0]:
            return None
        for (start, old), (end, new) in pairwise(self.steps):
            if start <= seconds <= end:
                share = (seconds - start) / (end - start)
                x, y, height = (a + share * (b - a) for a, b in zip(old, new, strict=True))
                return x, y, height
        return self.steps[0][1]

    def distance(self, track: Track) -> float:
        """Return how far it is on average from a track's path, in shares of the picture; infinite for another kind.

        Where it is not there at all it counts as a whole picture away.
        """
        if track.label.category is not self.category:
            return float("inf")
        total = 0.0
        for point in track.path:
            where = self.at(track.first_seen_at + timedelta(seconds=point.seconds))
            total += 1.0 if where is None else abs(where[0] - point.x) + abs(where[1] - point.y)
        return total / max(len(track.path), 1)


@dataclass(frozen=True, slots=True)
class Staged:
    """All that one camera sees, in order of time."""

    camera: str
    sightings: tuple[Sighting, ...]
    walks: tuple[Walk, ...]

    def script_of(self, track: Track) -> ObjectPart | None:
        """Return the scripted object that a track follows."""
        nearest = min(self.walks, key=lambda walk: walk.distance(track), default=None)
        return None if nearest is None or nearest.distance(track) == float("inf") else nearest.script


def stage(scenario: Scenario, detector: DetectorSettings) -> tuple[Staged, ...]:
    """Return what each camera of a scenario sees."""
    staged = []
    for name, camera in scenario.home.cameras.items():
        happenings = [happening for happening in scenario.happenings if happening.camera == name]
        if not happenings:
            continue
        walks, sightings = [], []
        for number, happening in enumerate(happenings):
            random = Random(f"{scenario.id}/{name}/{number}")  # noqa: S311 - a scenario always plays the same
            here = [_walk(one, camera, start_of(happening, scenario)) for one in happening.objects]
            walks += here
            sightings += list(_sightings(happening, camera, here, random, detector))
        ordered = sorted(sightings, key=lambda sighting: sighting.captured_at)
        numbered = (
            Sighting(number, one.captured_at, one.width, one.height, one.detections)
            for number, one in enumerate(ordered, start=1)
        )
        staged.append(Staged(name, tuple(numbered), tuple(walks)))
    return tuple(staged)


def start_of(happening: Happening, scenario: Scenario) -> datetime:
    """Return when a happening starts, in UTC."""
    return happening.starts_at.replace(tzinfo=scenario.home.zone).astimezone(UTC)


def _walk(script: ObjectPart, camera: CameraPart, starts_at: datetime) -> Walk:
    steps = ((step.seconds, camera.spots[step.spot] if step.spot else step.at) for step in script.path)
    return Walk(script, starts_at, tuple((seconds, spot) for seconds, spot in steps if spot is not None))


def _sightings(
    happening: Happening, camera: CameraPart, walks: Sequence[Walk], random: Random, detector: DetectorSettings
) -> Iterator[Sighting]:
    every = happening.every or camera.every
    first = min(walk.steps[0][0] for walk in walks)
    last = max(walk.steps[-1][0] for walk in walks)
    for number in range(int((last - first) / every) + 1):
        at = walks[0].starts_at + timedelta(seconds=round(first + number * every, 3))
        seen = (_seen(walk, at, random) for walk in walks)
        detections = tuple(found for found in seen if found and found.confidence >= detector.threshold(found.label))
        yield Sighting(0, at, WIDTH, HEIGHT, detections)


def _seen(walk: Walk, at: datetime, random: Random) -> Detection | None:
    where = walk.at(at)
    if where is None:
        return None
    x, y = (part + random.uniform(-_OFF, _OFF) for part in where[:2])
    height = where[2] * HEIGHT * (1 + random.uniform(-_SIZE_OFF, _SIZE_OFF))
    width = height * _ASPECTS[walk.script.label]
    confidence = walk.script.confidence * (1 - random.uniform(0, _CONFIDENCE_OFF))
    box = Box(x * WIDTH - width / 2, y * HEIGHT - height, width, height)
    return Detection(walk.script.label, round(confidence, 3), box)
