# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules: known situations against their anchors, and what must hold of any situation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.core.assessment import MAX_SCORE, Assessment, AssessmentSource, total_score
from inference_server.core.detection import Direction, Label, LineCrossing, Track, ZoneType, ZoneVisit
from inference_server.risk.evidence import Evidence, describe, is_night
from inference_server.risk.rules import FACTOR_NAMES, assess
from tests.support.home import START, MovableClock

NOON, MIDNIGHT = START.replace(hour=12), START.replace(hour=0)


def _track(label: Label = Label.PERSON, stay: float = 0, confidence: float = 0.9, *zones: ZoneVisit) -> Track:
    return Track(label, confidence, START, START + timedelta(seconds=stay), 1, zones=zones)


def _visit(kind: ZoneType, name: str = "Front", frames: int = 1, *, loitering: bool = False) -> ZoneVisit:
    return ZoneVisit(1, name, kind, START, 5.0, frames, loitering)


def _in(kind: ZoneType, stay: float = 0, *, loitering: bool = False, label: Label = Label.PERSON) -> Track:
    return _track(label, stay, 0.9, _visit(kind, loitering=loitering))


def _assess(*tracks: Track, night: bool = False) -> Assessment:
    return assess(Evidence(tracks, MIDNIGHT if night else NOON, night), MovableClock())


