# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules: known situations against their anchors, and what must hold of any situation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.assessment import MAX_SCORE, Assessment, AssessmentSource, total_score
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
from inference_server.core.observation import (
    AT_HOME_IN_ORDER,
    THREATS,
    Identity,
    Observation,
    Observed,
    Trust,
)
from inference_server.core.view import ViewProblem
from inference_server.risk.event_rules import EVENT_RULES
from inference_server.risk.evidence import Evidence, Expectation, Lesson, SeenElsewhere, Subject, Tampering
from inference_server.risk.rules import FACTOR_NAMES, assess
from inference_server.risk.subject_rules import CIRCUMSTANCES, KEPT_FACTORS, SUBJECT_RULES, THREAT_FACTORS
from inference_server.risk.weights import shipped_weights
from tests.support.home import START, MovableClock

NOON, MIDNIGHT = START.replace(hour=12), START.replace(hour=0)
WEIGHTS = shipped_weights()
EMPTY = HomeContext(NOON, Mode.AWAY, people_home=0, sun_is_up=True)
AT_HOME = HomeContext(NOON, Mode.HOME, people_home=2, sun_is_up=True)
ASLEEP = HomeContext(NOON, Mode.NIGHT, people_home=3, sun_is_up=False, quiet_hours=True)
ANNA = Identity("Anna", Trust.FULL)
NEIGHBOUR = Identity("Neighbour", Trust.PARTIAL)
NEGATIVE = tuple(kind for kind in Observed if WEIGHTS[kind.value].fixed() < 0)
DANGEROUS = tuple(kind for kind in Observed if kind in THREATS)


def _track(label: Label = Label.PERSON, stay: float = 0, confidence: float = 0.9, *zones: ZoneVisit) -> Track:
    return Track(label, confidence, START, START + timedelta(seconds=stay), 1, speed=Speed.STILL, zones=zones)


def _visit(kind: ZoneType, name: str = "Front", frames: int = 1, *, loitering: bool = False) -> ZoneVisit:
    return ZoneVisit(1, name, kind, START, 5.0, frames, loitering)


def _person(
    kind: ZoneType | None = None, stay: float = 0, *observed: Observed, identity: Identity | None = None
) -> Subject:
    zones = (_visit(kind),) if kind else ()
    return Subject(_track(Label.PERSON, stay, 0.9, *zones), tuple(map(Observation, observed)), identity)


def _evidence(*subjects: Subject, night: bool = False, context: HomeContext | None = None) -> Evidence:
    return Evidence(subjects, MIDNIGHT if night else NOON, night, context=context)


def _assess(evidence: Evidence) -> Assessment:
    return assess(evidence, WEIGHTS, MovableClock())


def _score(*subjects: Subject, night: bool = False, context: HomeContext | None = None) -> int:
    return _assess(_evidence(*subjects, night=night, context=context)).score


def _names(evidence: Evidence) -> set[str]:
    return {factor.name for factor in _assess(evidence).factors}


def _points(name: str, evidence: Evidence) -> int:
    return next((factor.points for factor in _assess(evidence).factors if factor.name == name), 0)


CAR, CAT = Subject(_track(Label.CAR)), Subject(_track(Label.CAT))
ENTRY, YARD, SIDEWALK, DRIVEWAY, RESTRICTED = (
    ZoneType.ENTRY,
    ZoneType.YARD,
    ZoneType.SIDEWALK,
    ZoneType.DRIVEWAY,
    ZoneType.RESTRICTED,
)


