# SPDX-License-Identifier: AGPL-3.0-or-later
"""Events as prompts are about them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from inference_server.core.assessment import Assessment, AssessmentSource, Factor
from inference_server.core.context import AlarmState, CameraPlace, HomeContext, Mode
from inference_server.core.detection import (
    Category,
    Direction,
    Label,
    LineCrossing,
    PathPoint,
    Speed,
    Track,
    ZoneType,
    ZoneVisit,
)
from inference_server.core.observation import Identity, Observation, Observed, Trust
from inference_server.core.view import LastingProblem, ViewProblem
from inference_server.risk.evidence import Evidence, Expectation, Lesson, SeenElsewhere, Subject, Tampering
from inference_server.risk.prompts.case import Case

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 22, 14, tzinfo=BERLIN)
BEGAN = NOW - timedelta(seconds=52)


def a_track(name: str = "Front door", label: Label = Label.PERSON) -> Track:
    """Return who stayed for 52 seconds, mostly at the entry of this name."""
    return Track(
        label,
        0.91,
        BEGAN.astimezone(UTC),
        NOW.astimezone(UTC),
        9,
        speed=Speed.SLOW,
        path=(PathPoint(0, 0.1, 0.3), PathPoint(20, 0.6, 0.7), PathPoint(52, 0.55, 0.8)),
        zones=(ZoneVisit(1, name, ZoneType.ENTRY, BEGAN, 31, 6, loitering=True),),
        crossings=(LineCrossing(2, name, Direction.IN, BEGAN),),
    )


def a_case() -> Case:
    """Return an event of which nothing is known but one person."""
    track = Track(Label.PERSON, 0.91, NOW, NOW, 1)
    return Case(
        camera="Front door",
        evidence=Evidence((Subject(track),), NOW, night=True),
        assessment=_assessment(Factor("person_seen", 20, "a person, confidence 0.91")),
        started_at=NOW,
    )


def a_full_case(name: str = "Front door") -> Case:
    """Return an event of which everything is known; this stands wherever a name or a note from outside may."""
    evidence = Evidence(
        subjects=(
            Subject(a_track(name), (Observation(Observed.TRYING_DOOR, 0.8),), Identity(name, Trust.MONITOR, 0.9)),
            Subject(a_track(name), identity=Identity(name, Trust.FULL, 0.4)),
        ),
        now=NOW,
        night=True,
        place=CameraPlace.ENTRANCE,
        context=HomeContext(NOW, Mode.AWAY, 0, AlarmState.ARMED_AWAY, sun_is_up=False, quiet_hours=True),
        stayed_before=timedelta(minutes=4),
        expectations=(Expectation(Category.PERSON, 0.2, 1, 0.08, 6),),
        elsewhere=(SeenElsewhere(name, Category.PERSON, timedelta(seconds=41), further_out=True),),
        nights_visited=3,
        tampering=(Tampering(name, ViewProblem.TAMPERED, timedelta(seconds=90)),),
        lesson=Lesson(-8, name),
    )
    factors = (Factor("person_seen", 20, f'in "{name}"'), Factor("trying_door", 45, "trying door, confidence 0.80"))
    return replace(
        a_case(),
        camera=name,
        evidence=evidence,
        assessment=_assessment(*factors),
        started_at=BEGAN,
        is_open=True,
        pictures=9,
        view_problems=(LastingProblem(ViewProblem.BLURRED, BEGAN),),
    )


def _assessment(*factors: Factor) -> Assessment:
    score = sum(factor.points for factor in factors)
    return Assessment(score, "A person", "Rules.", factors, AssessmentSource.RULES, False, NOW)