PERSON, CAR, CAT = _track(), _track(Label.CAR), _track(Label.CAT)
VISITS = st.builds(_visit, st.sampled_from(ZoneType), st.sampled_from("ab"), st.just(1), loitering=st.booleans())
CROSSINGS = st.builds(LineCrossing, st.just(1), st.sampled_from("ab"), st.sampled_from(Direction), st.just(START))
TRACKS = st.lists(
    st.builds(
        lambda track, zones, crossings: replace(track, zones=tuple(zones), crossings=tuple(crossings)),
        st.builds(_track, st.sampled_from(Label), st.floats(0, 90), st.floats(0.05, 1)),
        st.lists(VISITS, max_size=3),
        st.lists(CROSSINGS, max_size=2),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize(
    ("situation", "tracks", "night", "lowest", "highest"),
    [
        ("an animal", [CAT], False, 0, 5),
        ("an animal by night", [CAT], True, 0, 5),
        ("a passing car", [CAR], False, 5, 15),
        ("a passing car by night", [CAR], True, 5, 15),
        ("many passing cars", [CAR] * 6, False, 5, 15),
        ("a person by day", [PERSON], False, 20, 20),
        ("four people by day", [PERSON] * 4, False, 20, 35),
        ("a person by night", [PERSON], True, 30, 45),
        ("a lingering person", [_track(stay=30)], False, 35, 65),
        ("a person that lingers long", [_track(stay=60)], False, 35, 65),
        ("a person that lingers by night", [_track(stay=60)], True, 60, 80),
        ("a crowd that lingers by night", [_track(stay=90)] * 6 + [CAR], True, 80, 100),
        ("a passer-by on the sidewalk", [_in(ZoneType.SIDEWALK)], False, 5, 15),
        ("a visitor at the entry", [_in(ZoneType.ENTRY)], False, 20, 35),
        ("a visitor in the yard", [_in(ZoneType.YARD)], False, 20, 35),
        ("a visitor on the driveway", [_in(ZoneType.DRIVEWAY)], False, 20, 35),
        ("who loiters at the entry", [_in(ZoneType.ENTRY, 40, loitering=True)], False, 35, 65),
        ("who loiters long at the entry", [_in(ZoneType.ENTRY, 90, loitering=True)], False, 35, 65),
        ("somebody where nobody may be", [_in(ZoneType.RESTRICTED)], False, 35, 65),
        ("a car where none may be", [_in(ZoneType.RESTRICTED, label=Label.CAR)], False, 20, 35),
        ("a car on the driveway", [_in(ZoneType.DRIVEWAY, label=Label.CAR)], False, 5, 15),
    ],
)
def test_a_situation_scores_within_its_anchor(
    situation: str, tracks: Sequence[Track], night: bool, lowest: int, highest: int
) -> None:
    assert lowest <= _assess(*tracks, night=night).score <= highest, situation


def test_lingering_begins_at_half_a_minute_and_weighs_more_after_a_minute() -> None:
    scores = [_assess(_track(stay=seconds)).score for seconds in (0, 29.9, 30, 59.9, 60, 300)]
    assert scores == [20, 20, 35, 35, 50, 50]


def test_a_vehicle_does_not_linger() -> None:
    assert _assess(_track(Label.CAR, stay=600)).score == _assess(CAR).score


def test_what_is_barely_seen_weighs_less() -> None:
    assert _assess(_track(confidence=0.4)).score == 15
    assert _assess(_track(confidence=0.4), PERSON).score == 25


@given(TRACKS, st.booleans())
def test_the_score_is_the_clamped_sum_of_its_named_factors(tracks: list[Track], night: bool) -> None:
    assessment = _assess(*tracks, night=night)
    assert 0 <= assessment.score <= MAX_SCORE
    assert assessment.score == total_score(assessment.factors)
    names = [factor.name for factor in assessment.factors]
    assert len(set(names)) == len(names)
    assert set(names) <= set(FACTOR_NAMES)
    assert all(factor.evidence for factor in assessment.factors)
    assert all(f"{factor.name} {factor.points:+d}" in assessment.reasoning for factor in assessment.factors)


@given(TRACKS, st.booleans(), st.floats(0.05, 1), st.floats(0, 90))
def test_one_person_more_never_lowers_the_score(
    tracks: list[Track], night: bool, confidence: float, stay: float
) -> None:
    more = [*tracks, _track(Label.PERSON, stay, confidence)]
    assert _assess(*more, night=night).score >= _assess(*tracks, night=night).score


@given(TRACKS)
def test_night_never_lowers_the_score(tracks: list[Track]) -> None:
    assert _assess(*tracks, night=True).score >= _assess(*tracks, night=False).score


@given(TRACKS, st.floats(0, 90))
def test_a_longer_stay_never_lowers_the_score(tracks: list[Track], stay: float) -> None:
    longer = [replace(track, last_seen_at=track.last_seen_at + timedelta(seconds=stay)) for track in tracks]
    assert _assess(*longer).score >= _assess(*tracks).score


@given(TRACKS, st.booleans(), st.randoms())
def test_the_same_evidence_in_any_order_gives_the_same_verdict(
    tracks: list[Track], night: bool, random: object
) -> None:
    shuffled = sorted(tracks, key=lambda _track: random.random())  # type: ignore[attr-defined]
    assert _assess(*shuffled, night=night) == _assess(*tracks, night=night)


def test_one_on_the_sidewalk_does_not_excuse_one_in_the_yard() -> None:
    sidewalk, yard = _in(ZoneType.SIDEWALK), _in(ZoneType.YARD)
    assert _assess(sidewalk).score == 10
    assert _assess(sidewalk, yard).score == 30
    assert _assess(_track(Label.PERSON, 0, 0.9, _visit(ZoneType.SIDEWALK), _visit(ZoneType.YARD))).score == 25


def test_who_is_on_the_sidewalk_for_a_moment_alone_is_no_passer_by() -> None:
    mostly = replace(_in(ZoneType.SIDEWALK), frames=2)
    assert _assess(mostly).score == 20


def test_only_who_comes_in_over_a_line_counts() -> None:
    def crossed(direction: Direction) -> int:
        return _assess(replace(PERSON, crossings=(LineCrossing(1, "Gate", direction, START),))).score

    assert (crossed(Direction.OUT), crossed(Direction.IN)) == (20, 25)


@pytest.mark.parametrize(
    ("tracks", "summary"),
    [
        ([_in(ZoneType.ENTRY)], 'A person at the entry "Front" by day'),
        ([_in(ZoneType.ENTRY), PERSON, CAR], '2 people and a car, a person at the entry "Front", by day'),
        (
            [_in(ZoneType.SIDEWALK), _in(ZoneType.RESTRICTED)],
            '2 people, a person in the restricted zone "Front", by day',
        ),
    ],
)
def test_the_summary_says_where(tracks: list[Track], summary: str) -> None:
    assert _assess(*tracks).summary == summary


def test_the_rules_never_call_themselves_verified() -> None:
    assessment = _assess(PERSON, CAR, night=True)
    assert (assessment.source, assessment.verified, assessment.assessed_at) == (AssessmentSource.RULES, False, START)
    assert assessment.summary == "A person and a car at night"
    assert "it is night (00:00)" in assessment.reasoning


def test_nothing_seen_is_nothing_to_weigh() -> None:
    assessment = _assess()
    assert (assessment.score, assessment.factors) == (0, ())
    assert assessment.reasoning == "Rules: nothing to weigh."


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([], "nothing"),
        ([Label.PERSON], "a person"),
        ([Label.PERSON] * 4 + [Label.BUS], "4 people and a bus"),
        ([Label.BUS, Label.DOG, Label.PERSON, Label.DOG], "a person, a bus and 2 dogs"),
        ([Label.BUS] * 2, "2 buses"),
    ],
)
def test_what_was_seen_is_told_in_plain_english(labels: list[Label], text: str) -> None:
    assert describe(_track(label) for label in labels) == text


@given(st.lists(st.sampled_from(Label), min_size=1))
def test_every_label_is_named_once_in_its_number(labels: list[Label]) -> None:
    words = describe(_track(label) for label in labels).replace(" and ", ", ").split(", ")
    assert len(words) == len(set(labels))
    counts = [1 if word.startswith("a ") else int(word.split()[0]) for word in words]
    assert sum(counts) == len(labels)


@pytest.mark.parametrize(
    ("hour", "starts", "ends", "night"),
    [
        (22, 22, 6, True),
        (21, 22, 6, False),
        (0, 22, 6, True),
        (5, 22, 6, True),
        (6, 22, 6, False),
        (1, 1, 5, True),
        (5, 1, 5, False),
        (0, 1, 5, False),
        (12, 7, 7, False),
    ],
)
def test_the_night_may_span_midnight(hour: int, starts: int, ends: int, night: bool) -> None:
    assert is_night(datetime(2026, 11, 23, hour, 59, tzinfo=START.tzinfo), starts, ends) is night