@pytest.mark.parametrize(
    ("situation", "subjects", "night", "context", "lowest", "highest"),
    [
        ("an animal", [CAT], False, None, 0, 5),
        ("an animal at night in an empty house", [CAT], True, EMPTY, 0, 5),
        ("a passing car", [CAR], False, None, 5, 15),
        ("a passing car at night", [CAR], True, ASLEEP, 5, 15),
        ("many passing cars", [CAR] * 6, False, None, 5, 15),
        ("a resident", [_person(ENTRY, 20, identity=ANNA)], False, AT_HOME, 0, 10),
        ("a resident at night", [_person(ENTRY, 20, identity=ANNA)], True, ASLEEP, 0, 10),
        ("a resident over their own fence", [_person(YARD, 20, Observed.CLIMBING, identity=ANNA)], False, EMPTY, 0, 10),
        ("a delivery", [_person(ENTRY, 20, Observed.UNIFORM, Observed.LEAVES_PARCEL)], False, AT_HOME, 0, 15),
        ("a passer-by", [_person(SIDEWALK, 10)], False, AT_HOME, 5, 15),
        ("a passer-by of the empty house", [_person(SIDEWALK, 10)], False, EMPTY, 5, 15),
        ("an unknown visitor", [_person(ENTRY, 20)], False, None, 20, 35),
        ("an unknown visitor in the yard", [_person(YARD, 20)], False, None, 20, 35),
        ("four people at the door", [_person(ENTRY, 20)] * 4, False, None, 20, 35),
        ("who lingers for five minutes", [_person(ENTRY, 300)], False, None, 35, 50),
        ("who lingers for ten minutes", [_person(ENTRY, 600)], False, None, 50, 65),
        ("who lingers in the yard at night", [_person(YARD, 90)], True, ASLEEP, 60, 84),
        ("who is about the cars at night", [_person(DRIVEWAY, 70)], True, ASLEEP, 60, 84),
        ("who stands at the door while all sleep", [_person(ENTRY, 60)], True, ASLEEP, 60, 84),
        ("who comes home late", [_person(ENTRY, 15)], True, ASLEEP, 30, 59),
        ("two behind the empty house", [_person(YARD, 80)] * 2, False, replace(EMPTY, sun_is_up=False), 60, 84),
        ("children before the door", [_person(ENTRY, 900)] * 3, False, AT_HOME, 20, 59),
        ("who tries the door by day", [_person(ENTRY, 10, Observed.TRYING_DOOR)], False, AT_HOME, 60, 85),
        ("who tries the door at night", [_person(ENTRY, 60, Observed.TRYING_DOOR)], True, ASLEEP, 65, 85),
        ("who tries cars at night", [_person(DRIVEWAY, 40, Observed.TRYING_VEHICLE)], True, ASLEEP, 65, 80),
        ("vandalism", [_person(None, 30, Observed.VANDALISM)], False, None, 65, 85),
        ("a parcel thief", [_person(ENTRY, 10, Observed.TAKING_PARCEL)], False, EMPTY, 70, 90),
        ("forced entry by day", [_person(None, 30, Observed.FORCED_ENTRY)], False, None, 80, 95),
        ("forced entry at night", [_person(YARD, 60, Observed.FORCED_ENTRY)], True, ASLEEP, 80, 100),
        ("a firearm", [_person(None, 0, Observed.FIREARM)], False, None, 85, 100),
        ("a knife", [_person(None, 0, Observed.KNIFE)], False, None, 85, 100),
        ("a resident with a firearm", [_person(ENTRY, 0, Observed.FIREARM, identity=ANNA)], False, AT_HOME, 80, 100),
        ("a stranger where nobody may be", [_person(RESTRICTED)], False, None, 35, 65),
        ("a car on the driveway", [Subject(_track(Label.CAR, 0, 0.9, _visit(DRIVEWAY)))], False, None, 5, 15),
    ],
)
def test_a_situation_scores_within_its_anchor(
    situation: str, subjects: Sequence[Subject], night: bool, context: HomeContext | None, lowest: int, highest: int
) -> None:
    assessment = _assess(_evidence(*subjects, night=night, context=context))
    assert lowest <= assessment.score <= highest, f"{situation}: {assessment.reasoning}"


def test_a_stranger_inside() -> None:
    inside = replace(_evidence(_person(), context=EMPTY), place=CameraPlace.INDOORS)
    assert 60 <= _assess(inside).score < 85
    assert _assess(replace(inside, context=AT_HOME)).score <= 10
    known = replace(inside, subjects=(_person(identity=ANNA),))
    assert _assess(known).score <= 10
    assert _assess(replace(inside, subjects=(CAT,))).score <= 5


def test_trust_takes_nothing_from_the_stranger_beside() -> None:
    stranger = _person(YARD, 100)
    alone = _score(stranger, night=True)
    assert _score(stranger, _person(YARD, 100, identity=ANNA), night=True) == alone
    burglar = _person(YARD, 100, Observed.UNIFORM, Observed.FORCED_ENTRY)
    assert _score(burglar, _person(YARD, 100, identity=ANNA)) == _score(burglar)


