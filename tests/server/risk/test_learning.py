# SPDX-License-Identifier: AGPL-3.0-or-later
"""Learning: one opinion moves little, five move much, in bounds, in any order; what is withdrawn leaves no trace."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.assessment import Factor, LevelThresholds, RiskLevel, scores_of
from inference_server.core.context import CameraPlace
from inference_server.core.detection import Category, Label, Track, ZoneType, ZoneVisit
from inference_server.core.feedback import Experience, FeedbackKind, Opinion, Signature
from inference_server.core.observation import THREATS, Observation, Observed
from inference_server.risk.evidence import Evidence, Lesson, Subject
from inference_server.risk.learning import (
    HALF_LIFE,
    PastVerdict,
    School,
    asked_points,
    effect,
    is_threatened,
    middles,
    ordinary,
    signature,
    similarity,
)
from inference_server.risk.rules import find_factors
from inference_server.risk.subject_rules import THREAT_FACTORS
from inference_server.risk.weights import shipped_weights

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEVELS = LevelThresholds()
MIDDLES = middles(LEVELS)
WEIGHTS = shipped_weights()
MOST = WEIGHTS["learnt"].fixed()
DOOR = Signature(
    "door", CameraPlace.ENTRANCE, Category.PERSON, False, frozenset({"person_seen", "lingering", "zone:entry"})
)
FALSE_ALARM, CORRECT = Opinion(FeedbackKind.FALSE_ALARM), Opinion(FeedbackKind.CORRECT)
MISSED = Opinion(FeedbackKind.MISSED)

signatures = st.builds(
    Signature,
    st.sampled_from(["door", "gate", "street"]),
    st.sampled_from([CameraPlace.ENTRANCE, CameraPlace.STREET, CameraPlace.OTHER]),
    st.sampled_from([*Category, None]),
    st.booleans(),
    st.frozensets(st.sampled_from(["person_seen", "lingering", "zone:entry", "zone:yard", "nobody_home"])),
)
opinions = st.one_of(
    st.sampled_from([FALSE_ALARM, CORRECT, MISSED, Opinion(FeedbackKind.KNOWN_PERSON, name="Bob")]),
    st.builds(Opinion, st.just(FeedbackKind.WRONG_SEVERITY), st.sampled_from(RiskLevel)),
)
experiences = st.builds(
    Experience,
    opinions,
    st.integers(0, 800).map(lambda days: NOW - timedelta(days=days)),
    signatures,
    st.integers(0, 100),
    st.booleans(),
)


def _said(
    opinion: Opinion, *, score: int = 64, like: Signature = DOOR, days: int = 0, threat: bool = False
) -> Experience:
    return Experience(opinion, NOW - timedelta(days=days), like, score, threat)


def _points(*said: Experience, of: Signature = DOOR, now: datetime = NOW) -> int:
    lesson = School(said, LEVELS, WEIGHTS).lesson(of, now)
    return lesson.points if lesson else 0


def test_one_false_alarm_moves_a_little_and_five_move_much() -> None:
    one, five = _points(_said(FALSE_ALARM)), _points(*[_said(FALSE_ALARM)] * 5)
    assert -15 <= one <= -5
    assert five == -MOST
    assert [_points(*[_said(FALSE_ALARM, score=40)] * number) for number in range(6)] == sorted(
        (_points(*[_said(FALSE_ALARM, score=40)] * number) for number in range(6)), reverse=True
    )


def test_what_was_missed_raises_and_correct_pulls_back() -> None:
    assert _points(*[_said(MISSED, score=25)] * 3) > 10
    alarmed = [_said(FALSE_ALARM, score=40)] * 3
    assert _points(*alarmed) < _points(*alarmed, *[_said(CORRECT, score=40)] * 6) < 0


@pytest.mark.parametrize(
    ("opinion", "score", "asked"),
    [
        (CORRECT, 64, 0.0),
        (FALSE_ALARM, 64, 14.5 - 64),
        (FALSE_ALARM, 5, 0.0),
        (MISSED, 20, 72.0 - 20),
        (MISSED, 90, 0.0),
        (Opinion(FeedbackKind.MISSED, RiskLevel.CRITICAL), 20, 92.5 - 20),
        (Opinion(FeedbackKind.WRONG_SEVERITY, RiskLevel.MEDIUM), 70, 44.5 - 70),
        (Opinion(FeedbackKind.WRONG_SEVERITY, RiskLevel.HIGH), 20, 72.0 - 20),
        (Opinion(FeedbackKind.KNOWN_VEHICLE, name="Van"), 30, 14.5 - 30),
    ],
)
def test_what_an_opinion_asks_for(opinion: Opinion, score: int, asked: float) -> None:
    assert asked_points(_said(opinion, score=score), MIDDLES) == asked


def test_what_is_asked_for_follows_the_thresholds() -> None:
    strict = LevelThresholds(20, 40, 60)
    middle = (scores_of(RiskLevel.HIGH, strict)[0] + scores_of(RiskLevel.HIGH, strict)[-1]) / 2
    assert asked_points(_said(MISSED, score=20), middles(strict)) == middle - 20


def test_an_event_with_a_threat_teaches_nothing_but_more() -> None:
    assert asked_points(_said(FALSE_ALARM, score=100, threat=True), MIDDLES) is None
    assert asked_points(_said(CORRECT, score=100, threat=True), MIDDLES) is None
    assert asked_points(_said(MISSED, score=50, threat=True), MIDDLES) == 22.0
    assert _points(*[_said(FALSE_ALARM, score=100, threat=True)] * 50) == 0


def test_older_feedback_counts_less_until_it_is_forgotten() -> None:
    fresh, old, older = (
        _points(*[_said(FALSE_ALARM, score=40, days=days)] * 4) for days in (0, HALF_LIFE.days, 8 * HALF_LIFE.days)
    )
    assert fresh < old < older == 0


def test_only_what_is_alike_is_moved_much() -> None:
    said = [_said(FALSE_ALARM, score=44)] * 5

    def of(camera: str = "door", place: CameraPlace = CameraPlace.ENTRANCE, *, night: bool = False) -> int:
        return _points(*said, of=Signature(camera, place, Category.PERSON, night, DOOR.features))

    assert of() < of(night=True) < of("porch") <= 0
    assert of("porch") < 0
    assert of("street", CameraPlace.STREET) == 0
    vehicle = Signature("door", CameraPlace.ENTRANCE, Category.VEHICLE, False, DOOR.features)
    assert _points(*said, of=vehicle) == 0


def test_a_camera_as_a_whole_is_calibrated_a_little_and_says_by_what() -> None:
    school = School([_said(FALSE_ALARM, score=64)] * 5 + [_said(CORRECT)], LEVELS, WEIGHTS)
    unlike = Signature("door", CameraPlace.ENTRANCE, Category.PERSON, True, frozenset({"person_seen", "zone:yard"}))
    lesson = school.lesson(unlike, NOW)
    assert lesson
    assert -15 < lesson.points < -5
    assert lesson.evidence == "feedback on this camera: 1 correct, 5 false alarm"
    (item,) = school.calibration("door", NOW)
    assert (item.category, round(item.points)) == (Category.PERSON, lesson.points)
    assert item.kinds == {FeedbackKind.FALSE_ALARM: 5, FeedbackKind.CORRECT: 1}
    assert school.calibration("gate", NOW) == ()
    similar = school.lesson(DOOR, NOW)
    assert similar
    assert similar.evidence == "feedback on similar events: 1 correct, 5 false alarm"


@given(st.lists(experiences, max_size=12), experiences, signatures, st.randoms(use_true_random=False))
def test_what_is_withdrawn_leaves_no_trace_whatever_the_order(
    said: list[Experience], withdrawn: Experience, of: Signature, random: Random
) -> None:
    before = School(said, LEVELS, WEIGHTS)
    first = before.lesson(of, NOW)
    with_it = [*said, withdrawn]
    random.shuffle(with_it)
    _ = School(with_it, LEVELS, WEIGHTS).lesson(of, NOW)
    with_it.remove(withdrawn)
    after = School(with_it, LEVELS, WEIGHTS)
    assert after.lesson(of, NOW) == first
    assert all(after.calibration(camera, NOW) == before.calibration(camera, NOW) for camera in ("door", "gate"))


@given(st.lists(experiences, max_size=40), signatures)
def test_a_lesson_is_never_more_than_its_weight(said: list[Experience], of: Signature) -> None:
    assert -MOST <= _points(*said, of=of) <= MOST


@given(st.lists(experiences, max_size=12), signatures, st.sampled_from(sorted(THREAT_FACTORS)), st.integers(0, 80))
def test_a_threat_is_never_lowered(said: list[Experience], of: Signature, threat: str, points: int) -> None:
    factors = (Factor("person_seen", 20, "a person"), Factor(threat, points, "seen"))
    verdict = PastVerdict(1, NOW, of, factors)
    changes = effect([verdict], School([], LEVELS, WEIGHTS), School(said, LEVELS, WEIGHTS), WEIGHTS, NOW)
    assert all(change.after > change.before for change in changes)


@given(st.integers(-100, 100), st.sampled_from(sorted(THREATS)))
def test_the_rules_let_no_lesson_lower_a_threat(points: int, threat: Observed) -> None:
    track = _track(Label.PERSON, ZoneType.ENTRY)
    person, armed = Subject(track), Subject(track, (Observation(threat),))
    for subjects, least in (((person,), None), ((armed,), 0), ((person, armed), 0)):
        untaught = Evidence(subjects, NOW, night=True)
        taught = replace(untaught, lesson=Lesson(points, "feedback"))
        before, after = (
            sum(factor.points for factor in find_factors(evidence, WEIGHTS)) for evidence in (untaught, taught)
        )
        assert after - before == max(-MOST if least is None else least, min(MOST, points))


@given(signatures, signatures)
def test_similarity_is_symmetric_and_one_with_itself(one: Signature, other: Signature) -> None:
    assert similarity(one, one) == 1.0
    assert 0 <= similarity(one, other) == similarity(other, one) <= 1


@given(st.lists(experiences, max_size=8), signatures, st.integers(0, 60))
def test_stored_events_are_judged_again_without_what_they_had_learnt(
    said: list[Experience], of: Signature, points: int
) -> None:
    with_it = (Factor("person_seen", points, "a person"), Factor("learnt", -9, "once"), Factor("analyst", 7, "a model"))
    without = PastVerdict(1, NOW, of, with_it[:1])
    schools = School([], LEVELS, WEIGHTS), School(said, LEVELS, WEIGHTS)
    again = effect([PastVerdict(1, NOW, of, with_it)], *schools, WEIGHTS, NOW)
    assert [(c.before, c.after) for c in again] == [
        (c.before, c.after) for c in effect([without], *schools, WEIGHTS, NOW)
    ]


def _track(label: Label, *zones: ZoneType) -> Track:
    visits = tuple(ZoneVisit(1, "Zone", kind, NOW, 5.0, 3, False) for kind in zones)
    return Track(label, 0.9, NOW, NOW, 3, zones=visits)


def test_the_signature_is_that_of_the_object_that_the_event_was_judged_by() -> None:
    tracks = (_track(Label.CAR, ZoneType.DRIVEWAY), _track(Label.PERSON, ZoneType.ENTRY, ZoneType.YARD))
    factors = tuple(Factor(name, 5, "") for name in ("person_seen", "in_entry", "person_at_night", "knife", "learnt"))
    found = signature("door", CameraPlace.ENTRANCE, tracks, factors, night=True)
    assert found == Signature(
        "door", CameraPlace.ENTRANCE, Category.PERSON, True, frozenset({"person_seen", "zone:entry", "zone:yard"})
    )
    assert is_threatened(factors)
    assert [factor.name for factor in ordinary(factors)] == ["person_seen", "in_entry", "person_at_night", "knife"]
    assert signature("door", CameraPlace.OTHER, (), (), night=False).category is None


def _many(make: Callable[[int], Experience]) -> School:
    return School([make(number) for number in range(10_000)], LEVELS, WEIGHTS)


def test_ten_thousand_opinions_are_summed_up_once() -> None:
    school = _many(lambda number: _said(FALSE_ALARM, score=number % 101, days=number % 700))
    assert len(school._groups) == 1
    first = school.lesson(DOOR, NOW)
    assert first
    assert school.lesson(DOOR, NOW) == first
    assert list(school._similar) == [DOOR]