def test_who_is_trusted_may_be_hurt_too() -> None:
    lies = _evidence(_person(YARD, 60, Observed.LYING, identity=ANNA), context=AT_HOME)
    assert _assess(lies).score >= 30


def test_a_match_that_is_not_sure_is_none() -> None:
    doubtful = replace(ANNA, confidence=0.6)
    assert _score(_person(ENTRY, identity=doubtful)) == _score(_person(ENTRY))


def test_an_observation_that_is_not_sure_weighs_half() -> None:
    def with_confidence(confidence: float) -> Evidence:
        return _evidence(replace(_person(), observed=(Observation(Observed.KNIFE, confidence),)))

    assert _points("knife", with_confidence(0.6)) == WEIGHTS["knife"].fixed()
    assert _points("knife", with_confidence(0.59)) == WEIGHTS["knife"].fixed() / 2
    assert _assess(with_confidence(0.3)).score >= 30


def test_who_is_always_told_of() -> None:
    watched = Identity("Former partner", Trust.MONITOR)
    assert "watched" in _names(_evidence(_person(ENTRY, identity=watched)))
    assert _score(_person(ENTRY, identity=watched)) > _score(_person(ENTRY))


def test_only_the_most_telling_zone_counts() -> None:
    everywhere = Subject(_track(Label.PERSON, 0, 0.9, *(_visit(kind) for kind in (DRIVEWAY, ENTRY, YARD, RESTRICTED))))
    assert {name for name in _names(_evidence(everywhere)) if name.startswith("in_")} == {"in_restricted"}


def test_only_who_comes_in_over_a_line_counts() -> None:
    def crossed(direction: Direction) -> set[str]:
        return _names(_evidence(Subject(replace(_track(), crossings=(LineCrossing(1, "Gate", direction, START),)))))

    assert "line_crossed" in crossed(Direction.IN)
    assert "line_crossed" not in crossed(Direction.OUT)


def test_passers_by_do_not_linger_however_long_their_stream() -> None:
    stream = replace(_track(Label.PERSON, 300), speed=Speed.WALKING)
    street = replace(_evidence(Subject(stream)), place=CameraPlace.STREET)
    assert "lingering" not in _names(street)
    stands = replace(street, subjects=(Subject(replace(stream, speed=Speed.STILL)),))
    assert "lingering" in _names(stands)


def test_passers_by_are_no_group() -> None:
    assert _score(*[_person(SIDEWALK)] * 8) == _score(_person(SIDEWALK))


def test_the_stay_goes_on_over_directly_following_events() -> None:
    follows = replace(_evidence(_person(ENTRY, 30)), stayed_before=timedelta(seconds=300))
    assert _points("lingering", follows) == _points("lingering", _evidence(_person(ENTRY, 330)))
    late = Subject(replace(_track(Label.PERSON, 10), first_seen_at=START + timedelta(seconds=20)))
    newcomer = replace(follows, subjects=(_person(ENTRY, 30, identity=ANNA), late))
    assert _points("lingering", newcomer) == 0


def test_an_empty_house_matters_more_the_longer_somebody_stays() -> None:
    points = [_points("nobody_home", _evidence(_person(ENTRY, stay), context=EMPTY)) for stay in (20, 60, 150)]
    assert points == sorted(set(points))
    assert _points("nobody_home", _evidence(_person(SIDEWALK, 20), context=EMPTY)) == 0
    assert _points("empty_at_night", _evidence(_person(ENTRY), night=True, context=EMPTY)) > 0


def test_what_nobody_tells_is_unknown() -> None:
    unknown = _evidence(_person(ENTRY, 60), context=HomeContext(NOON))
    assert _assess(unknown).score == _score(_person(ENTRY, 60))
    lost = replace(_evidence(_person()), context_lost_at=NOON)
    assert "has not told the state of the home since 12:00" in _assess(lost).reasoning


def test_a_waiting_vehicle_weighs_more_the_longer_it_waits() -> None:
    scores = [_score(Subject(_track(Label.CAR, stay))) for stay in (60, 200, 700)]
    assert scores == sorted(set(scores))
    fast = Subject(replace(_track(Label.CAR, 700), speed=Speed.FAST))
    assert _score(fast) == _score(CAR)


@pytest.mark.parametrize(
    ("factor", "evidence"),
    [
        ("after_dark", _evidence(_person(), context=replace(AT_HOME, sun_is_up=False))),
        ("quiet_hours", _evidence(_person(), context=replace(AT_HOME, quiet_hours=True))),
        ("guests_expected", _evidence(_person(), context=replace(AT_HOME, mode=Mode.DISARMED))),
        ("alarm_triggered", _evidence(CAR, context=replace(EMPTY, alarm=AlarmState.TRIGGERED))),
        ("household_at_home", _evidence(_person(ENTRY), context=AT_HOME)),
        ("indoors_with_household", replace(_evidence(_person(), context=AT_HOME), place=CameraPlace.INDOORS)),
        ("on_street", replace(_evidence(_person()), place=CameraPlace.STREET)),
        ("loitering_in_zone", _evidence(Subject(_track(Label.PERSON, 9, 0.9, _visit(ENTRY, loitering=True))))),
        ("vehicle_at_night", _evidence(CAR, night=True)),
        ("several_vehicles", _evidence(CAR, CAR)),
        ("partly_trusted", _evidence(_person(ENTRY, identity=NEIGHBOUR))),
        ("unsure", _evidence(Subject(_track(confidence=0.4)))),
        ("unusual", replace(_evidence(_person()), expectations=(Expectation(Category.PERSON, 0.01, 1, 0.01, 9),))),
        ("usual", replace(_evidence(_person()), expectations=(Expectation(Category.PERSON, 4, 1, 0.98, 9),))),
        (
            "came_closer",
            replace(
                _evidence(_person()), elsewhere=(SeenElsewhere("drive", Category.PERSON, timedelta(seconds=20), True),)
            ),
        ),
        ("repeat_visits", replace(_evidence(_person(), night=True), nights_visited=3)),
        (
            "camera_tampered",
            replace(_evidence(_person()), tampering=(Tampering("drive", ViewProblem.BLOCKED, timedelta(seconds=60)),)),
        ),
        ("learnt", replace(_evidence(_person()), lesson=Lesson(-10, "said so"))),
    ],
)
def test_a_factor_is_found(factor: str, evidence: Evidence) -> None:
    assert _points(factor, evidence) != 0


def test_what_happened_elsewhere_counts_only_on_the_way_in() -> None:
    past = SeenElsewhere("street", Category.PERSON, timedelta(seconds=20), False)
    other = SeenElsewhere("drive", Category.VEHICLE, timedelta(seconds=20), True)
    assert "came_closer" not in _names(replace(_evidence(_person()), elsewhere=(past, other)))


def test_what_animals_do_is_never_unusual() -> None:
    rare = (Expectation(Category.ANIMAL, 0.01, 1, 0.01, 9), Expectation(Category.PERSON, 0.01, 0, 0.01, 9))
    assert _names(replace(_evidence(CAT), expectations=rare)) == {"animal_seen"}


def test_every_factor_has_a_weight_of_its_kind_and_the_reverse() -> None:
    assert set(WEIGHTS.names) == set(FACTOR_NAMES)
    assert len(set(FACTOR_NAMES)) == len(FACTOR_NAMES)
    stepped = {name for name in WEIGHTS.names if WEIGHTS[name].steps}
    counted = {name for name in WEIGHTS.names if WEIGHTS[name].each is not None}
    assert stepped == {
        *("lingering", "vehicle_waits", "nobody_home", "household_at_home"),
        *("quiet_hours", "unusual", "repeat_visits"),
    }
    assert counted == {"several_people", "several_vehicles"}
    assert set(SUBJECT_RULES) | set(EVENT_RULES) <= set(FACTOR_NAMES)
    assert set(SUBJECT_RULES) >= THREAT_FACTORS | CIRCUMSTANCES | KEPT_FACTORS
    assert not THREAT_FACTORS & CIRCUMSTANCES
    assert all(WEIGHTS[name].fixed() > 0 for name in THREAT_FACTORS)
    assert AT_HOME_IN_ORDER <= THREATS


LABELS = st.sampled_from([Label.PERSON, Label.PERSON, Label.PERSON, Label.CAR, Label.DOG])
VISITS = st.builds(
    _visit, st.sampled_from([k for k in ZoneType if k is not ZoneType.IGNORE]), st.sampled_from("ab"), st.just(1)
)
CROSSINGS = st.builds(LineCrossing, st.just(1), st.sampled_from("ab"), st.sampled_from(Direction), st.just(START))
OBSERVATIONS = st.lists(st.builds(Observation, st.sampled_from(Observed), st.sampled_from([0.3, 0.9])), max_size=3).map(
    tuple
)
IDENTITIES = st.none() | st.builds(
    Identity, st.sampled_from(["Anna", "Bob"]), st.sampled_from(Trust), st.sampled_from([0.5, 0.9])
)
SUBJECTS = st.builds(
    lambda track, zones, crossings, speed, observed, identity: Subject(
        replace(track, zones=tuple(zones), crossings=tuple(crossings), speed=speed, path=(PathPoint(0, 0.5, 0.5),)),
        observed,
        identity,
    ),
    st.builds(_track, LABELS, st.sampled_from([0, 20, 40, 70, 200, 700]), st.sampled_from([0.3, 0.6, 0.9])),
    st.lists(VISITS, max_size=2),
    st.lists(CROSSINGS, max_size=1),
    st.sampled_from(Speed),
    OBSERVATIONS,
    IDENTITIES,
)
CONTEXTS = st.none() | st.builds(
    HomeContext,
    st.just(NOON),
    st.none() | st.sampled_from(Mode),
    st.none() | st.sampled_from([0, 2]),
    st.none() | st.sampled_from([AlarmState.ARMED_AWAY, AlarmState.TRIGGERED]),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
)
EVIDENCE = st.builds(
    lambda subjects, night, context, place, stayed, expectations, lesson, nights: Evidence(
        tuple(subjects),
        MIDNIGHT if night else NOON,
        night,
        place,
        context,
        stayed_before=timedelta(seconds=stayed),
        expectations=expectations,
        lesson=lesson,
        nights_visited=nights,
    ),
    st.lists(SUBJECTS, min_size=1, max_size=4),
    st.booleans(),
    CONTEXTS,
    st.sampled_from(CameraPlace),
    st.sampled_from([0, 100]),
    st.sampled_from(
        [(), (Expectation(Category.PERSON, 3, 1, 0.9, 9),), (Expectation(Category.PERSON, 0, 1, 0.01, 9),)]
    ),
    st.sampled_from([None, Lesson(-40, "false alarms"), Lesson(40, "missed")]),
    st.sampled_from([0, 3]),
)


@given(EVIDENCE)
def test_the_score_is_the_clamped_sum_of_its_named_factors(evidence: Evidence) -> None:
    assessment = _assess(evidence)
    assert 0 <= assessment.score <= MAX_SCORE
    assert assessment.score == total_score(assessment.factors)
    names = [factor.name for factor in assessment.factors]
    assert names == [name for name in FACTOR_NAMES if name in names]
    assert all(factor.evidence for factor in assessment.factors)
    assert all(f"{factor.name} {factor.points:+d}" in assessment.reasoning for factor in assessment.factors)


@given(EVIDENCE, st.randoms())
def test_the_same_evidence_in_any_order_gives_the_same_verdict(evidence: Evidence, random: object) -> None:
    shuffled = sorted(evidence.subjects, key=lambda _subject: random.random())  # type: ignore[attr-defined]
    assert _assess(replace(evidence, subjects=tuple(shuffled))) == _assess(evidence)


@given(EVIDENCE, st.sampled_from(DANGEROUS), st.sampled_from([0.3, 0.9]), st.integers(0, 3))
def test_more_danger_never_lowers_the_score(evidence: Evidence, kind: Observed, sure: float, index: int) -> None:
    index %= len(evidence.subjects)
    before = evidence.subjects[index]
    worse = replace(before, observed=(*before.observed, Observation(kind, sure)))
    subjects = tuple(worse if number == index else one for number, one in enumerate(evidence.subjects))
    assert _assess(replace(evidence, subjects=subjects)).score >= _assess(evidence).score


@given(EVIDENCE, SUBJECTS)
def test_one_object_more_never_lowers_the_score_of_those_beside(evidence: Evidence, beside: Subject) -> None:
    """So trust takes from nobody else."""
    evidence = replace(evidence, expectations=())
    more = replace(evidence, subjects=(*evidence.subjects, beside))
    assert _assess(more).score >= _assess(evidence).score


@given(EVIDENCE, st.sampled_from([ANNA, NEIGHBOUR]))
def test_trust_never_raises_a_score(evidence: Evidence, known: Identity) -> None:
    stranger = replace(evidence.subjects[0], identity=None)
    unknown = replace(evidence, subjects=(stranger, *evidence.subjects[1:]))
    trusted = replace(evidence, subjects=(replace(stranger, identity=known), *evidence.subjects[1:]))
    assert _assess(trusted).score <= _assess(unknown).score


@given(SUBJECTS, EVIDENCE, st.sampled_from(DANGEROUS), st.lists(st.sampled_from(NEGATIVE), min_size=1))
def test_nothing_ordinary_lowers_a_threat(
    subject: Subject, evidence: Evidence, kind: Observed, ordinary: list[Observed]
) -> None:
    burglar = replace(subject, observed=(Observation(kind, 0.9),), identity=None)
    excused = replace(burglar, observed=(*burglar.observed, *map(Observation, ordinary)))
    plain = replace(evidence, subjects=(burglar,), lesson=None, expectations=())
    assert _assess(replace(plain, subjects=(excused,))).score == _assess(plain).score
    usual = (Expectation(Category.PERSON, 3, 1, 0.9, 9), Expectation(Category.VEHICLE, 3, 1, 0.9, 9))
    assert _assess(replace(plain, expectations=usual)).score == _assess(plain).score
    assert _points(kind.value, plain) == WEIGHTS[kind.value].fixed()


@given(EVIDENCE, st.sampled_from(DANGEROUS), st.integers(-100, -1))
def test_feedback_never_lowers_a_threat(evidence: Evidence, kind: Observed, points: int) -> None:
    burglar = replace(evidence.subjects[0], observed=(Observation(kind, 0.9),), identity=None)
    dangerous = replace(evidence, subjects=(burglar, *evidence.subjects[1:]), lesson=None)
    taught = replace(dangerous, lesson=Lesson(points, "false alarms"))
    assert _assess(taught) == _assess(dangerous)


@given(EVIDENCE)
def test_feedback_moves_a_score_within_its_bound(evidence: Evidence) -> None:
    most = WEIGHTS["learnt"].fixed()
    taught = replace(evidence, lesson=Lesson(100, "missed"))
    assert _assess(taught).score - _assess(replace(evidence, lesson=None)).score <= most


@given(EVIDENCE, st.sampled_from([30, 400]))
def test_a_longer_stay_never_lowers_the_score_of_people(evidence: Evidence, more: float) -> None:
    people = tuple(
        replace(one, track=replace(one.track, last_seen_at=one.track.last_seen_at + timedelta(seconds=more)))
        for one in evidence.subjects
    )
    assert _assess(replace(evidence, subjects=people)).score >= _assess(evidence).score


@pytest.mark.parametrize(
    ("subjects", "summary"),
    [
        ([_person(ENTRY)], 'A person at the entry "Front" by day'),
        ([_person(ENTRY), _person(), CAR], '2 people and a car, a person at the entry "Front", by day'),
        ([_person(SIDEWALK), _person(RESTRICTED)], '2 people, a person in the restricted zone "Front", by day'),
    ],
)
def test_the_summary_says_where(subjects: list[Subject], summary: str) -> None:
    assert _assess(_evidence(*subjects)).summary == summary


def test_the_rules_never_call_themselves_verified() -> None:
    assessment = _assess(_evidence(_person(), CAR, night=True))
    assert (assessment.source, assessment.verified, assessment.assessed_at) == (AssessmentSource.RULES, False, START)
    assert assessment.summary == "A person and a car at night"
    assert "it is night (00:00)" in assessment.reasoning


def test_nothing_seen_is_nothing_to_weigh() -> None:
    assessment = _assess(_evidence())
    assert (assessment.score, assessment.factors) == (0, ())
    assert assessment.reasoning == "Rules: nothing to weigh."
